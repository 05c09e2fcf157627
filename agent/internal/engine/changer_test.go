// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ChangerVariable makes the test binary a process that changes its namespaces and
// capabilities as it is told to, and that does the act, chroot of the path that the
// variable names.
const ChangerVariable = "BOLTSEAL_TEST_CHANGER"

// changer does what lines of standard input say, several steps in a line with
// semicolons between them. It says "done" when it has begun, and after each line
// but one that executes a program.
func changer(path string) error {
	runtime.LockOSThread()
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	fmt.Println("done")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		line, other := strings.CutPrefix(in.Text(), "thread ")
		if other {
			err = onThread(func() error { return steps(line, name) })
		} else {
			err = steps(line, name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", in.Text(), err)
		}
		fmt.Println("done")
	}
	return in.Err()
}

// onThread does it on a thread that ends then.
func onThread(do func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- do()
	}()
	return <-result
}

func steps(line string, name *byte) error {
	for step := range strings.SplitSeq(line, ";") {
		if words := strings.Fields(step); len(words) > 0 {
			if err := oneStep(words[0], words[1:], name); err != nil {
				return err
			}
		}
	}
	return nil
}

func oneStep(verb string, words []string, name *byte) error {
	numbers := make([]int, 4)
	for i, word := range words {
		numbers[i], _ = strconv.Atoi(word) // not all are
	}
	switch verb {
	case "act":
		_, _, _ = unix.RawSyscall(unix.SYS_CHROOT, uintptr(unsafe.Pointer(name)), 0, 0)
		return nil
	case "fork":
		return forkAndAct(uintptr(numbers[0]), 0, nil, name)
	case "leave":
		// What a process of several threads cannot leave, or can have no more of then.
		var none *[2]unix.CapUserData
		if len(words) > 1 {
			none = &[2]unix.CapUserData{}
		}
		return forkAndAct(0, uintptr(numbers[0]), none, name)
	case "unshare":
		return unix.Unshare(numbers[0])
	case "setns":
		ns, err := os.Open(words[0])
		if err != nil {
			return err
		}
		defer ns.Close()
		return unix.Setns(int(ns.Fd()), 0)
	case "capset":
		return changeCapability(words[0], numbers[1], words[2] == "raise")
	case "prctl":
		return unix.Prctl(numbers[0], uintptr(numbers[1]), uintptr(numbers[2]), 0, 0)
	case "setuid":
		return unix.Setresuid(-1, numbers[0], -1)
	case "exec":
		return unix.Exec(words[0], []string{words[0]}, os.Environ())
	}
	return errors.New("no such step")
}

// changeCapability drops a capability from a set of this thread, or takes one that
// the others allow.
func changeCapability(set string, capability int, raise bool) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	of := &data[capability/32]
	for _, word := range map[string][]*uint32{
		"effective": {&of.Effective}, "permitted": {&of.Effective, &of.Permitted}, "inheritable": {&of.Inheritable},
	}[set] {
		*word &^= 1 << (capability % 32)
		if raise {
			*word |= 1 << (capability % 32)
		}
	}
	return unix.Capset(&header, &data[0])
}

// forkAndAct does the act in a child that executes nothing, leaves namespaces, and
// takes certain capabilities if not nil. Between fork and exit it makes system calls
// only.
func forkAndAct(flags, leave uintptr, capabilities *[2]unix.CapUserData, name *byte) error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	child, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if child == 0 {
		_, _, errno = unix.RawSyscall(unix.SYS_UNSHARE, leave, 0, 0)
		if capabilities != nil && errno == 0 {
			_, _, errno = unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(capabilities)), 0)
		}
		_, _, _ = unix.RawSyscall(unix.SYS_CHROOT, uintptr(unsafe.Pointer(name)), 0, 0)
		for {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
		}
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(int(child), &status, 0, nil); err != nil || status == 0 {
		return err
	}
	return fmt.Errorf("the child ended with %#x", status)
}
