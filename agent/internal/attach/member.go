// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// Member is compile.Kernel.
func (p *Points) Member(from compile.Start, path string) (compile.Member, error) {
	start, err := p.start(from)
	if err != nil {
		return compile.Member{}, err
	}
	return Member(start, path)
}

// start is the pointer at which a path begins.
func (p *Points) start(from compile.Start) (btf.Type, error) {
	if from.Type != "" {
		types, where := p.types, "the kernel's types"
		if from.Module != "" {
			var err error
			if types, err = btf.LoadKernelModuleSpec(from.Module); err != nil {
				return nil, fmt.Errorf("read types of module %s, which has to be loaded: %w", from.Module, err)
			}
			where = "the types of module " + from.Module
		}
		t, err := structure(types, from.Type)
		if err != nil {
			return nil, fmt.Errorf("no structure %s in %s", from.Type, where)
		}
		return &btf.Pointer{Target: t}, nil
	}
	f, err := p.prototype(from)
	if err != nil {
		return nil, err
	}
	if from.Param >= len(f.Params) {
		return nil, fmt.Errorf("%s has %d parameters", from.Name, len(f.Params))
	}
	param := f.Params[from.Param]
	if _, ok := btf.UnderlyingType(param.Type).(*btf.Pointer); !ok {
		return nil, fmt.Errorf("parameter %s of %s is %s, which has no members", param.Name, from.Name, describe(param.Type))
	}
	return param.Type, nil
}

// structure is the structure or union of a name, also when only a typedef has it.
func structure(types *btf.Spec, name string) (btf.Type, error) {
	all, err := types.AnyTypesByName(name)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if _, _, ok := members(t); ok {
			return t, nil
		}
	}
	return nil, btf.ErrNotFound
}

// prototype is that of the one function of a site, as its arguments are counted.
func (p *Points) prototype(from compile.Start) (*btf.FuncProto, error) {
	unknown := fmt.Errorf("the kernel does not tell the parameters of %s: name btfType", from.Name)
	if from.Kind == compile.RawTracepoint {
		var t *btf.Typedef
		if err := p.types.TypeByName("btf_trace_"+from.Name, &t); err != nil {
			return nil, unknown
		}
		pointer, ok := t.Type.(*btf.Pointer)
		if !ok {
			return nil, unknown
		}
		f, ok := pointer.Target.(*btf.FuncProto)
		if !ok || len(f.Params) == 0 {
			return nil, unknown
		}
		return &btf.FuncProto{Return: f.Return, Params: f.Params[1:]}, nil
	}
	name := from.Name
	if from.Kind == compile.LSM {
		name = "bpf_lsm_" + name
	}
	types, err := p.types.AnyTypesByName(name)
	if err != nil && !errors.Is(err, btf.ErrNotFound) {
		return nil, fmt.Errorf("look up function %s: %w", name, err)
	}
	for _, t := range types {
		if f, ok := t.(*btf.Func); ok {
			return f.Type.(*btf.FuncProto), nil
		}
	}
	return nil, unknown
}

// Member follows a path, as policy.ParseMemberPath reads it, from a pointer on.
func Member(start btf.Type, path string) (compile.Member, error) {
	steps, err := policy.ParseMemberPath(path)
	if err != nil {
		return compile.Member{}, err
	}
	w := walk{at: start, offsets: []uint32{}}
	if _, ok := btf.UnderlyingType(start).(*btf.Pointer); !ok {
		return compile.Member{}, fmt.Errorf("%s has no members", describe(start))
	}
	// The word that the path begins at is a pointer that has been read.
	w.at, w.offsets = btf.UnderlyingType(start).(*btf.Pointer).Target, []uint32{0}
	for i, step := range steps {
		if step.Member == "" {
			err = w.element(step.Index, i == 0)
		} else {
			err = w.member(step.Member)
		}
		if err != nil {
			return compile.Member{}, err
		}
	}
	return w.result(), nil
}

// walk is how far a path has been followed.
type walk struct {
	// at is the type of what is at the last of the offsets.
	at      btf.Type
	offsets []uint32
	// name is that of the last member; shift and bits are those of a bit field.
	name        string
	shift, bits int
}

func (w *walk) add(bytes uint32) { w.offsets[len(w.offsets)-1] += bytes }

// follow goes to what a pointer leads to.
func (w *walk) follow(p *btf.Pointer) {
	w.at, w.offsets = p.Target, append(w.offsets, 0)
}

// member goes to a member of the structure, through pointers to it.
func (w *walk) member(name string) error {
	if w.bits > 0 {
		return fmt.Errorf("%s is a bit field, which has no member %q", w.name, name)
	}
	for {
		p, ok := btf.UnderlyingType(w.at).(*btf.Pointer)
		if !ok {
			break
		}
		w.follow(p)
	}
	if _, _, ok := members(w.at); !ok {
		return fmt.Errorf("%s, which has no member %q", describe(w.at), name)
	}
	m, offset, ok := find(w.at, name)
	if !ok {
		return fmt.Errorf("%s has no member %q; nearest: %s", describe(w.at), name, strings.Join(compile.Nearest(name, names(w.at)), ", "))
	}
	w.at, w.name = m.Type, name
	return w.place(offset, int(m.BitfieldSize))
}

// place adds the offset of a member, in bits. A bit field is in the word of its type
// where it does not stick out of it.
func (w *walk) place(offset uint64, bits int) error {
	if bits == 0 {
		w.add(uint32(offset / 8))
		return nil
	}
	size, err := btf.Sizeof(w.at)
	if err != nil {
		return fmt.Errorf("size of bit field %s: %w", w.name, err)
	}
	unit := uint64(8 * size)
	start := offset / unit * unit
	if offset+uint64(bits) > start+unit {
		start = offset / 8 * 8
	}
	if offset+uint64(bits) > start+unit {
		return fmt.Errorf("bit field %s is in no word", w.name)
	}
	w.add(uint32(start / 8))
	w.shift, w.bits = int(offset-start), bits
	return nil
}

// element goes to an element of an array, or behind a pointer. The first step of a
// path is behind the pointer that it begins at.
func (w *walk) element(index int, first bool) error {
	of := w.at
	if !first {
		switch t := btf.UnderlyingType(w.at).(type) {
		case *btf.Array:
			// An array without a length is as long as who allocated it says.
			if t.Nelems > 0 && index >= int(t.Nelems) {
				return fmt.Errorf("%s has %d elements, and none of index %d", w.name, t.Nelems, index)
			}
			of = t.Type
		case *btf.Pointer:
			w.follow(t)
			of = t.Target
		default:
			return fmt.Errorf("%s is %s, which has no elements", w.name, describe(w.at))
		}
	}
	size, err := btf.Sizeof(of)
	if err != nil || size == 0 && index > 0 {
		return fmt.Errorf("%s: elements have no size that is known", w.name)
	}
	const most = 1<<31 - 1
	if uint64(size)*uint64(index) > most {
		return fmt.Errorf("%s: index %d is too far away", w.name, index)
	}
	w.at = of
	w.add(uint32(size * index))
	return nil
}

// result is what the path has led to.
func (w *walk) result() compile.Member {
	size, err := btf.Sizeof(w.at)
	if err != nil {
		size = 0 // nothing can be read as a type, and the caller says so
	}
	m := compile.Member{
		Param: param(btf.FuncParam{Name: w.name, Type: w.at}), Bytes: size, Offsets: w.offsets, Shift: w.shift, Bits: w.bits,
	}
	of := w.at
	switch t := btf.UnderlyingType(w.at).(type) {
	case *btf.Pointer:
		of = t.Target
	case *btf.Array:
		m.Inline = true
		if element := param(btf.FuncParam{Type: &btf.Pointer{Target: t.Type}}); element.Struct == "char" {
			m.Struct = element.Struct
		}
		return m
	case *btf.Struct, *btf.Union:
		m.Inline = true
	default:
		return m
	}
	if m.Begins = begins(of); len(m.Begins) > 0 {
		m.Struct, m.Size = m.Begins[0], 0
	}
	return m
}

// begins are the names of a structure and of those that it begins with.
func begins(t btf.Type) (names []string) {
	for {
		all, _, ok := members(t)
		if !ok {
			return names
		}
		if name := structName(t); name != "" {
			names = append(names, name)
		}
		if len(all) == 0 || all[0].Offset != 0 {
			return names
		}
		t = all[0].Type
	}
}

// members are those of a structure or a union.
func members(t btf.Type) (all []btf.Member, keyword string, ok bool) {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return t.Members, "struct", true
	case *btf.Union:
		return t.Members, "union", true
	}
	return nil, "", false
}

// find finds a member, also in structures without a name, and its offset in bits.
func find(t btf.Type, name string) (btf.Member, uint64, bool) {
	all, _, _ := members(t)
	for _, m := range all {
		if m.Name == name {
			return m, uint64(m.Offset), true
		}
	}
	for _, m := range all {
		if m.Name != "" {
			continue
		}
		if found, offset, ok := find(m.Type, name); ok {
			return found, uint64(m.Offset) + offset, true
		}
	}
	return btf.Member{}, 0, false
}

// names are those of all members, sorted.
func names(t btf.Type) (found []string) {
	all, _, _ := members(t)
	for _, m := range all {
		if m.Name == "" {
			found = append(found, names(m.Type)...)
			continue
		}
		found = append(found, m.Name)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// describe is a type as people write it.
func describe(t btf.Type) string {
	if _, keyword, ok := members(t); ok {
		if name := structName(t); name != "" {
			return keyword + " " + name
		}
		return "a " + keyword + " without a name"
	}
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Fwd:
		return t.Kind.String() + " " + t.Name + ", which the kernel's types only name"
	case *btf.Pointer:
		return "a pointer"
	case *btf.Array:
		return "an array"
	case *btf.Void:
		return "memory of no type"
	case *btf.FuncProto:
		return "a function"
	case *btf.Int:
		return t.Name
	case *btf.Enum:
		return "enum " + t.Name
	default:
		return t.TypeName()
	}
}
