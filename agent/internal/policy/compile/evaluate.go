// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// Value is what one read gave.
type Value struct {
	Number uint64
	String string
	// Address is invalid where there is none.
	Address netip.Addr
	// Mode is that of the inode of a file, 0 where it is not known.
	Mode uint32
	// Unreadable tells that the string could not be read or is too long, or that
	// there was no structure to take a part of.
	Unreadable bool
}

// Matches tells whether a call satisfies the rule as it is entered, by plain
// comparison. values are in the order of the hook's reads, of which those that are
// computed from others are not looked at; enforce tells whether the rule's
// enforcement is in force: such a rule takes a value that cannot be read for a
// match, so that hiding it gains nothing.
func (r *Rule) Matches(hook *Hook, values []Value, enforce bool) bool {
	return r.matches(hook, values, enforce, false)
}

// matches is Matches for the filters on what is read at one end of the call.
func (r *Rule) matches(hook *Hook, values []Value, enforce, returned bool) bool {
	return !slices.ContainsFunc(r.Filters, func(f Filter) bool {
		return hook.Reads[f.Read].Returned() == returned &&
			!f.matches(f.value(hook, values), hook.Reads[f.Read], enforce && r.Enforces())
	})
}

func (f *Filter) matches(v Value, read Read, enforce bool) bool {
	if v.Unreadable {
		return enforce
	}
	switch {
	case read.Text():
		return f.matchesString(v.String)
	case read.Search():
		return f.finds(v.String, read.Kind == bpf.WireReadKindREAD_SUBSTRING_FOLDED)
	case read.Address():
		in := slices.ContainsFunc(f.Networks, func(n netip.Prefix) bool { return n.Contains(v.Address) })
		return in == (f.Kind == bpf.WireMatchKindMATCH_PREFIX)
	}
	switch f.Kind {
	case bpf.WireMatchKindMATCH_EXACT:
		return slices.Contains(f.Numbers, v.Number) != f.Negated
	case bpf.WireMatchKindMATCH_MASK:
		return v.Number&f.Mask != 0
	case bpf.WireMatchKindMATCH_NOT_MASK:
		return v.Number&f.Mask == 0
	}
	n := ordered(v.Number, read.Signed)
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

// First is the index of the first rule of a hook that a call satisfies as it is
// entered, the one that acts, or -1.
func (h *Hook) First(values []Value, enforce bool) int {
	return slices.IndexFunc(h.Rules, func(r Rule) bool { return r.Matches(h, values, enforce) })
}

// value is what the filter compares: a read, or something computed from reads.
func (f *Filter) value(hook *Hook, values []Value) Value {
	read := hook.Reads[f.Read]
	if read.From == nil {
		return values[f.Read]
	}
	of := func(i int) Value { return values[slices.Index(hook.Reads, read.computed().Of[i])] }
	switch read.Kind {
	case bpf.WireReadKindREAD_FILE_TYPE:
		mode := of(0).Mode & 0xffff
		return Value{Number: uint64(mode >> 12), Unreadable: mode == 0}
	case bpf.WireReadKindREAD_GAINED:
		return Value{Number: of(0).Number &^ of(1).Number, Unreadable: of(0).Unreadable || of(1).Unreadable}
	case bpf.WireReadKindREAD_EXPRESSION:
		var args []uint64
		var unreadable []bool
		for _, of := range hook.operands(read.Returned()).reads {
			v := values[slices.Index(hook.Reads, of)]
			args, unreadable = append(args, v.Number), append(unreadable, v.Unreadable)
		}
		v := Value{Unreadable: slices.ContainsFunc(f.Expression.Args(), func(arg int) bool { return unreadable[arg] })}
		if f.Expression.Evaluate(args) {
			v.Number = 1
		}
		return v
	}
	return of(0) // a search
}

// finds tells whether a text has one of the substrings.
func (f *Filter) finds(text string, fold bool) bool {
	if fold {
		text = policy.FoldASCII(text)
	}
	return slices.ContainsFunc(f.Substrings, func(s string) bool { return strings.Contains(text, s) })
}
