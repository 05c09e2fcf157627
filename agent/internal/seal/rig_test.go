// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/kernel/kerneltest"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// makerComm is what processes of these tests that play a runtime are called. Real
// runtimes on the machine must not be met: with few slots their containers would
// find no room.
const makerComm = "bst-maker"

// rig is a host's sealing with a throw-away cgroup to work in.
type rig struct {
	*Seals
	t         testing.TB
	keys      *compile.Keys
	root      *testenv.Cgroup
	ring      *ringbuf.Reader
	taskSeals *taskSeals
}

func options(keys *compile.Keys) Options {
	return Options{
		HashKeys:     *keys,
		RuntimeComms: []string{makerComm, "bst-15-bytes-xx"},
		NamePrefixes: []string{"docker-", "libpod-", "cri-containerd-"},
		RingBytes:    1 << 20,
		Slots:        64,
	}
}

func newRig(t testing.TB, change func(*Options)) *rig {
	t.Helper()
	testenv.Require(t, testenv.Root(), testenv.BPF(), testenv.BTF(), testenv.Cgroup2())
	r := &rig{t: t, keys: compile.NewKeys(), root: testenv.TempCgroup(t)}
	o := options(r.keys)
	o.TaskRoom = kerneltest.TaskRoom(t)
	var err error
	if o.Preempted, err = kernel.RawTracepointsPreempted(); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&o)
	}
	if r.Seals, err = Open(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if r.ring, err = ringbuf.NewReader(r.Events()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.ring.Close() })
	r.taskSeals = newTaskSeals(t, r.programs.cgroup.Maps[bpf.CgroupMapTaskSeals])
	return r
}

// slot takes a slot.
func (r *rig) slot() uint32 {
	r.t.Helper()
	slot, err := r.Take()
	if err != nil {
		r.t.Fatal(err)
	}
	return slot
}

// expected makes a cgroup that is sealed at its birth.
func (r *rig) expected(name string) (*testenv.Cgroup, uint32) {
	r.t.Helper()
	slot := r.slot()
	if err := r.Expect(slot, r.root.Path+"/"+name); err != nil {
		r.t.Fatal(err)
	}
	c := r.root.Child(r.t, name)
	r.checkSealed(c.ID, slot, bpf.WireSealedBySEALED_BY_PATH)
	return c, slot
}

func (r *rig) checkSealed(cgroup uint64, slot uint32, by bpf.WireSealedBy) {
	r.t.Helper()
	seal, ok, err := r.SealedAs(cgroup)
	if err != nil || !ok || seal.Slot != slot || seal.By != uint32(by) {
		r.t.Errorf("cgroup %d is sealed %v as %+v (%v), want slot %d by %d", cgroup, ok, seal, err, slot, by)
	}
}

func (r *rig) checkUnsealed(cgroup uint64, what string) {
	r.t.Helper()
	if seal, ok, err := r.SealedAs(cgroup); err != nil || ok {
		r.t.Errorf("%s is sealed as %+v (%v)", what, seal, err)
	}
}

// checkTask waits until a task carries a slot in a state, or, with state 0, no
// seal.
func (r *rig) checkTask(id int, slot uint32, state bpf.WireTaskState) {
	r.t.Helper()
	testenv.Eventually(r.t, 5*time.Second, "seal of the task", func() error {
		seal, ok := r.task(id)
		switch {
		case state == 0 && ok:
			return fmt.Errorf("task %d carries %+v, want no seal", id, seal)
		case state != 0 && (!ok || seal.Slot != slot || seal.State != uint32(state)):
			return fmt.Errorf("task %d carries %+v (%v), want slot %d in state %d", id, seal, ok, slot, state)
		}
		return nil
	})
}

func (r *rig) checkTasks(slot uint32, want int64) {
	r.t.Helper()
	testenv.Eventually(r.t, 10*time.Second, "tasks of the slot", func() error {
		if got := r.Slot(slot).Tasks; got != want {
			return fmt.Errorf("%d tasks carry slot %d, want %d", got, slot, want)
		}
		return nil
	})
}

func (r *rig) checkState(slot uint32, want bpf.WireSlotState) {
	r.t.Helper()
	if got := r.Slot(slot).State; got != uint32(want) {
		r.t.Errorf("slot %d is in state %d, want %d", slot, got, want)
	}
}

// kernelErrors is how often the programs failed in one way.
func (r *rig) kernelErrors(kind bpf.WireKernelError) uint64 {
	r.t.Helper()
	counts, err := r.Errors()
	if err != nil {
		r.t.Fatal(err)
	}
	return counts[kind]
}

// event waits for an event of a type that concerns a slot; others are passed over.
func (r *rig) event(kind bpf.WireEventType, slot uint32) (header bpf.WireEventHeader, raw []byte) {
	r.t.Helper()
	r.ring.SetDeadline(time.Now().Add(5 * time.Second))
	for {
		record, err := r.ring.Read()
		if err != nil {
			r.t.Fatalf("event %d of slot %d: %v", kind, slot, err)
		}
		if _, err := binary.Decode(record.RawSample, binary.LittleEndian, &header); err != nil {
			r.t.Fatal(err)
		}
		if header.Type == uint16(kind) && header.Slot == slot {
			if int(header.Size) != len(record.RawSample) {
				r.t.Errorf("event %d says it has %d bytes of %d", kind, header.Size, len(record.RawSample))
			}
			return header, record.RawSample
		}
	}
}

// sealedEvent waits for the report that a cgroup was sealed.
func (r *rig) sealedEvent(slot uint32) (e bpf.WireEventCgroup, path string) {
	r.t.Helper()
	_, raw := r.event(bpf.WireEventTypeEVENT_CGROUP_SEALED, slot)
	if _, err := binary.Decode(raw, binary.LittleEndian, &e); err != nil {
		r.t.Fatal(err)
	}
	text := unsafe.Slice((*byte)(unsafe.Pointer(&e.Path[0])), len(e.Path))
	before, _, _ := bytes.Cut(text, []byte{0})
	return e, string(before)
}

// process is one that does the next thing at each line of its input.
type process struct {
	*exec.Cmd
	t   testing.TB
	in  io.WriteCloser
	out *bufio.Reader
}

func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, t: t}
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}

// script starts busybox's shell.
func script(t testing.TB, in *testenv.Cgroup, text string) *process {
	t.Helper()
	// Who starts a process goes on before its exec has ended.
	cmd := exec.CommandContext(t.Context(), busybox(t), "sh", "-c", "echo; "+text)
	if in != nil {
		in.Born(cmd)
	}
	p := start(t, cmd)
	p.says()
	return p
}

// busybox is one process of one thread, whatever it is told to be.
func busybox(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("busybox")
	testenv.Require(t, testenv.Optional("busybox", func() error { return err }))
	return path
}

func (p *process) next() {
	p.t.Helper()
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		p.t.Errorf("tell the process to go on: %v", err)
	}
}

// says waits for a line of the process.
func (p *process) says() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("wait for the process: %v", err)
	}
	return strings.TrimSpace(line)
}

func (p *process) end() {
	if p.ProcessState == nil {
		_ = p.Process.Kill()
		_ = p.Wait()
	}
}

// asMaker makes directories as a process that is called like a runtime.
func asMaker(t testing.TB, comm string, act func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its name
		name, err := unix.BytePtrFromString(comm)
		if err == nil {
			err = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0)
		}
		if err == nil {
			err = act()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// mkdirs makes a directory in the rig's cgroup for each name and tells their ids.
func (r *rig) mkdirs(comm string, names ...string) (ids []uint64) {
	r.t.Helper()
	act := func() error {
		for _, name := range names {
			dir := filepath.Join(r.root.Dir, name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			id, err := testenv.CgroupID(dir)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return nil
	}
	if comm != "" {
		asMaker(r.t, comm, act)
	} else if err := act(); err != nil {
		r.t.Fatal(err)
	}
	return ids
}
