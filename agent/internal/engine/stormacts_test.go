// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// StormVariable makes the test binary a process that does all forbidden acts,
// again and again, to the path that it names.
const StormVariable = "BOLTSEAL_TEST_STORM"

// Call is a system call with a path.
type Call struct {
	Name   string
	number uintptr
	Path   int // the position of the path
}

// StormCalls are calls that do nothing to a path that is not there.
func StormCalls() []Call {
	return []Call{
		{"chroot", unix.SYS_CHROOT, 0},
		{"truncate", unix.SYS_TRUNCATE, 0},
		{"statfs", unix.SYS_STATFS, 0},
		{"umount", unix.SYS_UMOUNT2, 0},
		{"swapoff", unix.SYS_SWAPOFF, 0},
		{"swapon", unix.SYS_SWAPON, 0},
		{"chdir", unix.SYS_CHDIR, 0},
		{"removexattr", unix.SYS_REMOVEXATTR, 0},
		{"lremovexattr", unix.SYS_LREMOVEXATTR, 0},
		{"getxattr", unix.SYS_GETXATTR, 0},
		{"lgetxattr", unix.SYS_LGETXATTR, 0},
		{"setxattr", unix.SYS_SETXATTR, 0},
		{"listxattr", unix.SYS_LISTXATTR, 0},
		{"llistxattr", unix.SYS_LLISTXATTR, 0},
		{"unlinkat", unix.SYS_UNLINKAT, 1},
		{"mkdirat", unix.SYS_MKDIRAT, 1},
		{"faccessat", unix.SYS_FACCESSAT, 1},
		{"fchmodat", unix.SYS_FCHMODAT, 1},
		{"readlinkat", unix.SYS_READLINKAT, 1},
		{"fchownat", unix.SYS_FCHOWNAT, 1},
	}
}

// stormActs acts until standard input ends, and then says how often it did.
func stormActs(path string) error {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	fmt.Println("ready")
	cwd := unix.AT_FDCWD
	for n := 0; ; {
		for _, c := range StormCalls() {
			args := [2]uintptr{uintptr(unsafe.Pointer(name)), 0}
			if c.Path == 1 {
				args = [2]uintptr{uintptr(cwd), uintptr(unsafe.Pointer(name))}
			}
			_, _, _ = unix.Syscall6(c.number, args[0], args[1], 0, 0, 0, 0)
			n++
		}
		select {
		case <-ended:
			fmt.Println(n)
			return nil
		case <-time.After(100 * time.Microsecond): // others want to act, too
		}
	}
}
