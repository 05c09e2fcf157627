// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cloneArgs is the kernel's struct clone_args up to the field cgroup.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal uint64
	stack, stackSize, tls, setTID, setTIDSize     uint64
	cgroup                                        uint64
}

// birth says how the process that acts comes to life.
type birth struct {
	flags uint64
	// cgroup is a descriptor of the cgroup the child is born into, or -1.
	cgroup int
	// again makes the child clone once more, with these flags, and exit before
	// the act: the act happens in a process whose maker is gone.
	again *uint64
}

// fork makes a child without exec that does a, waits for its end and returns
// the exit status to use. Between clone and exit the child makes system calls
// only. Its memory is a copy, so the act's strings are there.
func fork(name string, b birth, a *act) int {
	if b.again != nil {
		// The orphan comes back to this process, also where it is not pid 1.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return failed(name, fmt.Errorf("become the reaper of orphans: %w", err))
		}
	}
	pid, err := start(b, a)
	if err != nil {
		return failed(name, err)
	}
	status, err := wait(pid)
	if err == nil && b.again != nil && status.ExitStatus() == exitDone {
		status, err = wait(-1)
	}
	if err != nil {
		return failed(name, err)
	}
	return concluded(name, status)
}

// start clones as b says and returns the child's pid.
func start(b birth, a *act) (int, error) {
	first := newCloneArgs(b.flags)
	size := unsafe.Offsetof(first.cgroup)
	if b.cgroup >= 0 {
		first.flags |= unix.CLONE_INTO_CGROUP
		first.cgroup = uint64(b.cgroup)
		size = unsafe.Sizeof(*first)
	}
	var second *cloneArgs
	if b.again != nil {
		second = newCloneArgs(*b.again)
	}
	// The child has one thread: the one that calls clone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, errno := cloneAndAct(first, size, second, a)
	if errno != 0 {
		return 0, fmt.Errorf("clone3: %w", errno)
	}
	return int(pid), nil
}

func newCloneArgs(flags uint64) *cloneArgs {
	args := &cloneArgs{flags: flags, exitSignal: uint64(unix.SIGCHLD)}
	if flags&unix.CLONE_PARENT != 0 {
		args.exitSignal = 0 // the kernel takes the parent's and refuses another
	}
	return args
}

//go:nosplit
//go:norace
func cloneAndAct(first *cloneArgs, size uintptr, second *cloneArgs, a *act) (uintptr, unix.Errno) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(first)), size, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	if second != nil {
		pid, _, errno = unix.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(second)), unsafe.Offsetof(second.cgroup), 0, 0, 0, 0)
		if errno != 0 {
			exitNow(exitFailed)
		}
		if pid != 0 {
			exitNow(exitDone)
		}
	}
	if a.do() != 0 {
		exitNow(exitDenied)
	}
	exitNow(exitDone)
	return 0, 0
}

// concluded turns the end of a child into a marker and a status.
func concluded(name string, status unix.WaitStatus) int {
	switch {
	case status.Signaled():
		say("KILLED", name, signalName(status.Signal()))
		return exitKilled
	case status.ExitStatus() == exitDenied:
		say("DENIED", name, "child")
	case status.ExitStatus() == exitFailed:
		say("FAILED", name, "child")
	}
	return status.ExitStatus()
}

func wait(pid int) (unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait4 %d: %w", pid, err)
		}
		return status, nil
	}
}
