// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"
	"strings"

	"github.com/boltseal/boltseal/bpf"
)

// Value is one argument of an event, or the path of the executed file.
type Value struct {
	Number uint64
	String string
	// Unreadable tells that the string could not be read or is too long.
	Unreadable bool
}

// Matches tells whether an event satisfies the rule, by plain comparison. args
// are in the order of the hook's; enforce tells whether the rule's enforcement
// is in force: such a rule takes a value that cannot be read for a match, so
// that hiding it gains nothing.
func (r *Rule) Matches(hook *Hook, args []Value, binary Value, enforce bool) bool {
	return !slices.ContainsFunc(r.Filters, func(f Filter) bool {
		if f.Arg == Binary {
			return !f.matches(binary, true, false, enforce && r.Enforces())
		}
		read := hook.Args[f.Arg]
		return !f.matches(args[f.Arg], read.IsString(), read.Signed, enforce && r.Enforces())
	})
}

func (f *Filter) matches(v Value, isString, signed, enforce bool) bool {
	if isString {
		if v.Unreadable {
			return enforce
		}
		return f.matchesString(v.String)
	}
	if f.Kind == bpf.WireMatchKindMATCH_EXACT {
		return slices.Contains(f.Numbers, v.Number) != f.Negated
	}
	n := ordered(v.Number, signed)
	return slices.ContainsFunc(f.Intervals, func(i Interval) bool { return i.Lo <= n && n <= i.Hi })
}

func (f *Filter) matchesString(s string) bool {
	has := func(affix func(s, a string) bool) bool {
		return slices.ContainsFunc(f.Strings, func(a string) bool { return affix(s, a) })
	}
	switch f.Kind {
	case bpf.WireMatchKindMATCH_PREFIX:
		return has(strings.HasPrefix)
	case bpf.WireMatchKindMATCH_NOT_PREFIX:
		return !has(strings.HasPrefix)
	case bpf.WireMatchKindMATCH_POSTFIX:
		return has(strings.HasSuffix)
	case bpf.WireMatchKindMATCH_NOT_POSTFIX:
		return !has(strings.HasSuffix)
	}
	return slices.Contains(f.Strings, s) != f.Negated
}

// First is the index of the first rule of a hook that an event satisfies, the
// one that acts, or -1.
func (h *Hook) First(args []Value, binary Value, enforce bool) int {
	return slices.IndexFunc(h.Rules, func(r Rule) bool { return r.Matches(h, args, binary, enforce) })
}
