// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// Field is one field of a tracepoint's record, in the order of its format
// description and with the four common_ fields.
type Field struct {
	Name, Type   string
	Offset, Size int
	Signed       bool
	// DataLoc tells that the field holds where in the record the characters are.
	DataLoc bool
	// Array is the number of elements, 0 when the field is no array and -1 when
	// the format does not tell.
	Array int
}

// commonFields is where the fields begin that programs can read: the kernel puts
// a pointer of its own over the common_ ones before it runs them.
const commonFields = 8

// maxRecord is more than any record has.
const maxRecord = 1 << 16

// readField is the read of a field as an argument, and its type, which is what
// ArgAuto stands for. It is one of fields, of which another may hold its length.
func readField(site Site, fields []Field, arg policy.Arg) (Read, policy.ArgType, error) {
	f := fields[arg.Index]
	if arg.Type == policy.ArgAuto {
		arg.Type = autoType(f)
	}
	t := arg.Type
	switch {
	case t == policy.ArgNop:
		return nothing(), t, nil
	case f.Offset < commonFields:
		return Read{}, t, fmt.Errorf("field %s is not shown to programs by the kernel", f.Name)
	case f.Offset+f.Size > maxRecord:
		return Read{}, t, fmt.Errorf("field %s ends at byte %d, outside any record", f.Name, f.Offset+f.Size)
	case t == policy.ArgString:
		r, err := stringRead(site, f)
		return r, t, err
	case t == policy.ArgDataLoc:
		r, err := dataLocRead(site, f)
		return r, t, err
	case t == policy.ArgAuto:
		return Read{}, t, fmt.Errorf("field %s (%s) has no type of its own: name one", f.Name, f.Type)
	case t == policy.ArgSyscall64, t == policy.ArgCapability, t.Integer():
		r, err := integerRead(f, t)
		return r, t, err
	case t == policy.ArgConstBuf, t == policy.ArgInt32Array && f.Array != 0:
		r, err := bytesRead(f, arg)
		return r, t, err
	case f.Size != wordSize || f.Array != 0:
		return Read{}, t, fmt.Errorf("field %s (%s, %d bytes) is no %s", f.Name, f.Type, f.Size, t)
	}
	size, err := sizeField(fields, arg)
	if err != nil {
		return Read{}, t, err
	}
	r, err := wordRead(uint16(f.Offset), arg, size, site.Subsystem == syscalls)
	return r, t, err
}

func dataLocRead(site Site, f Field) (Read, error) {
	r, err := stringRead(site, f)
	if err == nil && r.Kind != bpf.WireReadKindREAD_DATA_LOC {
		err = fmt.Errorf("field %s is %s, not one of characters elsewhere in the record: use string", f.Name, f.Type)
	}
	return r, err
}

// bytesRead is the read of an array in the record itself.
func bytesRead(f Field, arg policy.Arg) (Read, error) {
	r := Read{Kind: bpf.WireReadKindREAD_RECORD_BYTES, Offset: uint16(f.Offset), Size: uint16(min(f.Size, maxRecord-1))}
	if f.DataLoc || f.Array <= 0 || f.Size == 0 {
		return r, fmt.Errorf("field %s (%s, %d bytes) is no %s, which is an array in the record", f.Name, f.Type, f.Size, arg.Type)
	}
	if arg.Type != policy.ArgInt32Array {
		return r, nil
	}
	if r.Size = uint16(arg.Elements) * int32Size; f.Size != f.Array*int32Size || int(r.Size) > f.Size {
		return r, fmt.Errorf("field %s (%s, %d bytes) is no array of %d int32", f.Name, f.Type, f.Size, arg.Elements)
	}
	return r, nil
}

// sizeField is where the field is that holds an argument's length.
func sizeField(fields []Field, arg policy.Arg) (uint16, error) {
	if arg.SizeArg == 0 {
		return uint16(bpf.WireReadSizeSIZE_UNKNOWN), nil
	}
	if int(arg.SizeArg) > len(fields) {
		return 0, fmt.Errorf("sizeArgIndex %d: the event has %d fields", arg.SizeArg, len(fields))
	}
	f := fields[arg.SizeArg-1]
	if f.Size != wordSize || f.Array != 0 || f.DataLoc || f.Offset < commonFields || f.Offset+f.Size > maxRecord {
		return 0, fmt.Errorf("sizeArgIndex %d: field %s (%s, %d bytes) is no length of %d bytes", arg.SizeArg, f.Name, f.Type, f.Size, wordSize)
	}
	return uint16(f.Offset), nil
}

func integerRead(f Field, t policy.ArgType) (Read, error) {
	if f.DataLoc || f.Array != 0 || !isWord(f.Size) {
		return Read{}, fmt.Errorf("field %s (%s, %d bytes) is no integer", f.Name, f.Type, f.Size)
	}
	r := Read{Offset: uint16(f.Offset), Kind: bpf.WireReadKindREAD_INT, Size: uint16(f.Size)}
	switch t {
	case policy.ArgSyscall64:
		r.Kind = bpf.WireReadKindREAD_SYSCALL
	case policy.ArgCapability:
		r.Size, r.Signed = min(4, r.Size), true
	default:
		r.Size, r.Signed = min(uint16(t.Size()), r.Size), t.Signed()
	}
	return r, nil
}

func isWord(size int) bool { return size == 1 || size == 2 || size == 4 || size == 8 }

func stringRead(site Site, f Field) (Read, error) {
	r := Read{Offset: uint16(f.Offset), Size: 8}
	switch {
	case strings.HasPrefix(f.Type, "__rel_loc "):
		return r, fmt.Errorf("field %s is %s: not supported", f.Name, f.Type)
	case f.DataLoc && f.Size == 4:
		r.Kind, r.Size = bpf.WireReadKindREAD_DATA_LOC, 4
	case f.Array != 0 && isChar(f) && f.Size > 0:
		r.Kind, r.Size = bpf.WireReadKindREAD_INLINE_STRING, uint16(min(f.Size, maxRecord-1))
	case f.Size == 8 && isPointer(f) && site.Subsystem == syscalls:
		r.Kind = bpf.WireReadKindREAD_USER_STRING
	case f.Size == 8 && isPointer(f):
		r.Kind = bpf.WireReadKindREAD_KERNEL_STRING
	default:
		return r, fmt.Errorf("field %s is %s, not a string", f.Name, f.Type)
	}
	return r, nil
}

func isChar(f Field) bool { return strings.Contains(f.Type, "char") }

// isPointer tells whether the field points to values; to pointers, as argv does,
// is no string.
func isPointer(f Field) bool { return f.Array == 0 && strings.Count(f.Type, "*") == 1 }

func autoType(f Field) policy.ArgType {
	if isChar(f) && (f.DataLoc || isPointer(f) || f.Array != 0) {
		return policy.ArgString
	}
	if f.DataLoc || f.Array != 0 {
		return policy.ArgAuto
	}
	return autoInteger(f.Size, f.Signed)
}

// autoInteger is the type of an integer of a size, ArgAuto when there is none.
func autoInteger(size int, isSigned bool) policy.ArgType {
	types := map[int][2]policy.ArgType{
		1: {policy.ArgUint8, policy.ArgInt8},
		2: {policy.ArgUint16, policy.ArgInt16},
		4: {policy.ArgUint32, policy.ArgInt32},
		8: {policy.ArgUint64, policy.ArgInt64},
	}
	signed := 0
	if isSigned {
		signed = 1
	}
	return types[size][signed]
}
