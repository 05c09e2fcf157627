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
	var typ, size, copied value
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
			"sizeArgIndex": func(v value) { size = v },
			"returnCopy":   func(v value) { copied = v; a.ReturnCopy = d.boolean(v) },
		}),
		later:    []string{"maxData", "size"},
		required: []string{"index"},
	})
	d.place(v, w, &a, h, data)
	if size.node != nil {
		i, _ := d.integer(size, 0, maxSizeArg)
		a.SizeArg = uint32(i)
	}
	if typeOK {
		d.typeFits(v, typ, size, copied, a, h)
	}
	return a
}

// typeFits checks an argument's type against where the value is, and its length.
func (d *decoder) typeFits(v, typ, size, copied value, a Arg, h *Hook) {
	switch {
	case a.Type == ArgSyscall64 && a.Resolve != "":
		d.fault(typ, "type %s is for fields of a record, and not for what resolve leads to", a.Type)
	case untold(a, h) && typ.node != nil:
		d.fault(typ, "a function does not tell the type of its argument here: name a type")
	case untold(a, h):
		d.fault(v, "type is required: a function does not tell it here")
	case a.SizeArg > 0 && a.Type != ArgCharBuf:
		d.fault(size, "%s has no length: sizeArgIndex is for %s", a.Type, ArgCharBuf)
	case a.ReturnCopy:
		d.returnCopy(copied, h, a)
	case a.SizeArg == 0 && a.Type == ArgCharBuf && (size.node == nil || isDefault(size.node)):
		d.fault(v, "%s needs sizeArgIndex, the argument that holds its length, counted from 1", a.Type)
	}
}

// untold tells whether nobody knows the argument's type. What a path leads to, and how
// wide a register is, is known.
func untold(a Arg, h *Hook) bool {
	return a.Type == ArgAuto && h.Section == Kprobes && a.Resolve == ""
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
		if t == ArgSyscall64 && h.Section != Tracepoints {
			d.fault(v, "type %s is for tracepoints", t)
			return ArgAuto, false
		}
		return t, true
	}
	switch name {
	case "char_iovec", "sockaddr_un", "filename", "nop", "bpf_attr", "perf_event", "bpf_map", "user_namespace", "kiocb",
		"iov_iter", "const_buf", "load_info", "module", "kernel_cap_t", "cap_inheritable", "cap_permitted",
		"cap_effective", "data_loc", "net_device", "bpf_cmd", "bpf_prog", "int32_arr":
		d.unsupported(v, "type "+name+": ")
	default:
		d.fault(v, "unknown type %s", quote(name))
	}
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
	for t := ArgAuto; t <= ArgSyscall64; t++ {
		if t.String() == name {
			return t, true
		}
	}
	return 0, false
}
