// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// Mechanism is something that not every kernel can do.
type Mechanism uint8

// The mechanisms that hooks may need.
const (
	// CanKprobe is a program at a function's entry.
	CanKprobe Mechanism = iota + 1
	// CanKprobeMulti is one attachment to many functions.
	CanKprobeMulti
	// CanFentry is a program at a function's entry by a trampoline.
	CanFentry
	// CanOverride is making a system call fail from a kprobe.
	CanOverride
	// CanModifyReturn is making a security_ function fail by a trampoline.
	CanModifyReturn
	// CanModifySyscall is the same for system calls.
	CanModifySyscall
	// CanLSM is taking part in the verdict of a security hook.
	CanLSM
	// CanSignal is sending a signal.
	CanSignal
	// CanHashFile is reading the hash of a file at a security hook.
	CanHashFile
)

// ErrNoCall says that the kernel has no function, hook or tracepoint of a name.
var ErrNoCall = errors.New("not in this kernel")

// Kernel is what compiling needs to know of the kernel that the policy is for.
type Kernel interface {
	// Can is nil when the kernel has been seen to do it, and says otherwise why it
	// does not.
	Can(Mechanism) error
	// Misses tells whether the kernel skips programs of a kind for tasks that come
	// while another one is preempted in them. Of tracepoints, those of system calls
	// are a kind of their own.
	Misses(kind SiteKind, syscall bool) bool
	// Tracepoint finds the fields of a tracepoint. Its error names the event.
	Tracepoint(subsystem, event string) ([]Field, error)
	// Function, Hook and RawTracepoint find what a function, a security hook and
	// a raw tracepoint are called with; ErrNoCall when there is none. A prototype
	// that is not known has no Params and Known is false.
	Function(name string) (Prototype, error)
	Hook(name string) (Prototype, error)
	RawTracepoint(name string) (Prototype, error)
	// SyscallFunction is the function of a system call, named as in policy.Hook,
	// and whether it is of the ABI for 32 bits.
	SyscallFunction(call string) (function string, compat bool, err error)
	// Member finds what a path leads to, see policy.Arg. Its error says where the path
	// ends, and what else there is.
	Member(from Start, path string) (Member, error)
	// Functions are the names of the functions that programs can be attached to by
	// name, and Syscalls those of the system calls of the machine's own ABI, named as
	// in policy.Hook. Both are in order, and not to be modified.
	Functions() ([]string, error)
	Syscalls() ([]string, error)
	// Registers says where arguments are in the context of a kprobe.
	Registers() Registers
	// HostNamespace is the inode number of a namespace of the host's first process.
	HostNamespace(policy.Namespace) (uint32, error)
}

// Prototype is what a function is called with and returns.
type Prototype struct {
	Known  bool
	Params []Param
	// Result is what is returned; Void tells that it is nothing.
	Result Param
	Void   bool
	// Ambiguous: the kernel describes several functions of the name, and no program
	// of a trampoline can be for one of them.
	Ambiguous bool
}

// Param is one parameter of a function.
type Param struct {
	Name string
	// Size is that of an integer in bytes; 0 for what is none.
	Size   int
	Signed bool
	// Struct is the name of the structure or union that a pointer is to, or of the
	// typedef of one that has none; "char" for text.
	Struct string
}

// Registers is where arguments are, as offsets into struct pt_regs.
type Registers struct {
	// Args are those of a function.
	Args []uint16
	// Call and Compat are those of a system call, of the ABI for 64 and for 32 bits.
	Call, Compat []uint16
	// Result is where a function's result is when it has returned.
	Result uint16
	// Stack is where the stack pointer is; Popped is what it is higher by after a
	// function has returned than at its first instruction.
	Stack  uint16
	Popped uint8
	// Named are those that policies name.
	Named map[string]Register
}

// Register is where a register is, and its size in bytes: of some the lower part has
// a name of its own.
type Register struct {
	Offset uint16
	Size   uint8
}
