// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// canaryPatience bounds the wait for the canary, which only has to come to its
// next system call.
const canaryPatience = 2 * time.Second

func (p *prober) signal() error {
	return p.kills(asm.Mov.Imm(asm.R1, int32(unix.SIGKILL)), asm.FnSendSignal.Call())
}

// kills proves that a program can kill: act does it to a child at a system
// call.
//
// The child is this executable, traced: it stops before its first instruction,
// and then at each system call, so that none of its own code runs but the very
// start of the language's runtime, even if the kill fails.
func (p *prober) kills(act ...asm.Instruction) error {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	c, err := startCanary()
	if err != nil {
		return fmt.Errorf("start canary: %w", err)
	}
	defer c.end()
	prog, err := p.program(kind{typ: ebpf.RawTracepoint}, c.pid, act)
	if err != nil {
		return err
	}
	defer prog.Close()
	attached, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sys_enter", Program: prog})
	if err != nil {
		return fmt.Errorf("attach to raw tracepoint sys_enter: %w", err)
	}
	defer attached.Close()
	// Each system call has two stops: before the tracepoint, and at its end.
	for range 4 {
		status, err := c.proceed()
		switch {
		case err != nil:
			return err
		case status.Signaled() && status.Signal() == unix.SIGKILL:
			return nil
		case !status.Stopped():
			return fmt.Errorf("the canary ended with status %#x", status)
		}
	}
	return unsupported("a program called bpf_send_signal for a process that was not killed")
}

// canary is a child that is traced by the calling thread.
type canary struct {
	pid    int
	reaped bool
}

func startCanary() (*canary, error) {
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"boltseal-canary"}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return nil, err
	}
	c := &canary{pid: pid}
	status, err := c.wait()
	if err == nil && !status.Stopped() {
		err = fmt.Errorf("it ended with status %#x", status)
	}
	if err == nil {
		err = unix.PtraceSetOptions(pid, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACESYSGOOD)
	}
	if err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// proceed lets it run until the next stop.
func (c *canary) proceed() (unix.WaitStatus, error) {
	if err := unix.PtraceSyscall(c.pid, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return 0, fmt.Errorf("continue canary: %w", err)
	}
	return c.wait()
}

func (c *canary) wait() (unix.WaitStatus, error) {
	deadline := time.After(canaryPatience)
	again := time.NewTicker(100 * time.Microsecond) // ptrace stops wake no descriptor
	defer again.Stop()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(c.pid, &status, unix.WNOHANG|unix.WALL, nil)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return 0, fmt.Errorf("wait for canary: %w", err)
		case pid == c.pid:
			c.reaped = status.Exited() || status.Signaled()
			return status, nil
		}
		select {
		case <-again.C:
		case <-deadline:
			return 0, fmt.Errorf("the canary did not come to a system call within %v", canaryPatience)
		}
	}
}

// end kills and reaps it, if that has not been done.
func (c *canary) end() {
	if c.reaped {
		return
	}
	_ = unix.Kill(c.pid, unix.SIGKILL) // ours, and not reaped: it is there
	for {
		if _, err := c.wait(); err != nil || c.reaped {
			return
		}
	}
}
