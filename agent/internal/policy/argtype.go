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
)

// String is the type's name in the language; where there are several, the one
// that names the width.
func (t ArgType) String() string {
	switch t {
	case ArgAuto:
		return "auto"
	case ArgInt8:
		return "int8"
	case ArgInt16:
		return "int16"
	case ArgInt32:
		return "int32"
	case ArgInt64:
		return "int64"
	case ArgUint8:
		return "uint8"
	case ArgUint16:
		return "uint16"
	case ArgUint32:
		return "uint32"
	case ArgUint64:
		return "uint64"
	case ArgString:
		return "string"
	}
	return fmt.Sprintf("ArgType(%d)", uint8(t))
}

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
