// SPDX-License-Identifier: Apache-2.0

package policy

import "strconv"

const maxOptions = 64

// Options are settings that choose between ways to do the same.
type Options struct {
	// SingleKprobes is disable-kprobe-multi: every function has a probe of its own.
	SingleKprobes bool
	// OverrideMethod is how enforcers override; empty: what the kernel has.
	OverrideMethod OverrideMethod
}

// OverrideMethod is a way to make a function return early.
type OverrideMethod string

// The methods, as the option override-method spells them.
const (
	OverrideReturn OverrideMethod = "override-return"
	OverrideModify OverrideMethod = "fmod-ret"
)

// setting is one item of spec.options.
type setting struct {
	// item is the whole, name and value its fields; value may be missing.
	item, name, value value
	text              string
}

// options decodes the policy's mode and its other options.
func (d *decoder) options(v value) (Mode, Options) {
	mode := Enforce
	var o Options
	seen := map[string]bool{}
	d.list(v, maxOptions, func(item value) {
		s := setting{item: item}
		var name string
		sound := true
		d.object(item, shape{
			known: map[string]func(value){
				"name":  func(v value) { s.name = v; name, _ = d.text(v) },
				"value": func(v value) { s.value = v; s.text, sound = d.text(v) },
			},
			required: []string{"name"},
		})
		switch {
		case s.name.node == nil, !sound:
		case seen[name]:
			d.fault(s.name, "option %s is given twice", quote(name))
		default:
			d.option(name, s, &mode, &o)
		}
		seen[name] = true
	})
	return mode, o
}

func (d *decoder) option(name string, s setting, mode *Mode, o *Options) {
	switch name {
	case "policy-mode":
		if d.choice(s, Enforce.String(), Monitor.String()) && s.text == Monitor.String() {
			*mode = Monitor
		}
	case "disable-kprobe-multi":
		o.SingleKprobes = d.switched(s)
	case "override-method":
		if d.choice(s, string(OverrideReturn), string(OverrideModify)) {
			o.OverrideMethod = OverrideMethod(s.text)
		}
	case "disable-uprobe-multi":
		if d.switched(s) {
			d.warn(s.name, "option %s has no effect: it is about uprobes", name)
		}
	case "sleepable-preload-size":
		if d.positive(s) {
			d.warn(s.name, "option %s has no effect: it is about uprobes", name)
		}
	default:
		d.fault(s.name, "unknown option %s", quote(name))
	}
}

func (d *decoder) choice(s setting, a, b string) bool {
	switch {
	case s.value.node == nil:
		d.fault(s.item, "value is required: %s or %s", a, b)
	case s.text != a && s.text != b:
		d.fault(s.value, "is %s, neither %s nor %s", quote(s.text), a, b)
	default:
		return true
	}
	return false
}

// switched is a truth value in the words of Go, which the language has for the
// values of options: they are text there.
func (d *decoder) switched(s setting) bool {
	if s.value.node == nil {
		d.fault(s.item, "value is required: true or false")
		return false
	}
	on, err := strconv.ParseBool(s.text)
	if err != nil {
		d.fault(s.value, "needs true or false, not %s", quote(s.text))
	}
	return on
}

func (d *decoder) positive(s setting) bool {
	if s.value.node == nil {
		d.fault(s.item, "value is required: a number above 0")
		return false
	}
	if n, err := strconv.ParseInt(s.text, 0, 32); err != nil || n <= 0 {
		d.fault(s.value, "needs a number above 0, not %s", quote(s.text))
		return false
	}
	return true
}
