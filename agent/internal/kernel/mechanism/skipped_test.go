// SPDX-License-Identifier: Apache-2.0

//go:build linux

package mechanism

import (
	"errors"
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

// A program at a raw tracepoint is skipped for tasks that come while another one
// is preempted in it: on the kernels that are said to do so, and on no others.
func TestSkippedWhilePreempted(t *testing.T) {
	testenv.Require(t, testenv.BPF())
	want, err := kernel.RawTracepointsPreempted()
	if err != nil {
		t.Fatal(err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "slow", Type: ebpf.RawTracepoint, License: "GPL", Instructions: slowFor(uint64(os.Getpid())),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sys_enter", Program: prog})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	stop := callOnOneProcessor(t, 4)
	defer stop()
	missed := func() uint64 {
		stats, err := prog.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return stats.RecursionMisses
	}
	if !want {
		<-time.After(2 * time.Second)
		if n := missed(); n != 0 {
			t.Errorf("skipped %d times, want never", n)
		}
		return
	}
	testenv.Eventually(t, patience, "the program is skipped", func() error {
		if missed() == 0 {
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
				_ = unix.Getpgrp()
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
