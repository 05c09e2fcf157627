// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// surroundings lists escapes that change what is around the process: its root,
// its namespaces, the name that its program has.
func surroundings() []mode {
	return []mode{
		{"chroot", func(e *escape) int { return e.after(changeRoot, e.here) }},
		{"setns", func(e *escape) int { return e.after(joinFirst, e.here) }},
		{"setns-exec", func(e *escape) int { return e.after(joinFirst, e.exec) }},
		{"nsclone", func(e *escape) int { return fork(e.name, birth{flags: allNamespaces, cgroup: -1}, e.act) }},
		{"fdexec", (*escape).execDescriptor},
	}
}

// allNamespaces is every kind that a child can be born into without losing its rights.
const allNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWCGROUP | unix.CLONE_NEWNET

// changeRoot sees the whole file system through another root directory.
func changeRoot() error {
	dir, err := os.MkdirTemp("", "root")
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("/", dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind the root: %w", err)
	}
	if err := unix.Chroot(dir); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return unix.Chdir("/")
}

// targetVariable names the process whose namespaces are joined instead of those
// of process 1.
const targetVariable = "ACTOR_TARGET"

// joinFirst puts this thread into the namespaces of process 1: the host's, where
// the container has no pid namespace of its own.
func joinFirst() error {
	target := cmp.Or(os.Getenv(targetVariable), "1")
	// A thread may only join a mount namespace with a root and directory of its own.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	var fds []int
	for _, kind := range []string{"ipc", "uts", "net", "cgroup", "mnt"} { // the last hides /proc
		fd, err := unix.Open("/proc/"+target+"/ns/"+kind, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open namespace %s of process %s: %w", kind, target, err)
		}
		fds = append(fds, fd)
	}
	for _, fd := range fds {
		if err := unix.Setns(fd, 0); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
	}
	return nil
}

// execDescriptor executes this program by a descriptor's name in /proc.
func (e *escape) execDescriptor() int {
	fd, err := unix.Open("/proc/self/exe", unix.O_PATH, 0)
	if err != nil {
		return failed(e.name, err)
	}
	err = unix.Exec("/proc/self/fd/"+strconv.Itoa(fd), e.again(), unix.Environ())
	return failed(e.name, fmt.Errorf("exec: %w", err))
}
