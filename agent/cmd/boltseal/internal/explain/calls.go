// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// syscall is a system call that a hook is at.
type syscall struct {
	name string
	// compat: that of the ABI for 32 bits.
	compat bool
}

// entered are the system calls whose entry a hook sees.
func entered(h policy.Hook) []syscall {
	if h.Section == policy.Tracepoints {
		if name, ok := strings.CutPrefix(h.Event, "sys_enter_"); ok && h.Subsystem == "syscalls" && !h.Raw {
			return []syscall{{name: name}}
		}
		return nil
	}
	if !h.Syscall {
		return nil
	}
	var calls []syscall
	for _, call := range h.Calls {
		calls = append(calls, callOf(call))
	}
	return calls
}

// callOf is the system call of a name as in policy.Hook.
func callOf(call string) syscall {
	abi, name, named := strings.Cut(call, "/")
	if !named {
		abi, name = "", call
	}
	return syscall{strings.TrimPrefix(name, "sys_"), abi == "i386" || abi == "arm32"}
}

// allCalls tells whether a hook sees every system call that is entered.
func allCalls(h policy.Hook) bool {
	return h.Section == policy.Tracepoints && h.Event == "sys_enter" && (h.Raw || h.Subsystem == "raw_syscalls")
}

// security is the security hook that a hook is at, whatever its section.
func security(h policy.Hook) (name string, ok bool) {
	switch {
	case h.Section == policy.LSMHooks:
		return h.Calls[0], true
	case h.Section == policy.Tracepoints || h.Syscall || len(h.Calls) == 0:
		return "", false
	}
	return strings.CutPrefix(h.Calls[0], "security_")
}

// rings are the system calls whose work io_uring also does, which passes no
// system call then.
func rings() []string {
	return []string{
		"accept", "accept4", "bind", "close", "connect", "creat", "epoll_ctl", "epoll_wait", "fadvise64", "fallocate",
		"fdatasync", "fgetxattr", "fsetxattr", "fsync", "ftruncate", "futex", "getxattr", "link", "linkat", "listen",
		"madvise", "mkdir", "mkdirat", "open", "openat", "openat2", "pipe", "pipe2", "poll", "pread64", "preadv", "preadv2",
		"pwrite64", "pwritev", "pwritev2", "read", "readv", "recvfrom", "recvmsg", "rename", "renameat", "renameat2",
		"rmdir", "sendmsg", "sendto", "setxattr", "shutdown", "socket", "splice", "statx", "symlink", "symlinkat",
		"sync_file_range", "tee", "unlink", "unlinkat", "waitid", "write", "writev",
	}
}

// opensDescriptor tells whether a system call gives the process a descriptor.
func opensDescriptor(call string) bool {
	return slices.Contains([]string{
		"open", "openat", "openat2", "creat", "open_by_handle_at", "socket", "accept", "accept4", "memfd_create",
		"memfd_secret", "pidfd_open", "pidfd_getfd", "perf_event_open", "bpf", "userfaultfd", "io_uring_setup", "fsopen",
		"fsmount", "open_tree", "fspick",
	}, call)
}

// families are system calls that do the same, or nearly. Those that act on an open
// file are with those that act on a name.
func families() [][]string {
	return [][]string{
		{"open", "openat", "openat2", "creat", "open_by_handle_at"},
		{"execve", "execveat"},
		{"unlink", "unlinkat", "rmdir"},
		{"rename", "renameat", "renameat2"},
		{"link", "linkat"},
		{"symlink", "symlinkat"},
		{"mkdir", "mkdirat"},
		{"mknod", "mknodat"},
		{"truncate", "ftruncate"},
		{"chmod", "fchmod", "fchmodat", "fchmodat2"},
		{"chown", "fchown", "lchown", "fchownat"},
		{"setxattr", "lsetxattr", "fsetxattr", "setxattrat"},
		{"mount", "move_mount"},
		{"ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd"},
		{"init_module", "finit_module"},
		{"clone", "clone3", "unshare", "setns"},
		{"kill", "tkill", "tgkill", "pidfd_send_signal"},
		{"setuid", "setreuid", "setresuid", "setfsuid"},
		{"setgid", "setregid", "setresgid", "setfsgid"},
		{"sendto", "sendmsg", "sendmmsg"},
		{"recvfrom", "recvmsg", "recvmmsg"},
		{"accept", "accept4"},
		{"read", "pread64", "readv", "preadv", "preadv2"},
		{"write", "pwrite64", "writev", "pwritev", "pwritev2"},
		{"kexec_load", "kexec_file_load"},
	}
}
