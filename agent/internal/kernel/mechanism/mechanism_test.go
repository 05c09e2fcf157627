// SPDX-License-Identifier: Apache-2.0

//go:build linux

package mechanism

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/test/testenv"
)

// The errors that programs here deny with: no act of these tests ends with one
// of itself, and each program has its own.
const (
	byLSM    = unix.ENODATA
	byModify = unix.ENOLINK
	byKprobe = unix.ENOANO
)

// mechanism is a way to stop an act.
type mechanism struct {
	act    act
	attach func(s selection) (io.Closer, error)
	// what is how the act ends when it is stopped, stopped recognizes it.
	what    string
	stopped func(try) bool
}

// denied is a mechanism's act that ends with an error.
func denied(m mechanism, errno unix.Errno) mechanism {
	m.what = fmt.Sprintf("that it fails with %s (%v)", unix.ErrnoName(errno), errno)
	m.stopped = func(one try) bool {
		// The shell's programs end with status 1 and libc's text, which but for
		// its case is Go's.
		return one.status == 1 && strings.HasSuffix(strings.ToLower(one.complaint), ": "+errno.Error())
	}
	return m
}

// prove selects one container of two, and sees that what it does is stopped, from
// its first act to the detachment of the program, and nothing else.
func (m mechanism) prove(t *testing.T) {
	t.Helper()
	const some = 3
	runc := testenv.NewRunc(t)
	selected, neighbour := create(t, runc, m.act), create(t, runc, m.act)
	s := newSelection(t)
	if err := s.add(selected.id); err != nil {
		t.Fatal(err)
	}
	if err := s.check(selected.id); err != nil {
		t.Fatalf("not attached: %v", err)
	}
	attached, err := m.attach(s)
	if err != nil {
		t.Fatal(err)
	}
	defer attached.Close()
	selected.start()
	neighbour.start()

	who := fmt.Sprintf("the selected container, of cgroup %d", selected.id)
	want(t, who, selected.after(some), m.what, m.stopped)
	want(t, "the neighbour", neighbour.after(some), "that it works", works)
	if err := m.act.onHost(t); err != nil {
		t.Errorf("the host: %v, want that it works", err)
	}
	// Between these the host and the neighbour acted: the program was there.
	want(t, who, selected.after(len(selected.tries())+some), m.what, m.stopped)
	if err := s.check(selected.id); err != nil {
		t.Errorf("at the end: %v", err)
	}

	if err := attached.Close(); err != nil {
		t.Fatalf("detach: %v", err)
	}
	// The next try may have begun before.
	begun := len(selected.tries()) + 1
	want(t, who+" after the program is gone", selected.after(begun + some)[begun:], "that it works", works)
	want(t, "the neighbour", neighbour.tries(), "that it works", works)
}

func works(one try) bool { return one == done() }

// attachTo loads a program and attaches it. The program is referenced by its
// attachment alone.
func attachTo(spec *ebpf.ProgramSpec, attach func(*ebpf.Program) (io.Closer, error)) (io.Closer, error) {
	spec.Name, spec.License = "canary", "GPL"
	prog, err := ebpf.NewProgram(spec)
	if err != nil {
		return nil, fmt.Errorf("load program: %w", err)
	}
	defer prog.Close()
	l, err := attach(prog)
	if err != nil {
		return nil, fmt.Errorf("attach program: %w", err)
	}
	return l, nil
}

// atOpen attaches a program that denies the containers' /etc/shadow. It is one
// file for them and the host, and they open others all the time: to be denied
// what it starts, the shell would have to fail differently.
func atOpen(t *testing.T, spec ebpf.ProgramSpec, errno unix.Errno, attach func(*ebpf.Program) (io.Closer, error)) mechanism {
	return denied(mechanism{act: openShadow, attach: func(s selection) (io.Closer, error) {
		var st unix.Stat_t
		file := filepath.Join(testenv.Rootfs(t), "etc/shadow")
		if err := unix.Stat(file, &st); err != nil {
			return nil, &os.PathError{Op: "stat", Path: file, Err: err}
		}
		var err error
		if spec.Instructions, err = denyOpen(s, st.Ino, errno); err != nil {
			return nil, err
		}
		return attachTo(&spec, attach)
	}}, errno)
}

func TestLSMDeny(t *testing.T) {
	needs(t, kernel.LSM)
	atOpen(t, ebpf.ProgramSpec{Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "file_open"}, byLSM,
		func(prog *ebpf.Program) (io.Closer, error) {
			return link.AttachLSM(link.LSMOptions{Program: prog})
		}).prove(t)
}

func TestFmodRetDeny(t *testing.T) {
	needs(t, kernel.ModifyReturn)
	atOpen(t, ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachModifyReturn, AttachTo: "security_file_open"}, byModify,
		func(prog *ebpf.Program) (io.Closer, error) {
			return link.AttachTracing(link.TracingOptions{Program: prog})
		}).prove(t)
}

func TestKprobeOverride(t *testing.T) {
	needs(t, kernel.OverrideReturn)
	call := mkdir()
	denied(mechanism{act: makeDirectory, attach: func(s selection) (io.Closer, error) {
		return attachTo(&ebpf.ProgramSpec{Type: ebpf.Kprobe, Instructions: observer(s,
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, -int32(byKprobe)),
			asm.FnOverrideReturn.Call(),
		)}, func(prog *ebpf.Program) (io.Closer, error) { return link.Kprobe(call.symbol, prog, nil) })
	}}, byKprobe).prove(t)
}

// The tracepoint of the call, and not a raw one: from Linux 7.0 a task can be
// preempted in a program at a raw tracepoint, and until it goes on every other
// task of that processor passes without the program (its recursion_misses say
// so). Programs behind perf events keep running with preemption off, those of system
// calls until Linux 7.2; here nobody else makes the call on its processor.
func TestSignalKill(t *testing.T) {
	needs(t, kernel.Signal, kernel.SyscallTracepoints)
	tracefs, err := kernel.OpenTracefs()
	if err != nil {
		t.Fatal(err)
	}
	defer tracefs.Close()
	event, err := tracefs.Format("syscalls", "sys_enter_"+mkdir().name)
	if err != nil {
		t.Fatal(err)
	}
	const killed = 128 + int(unix.SIGKILL)
	mechanism{act: makeDirectory, what: "that it is killed",
		stopped: func(one try) bool { return one.status == killed },
		attach: func(s selection) (io.Closer, error) {
			return attachTo(&ebpf.ProgramSpec{Type: ebpf.TracePoint, Instructions: observer(s,
				asm.Mov.Imm(asm.R1, int32(unix.SIGKILL)),
				asm.FnSendSignal.Call(),
			)}, func(prog *ebpf.Program) (io.Closer, error) {
				return kernel.AttachTracepoint(prog, event.ID)
			})
		}}.prove(t)
}

// syscall is a system call as its tracepoints and the kernel's symbols name it.
type syscall struct{ name, symbol string }

// mkdir is the system call behind the shell's mkdir: libc uses the old one where
// there is one.
func mkdir() syscall {
	switch runtime.GOARCH {
	case "amd64":
		return syscall{"mkdir", "__x64_sys_mkdir"}
	case "arm64":
		return syscall{"mkdirat", "__arm64_sys_mkdirat"}
	default:
		return syscall{"mkdirat", "sys_mkdirat"}
	}
}
