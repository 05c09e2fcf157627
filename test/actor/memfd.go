// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memfd executes a copy of this program that no file system has.
func (e *escape) memfd() int {
	fd, err := unix.MemfdCreate("actor", unix.MFD_CLOEXEC)
	if err != nil {
		return failed(e.name, fmt.Errorf("memfd_create: %w", err))
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return failed(e.name, err)
	}
	for rest := program; len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err != nil {
			return failed(e.name, fmt.Errorf("write memfd: %w", err))
		}
		rest = rest[n:]
	}
	argv, err := syscall.SlicePtrFromStrings(e.again())
	if err != nil {
		return failed(e.name, err)
	}
	envv, err := syscall.SlicePtrFromStrings(unix.Environ())
	if err != nil {
		return failed(e.name, err)
	}
	empty := [1]byte{}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])), unix.AT_EMPTY_PATH, 0)
	return failed(e.name, fmt.Errorf("execveat: %w", errno))
}

// runColdpath opens a file by a string that is in the address space but not yet
// in memory: a program at the entry of the call cannot read it, the kernel can.
func runColdpath(args []string) int {
	args, ok := parse(flag.NewFlagSet("coldpath", flag.ContinueOnError), args, 1, 1)
	if !ok {
		return exitUsage
	}
	page, err := coldString(args[0])
	if err != nil {
		return failed("coldpath", err)
	}
	a := &act{path: page, ready: []byte("READY:coldpath\n"), leak: []byte("LEAK:coldpath\n")}
	return report("coldpath", a.do())
}

// coldString returns the address of a copy of s, with its NUL, that no page table names.
func coldString(s string) (*byte, error) {
	fd, err := unix.MemfdCreate("path", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, append([]byte(s), 0)); err != nil {
		return nil, fmt.Errorf("write memfd: %w", err)
	}
	page, err := unix.Mmap(fd, 0, len(s)+1, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	return unsafe.SliceData(page), nil
}
