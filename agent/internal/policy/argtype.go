// SPDX-License-Identifier: Apache-2.0

package policy

import "fmt"

// ArgType is the type of an argument. The language has several names for most
// of them; the type is what they have in common.
type ArgType uint8

// The types of arguments.
const (
	// ArgAuto asks for the type that the tracepoint's format says.
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
	}
	if int(t) < len(names) && names[t] != "" {
		return names[t]
	}
	return fmt.Sprintf("ArgType(%d)", uint8(t))
}

// Text tells whether filters compare the argument as a string: text itself, or
// the path of what it names.
func (t ArgType) Text() bool { return t >= ArgString && t <= ArgBinprm }

// Socket tells whether the type has addresses.
func (t ArgType) Socket() bool { return t >= ArgSock && t <= ArgSkb }

// File tells whether the type names a file whose inode is known.
func (t ArgType) File() bool { return t >= ArgFile && t <= ArgBinprm }

// CapabilitySet tells whether the type is a set of capabilities: a bit for each.
func (t ArgType) CapabilitySet() bool { return t == ArgUint64 }

// Integer tells whether the type is an integer of known width.
func (t ArgType) Integer() bool { return t >= ArgInt8 && t <= ArgUint64 }

// Signed tells whether the type is a signed integer.
func (t ArgType) Signed() bool { return t >= ArgInt8 && t <= ArgInt64 }

// Size is the width of an integer in bytes, and 0 for any other type.
func (t ArgType) Size() int {
	switch t {
	case ArgInt8, ArgUint8:
		return 1
	case ArgInt16, ArgUint16:
		return 2
	case ArgInt32, ArgUint32:
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
