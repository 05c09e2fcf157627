// SPDX-License-Identifier: Apache-2.0

package compiletest

import (
	"encoding/binary"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// Record is one event: the bytes that programs read, without its pointers.
type Record struct {
	Bytes [RecordSize]byte
	// Users are the strings behind the pointers, by the offset of these; one that
	// is not there is not readable, and one that is too long is.
	Users map[int]Text
	// Binary is the path of the executed file, Process the rest of what is asked of
	// the process.
	Binary  compile.Value
	Process Process
	// Files are those of the source.
	Files map[uint32]uint32
	// Data is the source's.
	Data *Data
	// Result is what the call returns.
	Result Result
}

// Text is a string in the memory of the process.
type Text struct {
	String     string
	Unreadable bool
	// Most is how many bytes an unreadable one may show before memory ends.
	Most int
}

// Record draws an event. The caller fills the pointers in.
func (s *Source) Record(binaryPath string) *Record {
	r := &Record{
		Users: map[int]Text{}, Binary: compile.Value{String: binaryPath}, Process: s.Process, Files: s.Files, Data: s.Data,
	}
	for i := range r.Bytes {
		r.Bytes[i] = byte(s.Uint32())
	}
	for _, f := range Fields() {
		switch {
		case strings.Contains(f.Type, "sockaddr"):
			r.Users[f.Offset] = s.sockaddr()
		case f.Offset == descriptorOffset && s.hasDescriptor():
			binary.LittleEndian.PutUint64(r.Bytes[f.Offset:], uint64(s.descriptor()))
		case strings.Contains(f.Type, "*"):
			r.Users[f.Offset] = s.text()
		case f.DataLoc:
			n := copy(r.Bytes[dataOffset:], s.short(8))
			// Some dynamic fields hold no NUL.
			if r.Bytes[dataOffset+n] = 0; s.IntN(2) == 0 {
				n++
			}
			binary.LittleEndian.PutUint32(r.Bytes[f.Offset:], uint32(n)<<16|dataOffset)
		case f.Array > 0:
			field := r.Bytes[f.Offset : f.Offset+f.Size]
			if n := copy(field, s.short(f.Size)); n < f.Size {
				field[n] = 0
			}
		default:
			var word [8]byte
			binary.LittleEndian.PutUint64(word[:], s.numbers[s.IntN(len(s.numbers))]+uint64(s.IntN(3))-1)
			copy(r.Bytes[f.Offset:f.Offset+f.Size], word[:])
		}
	}
	s.pointer(r)
	r.Result = s.result()
	return r
}

// short is at most n bytes of some string.
func (s *Source) short(n int) string {
	v := s.strings[s.IntN(len(s.strings))]
	if s.IntN(2) == 0 {
		return v[:min(n, len(v))]
	}
	return v[len(v)-min(n, len(v)):]
}

func (s *Source) text() Text {
	switch s.IntN(16) {
	case 0:
		return Text{Unreadable: true, Most: 100}
	case 1:
		return Text{String: s.fresh(longest + 1 + s.IntN(100))}
	}
	v := s.strings[s.IntN(len(s.strings))]
	switch s.IntN(4) {
	case 0:
		v = clip(v + s.fresh(1+s.IntN(3)))
	case 1:
		v = clip(s.fresh(1+s.IntN(3)) + v)
	case 2:
		v = v[:s.IntN(len(v)+1)]
	}
	return Text{String: v}
}

// Value is what a program sees of one read.
func (r *Record) Value(read compile.Read) compile.Value {
	at := int(read.Offset)
	if read.When == bpf.WireReadWhenREAD_RESULT {
		return r.Result.value(read)
	}
	if value, ok := r.Process.value(read); ok {
		return value
	}
	if read.From != nil {
		return compile.Value{}
	}
	if read.Chain.From != 0 {
		return r.Data.chained(read, binary.LittleEndian.Uint64(r.Bytes[at:]))
	}
	if whole := read.Whole(); whole != read {
		return r.Users[at].part(read)
	}
	switch read.Kind {
	case bpf.WireReadKindREAD_BINARY, bpf.WireReadKindREAD_BINARY_PATH:
		return r.Binary
	case bpf.WireReadKindREAD_USER_SOCKADDR:
		return compile.Value{}
	case bpf.WireReadKindREAD_FD:
		return compile.Value{Mode: r.Files[binary.LittleEndian.Uint32(r.Bytes[at:])]}
	case bpf.WireReadKindREAD_USER_SOCKADDR_UN:
		return r.Users[at].unixPath()
	case bpf.WireReadKindREAD_USER_STRING:
		t := r.Users[at]
		if t.Unreadable || len(t.String) > longest {
			return compile.Value{Unreadable: true}
		}
		return compile.Value{String: t.String}
	case bpf.WireReadKindREAD_DATA_LOC:
		loc := binary.LittleEndian.Uint32(r.Bytes[at:])
		return compile.Value{String: toNUL(r.Bytes[loc&0xffff:][:loc>>16])}
	case bpf.WireReadKindREAD_INLINE_STRING:
		return compile.Value{String: toNUL(r.Bytes[at : at+int(read.Size)])}
	}
	var word [8]byte
	copy(word[:], r.Bytes[at:at+int(read.Size)])
	return compile.Value{Number: widen(binary.LittleEndian.Uint64(word[:]), int(read.Size), read.Signed)}
}

func toNUL(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// Values is what a program sees of a hook's reads.
func (r *Record) Values(h *compile.Hook) []compile.Value {
	values := make([]compile.Value, len(h.Reads))
	for i, read := range h.Reads {
		values[i] = r.Value(read)
	}
	return values
}
