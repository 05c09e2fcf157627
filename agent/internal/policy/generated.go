// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// maxPattern is how long the pattern of a list may be.
const maxPattern = 1024

// Generated is a list of names that the kernel has: all of them, or those that a
// pattern matches.
type Generated struct {
	// Name is the list's.
	Name string
	// Syscalls: the names are those of system calls of the machine's own ABI, as in
	// Hook.Calls; otherwise those of functions that can be traced.
	Syscalls bool
	// Pattern is an RE2 expression that matches in a part of the name, if not anchored;
	// empty only for system calls, and then all of them.
	Pattern string

	// at is where the list stands in the text.
	at position
}

// generatedList decodes the rest of a list whose type says that it has no values of
// its own.
func (d *decoder) generatedList(item, values, pattern value, syscalls bool) Generated {
	g := Generated{Syscalls: syscalls, at: item.position()}
	if given(values) {
		d.fault(values, "must be absent: the kernel has the values")
	}
	switch {
	case given(pattern):
		g.Pattern, _ = d.boundedText(pattern, 1, maxPattern)
		if _, err := regexp.Compile(g.Pattern); err != nil {
			d.fault(pattern, "is no regular expression: %s", clip(err.Error()))
		}
	case !syscalls:
		d.fault(item, "pattern is required: it says which of the kernel's functions are meant")
	}
	return g
}

// WithLists is the policy with what its generated lists stand for: in hooks, in
// enforcers and in filters. all are the names that the kernel has, of system calls
// or of functions. The error holds a [*FieldError] for each list and each use of one
// that does not fit.
func (p *Policy) WithLists(all func(syscalls bool) ([]string, error)) (*Policy, error) {
	if len(p.Generated) == 0 {
		return p, nil
	}
	r := listResolver{lists: map[string][]string{}}
	for _, g := range p.Generated {
		r.match(g, all)
	}
	if len(r.faults) > 0 {
		return nil, errors.Join(r.faults...)
	}
	with := *p
	with.Generated, with.EnforcerLists = nil, nil
	with.Enforcers = slices.Clone(p.Enforcers)
	for _, name := range p.EnforcerLists {
		at := position{path: "spec.enforcers[0].calls"}
		if names, ok := r.use(at, name, false); ok {
			calls, reason := enforcerNames(names)
			with.Enforcers = append(with.Enforcers, calls...)
			r.refuse(at, name, reason)
		}
	}
	with.Enforcers = unique(with.Enforcers)
	with.Hooks = slices.Clone(p.Hooks)
	for i := range with.Hooks {
		r.hook(&with.Hooks[i])
	}
	if err := errors.Join(r.faults...); err != nil {
		return nil, err
	}
	return &with, nil
}

// listResolver puts the values of lists where they are used.
type listResolver struct {
	lists  map[string][]string
	names  names
	values int // of all uses
	faults []error
}

// match finds the values of a list.
func (r *listResolver) match(g Generated, all func(syscalls bool) ([]string, error)) {
	names, err := all(g.Syscalls)
	if err == nil {
		var pattern *regexp.Regexp
		if pattern, err = regexp.Compile(g.Pattern); err == nil {
			names = slices.DeleteFunc(slices.Clone(names), func(s string) bool { return !pattern.MatchString(s) })
		}
	}
	if err == nil && len(names) > MaxValues {
		err = fmt.Errorf("stands for %d names, more than %d", len(names), MaxValues)
	}
	if err != nil {
		r.faults = append(r.faults, g.at.fault("%v", err))
	}
	r.lists[g.Name] = names
}

// use is what a list stands for at one of its uses, which are counted; it is false
// when that is a fault. What is wrong with the values there is for refuse to tell.
func (r *listResolver) use(at position, name string, mayBeEmpty bool) ([]string, bool) {
	names := r.lists[name]
	if r.values > MaxNodes {
		return nil, false // told before
	}
	switch r.values += len(names); {
	case r.values > MaxNodes:
		r.refuse(at, name, fmt.Sprintf("generated lists stand for more than %d names at their uses", MaxNodes))
	case len(names) == 0 && !mayBeEmpty:
		r.refuse(at, name, "the kernel has nothing that its pattern matches")
	default:
		return names, true
	}
	return nil, false
}

// refuse notes what is wrong with a use of a list; empty: nothing.
func (r *listResolver) refuse(at position, name, reason string) {
	if reason != "" {
		r.faults = append(r.faults, at.fault("list %s: %s", quote(name), reason))
	}
}

func (r *listResolver) hook(h *Hook) {
	if _, generated := r.lists[h.List]; generated {
		at := h.at.below(".call")
		if names, ok := r.use(at, h.List, h.IgnoreMissing); ok {
			var reason string
			h.Calls, reason = callNames(names, h.Syscall)
			r.refuse(at, h.List, reason)
		}
	}
	h.Selectors = slices.Clone(h.Selectors)
	for i := range h.Selectors {
		s := &h.Selectors[i]
		s.Args = slices.Clone(s.Args)
		for j := range s.Args {
			r.filter(&s.Args[j])
		}
	}
}

func (r *listResolver) filter(f *ArgFilter) {
	if len(f.Lists) == 0 {
		return
	}
	f.Ranges = slices.Clone(f.Ranges)
	for _, name := range f.Lists {
		at := f.at.below(".values")
		if names, ok := r.use(at, name, false); ok {
			ranges, reason := r.names.callNumbers(names)
			f.Ranges = append(f.Ranges, ranges...)
			r.refuse(at, name, reason)
		}
	}
	f.Lists = nil
	f.orderRanges(ArgUint64)
}
