// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/boltseal/boltseal/agent/internal/kernel/kerneltest"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

func TestWithoutTaskStorage(t *testing.T) { kerneltest.WithoutTaskStorage(t) }

// taskSeals finds the seals of tasks by their ids. Before Linux 6.9 there is no
// descriptor of a thread to look one up by, and of a hash only programs know the keys.
type taskSeals struct {
	pass  *link.Iter
	found *ebpf.Map // task id -> seal
}

func newTaskSeals(t testing.TB, seals *ebpf.Map) *taskSeals {
	t.Helper()
	found, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.Hash, KeySize: 4, ValueSize: seals.ValueSize(), MaxEntries: 65536, Flags: 1, // BPF_F_NO_PREALLOC
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = found.Close() })
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "task", License: "GPL",
		Instructions: copySeal(seals, found, offsetOfPid(t)),
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { _ = prog.Close() })
	pass, err := link.AttachIter(link.IterOptions{Program: prog})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pass.Close() })
	return &taskSeals{pass, found}
}

func offsetOfPid(t testing.TB) int16 {
	t.Helper()
	types, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var task *btf.Struct
	if err := types.TypeByName("task_struct", &task); err != nil {
		t.Fatal(err)
	}
	for _, m := range task.Members {
		if m.Name == "pid" {
			return int16(m.Offset.Bytes())
		}
	}
	t.Fatal("tasks have no pid")
	return 0
}

// copySeal is a program for each task: it copies the seal to found.
func copySeal(seals, found *ebpf.Map, pid int16) asm.Instructions {
	code := asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 8, asm.DWord), // the task, after the iteration's state
		asm.JEq.Imm(asm.R6, 0, "end"),
		asm.LoadMem(asm.R1, asm.R6, pid, asm.Word),
		asm.StoreMem(asm.RFP, -4, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, seals.FD()),
	}
	if seals.Type() == ebpf.TaskStorage {
		code = append(code, asm.Mov.Reg(asm.R2, asm.R6), asm.Mov.Imm(asm.R3, 0), asm.Mov.Imm(asm.R4, 0),
			asm.FnTaskStorageGet.Call())
	} else {
		code = append(code, asm.StoreMem(asm.RFP, -16, asm.R6, asm.DWord),
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -16), asm.FnMapLookupElem.Call())
	}
	return append(code,
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.LoadMapPtr(asm.R1, found.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.Mov.Reg(asm.R3, asm.R0),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnMapUpdateElem.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("end"),
		asm.Return(),
	)
}

// task is the seal of a process or a thread.
func (r *rig) task(id int) (seal bpf.WireTaskSeal, ok bool) {
	r.t.Helper()
	seals := r.taskSeals
	if err := seals.found.Delete(uint32(id)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		r.t.Fatalf("forget seal of task %d: %v", id, err)
	}
	pass, err := seals.pass.Open()
	if err != nil {
		r.t.Fatalf("open task iterator: %v", err)
	}
	defer pass.Close()
	if _, err := io.Copy(io.Discard, pass); err != nil {
		r.t.Fatalf("iterate tasks: %v", err)
	}
	err = seals.found.Lookup(uint32(id), &seal)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return seal, false
	}
	if err != nil {
		r.t.Fatalf("look up seal of task %d: %v", id, err)
	}
	return seal, seal.Uses > 0 // else it was dropped
}

// statOf is what /proc tells of a task, to see whether it has ended and who is to reap it.
func statOf(tid uint32) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", tid))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%.60q", text)
}

// checkNoTaskSeals waits until the memory of all seals is free again. Task
// storage goes with its task.
func (r *rig) checkNoTaskSeals() {
	r.t.Helper()
	seals := r.programs.cgroup.Maps[bpf.CgroupMapTaskSeals]
	if seals.Type() == ebpf.TaskStorage {
		return
	}
	testenv.Eventually(r.t, 10*time.Second, "memory of seals", func() error {
		var task uint64
		if err := seals.NextKey(nil, &task); !errors.Is(err, ebpf.ErrKeyNotExist) {
			var seal bpf.WireTaskSeal
			if err == nil {
				err = seals.Lookup(task, &seal)
			}
			return fmt.Errorf("the task at %#x has a seal (%v): %+v of %s", task, err, seal, statOf(seal.Tid))
		}
		return nil
	})
}

// Where there is no room for a task's seal, that is counted and reported, and
// hooks look for such tasks by their cgroup; those that end make room.
func TestNoRoomForTasks(t *testing.T) {
	const room = 3
	r := newRig(t, func(o *Options) { o.TaskRoom = room })
	c, slot := r.expected("c")
	var tasks []*process
	for range room {
		tasks = append(tasks, script(t, c, "read x"))
	}
	r.checkTasks(slot, room)
	if n, host := r.kernelErrors(bpf.WireKernelErrorKERR_TASK_SEAL), r.Slot(Host); n != 0 || host.InitPid != 0 {
		t.Fatalf("%d tasks have no seal, hooks look for them: %d", n, host.InitPid)
	}
	more := script(t, c, "echo born; read x")
	more.says()
	if h, _ := r.event(bpf.WireEventTypeEVENT_TASK_UNSEALED, slot); int(h.Tgid) != more.Process.Pid {
		t.Errorf("task %d is said to have no seal, want %d", h.Tgid, more.Process.Pid)
	}
	r.checkTask(more.Process.Pid, slot, none)
	r.checkTasks(slot, room)
	if n := r.kernelErrors(bpf.WireKernelErrorKERR_TASK_SEAL); n == 0 {
		t.Error("a task without a seal is not counted")
	}
	if r.Slot(Host).InitPid == 0 {
		t.Error("hooks do not look for tasks without a seal")
	}
	more.end()
	for _, p := range tasks {
		p.end()
	}
	r.checkNoTaskSeals()
	next := script(t, c, "read x")
	r.checkTask(next.Process.Pid, slot, setup)
	r.checkTasks(slot, 1)
}
