// SPDX-License-Identifier: Apache-2.0

package policy

import "fmt"

// ArgType is the type of an argument. The language has several names for most
// of them; the type is what they have in common.
type ArgType uint8

// The types of arguments.
const (
	// ArgAuto asks for the type that the kernel's own description says.
	ArgAuto ArgType = iota
	// ArgInt8 is also sint8.
	ArgInt8
	// ArgInt16 is also sint16.
	ArgInt16
	// ArgInt32 is also int, sint32.
	ArgInt32
	// ArgInt64 is also long, sint64.
	ArgInt64
	// ArgUint8 is uint8.
	ArgUint8
	// ArgUint16 is uint16.
	ArgUint16
	// ArgUint32 is uint32.
	ArgUint32
	// ArgUint64 is also ulong, size_t.
	ArgUint64
	// ArgString is text that ends with a NUL, at a pointer.
	ArgString
	// ArgCharBuf is bytes at a pointer, as many as another argument says.
	ArgCharBuf
	// ArgFile, ArgPath and ArgDentry are structures of the kernel that name a file.
	ArgFile
	ArgPath
	ArgDentry
	// ArgFD is a descriptor of the current process.
	ArgFD
	// ArgBinprm is a file that is being executed.
	ArgBinprm
	// ArgSock, ArgSocket, ArgSockaddr and ArgSkb are structures of the kernel that
	// have addresses.
	ArgSock
	ArgSocket
	ArgSockaddr
	ArgSkb
	// ArgCred is credentials.
	ArgCred
	// ArgCapability is the number of a capability.
	ArgCapability
	// ArgSyscall64 is the number of a system call with its ABI.
	ArgSyscall64
	// ArgFilename is the name that a system call was given, in the kernel's
	// structure.
	ArgFilename
	// ArgKiocb is the kernel's request to read or write a file, by the file.
	ArgKiocb
	// ArgNetDevice is a network device, by its name.
	ArgNetDevice
	// ArgSockaddrUn is an address of a unix socket: its path, or "@" and its name in
	// the abstract name space. It has a family as well.
	ArgSockaddrUn
	// ArgDataLoc is text elsewhere in a tracepoint's record.
	ArgDataLoc
	// ArgConstBuf is an array of bytes in a tracepoint's record.
	ArgConstBuf
	// ArgIovec is the bytes that an array of vectors names; another argument says
	// how many vectors there are.
	ArgIovec
	// ArgIovIter is the bytes that the kernel's iterator over vectors names.
	ArgIovIter
	// ArgInt32Array is integers at a pointer, as many as Arg.Elements.
	ArgInt32Array
	// ArgUserNamespace to ArgLoadInfo are structures of the kernel: a user namespace,
	// what a BPF program is loaded with, a BPF program, a BPF map, a perf event, a
	// module, and what a module is loaded with.
	ArgUserNamespace
	ArgBPFAttr
	ArgBPFProg
	ArgBPFMap
	ArgPerfEvent
	ArgModule
	ArgLoadInfo
	// ArgKernelCap and those that follow are sets of capabilities at a pointer; they
	// differ in the field of events that they come to.
	ArgKernelCap
	ArgCapInheritable
	ArgCapPermitted
	ArgCapEffective
	// ArgBPFCmd is a command of the system call bpf: an int that has names in events.
	ArgBPFCmd
	// ArgNop is an argument that is not looked at.
	ArgNop

	lastType = ArgNop
)

// String is the type's name in the language; where there are several, the one
// that names the width.
func (t ArgType) String() string {
	names := [...]string{
		ArgAuto:       "auto",
		ArgInt8:       "int8",
		ArgInt16:      "int16",
		ArgInt32:      "int32",
		ArgInt64:      "int64",
		ArgUint8:      "uint8",
		ArgUint16:     "uint16",
		ArgUint32:     "uint32",
		ArgUint64:     "uint64",
		ArgString:     "string",
		ArgCharBuf:    "char_buf",
		ArgFile:       "file",
		ArgPath:       "path",
		ArgDentry:     "dentry",
		ArgFD:         "fd",
		ArgBinprm:     "linux_binprm",
		ArgSock:       "sock",
		ArgSocket:     "socket",
		ArgSockaddr:   "sockaddr",
		ArgSkb:        "skb",
		ArgCred:       "cred",
		ArgCapability: "capability",
		ArgSyscall64:  "syscall64",

		ArgFilename:       "filename",
		ArgKiocb:          "kiocb",
		ArgNetDevice:      "net_device",
		ArgSockaddrUn:     "sockaddr_un",
		ArgDataLoc:        "data_loc",
		ArgConstBuf:       "const_buf",
		ArgIovec:          "char_iovec",
		ArgIovIter:        "iov_iter",
		ArgInt32Array:     "int32_arr",
		ArgUserNamespace:  "user_namespace",
		ArgBPFAttr:        "bpf_attr",
		ArgBPFProg:        "bpf_prog",
		ArgBPFMap:         "bpf_map",
		ArgPerfEvent:      "perf_event",
		ArgModule:         "module",
		ArgLoadInfo:       "load_info",
		ArgKernelCap:      "kernel_cap_t",
		ArgCapInheritable: "cap_inheritable",
		ArgCapPermitted:   "cap_permitted",
		ArgCapEffective:   "cap_effective",
		ArgBPFCmd:         "bpf_cmd",
		ArgNop:            "nop",
	}
	if int(t) < len(names) && names[t] != "" {
		return names[t]
	}
	return fmt.Sprintf("ArgType(%d)", uint8(t))
}

// Text tells whether filters compare the argument as a string: text itself, or
// the path of what it names.
func (t ArgType) Text() bool {
	return t >= ArgString && t <= ArgBinprm || t >= ArgFilename && t <= ArgDataLoc
}

// Socket tells whether the type has addresses.
func (t ArgType) Socket() bool { return t >= ArgSock && t <= ArgSkb }

// File tells whether the type names a file whose inode is known.
func (t ArgType) File() bool { return t >= ArgFile && t <= ArgBinprm || t == ArgKiocb }

// Integer tells whether the type is an integer of known width.
func (t ArgType) Integer() bool { return t >= ArgInt8 && t <= ArgUint64 || t == ArgBPFCmd }

// Signed tells whether the type is a signed integer.
func (t ArgType) Signed() bool { return t >= ArgInt8 && t <= ArgInt64 || t == ArgBPFCmd }

// record tells whether values of the type are in the record of a tracepoint.
func (t ArgType) record() bool { return t == ArgDataLoc || t == ArgConstBuf }

// CapabilitySet tells whether the type is a set of capabilities.
func (t ArgType) CapabilitySet() bool { return t >= ArgKernelCap && t <= ArgCapEffective }

// Word tells whether a value of the type is one number, and not text, bytes or a
// structure.
func (t ArgType) Word() bool {
	return t.Integer() || t.CapabilitySet() || t == ArgCapability || t == ArgSyscall64
}

// Size is the width of an integer in bytes, and 0 for any other type.
func (t ArgType) Size() int {
	switch t {
	case ArgInt8, ArgUint8:
		return 1
	case ArgInt16, ArgUint16:
		return 2
	case ArgInt32, ArgUint32, ArgBPFCmd:
		return 4
	case ArgInt64, ArgUint64:
		return 8
	}
	return 0
}

// Limits are the smallest and the largest value of an integer type, as bit
// patterns in the manner of Range; zero for any other type.
func (t ArgType) Limits() Range {
	bits := 8 * t.Size()
	switch {
	case bits == 0:
		return Range{}
	case t.Signed():
		lo := int64(-1) << (bits - 1)
		return Range{Lo: uint64(lo), Hi: uint64(^lo)}
	}
	return Range{Hi: ^uint64(0) >> (64 - bits)}
}
