// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// act is one forbidden open with the markers that go with it. All that the act
// needs is laid out beforehand, because do also runs in a child that was forked
// without exec, where the Go runtime must not be entered.
type act struct {
	path  *byte
	ready []byte
	leak  []byte
}

func newAct(name, path string) (*act, error) {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", path, err)
	}
	return &act{path: p, ready: []byte("READY:" + name + "\n"), leak: []byte("LEAK:" + name + "\n")}, nil
}

// do opens the file and says so if that worked. It returns the error of the
// open. It may run where only system calls are allowed: it does not allocate,
// grow the stack, or enter the scheduler.
//
//go:nosplit
//go:norace
func (a *act) do() unix.Errno {
	write(a.ready)
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, atFdCwd, uintptr(unsafe.Pointer(a.path)), unix.O_RDONLY, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	write(a.leak)
	unix.RawSyscall6(unix.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
	return 0
}

// atFdCwd is AT_FDCWD as the register carries it.
const atFdCwd = ^uintptr(99)

//go:nosplit
//go:norace
func write(b []byte) {
	if len(b) > 0 {
		unix.RawSyscall6(unix.SYS_WRITE, 1, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
	}
}

//go:nosplit
//go:norace
func exitNow(status uintptr) {
	for {
		unix.RawSyscall6(unix.SYS_EXIT_GROUP, status, 0, 0, 0, 0, 0)
	}
}

// say writes one marker line.
func say(marker, name, detail string) {
	line := marker + ":" + name
	if detail != "" {
		line += ":" + detail
	}
	write([]byte(line + "\n"))
}

// report turns the outcome of an act in this process into a marker and a status.
func report(name string, errno unix.Errno) int {
	if errno == 0 {
		return exitDone
	}
	say("DENIED", name, errnoName(errno))
	return exitDenied
}

func failed(name string, err error) int {
	say("FAILED", name, err.Error())
	return exitFailed
}

func errnoName(errno unix.Errno) string {
	if s := unix.ErrnoName(errno); s != "" {
		return s
	}
	return strconv.Itoa(int(errno))
}

func signalName(s unix.Signal) string {
	if n := unix.SignalName(s); n != "" {
		return n
	}
	return strconv.Itoa(int(s))
}

func runRead(args []string) int {
	args, ok := parse(flag.NewFlagSet("read", flag.ContinueOnError), args, 1, 1)
	if !ok {
		return exitUsage
	}
	say("READY", "read", "")
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		say("DENIED", "read", describe(err))
		return exitDenied
	}
	defer unix.Close(fd)
	say("LEAK", "read", "")
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
		case err != nil:
			say("DENIED", "read", describe(err))
			return exitDenied
		case n == 0:
			return exitDone
		default:
			write(buf[:n])
		}
	}
}

func runExec(args []string) int {
	if len(args) == 0 {
		say("FAILED", "exec", "no path")
		return exitUsage
	}
	say("READY", "exec", "")
	err := unix.Exec(args[0], args, unix.Environ())
	say("DENIED", "exec", describe(err))
	return exitDenied
}

// describe names the errno in err, if it has one.
func describe(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errnoName(errno)
	}
	return err.Error()
}
