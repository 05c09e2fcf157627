// SPDX-License-Identifier: Apache-2.0

package policy

import "math"

const (
	maxArgs    = 5
	maxSizeArg = 15
	maxLabel   = 256
)

// arg decodes an argument of h, whose section is known. data: it is an item of data.
func (d *decoder) arg(v value, h *Hook, data bool) Arg {
	var a Arg
	var typ, copied value
	var sizes argSizes
	var w where
	typeOK := true
	d.object(v, shape{
		known: w.keys(map[string]func(value){
			"index": func(v value) {
				i, _ := d.integer(v, 0, lastArg(h))
				a.Index = uint32(i)
			},
			"type":         func(v value) { typ = v; a.Type, typeOK = d.argType(v, h) },
			"label":        func(v value) { a.Label, _ = d.boundedText(v, 0, maxLabel) },
			"sizeArgIndex": func(v value) { sizes.arg = v },
			"size":         func(v value) { sizes.elements = v },
			"maxData":      func(v value) { sizes.most = v },
			"returnCopy":   func(v value) { copied = v; a.ReturnCopy = d.boolean(v) },
		}),
		required: []string{"index"},
	})
	d.place(v, w, &a, h, data)
	if fromRecord := a.Type == ArgSyscall64 || a.Type.record(); fromRecord && a.Resolve != "" {
		d.fault(typ, "type %s is for fields of a record, and not for what resolve leads to", a.Type)
	}
	d.argSizes(v, &a, sizes, typeOK)
	if a.ReturnCopy && typeOK {
		d.returnCopy(copied, h, a)
	}
	return a
}

// argSizes are the keys of an argument that say how much of it there is.
type argSizes struct{ arg, elements, most value }

// argSizes decodes the sizes of an argument, of which the type says whether it
// has some.
func (d *decoder) argSizes(v value, a *Arg, sizes argSizes, typeOK bool) {
	if sizes.arg.node != nil {
		i, _ := d.integer(sizes.arg, 0, maxSizeArg)
		a.SizeArg = uint32(i)
	}
	if sizes.elements.node != nil {
		i, _ := d.integer(sizes.elements, 0, MaxElements)
		a.Elements = uint32(i)
	}
	if sizes.most.node != nil {
		a.MaxData = d.boolean(sizes.most)
	}
	if !typeOK {
		return
	}
	if a.MaxData && a.Type != ArgCharBuf {
		d.fault(sizes.most, "maxData is for %s, and the argument is of type %s", ArgCharBuf, a.Type)
	}
	d.sizeArgFits(v, sizes.arg, a)
	d.elementsFit(v, sizes.elements, a)
}

func missing(size value) bool { return size.node == nil || isDefault(size.node) }

func (d *decoder) sizeArgFits(v, size value, a *Arg) {
	needs := a.Type == ArgCharBuf || a.Type == ArgIovec
	switch {
	case a.SizeArg > 0 && !needs && a.Type != ArgSockaddrUn:
		d.fault(size, "%s has no length: sizeArgIndex is for %s, %s and %s", a.Type, ArgCharBuf, ArgIovec, ArgSockaddrUn)
	case a.SizeArg == 0 && needs && !a.ReturnCopy && missing(size):
		d.fault(v, "%s needs sizeArgIndex, the argument that holds its length, counted from 1", a.Type)
	}
}

func (d *decoder) elementsFit(v, size value, a *Arg) {
	switch {
	case a.Elements > 0 && a.Type != ArgInt32Array:
		d.fault(size, "%s has no elements: size is for %s", a.Type, ArgInt32Array)
	case a.Elements == 0 && a.Type == ArgInt32Array && missing(size):
		d.fault(v, "%s needs size, the number of its elements", a.Type)
	}
}

// lastArg is the largest index of an argument: that of a field has no bound of
// its own, and what programs are given of a function is more than functions have.
func lastArg(h *Hook) int64 {
	switch {
	case h.Section == LSMHooks, h.Raw:
		return maxHookArg
	case h.Section == Tracepoints:
		return math.MaxInt32
	}
	return maxFuncArg
}

func (d *decoder) argType(v value, h *Hook) (ArgType, bool) {
	name, ok := d.text(v)
	if !ok {
		return ArgAuto, false
	}
	if t, ok := typeNamed(name); ok {
		switch {
		case (t.record() || t == ArgSyscall64) && h.Section != Tracepoints:
			d.fault(v, "type %s is for tracepoints", t)
			return ArgAuto, false
		case t.record() && h.Raw:
			d.fault(v, "type %s is of a tracepoint's record, and a raw one has none", t)
			return ArgAuto, false
		}
		return t, true
	}
	d.fault(v, "unknown type %s", quote(name))
	return ArgAuto, false
}

// typeNamed knows a type by all of its names.
func typeNamed(name string) (ArgType, bool) {
	switch name {
	case "int", "sint32":
		return ArgInt32, true
	case "sint16":
		return ArgInt16, true
	case "sint8":
		return ArgInt8, true
	case "long", "sint64":
		return ArgInt64, true
	case "ulong", "size_t":
		return ArgUint64, true
	}
	for t := ArgAuto; t <= lastType; t++ {
		if t.String() == name {
			return t, true
		}
	}
	return 0, false
}
