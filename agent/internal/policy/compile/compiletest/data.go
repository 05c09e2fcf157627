// SPDX-License-Identifier: Apache-2.0

package compiletest

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// PointerField is the index of the field of [Fields] from which paths lead as well,
// to what is behind the task that [Data.Task] is the address of.
const PointerField = 6

// Data is what paths lead to.
type Data struct {
	// Kernel has the members of the paths.
	Kernel Kernel
	// Values are those at the end of the paths that begin at the current task, and
	// Behind those of the same paths behind the word of the field PointerField.
	Values, Behind map[string]compile.Value
	// Task is an address that leads to what Behind has; any other leads nowhere.
	Task uint64
}

// NewData makes a source whose hooks read few fields, and what the paths lead to.
func NewData(seed uint64, data Data) *Source {
	s := New(seed)
	s.Data, s.computed = &data, nil
	s.Args = []policy.Arg{{Index: 5, Type: policy.ArgInt64}, {Index: PointerField, Type: policy.ArgUint64}}
	paths := make([]string, 0, len(data.Values))
	for path := range data.Values {
		paths = append(paths, path)
	}
	slices.Sort(paths) // draws depend on the seed alone
	for _, path := range paths {
		m := data.Kernel.Members[policy.TaskStruct+" "+path]
		s.Args = append(s.Args,
			policy.Arg{Type: s.memberType(m), Source: policy.SourceTask, Resolve: path},
			policy.Arg{Index: PointerField, Type: s.memberType(m), Resolve: path, BTFType: policy.TaskStruct},
		)
		if v := data.Values[path]; v.String != "" {
			s.strings = append(s.strings, v.String, data.Behind[path].String)
		} else {
			s.numbers = append(s.numbers, v.Number, v.Number, data.Behind[path].Number)
		}
	}
	s.drawComputed(1)
	return s
}

// memberType draws a type that a policy can give a member.
func (s *Source) memberType(m compile.Member) policy.ArgType {
	switch {
	case m.Struct == "char":
		return policy.ArgString
	case len(m.Begins) > 0 && m.Begins[0] == "file":
		return policy.ArgFile
	case len(m.Begins) > 0 && m.Begins[0] == "path":
		return policy.ArgPath
	case len(m.Begins) > 0 && strings.HasPrefix(m.Begins[0], "kernel_cap_"):
		return []policy.ArgType{policy.ArgKernelCap, policy.ArgCapInheritable, policy.ArgCapPermitted, policy.ArgCapEffective}[s.IntN(4)]
	}
	return []policy.ArgType{
		policy.ArgInt8, policy.ArgUint8, policy.ArgInt16, policy.ArgUint16, policy.ArgInt32, policy.ArgUint32, policy.ArgInt64, policy.ArgUint64,
	}[s.IntN(8)]
}

// pointer draws the word that paths lead from: one that leads somewhere, or NULL, an
// address of the process, one of nobody, or one of the kernel where there is nothing.
func (s *Source) pointer(r *Record) {
	if s.Data == nil {
		return
	}
	word := s.Data.Task
	if s.IntN(2) == 0 {
		word = []uint64{0, 8, 0x7fff_0000_0000, 0x1234_5678_1234_5678, ^uint64(0) - 0xfff}[s.IntN(5)]
	}
	binary.LittleEndian.PutUint64(r.Bytes[Fields()[PointerField].Offset:], word)
}

// chained is what a program sees at the end of a chain, which the path of a hook
// stands for.
func (d *Data) chained(read compile.Read, word uint64) compile.Value {
	values := d.Values
	if read.Chain.From == bpf.WireChainStartCHAIN_WORD {
		if values = d.Behind; word != d.Task {
			return compile.Value{Unreadable: true}
		}
	}
	for path, v := range values {
		m := d.Kernel.Members[policy.TaskStruct+" "+path]
		steps := len(m.Offsets)
		if int(read.Chain.Steps) != steps-1 || !slices.Equal(read.Chain.Offsets[:steps], m.Offsets) || m.Bits > 0 != (read.Chain.Bits > 0) ||
			m.Shift != int(read.Chain.Shift) {
			continue
		}
		if read.Buffer() || v.Unreadable {
			return v
		}
		bits := 8 * int(read.Size)
		if read.Chain.Bits > 0 {
			bits = int(read.Chain.Bits)
		}
		return compile.Value{Number: widenBits(v.Number, bits, read.Signed)}
	}
	return compile.Value{Unreadable: true}
}

func widenBits(v uint64, bits int, signed bool) uint64 {
	shift := 64 - bits
	if signed {
		return uint64(int64(v<<shift) >> shift)
	}
	return v << shift >> shift
}
