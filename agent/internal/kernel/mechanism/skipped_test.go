// SPDX-License-Identifier: Apache-2.0

//go:build linux

package mechanism

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/test/testenv"
)

// A program at a raw tracepoint, or at that of a system call, is skipped for tasks that
// come while another one is preempted in it: on the kernels that are said to do so, and
// on no others.
func TestSkippedWhilePreempted(t *testing.T) {
	testenv.Require(t, testenv.BPF(), testenv.Tracefs())
	tracefs, err := kernel.OpenTracefs()
	if err != nil {
		t.Fatal(err)
	}
	defer tracefs.Close()
	event, err := tracefs.Format("syscalls", "sys_enter_getpgid")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		kind   ebpf.ProgramType
		said   func() (bool, error)
		attach func(*ebpf.Program) (io.Closer, error)
	}{
		{"raw tracepoint", ebpf.RawTracepoint, kernel.RawTracepointsPreempted, func(p *ebpf.Program) (io.Closer, error) {
			return link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sys_enter", Program: p})
		}},
		{"system call", ebpf.TracePoint, kernel.SyscallTracepointsPreempted, func(p *ebpf.Program) (io.Closer, error) {
			return kernel.AttachTracepoint(p, event.ID)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, err := c.said()
			if err != nil {
				t.Fatal(err)
			}
			prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "slow", Type: c.kind, License: "GPL", Instructions: slowFor(uint64(os.Getpid()))})
			if err != nil {
				t.Fatal(err)
			}
			defer prog.Close()
			l, err := c.attach(prog)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			stop := callOnOneProcessor(t, 4)
			defer stop()
			isSkipped(t, prog, want)
		})
	}
}

// isSkipped holds that the kernel skips a program at times, or never.
func isSkipped(t *testing.T, prog *ebpf.Program, want bool) {
	t.Helper()
	stats := func() *ebpf.ProgramStats {
		stats, err := prog.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return stats
	}
	if !want {
		<-time.After(2 * time.Second)
		if n := stats().RecursionMisses; n != 0 {
			t.Errorf("skipped %d times, want never", n)
		}
		return
	}
	testenv.Eventually(t, patience, "the program is skipped", func() error {
		if stats().RecursionMisses == 0 {
			return errNever
		}
		return nil
	})
}

var errNever = errors.New("it never was")

// slowFor is a program that takes milliseconds in one process's tasks, which
// makes it likely that they are preempted in it.
func slowFor(process uint64) asm.Instructions {
	const rounds = 4000
	code := asm.Instructions{
		asm.FnGetCurrentPidTgid.Call(),
		asm.RSh.Imm(asm.R0, 32),
		asm.LoadImm(asm.R1, int64(process), asm.DWord),
		asm.JNE.Reg(asm.R0, asm.R1, "end"),
	}
	for range rounds {
		code = append(code, asm.FnKtimeGetBootNs.Call())
	}
	return append(code, asm.Mov.Imm(asm.R0, 0).WithSymbol("end"), asm.Return())
}

// callOnOneProcessor starts threads that make system calls on one processor,
// until it is told to stop.
func callOnOneProcessor(t *testing.T, threads int) (stop func()) {
	t.Helper()
	var ended atomic.Bool
	done := make(chan struct{})
	var one unix.CPUSet
	one.Set(0)
	for range threads {
		go func() {
			defer func() { done <- struct{}{} }()
			runtime.LockOSThread() // and never unlocked: the thread ends with its affinity
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				t.Error(err)
			}
			for !ended.Load() {
				_, _ = unix.Getpgid(0)
			}
		}()
	}
	return func() {
		ended.Store(true)
		for range threads {
			<-done
		}
	}
}
