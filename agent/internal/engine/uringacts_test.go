// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// UringVariable makes the test binary a process that opens the file that it names
// by io_uring, once for each line of standard input, and says how that ended.
const UringVariable = "BOLTSEAL_TEST_URING"

// From the kernel's io_uring.h.
const (
	uringOpenat    = 18
	uringAsync     = 1 << 4 // a worker of the kernel's does it, and not who submits it
	uringGetEvents = 1
	uringOffRing   = 0
	uringOffSqes   = 0x10000000
	uringParams    = 120
	uringEntry     = 64
)

// UringLeaderless is appended to the file's name when the thread group's leader
// is to end before anything is opened.
const UringLeaderless = "?leaderless"

func uringActs(path string) error {
	path, leaderless := strings.CutSuffix(path, UringLeaderless)
	if leaderless {
		endLeader()
	}
	return uringServe(path)
}

// endLeader ends the first thread of this process, and no other.
func endLeader() {
	for found := make(chan bool); ; {
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() != unix.Getpid() {
				found <- false
				select {} // this thread is not met again
			}
			found <- true
			_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
		}()
		if <-found {
			return
		}
	}
}

func uringServe(path string) error {
	open, err := newUring(path)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		result, err := open()
		if err != nil {
			return err
		}
		if result >= 0 {
			_ = unix.Close(result)
			result = 0
		}
		fmt.Println(result)
	}
	return nil
}

// newUring makes a ring, by which the file is opened each time that open is called.
func newUring(path string) (open func() (int, error), err error) {
	params := make([]byte, uringParams)
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params[0])), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	word := binary.LittleEndian.Uint32
	// After seven words and three spare ones: where the words of both rings are.
	sq, cq := params[40:80], params[80:120]
	const enough = 4096 // one entry of each: both rings and the array are below it
	ring, err := unix.Mmap(int(fd), uringOffRing, enough, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map rings: %w", err)
	}
	entries, err := unix.Mmap(int(fd), uringOffSqes, uringEntry, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map entries: %w", err)
	}
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return nil, err
	}
	tail, array := word(sq[4:]), word(sq[24:])
	head, end, done := word(cq[0:]), word(cq[4:]), word(cq[20:])
	return func() (int, error) {
		clear(entries)
		entries[0], entries[1] = uringOpenat, uringAsync
		cwd := int32(unix.AT_FDCWD)
		binary.LittleEndian.PutUint32(entries[4:], uint32(cwd))
		binary.LittleEndian.PutUint64(entries[16:], uint64(uintptr(unsafe.Pointer(name))))
		binary.LittleEndian.PutUint32(ring[array:], 0)
		binary.LittleEndian.PutUint32(ring[tail:], word(ring[tail:])+1)
		// A signal ends the wait: what is submitted is not done then, and nothing says so.
		for submit := uintptr(1); word(ring[end:]) == word(ring[head:]); submit = 0 {
			_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, fd, submit, 1, uringGetEvents, 0, 0)
			if errno != 0 && (submit != 0 || errno != unix.EINTR) {
				return 0, fmt.Errorf("io_uring_enter: %w", errno)
			}
		}
		runtime.KeepAlive(name)
		// One entry at a time: its completion is always the only one.
		at := word(ring[head:])
		const completion = 16
		result := int32(word(ring[done+at%2*completion+8:]))
		binary.LittleEndian.PutUint32(ring[head:], at+1)
		return int(result), nil
	}, nil
}
