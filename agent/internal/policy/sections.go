// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math"
	"strings"
	"unicode/utf8"
)

const (
	maxSelectors = 32
	minMessage   = 2
	maxMessage   = 256
	maxTags      = 16
	minTag       = 2
	maxTag       = 128
	maxEventName = 127
	maxHookArg   = 4
	maxFuncArg   = 14
)

// body is what hooks of all sections have. Its parts are decoded by finish, once
// everything they depend on is known, which may stand after them in the text.
type body struct {
	args, data, selectors value
	returns               returns
}

// common are the keys that hooks of all sections have.
func (d *decoder) common(h *Hook, b *body, own map[string]func(value)) map[string]func(value) {
	own["args"] = func(v value) { b.args = v }
	own["message"] = func(v value) { h.Message = d.message(v) }
	own["tags"] = func(v value) { h.Tags = d.tags(v) }
	own["selectors"] = func(v value) { b.selectors = v }
	return own
}

func (d *decoder) finish(v value, h *Hook, b body) {
	before := len(d.faults)
	if b.args.node != nil {
		d.list(b.args, maxArgs, func(item value) { h.Args = append(h.Args, d.arg(item, h, false)) })
	}
	args := len(h.Args)
	if b.data.node != nil {
		d.list(b.data, maxArgs, func(item value) { h.Args = append(h.Args, d.arg(item, h, true)) })
		if len(h.Args) > maxArgs {
			d.fault(b.data, "args and data have %d items together, more than %d", len(h.Args), maxArgs)
		}
	}
	d.returned(v, h, b.returns)
	sound := len(d.faults) == before
	if b.selectors.node != nil {
		s := hook{
			decoder: d, section: h.Section, returns: h.Returns(),
			args:   operands{what: "argument", all: h.Args, args: h.Args[:args], sound: sound},
			data:   operands{what: "item of data", all: h.Args, args: h.Args[args:], first: args, sound: sound},
			result: operands{what: "argument", sound: sound},
		}
		if h.Section == LSMHooks {
			s.call = strings.Join(h.Calls, "")
		}
		if h.ReturnArg != nil {
			s.result.args = []Arg{*h.ReturnArg}
			s.result.all = s.result.args
		}
		d.list(b.selectors, maxSelectors, func(item value) { h.Selectors = append(h.Selectors, s.selector(item)) })
	}
	if len(h.Selectors) == 0 {
		h.Selectors = []Selector{{Actions: []Action{{Kind: Post}}}}
	}
	d.returnAction(b.returns.action, h)
}

// hooks decodes a section.
func (d *decoder) hooks(v value, s Section) []Hook {
	decode := map[Section]func(value, *Hook){
		Tracepoints: d.tracepoint, Kprobes: d.function, LSMHooks: d.lsmHook, Fentries: d.function,
	}[s]
	var hooks []Hook
	d.list(v, maxHooks, func(item value) {
		h := Hook{Section: s, Index: item.index, at: item.position()}
		decode(item, &h)
		hooks = append(hooks, h)
	})
	return hooks
}

func (d *decoder) tracepoint(v value, h *Hook) {
	var b body
	d.object(v, shape{
		known: d.common(h, &b, map[string]func(value){
			"subsystem": func(v value) { h.Subsystem = d.name(v) },
			"event":     func(v value) { h.Event = d.name(v) },
			"raw":       func(v value) { h.Raw = d.boolean(v) },
		}),
		required: []string{"subsystem", "event"},
	})
	d.finish(v, h, b)
}

// function decodes an item of kprobes and fentries.
func (d *decoder) function(v value, h *Hook) {
	var b body
	var call value
	h.Syscall = true
	known := d.common(h, &b, map[string]func(value){
		"data":    func(v value) { b.data = v },
		"call":    func(v value) { call = v },
		"syscall": func(v value) { h.Syscall = d.boolean(v) },
		"ignore": func(v value) {
			d.object(v, shape{known: map[string]func(value){
				"callNotFound": func(v value) { h.IgnoreMissing = d.boolean(v) },
			}})
		},
	})
	d.returnKeys(h, &b.returns, known)
	d.object(v, shape{known: known, required: []string{"call"}})
	if call.node != nil {
		d.call(call, h)
	}
	d.finish(v, h, b)
}

// call decodes the name of a function, of a system call or of a list of them.
func (d *decoder) call(v value, h *Hook) {
	s, ok := d.text(v)
	if !ok {
		return
	}
	if name, ok := strings.CutPrefix(s, listPrefix); ok {
		h.List = name
		h.Calls = d.listedCalls(v, name, h.Syscall)
		return
	}
	if name, reason := callName(s, h.Syscall); reason != "" {
		d.fault(v, "%s", reason)
	} else {
		h.Calls = []string{name}
	}
}

// lsmHook decodes an item of lsmhooks.
func (d *decoder) lsmHook(v value, h *Hook) {
	var b body
	d.object(v, shape{
		known: d.common(h, &b, map[string]func(value){
			"hook": func(v value) {
				name := d.name(v)
				for _, prefix := range []string{"bpf_lsm_", "security_"} {
					if bare, ok := strings.CutPrefix(name, prefix); ok {
						d.fault(v, "%s is the name of a function; the hook is called %s", quote(name), quote(bare))
						return
					}
				}
				h.Calls = []string{name}
			},
		}),
		required: []string{"hook"},
	})
	d.finish(v, h, b)
}

// name is that of a tracepoint, of its subsystem, or of a hook: it becomes a part
// of a path or of a symbol and must not lead anywhere else.
func (d *decoder) name(v value) string {
	s, ok := d.boundedText(v, 1, maxEventName)
	if !ok {
		return ""
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !nameRune(r) && r != '-' }) {
		d.fault(v, "%s has characters other than letters, digits, _ and -", quote(s))
		return ""
	}
	return s
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_'
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
