// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// containerd 2 kills a plugin that it has launched and that was slow once, and no runtime
// starts one again, nor one that has crashed: containers would start unasked
// until the runtime's next start. So a launched plugin has a standby, another process
// that does nothing until the plugin has ended and the runtime has not. Then it takes
// its place, as a plugin that connects by itself, and has a standby of its own.

// standbyVariable marks a standby. It has the descriptors of two processes.
const standbyVariable = "BOLTSEAL_NRI_STANDBY"

const (
	runtimeDescriptor = 3 + iota // os/exec gives them in this order
	activeDescriptor
)

// standby is what a standby goes by; nil: this process is none.
func standby() (*launch, error) {
	if os.Getenv(standbyVariable) == "" {
		return nil, nil
	}
	unix.CloseOnExec(runtimeDescriptor)
	unix.CloseOnExec(activeDescriptor)
	return &launch{
		runtime: os.NewFile(runtimeDescriptor, "runtime"), active: os.NewFile(activeDescriptor, "active"),
	}, os.Unsetenv(standbyVariable)
}

// turn waits until it is this process's turn; not if the runtime ends before.
func (l *launch) turn(ctx context.Context) bool {
	for ctx.Err() == nil {
		if l.ended(0) {
			return false
		}
		if ended(l.active, time.Second) {
			return !l.ended(0)
		}
	}
	return false
}

// stand keeps a standby until the context ends, and ends it then.
func (l *launch) stand(ctx context.Context, log *slog.Logger) {
	for ctx.Err() == nil {
		if err := l.oneStandby(ctx); err != nil && ctx.Err() == nil {
			log.Warn("the standby has ended", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(lastWait):
		}
	}
}

// oneStandby runs a standby until it ends, or the context does.
func (l *launch) oneStandby(ctx context.Context) error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	self := os.NewFile(uintptr(fd), "active")
	defer self.Close()
	//nolint:gosec // it is this program, called as it was
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), standbyVariable+"=1")
	cmd.ExtraFiles = []*os.File{l.runtime, self}
	cmd.Stderr = os.Stderr
	// What ends the group of the plugin must not end both.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Run()
}
