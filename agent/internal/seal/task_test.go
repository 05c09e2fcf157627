// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

const (
	setup  = bpf.WireTaskStateTASK_SETUP
	hooked = bpf.WireTaskStateTASK_HOOK
	armed  = bpf.WireTaskStateTASK_ARMED
	none   = bpf.WireTaskState(0)
)

// threaded starts a process of n threads and more.
func threaded(t testing.TB, in *testenv.Cgroup, n int) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), threadsVariable+"="+strconv.Itoa(n))
	if in != nil {
		in.Born(cmd)
	}
	p := start(t, cmd)
	p.says()
	return p
}

func threadsOf(t testing.TB, pid int) (tids []int) {
	t.Helper()
	dirs, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("threads of %d: %v", pid, err)
	}
	for _, dir := range dirs {
		tid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			t.Fatal(err)
		}
		tids = append(tids, tid)
	}
	return tids
}

// checkBinary checks that a task carries the hash of an executed file's path.
func (r *rig) checkBinary(pid int) {
	r.t.Helper()
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		r.t.Fatal(err)
	}
	seal, ok := r.task(pid)
	if want := r.keys.Hash(path); !ok || seal.Binary.Lane != want || int(seal.Binary.Len) != len(path) {
		r.t.Errorf("binary of task %d is %+v (%v), want the hash of %q, %x", pid, seal.Binary, ok, path, want)
	}
}

// A container as a runtime makes it: a process of the host enters, executes itself,
// changes its namespaces and executes the workload, which is the container from
// there on, wherever it moves.
func TestLifeOfAContainer(t *testing.T) {
	r := newRig(t, nil)
	c, slot := r.expected("c")
	p := script(t, nil, `read x; exec busybox sh -c '
		read x; exec busybox unshare -u busybox sh -c "
			busybox sleep 60 & echo \$!; read x; exec busybox cat"'`)
	pid := p.Process.Pid
	r.checkTask(pid, 0, none)
	if err := c.Add(pid); err != nil {
		t.Fatal(err)
	}
	r.checkTask(pid, slot, setup)
	r.checkTasks(slot, 1)
	if s := r.Slot(slot); s.FirstTaskNs == 0 || s.FirstExecNs != 0 {
		t.Errorf("slot %+v with a task that has executed nothing", s)
	}

	p.next() // the runtime's init executes itself
	r.waitForExec(slot)
	r.checkTask(pid, slot, setup)
	r.checkState(slot, bpf.WireSlotStateSLOT_MAPPED)

	p.next() // and the workload, in namespaces of its own
	child, err := strconv.Atoi(p.says())
	if err != nil {
		t.Fatal(err)
	}
	r.checkTask(pid, slot, armed)
	r.checkTask(child, slot, armed)
	r.checkTasks(slot, 2)
	r.checkState(slot, bpf.WireSlotStateSLOT_ARMED)
	r.checkBinary(pid)
	if h, _ := r.event(bpf.WireEventTypeEVENT_ARMED, slot); int(h.Tgid) != pid || h.CgroupId != c.ID {
		t.Errorf("armed by %+v, want process %d in cgroup %d", h, pid, c.ID)
	}
	if s := r.Slot(slot); s.ArmedNs < s.FirstExecNs || s.FirstExecNs < s.FirstTaskNs || s.FirstTaskNs < s.SealedNs {
		t.Errorf("times out of order: %+v", s)
	}

	// What leaves keeps the seal, alone and with its children.
	if err := r.root.Add(pid); err != nil {
		t.Fatal(err)
	}
	r.checkTask(pid, slot, armed)
	other, otherSlot := r.expected("other")
	if err := other.Add(child); err != nil {
		t.Fatal(err)
	}
	r.checkTask(child, slot, armed)
	if n := r.Slot(otherSlot).Tasks; n != 0 {
		t.Errorf("%d tasks carry the slot of the container that another one's process entered", n)
	}
	if gone, err := r.gone(bootTime()); err != nil || len(gone) != 0 {
		t.Errorf("gone are %v (%v) while a task carries the slot", gone, err)
	}
	p.next()
	r.checkTask(pid, slot, armed)
	r.checkBinary(pid)
	p.end()
	_ = syscall.Kill(child, syscall.SIGKILL)
	r.checkTasks(slot, 0)
}

// waitForExec waits until something was executed in a container.
func (r *rig) waitForExec(slot uint32) {
	r.t.Helper()
	testenv.Eventually(r.t, 10*time.Second, "first exec", func() error {
		if r.Slot(slot).FirstExecNs == 0 {
			return errors.New("not seen")
		}
		return nil
	})
}

// A task in set-up that leaves is the host's again; one that goes to another
// container is that one's.
func TestSetUpThatPassesThrough(t *testing.T) {
	r := newRig(t, nil)
	a, slotA := r.expected("a")
	b, slotB := r.expected("b")
	p := script(t, nil, "read x; busybox sleep 60 & echo $!; read x")
	pid := p.Process.Pid
	for _, step := range []struct {
		to    *testenv.Cgroup
		slot  uint32
		state bpf.WireTaskState
		tasks [2]int64
	}{
		{a, slotA, setup, [2]int64{1, 0}},
		{r.root, 0, none, [2]int64{0, 0}},
		{a, slotA, setup, [2]int64{1, 0}},
		{b, slotB, setup, [2]int64{0, 1}},
		{b.Child(t, "inner"), slotB, setup, [2]int64{0, 1}},
	} {
		if err := step.to.Add(pid); err != nil {
			t.Fatal(err)
		}
		r.checkTask(pid, step.slot, step.state)
		r.checkTasks(slotA, step.tasks[0])
		r.checkTasks(slotB, step.tasks[1])
	}
	p.next()
	child, err := strconv.Atoi(p.says())
	if err != nil {
		t.Fatal(err)
	}
	// The child of a task in set-up executed something, in the same namespaces.
	r.checkTask(child, slotB, setup)
	r.checkTasks(slotB, 2)
	p.end()
	_ = syscall.Kill(child, syscall.SIGKILL)
	r.checkTasks(slotB, 0)
}

// A process that has ended is no task of a container, wherever it is moved and
// whoever looks at it.
func TestZombiesAreNotCounted(t *testing.T) {
	r := newRig(t, nil)
	c, slot := r.expected("c")
	p := script(t, nil, "exit 0")
	pid := p.Process.Pid
	testenv.Eventually(t, 5*time.Second, "end of the process", func() error {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("%s (%v) is no zombie", stat, err)
		}
		return nil
	})
	if err := c.Add(pid); err != nil {
		t.Logf("a zombie cannot be moved here: %v", err)
	}
	// One that ended in the cgroup, which was sealed only then.
	late := r.root.Child(t, "late")
	q := script(t, late, "exit 0")
	testenv.Eventually(t, 5*time.Second, "end of the process", func() error {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", q.Process.Pid)); err != nil || !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("%s (%v) is no zombie", stat, err)
		}
		return nil
	})
	lateSlot, _, err := r.Confirm(Claim{Cgroup: late.ID})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []uint32{slot, lateSlot} {
		if n := r.Slot(s).Tasks; n != 0 {
			t.Errorf("%d tasks carry slot %d, of which none is alive", n, s)
		}
	}
	if n := r.kernelErrors(bpf.WireKernelErrorKERR_TASK_SEAL); n != 0 {
		t.Errorf("%d tasks could not be sealed", n)
	}
}

// A task is born into the container (CLONE_INTO_CGROUP).
func TestBornInside(t *testing.T) {
	for name, c := range map[string]struct {
		flags uintptr
		state bpf.WireTaskState
	}{
		"with namespaces of its own": {syscall.CLONE_NEWUTS, armed},
		"in the host's namespaces":   {0, setup},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			in, slot := r.expected("c")
			cmd := in.Born(exec.CommandContext(t.Context(), busybox(t), "cat"))
			cmd.SysProcAttr.Cloneflags = c.flags
			p := start(t, cmd)
			r.checkTask(p.Process.Pid, slot, c.state)
			r.checkTasks(slot, 1)
			p.end()
			r.checkTasks(slot, 0)
		})
	}
	t.Run("of a task in set-up elsewhere", func(t *testing.T) {
		r := newRig(t, nil)
		a, slotA := r.expected("a")
		b, slotB := r.expected("b")
		// This process plays the runtime: it is in set-up in a and makes b's.
		back := testenv.Cgroup2Root(t)
		self, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Add(os.Getpid()); err != nil {
			t.Fatal(err)
		}
		defer func() {
			dir := filepath.Join(back, unifiedPath(self))
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0); err != nil {
				t.Error(err)
			}
		}()
		r.checkTask(os.Getpid(), slotA, setup)
		p := start(t, b.Born(exec.CommandContext(t.Context(), busybox(t), "cat")))
		r.checkTask(p.Process.Pid, slotB, setup)
		q := start(t, exec.CommandContext(t.Context(), busybox(t), "cat"))
		r.checkTask(q.Process.Pid, slotA, setup)
	})
}

// unifiedPath finds the v2 path in the text of /proc/PID/cgroup.
func unifiedPath(text []byte) string {
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return "/"
}

// A container without namespaces of its own has only the word of its hook: after
// it the first exec of init is the workload's.
func TestInitIsNamed(t *testing.T) {
	r := newRig(t, nil)
	c, slot := r.expected("c")
	p := script(t, nil, "read x; exec busybox sh -c 'read x; exec busybox cat'")
	if err := c.Add(p.Process.Pid); err != nil {
		t.Fatal(err)
	}
	p.next()
	r.waitForExec(slot)
	r.checkTask(p.Process.Pid, slot, setup)
	got, by, err := r.Confirm(Claim{Cgroup: c.ID, Slot: slot, InitPID: uint32(p.Process.Pid)})
	if got != slot || by != bpf.WireSealedBySEALED_BY_PATH || err != nil {
		t.Fatalf("confirm: slot %d by %d, %v", got, by, err)
	}
	r.checkTask(p.Process.Pid, slot, setup) // the hook itself changes nothing
	p.next()
	r.checkTask(p.Process.Pid, slot, armed)
	r.checkState(slot, bpf.WireSlotStateSLOT_ARMED)
}

// An init that is restored from a checkpoint is judged when its hook names it, without
// an exec, and so is what it forks and executes.
func TestInitIsRestored(t *testing.T) {
	r := newRig(t, nil)
	c, slot := r.expected("c")
	p := script(t, nil, "read x; busybox sleep 60 & echo $!; wait")
	if err := c.Add(p.Process.Pid); err != nil {
		t.Fatal(err)
	}
	r.checkTask(p.Process.Pid, slot, setup)
	claim := Claim{Cgroup: c.ID, Slot: slot, InitPID: uint32(p.Process.Pid), Restored: true}
	if _, _, err := r.Confirm(claim); err != nil {
		t.Fatal(err)
	}
	r.checkTask(p.Process.Pid, slot, armed)
	r.checkState(slot, bpf.WireSlotStateSLOT_ARMED)
	if made := r.Slot(slot); made.ArmedNs < made.SealedNs {
		t.Errorf("armed before it was sealed: %+v", made)
	}
	p.next()
	child, err := strconv.Atoi(p.says())
	if err != nil {
		t.Fatal(err)
	}
	r.checkTask(child, slot, armed)
	_ = syscall.Kill(child, syscall.SIGKILL)
	p.end()
	r.checkTasks(slot, 0)
}

// What the runtime's init executes inside the container before the workload, a
// hook, is exempt until the container is armed.
func TestHooksInside(t *testing.T) {
	r := newRig(t, nil)
	c, slot := r.expected("c")
	// The shell plays the runtime's init; what it executes in other namespaces than
	// its own is a hook.
	p := script(t, c, `busybox unshare -u busybox sleep 60 & echo $!; wait`)
	hook, err := strconv.Atoi(p.says())
	if err != nil {
		t.Fatal(err)
	}
	r.checkTask(hook, slot, hooked)
	r.checkTask(p.Process.Pid, slot, setup)
	r.checkState(slot, bpf.WireSlotStateSLOT_MAPPED)
	_ = syscall.Kill(hook, syscall.SIGKILL)
	p.end()
	r.checkTasks(slot, 0)
}

// Tasks that were in a cgroup before it was sealed are sealed with it, every thread.
func TestConfirmAdopts(t *testing.T) {
	for name, running := range map[string]bool{"late": true, "before its entrypoint": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			c := r.root.Child(t, "c")
			deep := c
			for range 60 {
				deep = deep.Child(t, "d")
			}
			p, q := threaded(t, c, 8), script(t, deep, "read x")
			state, slotState := setup, bpf.WireSlotStateSLOT_MAPPED
			if running {
				state, slotState = armed, bpf.WireSlotStateSLOT_ARMED
			}
			slot, by, err := r.Confirm(Claim{Cgroup: c.ID, InitPID: uint32(p.Process.Pid), Running: running})
			if by != bpf.WireSealedBySEALED_BY_AGENT || err != nil {
				t.Fatalf("confirm: by %d, %v", by, err)
			}
			r.checkSealed(c.ID, slot, bpf.WireSealedBySEALED_BY_AGENT)
			r.checkState(slot, slotState)
			tids := append(threadsOf(t, p.Process.Pid), q.Process.Pid)
			if len(tids) < 10 {
				t.Fatalf("only %d threads", len(tids))
			}
			for _, tid := range tids {
				r.checkTask(tid, slot, state)
			}
			testenv.Eventually(t, 10*time.Second, "tasks of the slot", func() error {
				// Go starts threads when it likes.
				now := len(threadsOf(t, p.Process.Pid)) + 1
				if tasks := r.Slot(slot).Tasks; tasks != int64(now) {
					return fmt.Errorf("%d tasks carry slot %d, want %d", tasks, slot, now)
				}
				return nil
			})
			r.checkBinary(p.Process.Pid)
			r.checkTask(os.Getpid(), 0, none)
			// Said again it is the same.
			again, by, err := r.Confirm(Claim{Cgroup: c.ID, InitPID: uint32(p.Process.Pid), Slot: slot})
			if again != slot || by != bpf.WireSealedBySEALED_BY_AGENT || err != nil {
				t.Errorf("confirm again: slot %d by %d, %v", again, by, err)
			}
			p.end()
			q.end()
			r.checkTasks(slot, 0)
		})
	}
}

func TestConfirmRefuses(t *testing.T) {
	r := newRig(t, nil)
	c, slot := r.expected("c")
	inner := c.Child(t, "inner")
	free := r.root.Child(t, "free")
	other := r.slot()
	for name, claim := range map[string]Claim{
		"another container's cgroup":      {Cgroup: c.ID, Slot: other},
		"a cgroup below a container's":    {Cgroup: inner.ID},
		"the same with its slot":          {Cgroup: inner.ID, Slot: slot},
		"a slot that has another cgroup":  {Cgroup: free.ID, Slot: slot},
		"the same of a running container": {Cgroup: free.ID, Slot: slot, Running: true},
	} {
		if _, _, err := r.Confirm(claim); !errors.Is(err, ErrOtherContainer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := r.Confirm(Claim{Cgroup: free.ID, InitPID: uint32(os.Getpid())}); !errors.Is(err, ErrReadBack) {
		t.Errorf("a cgroup in which no task is: %v", err)
	}
	r.checkSealed(c.ID, slot, bpf.WireSealedBySEALED_BY_PATH)
	if s := r.Slot(slot); s.CgroupId != c.ID || s.State != uint32(bpf.WireSlotStateSLOT_MAPPED) {
		t.Errorf("slot after the refusals: %+v", s)
	}
}

// Tasks come and go by the thousand while others are adopted: what is counted is
// exact, or slots would never be free again.
func TestCountIsExact(t *testing.T) {
	r := newRig(t, nil)
	c, slot := r.expected("c")
	cmd := c.Born(exec.CommandContext(t.Context(), busybox(t), "sh", "-c",
		`i=0; while [ $i -lt 1500 ]; do (:) & (:; :) & i=$((i+1)); [ $((i % 50)) = 0 ] && wait; done; wait; echo done`))
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUTS
	p := start(t, cmd)
	done := make(chan bool)
	go func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := r.Adopt(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	if said := p.says(); said != "done" {
		t.Errorf("the storm said %q", said)
	}
	close(done)
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	r.checkTasks(slot, 0)
	r.checkNoTaskSeals()
	if n := r.kernelErrors(bpf.WireKernelErrorKERR_TASK_SEAL); n != 0 {
		t.Errorf("%d tasks could not be sealed", n)
	}
}
