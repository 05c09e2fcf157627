// SPDX-License-Identifier: Apache-2.0

package compiletest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

const (
	// descriptorOffset is the field that can be a descriptor and no pointer.
	descriptorOffset = 16
	// integersLeft is how many integers hooks read: fields that are not read make room
	// for what is computed.
	integersLeft = 3
)

// computed is a filter on something computed from arguments.
type computed struct {
	// of are positions in Source.Args.
	of     []int
	filter func(at []int) policy.ArgFilter
}

// again tells whether a second filter with the operator may be a further read.
func again(op policy.Operator) bool {
	return op == policy.OpMask || op == policy.OpSubString || op == policy.OpSubStringIgnCase
}

// drawComputed draws what is computed: few things, each of which is a read, and of
// them so many expressions.
func (s *Source) drawComputed(expressions int) {
	fields := Fields()
	var integers, texts, sets []int
	for i, a := range s.Args {
		switch {
		case a.Type.Integer():
			integers = append(integers, i)
		case a.Type.CapabilitySet():
			sets = append(sets, i)
		case a.Type == policy.ArgString && (a.Resolve != "" || strings.Contains(fields[a.Index].Type, "*")): // the long ones
			texts = append(texts, i)
		}
	}
	if s.searched = -1; len(texts) > 0 {
		s.searched = texts[s.IntN(len(texts))]
	}
	if len(sets) == 0 {
		sets = integers
	}
	current, old := sets[s.IntN(len(sets))], sets[s.IntN(len(sets))]
	s.computed = append(s.computed, computed{[]int{current, old}, func(at []int) policy.ArgFilter {
		mask := ^uint64(0)
		if s.IntN(2) == 0 {
			mask = s.Uint64()&s.Uint64()&s.Uint64() | 1
		}
		return policy.ArgFilter{Arg: at[0], Old: at[1], Op: policy.OpCapabilitiesGained, Masks: []uint64{mask}}
	}})
	for range expressions {
		s.computed = append(s.computed, s.expressions(integers))
	}
}

// expressions draws a filter of one or more expressions.
func (s *Source) expressions(integers []int) computed {
	of := slices.Clone(integers)
	s.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
	of = of[:1+s.IntN(min(3, len(of)))]
	var texts []string
	for range 1 + s.IntN(2) {
		texts = append(texts, s.condition(of, 2))
	}
	return computed{of, func(at []int) policy.ArgFilter {
		f := policy.ArgFilter{Op: policy.OpCelExpr}
		var names []string
		for i := range at {
			names = append(names, fmt.Sprintf("$%d", i), fmt.Sprintf("arg%d", at[i]))
		}
		for _, text := range texts {
			f.Values = append(f.Values, strings.NewReplacer(names...).Replace(text))
		}
		return f
	}}
}

// condition draws an expression that is true or false; $0 is the first operand.
func (s *Source) condition(of []int, depth int) string {
	switch s.IntN(5) {
	case 0:
		if depth > 0 {
			return "!(" + s.condition(of, depth-1) + ")"
		}
	case 1:
		if depth > 0 {
			op := []string{"&&", "||", "==", "!="}[s.IntN(4)]
			return "(" + s.condition(of, depth-1) + ") " + op + " (" + s.condition(of, depth-1) + ")"
		}
	}
	t := []string{"int32", "uint32", "int64", "uint64"}[s.IntN(4)]
	op := []string{"==", "!=", "<", "<=", ">", ">="}[s.IntN(6)]
	return s.integer(of, t, 2) + " " + op + " " + s.integer(of, t, 1)
}

// integer draws an expression of a type.
func (s *Source) integer(of []int, t string, depth int) string {
	sub := func() string { return s.integer(of, t, depth-1) }
	if depth == 0 || s.IntN(3) == 0 {
		if s.IntN(4) == 0 {
			return fmt.Sprintf("%s(%d)", t, int64(s.numbers[s.IntN(len(s.numbers))]))
		}
		return fmt.Sprintf("%s($%d)", t, s.IntN(len(of)))
	}
	switch s.IntN(6) {
	case 0:
		return "(" + sub() + " + " + sub() + ")"
	case 1:
		return "(" + sub() + " - " + sub() + ")"
	case 2:
		return "not(" + sub() + ")"
	case 3:
		if !strings.HasPrefix(t, "u") {
			return "(-" + sub() + ")"
		}
	case 4:
		from := []string{"int32", "uint32", "int64", "uint64"}[s.IntN(4)]
		return t + "(" + s.integer(of, from, depth-1) + ")"
	}
	return []string{"and", "or", "xor"}[s.IntN(3)] + "(" + sub() + ", " + sub() + ")"
}

// Expressions draws a hook that reads integers alone, with n selectors that compute with
// them.
func (s *Source) Expressions(n int) policy.Hook {
	h := policy.Hook{Section: policy.Tracepoints, Subsystem: Subsystem, Event: Event}
	fields := Fields()
	var all []int
	for _, index := range s.Perm(len(fields)) {
		arg := policy.Arg{Index: uint32(index), Type: s.typeOf(fields[index])}
		if arg.Type.Integer() && len(h.Args) < 5 {
			all = append(all, len(h.Args))
			h.Args = append(h.Args, arg)
		}
	}
	for range n {
		c := s.expressions(all)
		h.Selectors = append(h.Selectors, policy.Selector{
			Args: []policy.ArgFilter{c.filter(c.of)}, Actions: []policy.Action{{Kind: policy.Post}},
		})
	}
	return h
}

// addOperands adds the arguments of something computed to a hook, now and then.
func (s *Source) addOperands(h *policy.Hook) {
	if s.IntN(3) != 0 {
		return
	}
	for _, of := range s.computed[s.IntN(len(s.computed))].of {
		if !slices.Contains(h.Args, s.Args[of]) {
			h.Args = append(h.Args, s.Args[of])
		}
	}
}

// computedFilter adds a filter on something computed, if its arguments are there.
func (s *Source) computedFilter(sel *policy.Selector, args []policy.Arg) {
	c := s.computed[s.IntN(len(s.computed))]
	var at []int
	for _, of := range c.of {
		at = append(at, slices.Index(args, s.Args[of]))
	}
	if s.IntN(2) == 0 && !slices.Contains(at, -1) {
		sel.Args = append(sel.Args, c.filter(at))
	}
}

// Computed is a selector that asks for all that selectors of hooks that read Args can
// compute.
func (s *Source) Computed() policy.Selector {
	sel := policy.Selector{Actions: []policy.Action{{Kind: policy.Post}}, ReturnArgs: s.computedOfResult()}
	for _, c := range s.computed {
		sel.Args = append(sel.Args, c.filter(c.of))
	}
	if s.searched >= 0 {
		for _, op := range []policy.Operator{policy.OpSubString, policy.OpSubStringIgnCase} {
			sel.Args = append(sel.Args, policy.ArgFilter{Arg: s.searched, Op: op, Strings: []string{"x"}})
		}
	}
	for i, a := range s.Args {
		if a.Type == policy.ArgFD || a.Type == policy.ArgFile {
			sel.Args = append(sel.Args, s.fileTypeFilter(i))
		}
	}
	return sel
}

func (s *Source) searchFilter(arg int) policy.ArgFilter {
	f := policy.ArgFilter{Arg: arg, Op: policy.OpSubString}
	fold := s.IntN(2) == 0
	if fold {
		f.Op = policy.OpSubStringIgnCase
	}
	f.Strings = s.some(4, func() string {
		for {
			v := s.strings[s.IntN(len(s.strings))]
			if v == "" {
				continue
			}
			start := s.IntN(len(v))
			v = v[start : start+1+s.IntN(min(99, len(v)-start))]
			if s.IntN(2) == 0 {
				v = v[:min(len(v), 3)]
			}
			if fold {
				v = policy.FoldASCII(v)
			}
			return v
		}
	})
	return f
}

// setFilter draws a filter on a whole set of capabilities, or on some of it.
func (s *Source) setFilter(arg int) policy.ArgFilter {
	f := policy.ArgFilter{Arg: arg, Op: []policy.Operator{policy.OpEqual, policy.OpNotEqual, policy.OpMask}[s.IntN(3)]}
	if f.Op == policy.OpMask {
		f.Masks = []uint64{s.numbers[s.IntN(len(s.numbers))], 1 << s.IntN(64)}
		return f
	}
	sets := []uint64{s.numbers[s.IntN(len(s.numbers))], s.numbers[s.IntN(len(s.numbers))]}
	slices.Sort(sets)
	for _, set := range slices.Compact(sets) {
		f.Ranges = append(f.Ranges, policy.Range{Lo: set, Hi: set})
	}
	return f
}

// fileType draws the type of a file, as the highest bits of a mode.
func (s *Source) fileType() uint64 { return []uint64{1, 2, 4, 6, 8, 10, 12}[s.IntN(7)] }

func (s *Source) fileTypeFilter(arg int) policy.ArgFilter {
	f := policy.ArgFilter{Arg: arg, Op: []policy.Operator{policy.OpFileType, policy.OpNotFileType}[s.IntN(2)]}
	types := []uint64{s.fileType(), s.fileType(), s.fileType()}
	slices.Sort(types)
	for _, t := range slices.Compact(types) {
		f.Ranges = append(f.Ranges, policy.Range{Lo: t, Hi: t})
	}
	return f
}

func (s *Source) hasDescriptor() bool {
	return slices.ContainsFunc(s.Args, func(a policy.Arg) bool { return a.Type == policy.ArgFD })
}

// descriptor draws one of the process's descriptors, or none of its.
func (s *Source) descriptor() uint32 {
	all := []uint32{1 << 30}
	for fd := range s.Files {
		all = append(all, fd)
	}
	slices.Sort(all)
	return all[s.IntN(len(all))]
}
