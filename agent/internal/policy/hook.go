// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxArgs      = 5
	maxSelectors = 32
	minMessage   = 2
	maxMessage   = 256
	maxTags      = 16
	minTag       = 2
	maxTag       = 128
	maxLabel     = 256
	maxEventName = 127
)

// tracepoint decodes a hook. Its filters name arguments that may stand after
// them in the text, so the selectors come last.
func (d *decoder) tracepoint(v value) Hook {
	t := Hook{Section: Tracepoints, at: v.position()}
	var selectors value
	argsOK := true
	d.object(v, shape{
		known: map[string]func(value){
			"subsystem": func(v value) { t.Subsystem = d.eventName(v) },
			"event":     func(v value) { t.Event = d.eventName(v) },
			"args":      func(v value) { t.Args, argsOK = d.args(v) },
			"message":   func(v value) { t.Message = d.message(v) },
			"tags":      func(v value) { t.Tags = d.tags(v) },
			"selectors": func(v value) { selectors = v },
			"raw": func(v value) {
				if d.boolean(v) {
					d.unsupported(v, "raw tracepoints are ")
				}
			},
		},
		required: []string{"subsystem", "event"},
	})
	if selectors.node != nil {
		h := hook{decoder: d, args: t.Args, argsOK: argsOK}
		d.list(selectors, maxSelectors, func(item value) { t.Selectors = append(t.Selectors, h.selector(item)) })
	}
	if len(t.Selectors) == 0 {
		t.Selectors = []Selector{{Actions: []Action{{Kind: Post}}}}
	}
	return t
}

// eventName is the name of a directory of the trace file system: it must not
// lead anywhere else.
func (d *decoder) eventName(v value) string {
	s, ok := d.boundedText(v, 1, maxEventName)
	if !ok {
		return ""
	}
	outside := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
	}
	if strings.ContainsFunc(s, outside) {
		d.fault(v, "%s has characters other than letters, digits, _ and -", quote(s))
		return ""
	}
	return s
}

func (d *decoder) args(v value) ([]Arg, bool) {
	var args []Arg
	before := len(d.faults)
	d.list(v, maxArgs, func(item value) { args = append(args, d.arg(item)) })
	return args, len(d.faults) == before
}

func (d *decoder) arg(v value) Arg {
	var a Arg
	d.object(v, shape{
		known: map[string]func(value){
			"index": func(v value) {
				i, _ := d.integer(v, 0, math.MaxInt32)
				a.Index = uint32(i)
			},
			"type":  func(v value) { a.Type = d.argType(v) },
			"label": func(v value) { a.Label, _ = d.boundedText(v, 0, maxLabel) },
		},
		later: []string{
			"btfType", "btfTypeModule", "maxData", "resolve", "returnCopy", "size", "sizeArgIndex", "source",
		},
		required: []string{"index"},
	})
	return a
}

func (d *decoder) argType(v value) ArgType {
	name, ok := d.text(v)
	if !ok {
		return ArgAuto
	}
	switch name {
	case "auto":
		return ArgAuto
	case "int", "sint32", "int32":
		return ArgInt32
	case "sint16", "int16":
		return ArgInt16
	case "sint8", "int8":
		return ArgInt8
	case "long", "sint64", "int64":
		return ArgInt64
	case "uint32":
		return ArgUint32
	case "uint16":
		return ArgUint16
	case "uint8":
		return ArgUint8
	case "ulong", "uint64", "size_t":
		return ArgUint64
	case "string":
		return ArgString
	case "char_buf", "char_iovec", "skb", "sock", "sockaddr", "socket", "sockaddr_un", "fd", "file", "filename", "path",
		"nop", "bpf_attr", "perf_event", "bpf_map", "user_namespace", "capability", "kiocb", "iov_iter", "cred",
		"const_buf", "load_info", "module", "syscall64", "kernel_cap_t", "cap_inheritable", "cap_permitted",
		"cap_effective", "linux_binprm", "data_loc", "net_device", "bpf_cmd", "dentry", "bpf_prog", "int32_arr":
		d.unsupported(v, "type "+name+": ")
	default:
		d.fault(v, "unknown type %s", quote(name))
	}
	return ArgAuto
}

// message is cut where it is too long, as the language has it, and said so.
func (d *decoder) message(v value) string {
	s, ok := d.text(v)
	switch {
	case !ok || s == "":
		return ""
	case len(s) < minMessage:
		d.fault(v, "%s is shorter than %d bytes", quote(s), minMessage)
	}
	return d.cut(v, s, maxMessage)
}

func (d *decoder) tags(v value) []string {
	var tags []string
	d.list(v, maxTags, func(item value) {
		s, ok := d.boundedText(item, minTag, math.MaxInt)
		if ok {
			tags = append(tags, d.cut(item, s, maxTag))
		}
	})
	return tags
}

// cut shortens s to max bytes, between characters.
func (d *decoder) cut(v value, s string, max int) string {
	if len(s) <= max {
		return s
	}
	d.warn(v, "is %d bytes long; cut to %d", len(s), max)
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

// WithTypes is a copy of the hook whose arguments of type ArgAuto have the type
// at the same position in types, and whose filters on them have their values
// typed. The caller reads the types from the tracepoint's format; those of
// arguments that the policy itself types are not looked at. The error holds a
// [*FieldError] for each value and operator that does not fit.
func (h Hook) WithTypes(types []ArgType) (Hook, error) {
	if len(types) != len(h.Args) {
		return h, fmt.Errorf("%d types for %d arguments", len(types), len(h.Args))
	}
	var faults []error
	auto := make([]bool, len(h.Args))
	h.Args = slices.Clone(h.Args)
	for i := range h.Args {
		if auto[i] = h.Args[i].Type == ArgAuto; auto[i] {
			h.Args[i].Type = types[i]
		}
		if h.Args[i].Type == ArgAuto {
			faults = append(faults, h.at.below(".args[%d].type", i).fault("cannot be told from the tracepoint's format"))
		}
	}
	if len(faults) > 0 {
		return h, errors.Join(faults...)
	}
	h.Selectors = slices.Clone(h.Selectors)
	for i := range h.Selectors {
		s := &h.Selectors[i]
		s.Args = slices.Clone(s.Args)
		for j := range s.Args {
			f := &s.Args[j]
			if !auto[f.Arg] {
				continue
			}
			f.resolve(h.Args[f.Arg].Type, func(value int, reason string) {
				at := f.at.below(".operator")
				if value >= 0 {
					at = f.at.below(".values[%d]", value)
				}
				faults = append(faults, at.fault("%s", reason))
			})
		}
	}
	return h, errors.Join(faults...)
}
