// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// MaxSteps is how many pointers one path may follow.
const MaxSteps = int(bpf.WireLimitsCHAIN_MAX)

// Chain is how a word is found that is not in the context itself: pointers are
// followed from a start on. The zero value is the word in the context. Whatever a
// read's kind does with its word it does with that of a chain.
type Chain struct {
	// From is where it begins.
	From bpf.WireChainStart
	// Steps is how many pointers are followed: what is at each of the first Steps
	// offsets, and the last offset is from the last of them.
	Steps   uint8
	Offsets [MaxSteps + 1]uint32
	// Load is the size of the word in bytes; 0: the word is the address of what is
	// there.
	Load uint8
	// Shift and Bits are where in the word the value is; Bits is 0 for all of it.
	Shift, Bits uint8
}

// Start is where the path of an argument begins: at the structure Type, of the kernel
// or of Module, or where that is empty at a parameter.
type Start struct {
	Type, Module string
	// Kind and Name are those of a site with one function, Param the parameter's
	// position.
	Kind  SiteKind
	Name  string
	Param int
}

// Member is what a path leads to.
type Member struct {
	// Param is what is there, in the words of parameters. The structure or the text
	// is that of a pointer, or with Inline what is there itself.
	Param
	Inline bool
	// Bytes is the size of what is there.
	Bytes int
	// Begins are the names of the structure and of those that it begins with; Struct is
	// the first.
	Begins []string
	// Offsets are in bytes; what is at each but the last is a pointer.
	Offsets []uint32
	// Shift and Bits are those of a bit field in Bytes bytes; Bits is 0 for others.
	Shift, Bits int
}

// resolved is how what a path leads to is read, and its type.
func (at *place) resolved(arg policy.Arg, k Kernel) (Read, policy.ArgType, error) {
	m, err := at.member(arg, k)
	if err != nil {
		return Read{}, arg.Type, err
	}
	if n := len(m.Offsets) - 1; n > MaxSteps {
		return Read{}, arg.Type, fmt.Errorf("follows %d pointers, more than %d", n, MaxSteps)
	}
	if arg.Type == policy.ArgAuto {
		if arg.Type = m.auto(); arg.Type == policy.ArgAuto {
			return Read{}, arg.Type, fmt.Errorf("%s has no type of its own: name one", m)
		}
	}
	r, err := at.memberRead(arg, m)
	if err != nil || arg.Type == policy.ArgNop {
		return r, arg.Type, err
	}
	r.Chain.From = bpf.WireChainStartCHAIN_WORD
	if arg.Source == policy.SourceTask {
		r.Chain.From, r.Offset = bpf.WireChainStartCHAIN_TASK, 0
	}
	r.Chain.Steps = uint8(len(m.Offsets) - 1)
	copy(r.Chain.Offsets[:], m.Offsets)
	return r, arg.Type, nil
}

// member asks the kernel where a path leads. Functions that are hooked together must
// agree.
func (at *place) member(arg policy.Arg, k Kernel) (m Member, err error) {
	start := Start{Type: arg.BTFType, Module: arg.BTFModule, Kind: at.Kind, Param: int(arg.Index)}
	if arg.Source == policy.SourceTask {
		start.Type = policy.TaskStruct
	}
	if start.Type != "" {
		start.Kind, start.Param = 0, 0
		return k.Member(start, arg.Resolve)
	}
	names := at.Functions()
	for i, name := range names {
		start.Name = name
		found, err := k.Member(start, arg.Resolve)
		if err != nil {
			return m, err
		}
		if i > 0 && !slices.Equal(found.Offsets, m.Offsets) {
			return m, fmt.Errorf("leads elsewhere at %s than at %s: use a hook for each", name, names[0])
		}
		m = found
	}
	return m, nil
}

// memberRead is the read of what a path leads to as the argument's type, but for the way
// there.
func (at *place) memberRead(arg policy.Arg, m Member) (Read, error) {
	var offset uint16
	if arg.Source == policy.SourceArg {
		var err error
		if offset, err = at.pointer(arg); err != nil {
			return Read{}, err
		}
	}
	if err := m.fits(arg); err != nil {
		return Read{}, err
	}
	if arg.Type == policy.ArgString && m.Inline {
		return Read{Kind: bpf.WireReadKindREAD_INLINE_STRING, Offset: offset, Size: uint16(min(m.Bytes, maxRecord-1))}, nil
	}
	number, err := at.number(arg)
	if err != nil {
		return Read{}, err
	}
	r, err := wordRead(offset, arg, number, false)
	switch {
	case err != nil:
		return Read{}, err
	case r.Kind == bpf.WireReadKindREAD_INT:
		return m.integer(r, arg.Type)
	case m.Inline:
		return r, nil
	}
	r.Chain.Load = uint8(m.Bytes)
	return r, nil
}

// pointer is the offset of the word that a path begins at.
func (at *place) pointer(arg policy.Arg) (uint16, error) {
	if at.Kind != Tracepoint {
		return at.word(arg)
	}
	f, err := at.field(arg)
	switch {
	case err != nil:
		return 0, err
	case f.Offset < commonFields || f.Offset+f.Size > maxRecord || f.Size != wordSize || f.Array != 0 || f.DataLoc:
		return 0, fmt.Errorf("field %s (%s, %d bytes) is no pointer", f.Name, f.Type, f.Size)
	}
	return uint16(f.Offset), nil
}

// integer is the read of an integer: of the bytes that there are at most.
func (m Member) integer(r Read, t policy.ArgType) (Read, error) {
	if !isWord(m.Bytes) || m.Inline && len(m.Begins) == 0 {
		return Read{}, fmt.Errorf("%s is no %s", m, t)
	}
	if m.Bits > 0 {
		r.Chain.Load, r.Chain.Shift = uint8(m.Bytes), uint8(m.Shift)
		r.Chain.Bits = uint8(min(m.Bits, 8*int(r.Size)))
		return r, nil
	}
	r.Size = min(r.Size, uint16(m.Bytes))
	r.Chain.Load = uint8(r.Size)
	return r, nil
}

const charStruct = "char"

// fits tells whether what is there can be of the argument's type.
func (m Member) fits(arg policy.Arg) error {
	switch t := arg.Type; {
	case t.Integer(), t == policy.ArgCapability, t == policy.ArgNop: // see integer
	case m.Bits > 0 || !m.holds(arg):
		return fmt.Errorf("%s is no %s", m, t)
	}
	return nil
}

// holds is fits for what is no integer.
func (m Member) holds(arg policy.Arg) bool {
	switch t := arg.Type; {
	case t == policy.ArgFD:
		return !m.Inline && m.Bytes == 4
	case !m.Inline && m.Bytes != wordSize:
		return false
	case m.Struct == charStruct:
		return t == policy.ArgString || t == policy.ArgCharBuf
	case t == policy.ArgString:
		return !m.Inline && len(m.Begins) == 0
	case t == policy.ArgInt32Array:
		return len(m.Begins) == 0 && (!m.Inline || m.Bytes >= int(arg.Elements)*int32Size)
	default:
		return m.is(t)
	}
}

// is tells whether the structure is the type's or begins with it. One that no type
// stands for, or a pointer to nothing that is known, is what the policy says.
func (m Member) is(t policy.ArgType) bool {
	other := m.Inline && len(m.Begins) == 0
	for _, name := range m.Begins {
		of, known := structTypes()[name]
		if known && alike(of, t) {
			return true
		}
		other = other || known
	}
	return !other
}

// alike tells whether a structure of one type can be taken for the other.
func alike(a, b policy.ArgType) bool {
	address := func(t policy.ArgType) bool { return t == policy.ArgSockaddr || t == policy.ArgSockaddrUn }
	return a == b || a.CapabilitySet() && b.CapabilitySet() || address(a) && address(b)
}

// String is what is there, for people.
func (m Member) String() string {
	var of string
	switch {
	case m.Bits > 0:
		return fmt.Sprintf("%s (%d bits)", m.Name, m.Bits)
	case len(m.Begins) > 0:
		of = "struct " + m.Begins[0]
	case m.Struct == charStruct:
		of = charStruct
	default:
		return fmt.Sprintf("%s (%d bytes)", m.Name, m.Bytes)
	}
	if m.Inline {
		return fmt.Sprintf("%s (%s, %d bytes)", m.Name, of, m.Bytes)
	}
	return fmt.Sprintf("%s (pointer to %s)", m.Name, of)
}

// auto is the type of what is there, by the structures that it begins with as well.
func (m Member) auto() policy.ArgType {
	if m.Bits > 0 {
		size := 1
		for 8*size < m.Bits {
			size *= 2
		}
		return autoInteger(size, m.Signed)
	}
	for _, name := range m.Begins {
		if t, ok := structTypes()[name]; ok {
			return t
		}
	}
	return m.Param.auto()
}

// register is the read of a register at the entry of a function.
func (at *place) register(arg policy.Arg, k Kernel) (Read, policy.ArgType, error) {
	if at.Kind != Kprobe && at.Kind != KprobeOverride {
		return Read{}, arg.Type, fmt.Errorf("%s has no registers: it is an %s program; set the option override-method to override-return", at.Site, at.Kind)
	}
	all := k.Registers().Named
	reg, ok := all[arg.Resolve]
	if !ok {
		names := slices.Sorted(maps.Keys(all))
		return Read{}, arg.Type, fmt.Errorf("this machine has no register %q; nearest: %s", arg.Resolve, strings.Join(Nearest(arg.Resolve, names), ", "))
	}
	if arg.Type == policy.ArgAuto {
		arg.Type = autoInteger(int(reg.Size), false)
	}
	number, err := at.number(arg)
	if err != nil {
		return Read{}, arg.Type, err
	}
	r, err := wordRead(reg.Offset, arg, number, false)
	if err != nil || arg.Type == policy.ArgNop {
		return r, arg.Type, err
	}
	r.Chain.From = bpf.WireChainStartCHAIN_REGISTER
	r.Chain.Bits = 8 * reg.Size
	if r.Kind == bpf.WireReadKindREAD_INT {
		r.Size = min(r.Size, uint16(reg.Size))
		r.Chain.Bits = uint8(8 * r.Size)
	}
	return r, arg.Type, nil
}

// Nearest is the names that are most like one that there is not, at most three.
func Nearest(name string, names []string) []string {
	const most = 3
	near := slices.Clone(names)
	distance := make(map[string]int, len(near))
	for _, n := range near {
		distance[n] = editDistance(name, n)
	}
	slices.SortStableFunc(near, func(a, b string) int { return distance[a] - distance[b] })
	return near[:min(len(near), most)]
}

// editDistance is how many characters have to be put in, left out or changed.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
