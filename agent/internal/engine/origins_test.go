// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/kernel/kerneltest"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// asked is what the tests ask of an act, each by a hook of its own, so that all
// that hold are counted, under these labels.
func asked() map[string]string {
	namespaces := func(op, values string) string {
		return fmt.Sprintf("matchNamespaceChanges: [{operator: %s, values: [%s]}]", op, values)
	}
	capabilities := func(set, op, more string) string {
		return fmt.Sprintf("matchCapabilityChanges: [{type: %s, operator: %s, values: [CAP_SYS_BOOT]%s}]", set, op, more)
	}
	return map[string]string{
		"uts":           namespaces("In", "Uts"),
		"no-uts":        namespaces("NotIn", "Uts"),
		"net-mnt":       namespaces("In", "Net, Mnt"),
		"user":          namespaces("In", "User"),
		"pid-children":  namespaces("In", "PidForChildren"),
		"time-children": namespaces("In", "TimeForChildren"),
		"other":         namespaces("In", "Ipc, Pid, Time, Cgroup"),
		"boot":          capabilities("Effective", "In", ""),
		"no-boot":       capabilities("Effective", "NotIn", ""),
		"permitted":     capabilities("Permitted", "In", ""),
		"inheritable":   capabilities("Inheritable", "In", ""),
		"boot-in-user":  capabilities("Effective", "In", ", isNamespaceCapability: true"),
	}
}

// changed watches for changes of processes.
type changed struct {
	*host
	id   engine.PolicyID
	slot uint32
	seen map[string]uint64
}

// watch loads a policy that counts what holds at the act.
func (h *host) watch(slot uint32) *changed {
	h.t.Helper()
	var text strings.Builder
	for label, filter := range asked() {
		fmt.Fprintf(&text, `  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{label: %s, matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], %s}]}
`, label, filter)
	}
	c := &changed{host: h, slot: slot, seen: map[string]uint64{}}
	c.id = h.policy(text.String())
	h.apply(slot, engine.Member{Policy: c.id, Enforce: true})
	return c
}

func (c *changed) end() {
	c.t.Helper()
	c.apply(c.slot)
	if err := c.Unload(c.id); err != nil {
		c.t.Fatal(err)
	}
}

// expect has the process take steps of which one is the act, and checks what held.
// Of what is and is not so, the word for it is enough.
func (c *changed) expect(a *actor, line string, want ...string) {
	c.t.Helper()
	a.do(line)
	counters, err := c.SelectorCounters(c.id)
	if err != nil {
		c.t.Fatal(err)
	}
	var got []string
	for _, n := range counters {
		if n.Post != c.seen[n.Label] {
			got = append(got, n.Label)
		}
		c.seen[n.Label] = n.Post
	}
	if len(counters) != len(asked()) {
		c.t.Errorf("%d selectors have counters, want %d", len(counters), len(asked()))
	}
	for label, not := range map[string]string{"uts": "no-uts", "boot": "no-boot"} {
		if !slices.Contains(want, label) {
			want = append(want, not)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		c.t.Errorf("%s: changed %q, want %q", line, got, want)
	}
}

// do has the process take steps.
func (a *actor) do(line string) {
	a.t.Helper()
	if !a.lives(line) {
		_ = a.Wait()
		a.t.Fatalf("%s: the process ended with %v", line, a.ProcessState)
	}
}

func (a *actor) lives(line string) bool {
	a.t.Helper()
	if _, err := fmt.Fprintln(a.in, line); err != nil {
		a.t.Fatalf("%s: %v", line, err)
	}
	return a.says()
}

func (a *actor) says() bool {
	answer, err := a.out.ReadString('\n')
	return err == nil && answer == "done\n"
}

func (h *host) changer(in *testenv.Cgroup, namespaces uintptr) *actor {
	h.t.Helper()
	a := h.actorWith(in, namespaces, engine.ChangerVariable+"="+h.marker)
	if !a.says() {
		h.t.Fatal("the process did not begin")
	}
	return a
}

const (
	self  = "/proc/self/exe"
	boot  = "22" // CAP_SYS_BOOT
	again = "exec " + self
)

func unshare(flags int) string { return fmt.Sprintf("unshare %d;", flags) }

// join goes back to a namespace of the host.
func join(kind string) string { return fmt.Sprintf("setns /proc/%d/ns/%s;", os.Getpid(), kind) }

// leave is done by a child.
func leave(flags int) string { return fmt.Sprintf("leave %d", flags) }

// What a process has changed is counted from its last exec, or its birth, whoever
// it is.
func TestChangesAreSinceExec(t *testing.T) {
	h := newHost(t)
	sealed, slot := h.container("c")
	for name, in := range map[string]struct {
		cgroup     *testenv.Cgroup
		namespaces uintptr
		slot       uint32
	}{"of the host": {h.root, 0, 0}, "of a container": {sealed, syscall.CLONE_NEWUTS, slot}} {
		t.Run(name, func(t *testing.T) {
			h := *h
			h.t = t
			before := h.changer(in.cgroup, in.namespaces)
			before.do(unshare(unix.CLONE_NEWNET) + "capset effective " + boot + " drop")
			c := h.watch(in.slot)
			defer c.end()

			// Of who was there before it is what it has when the policy is loaded.
			c.expect(before, unshare(unix.CLONE_NEWUTS)+"act", "uts")
			c.expect(before, "capset effective "+boot+" raise; act", "uts", "boot")
			before.do(again)
			c.expect(before, "act")

			a := h.changer(in.cgroup, in.namespaces)
			h.changesOf(c, a)
			h.changesByExec(c, h.changer(in.cgroup, in.namespaces))
		})
	}
}

// changesOf is a process's life in one program and the next.
func (h *host) changesOf(c *changed, a *actor) {
	h.t.Helper()
	c.expect(a, "act")
	c.expect(a, unshare(unix.CLONE_NEWUTS)+"act", "uts")
	// A child begins with what it has, be it by a namespace of its own.
	c.expect(a, "fork 0")
	c.expect(a, fmt.Sprint("fork ", unix.CLONE_NEWUTS))
	c.expect(a, leave(unix.CLONE_NEWPID), "pid-children")
	c.expect(a, leave(unix.CLONE_NEWTIME), "time-children")
	c.expect(a, unshare(unix.CLONE_NEWNET)+"act", "uts", "net-mnt")
	a.do(again)
	c.expect(a, "act")
	c.expect(a, join("uts")+"act", "uts")
	c.expect(a, join("net")+"act", "uts", "net-mnt")
	c.expect(a, unshare(unix.CLONE_NEWIPC)+"act", "uts", "net-mnt", "other")
	a.do(again)
	c.expect(a, "act")
	// What comes back is no change any more.
	c.expect(a, "capset effective "+boot+" drop; act", "boot")
	c.expect(a, "capset effective "+boot+" raise; act")
	c.expect(a, "capset inheritable "+boot+" raise; act", "inheritable")
	c.expect(a, "capset permitted "+boot+" drop; act", "boot", "permitted", "inheritable")
	// A thread has its own, and is compared with what its process began with.
	c.expect(a, "thread "+unshare(unix.CLONE_NEWUTS)+"act", "uts")
	c.expect(a, "act", "boot", "permitted", "inheritable")
}

// changesByExec is about what execs change, which is the beginning and no change.
func (h *host) changesByExec(c *changed, a *actor) {
	h.t.Helper()
	setuid := filepath.Join(testenv.Dir(h.t), "setuid")
	binary, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(setuid, binary, 0o600)
	}
	if err == nil {
		err = os.Chmod(setuid, 0o755|os.ModeSetuid)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	c.expect(a, "prctl 24 "+boot+"; act") // PR_CAPBSET_DROP bounds what an exec gives
	a.do(again)
	c.expect(a, "act")

	a = h.changer(h.root, 0)
	if c.slot != 0 {
		return // the rest is the same for both
	}
	// With securebits as they are an effective user id other than 0 takes the effective set.
	c.expect(a, "setuid 1000; act", "boot")
	a.do("exec " + setuid)
	c.expect(a, "act") // all of it again, by the file's owner
	c.expect(a, "setuid 1000; act", "boot")
	a.do(again)
	c.expect(a, "act")

	// In a user namespace of one's own one has all of them.
	a = h.changer(h.root, 0)
	c.expect(a, leave(unix.CLONE_NEWUSER), "user")
	c.expect(a, leave(unix.CLONE_NEWUSER)+" none", "user", "boot", "permitted", "boot-in-user")
}

// Who is killed for a change is killed for none before.
func TestChangeIsKilled(t *testing.T) {
	h := newHost(t)
	in, slot := h.container("c")
	for _, c := range []struct{ filter, change string }{
		{"matchNamespaceChanges: [{operator: In, values: [Mnt]}]", unshare(unix.CLONE_NEWNS)},
		{"matchCapabilityChanges: [{operator: In, values: [CAP_SYS_BOOT]}]", "capset effective " + boot + " drop;"},
	} {
		id := h.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], ` + c.filter + `, matchActions: [{action: Sigkill}]}]}
`)
		h.apply(slot, engine.Member{Policy: id, Enforce: true})
		a := h.changer(in, syscall.CLONE_NEWUTS)
		a.do("act")
		if a.lives(c.change + "act") {
			t.Errorf("%s: the process lives after its change", c.filter)
		}
		h.apply(slot)
	}
}

// What a runtime changes before it executes the workload is no change of the
// workload's, neither at the exec that ends set-up nor later.
func TestSetUpIsNoChange(t *testing.T) {
	h := newHost(t)
	busybox, err := exec.LookPath("busybox")
	testenv.Require(t, testenv.Optional("busybox", func() error { return err }))
	h.marker = filepath.Join(testenv.Dir(t), "busybox")
	if err := os.Symlink(busybox, h.marker); err != nil {
		t.Fatal(err)
	}
	id := h.policy(`  - {subsystem: syscalls, event: sys_enter_execve, args: [{index: 5, type: string}], selectors: [
      {label: changed, matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchNamespaceChanges: [{operator: In, values: [Uts]}]},
      {label: not, matchArgs: [{index: 5, operator: Equal, values: ["$M"]}]}]}
`)
	c, slot := h.container("c")
	h.apply(slot, engine.Member{Policy: id, Enforce: true})
	cmd := c.Born(exec.CommandContext(t.Context(), busybox, "unshare", "-u", h.marker, "true"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if state := h.seals.Slot(slot).State; state != uint32(bpf.WireSlotStateSLOT_ARMED) {
		t.Fatalf("the container is in state %d after its first exec", state)
	}
	checkLabels(t, h, id, map[string]uint64{"changed": 0, "not": 1})
	// The same by the workload is one.
	cmd = c.Born(exec.CommandContext(t.Context(), busybox, "sh", "-c", busybox+" unshare -u "+h.marker+" true"))
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWIPC
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	checkLabels(t, h, id, map[string]uint64{"changed": 1, "not": 1})
}

func checkLabels(t *testing.T, h *host, id engine.PolicyID, want map[string]uint64) {
	t.Helper()
	counters, err := h.SelectorCounters(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counters {
		if c.Post != want[c.Label] {
			t.Errorf("selector %s: %d events, want %d", c.Label, c.Post, want[c.Label])
		}
	}
}

// Origins are kept while some policy asks. What was kept before holds for those
// that still execute the same program.
func TestOriginsOutliveTheirPolicy(t *testing.T) {
	h := newHost(t)
	c := h.watch(0)
	a, b := h.changer(h.root, 0), h.changer(h.root, 0)
	c.expect(a, "act")
	c.expect(b, unshare(unix.CLONE_NEWUTS)+"act", "uts")
	c.end()
	a.do(unshare(unix.CLONE_NEWUTS))
	b.do(again)
	b.do("capset effective " + boot + " drop")
	c = h.watch(0)
	second := h.watch(0)
	h.apply(0, engine.Member{Policy: c.id}, engine.Member{Policy: second.id})
	c.expect(a, "act", "uts")
	c.expect(b, "act") // it began with what it had when the policy came back
	h.apply(0, engine.Member{Policy: c.id})
	if err := h.Unload(second.id); err != nil {
		t.Fatal(err)
	}
	b.do(again)
	c.expect(b, unshare(unix.CLONE_NEWUTS)+"act", "uts") // one of two still asks
	c.end()
}

// Where the kernel can skip the program at execs, a process whose exec was missed
// begins when it is next asked about; elsewhere it is taken to be in its exec.
func TestOriginOfAMissedExec(t *testing.T) {
	for _, preempted := range []bool{false, true} {
		t.Run(fmt.Sprintf("preempted %v", preempted), func(t *testing.T) {
			if preempted {
				testenv.Require(t, testenv.Optional("task storage", func() error {
					if kerneltest.TaskRoom(t) != 0 {
						return errors.New("this kernel is older than those that preempt programs")
					}
					return nil
				}))
			}
			h := newHostWhere(t, preempted)
			c := h.watch(0)
			a := h.changer(h.root, 0)
			c.expect(a, unshare(unix.CLONE_NEWUTS)+"act", "uts")
			if err := h.seals.KeepOrigins(false); err != nil {
				t.Fatal(err)
			}
			a.do(again)
			c.expect(a, "act")
			want := []string{}
			if preempted {
				want = append(want, "net-mnt")
			}
			c.expect(a, unshare(unix.CLONE_NEWNET)+"act", want...)
		})
	}
}
