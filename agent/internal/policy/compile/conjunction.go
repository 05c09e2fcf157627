// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// conjunction joins the filters of one selector so that at most one is left for
// each dimension and kind: the kernel has one bit for each.
type conjunction struct {
	dims map[int]*dimension
}

// dimension is what one selector asks of one dimension.
type dimension struct {
	// equal is what exact comparison allows; nil: everything.
	equal set
	// notEqual is what it excludes.
	notEqual set
	// prefix and postfix: the value has one of each; nil: no condition.
	prefix, postfix []string
	// The value has none of these.
	notPrefix, notPostfix []string
	// intervals is where an integer must be; nil: anywhere.
	intervals []Interval
	integer   bool
	signed    bool
}

type set map[string]bool

func (c *conjunction) dim(arg int) *dimension {
	if c.dims == nil {
		c.dims = map[int]*dimension{}
	}
	d := c.dims[arg]
	if d == nil {
		d = &dimension{notEqual: set{}}
		c.dims[arg] = d
	}
	return d
}

// addArg adds a filter on an argument; false when its operator is unknown.
func (c *conjunction) addArg(f policy.ArgFilter, t policy.ArgType) bool {
	if t == policy.ArgString {
		return c.addStrings(f.Arg, f.Op, f.Strings)
	}
	c.addIntegers(f, t)
	return true
}

func (c *conjunction) addStrings(arg int, op policy.Operator, values []string) bool {
	d := c.dim(arg)
	switch op {
	case policy.OpEqual, policy.OpIn:
		if d.equal == nil {
			d.equal = toSet(values)
		} else {
			d.equal = intersect(d.equal, toSet(values))
		}
	case policy.OpNotEqual, policy.OpNotIn:
		for _, v := range values {
			d.notEqual[v] = true
		}
	case policy.OpPrefix:
		d.prefix = both(d.prefix, values, strings.HasPrefix)
	case policy.OpPostfix:
		d.postfix = both(d.postfix, values, strings.HasSuffix)
	case policy.OpNotPrefix:
		d.notPrefix = append(d.notPrefix, values...)
	case policy.OpNotPostfix:
		d.notPostfix = append(d.notPostfix, values...)
	default:
		return false
	}
	return true
}

// both is the affixes of strings that have one of a and one of b: of two that a
// string can have at once one holds the other. A nil a is no condition.
func both(a, b []string, holds func(long, short string) bool) []string {
	if a == nil {
		return slices.Clone(b)
	}
	joint := []string{}
	for _, x := range a {
		for _, y := range b {
			switch {
			case holds(x, y):
				joint = append(joint, x)
			case holds(y, x):
				joint = append(joint, y)
			}
		}
	}
	slices.Sort(joint)
	return slices.Compact(joint)
}

func toSet(values []string) set {
	s := make(set, len(values))
	for _, v := range values {
		s[v] = true
	}
	return s
}

func intersect(a, b set) set {
	both := set{}
	for v := range a {
		if b[v] {
			both[v] = true
		}
	}
	return both
}

// addIntegers narrows the intervals. Equality of many values is kept apart, for
// a lookup costs the same whatever their number.
func (c *conjunction) addIntegers(f policy.ArgFilter, t policy.ArgType) {
	d := c.dim(f.Arg)
	d.integer, d.signed = true, t.Signed()
	allowed := make([]Interval, 0, len(f.Ranges))
	for _, r := range f.Ranges {
		allowed = append(allowed, Interval{ordered(r.Lo, d.signed), ordered(r.Hi, d.signed)})
	}
	slices.SortFunc(allowed, func(a, b Interval) int { return cmp.Compare(a.Lo, b.Lo) })
	if f.Op.Negated() {
		allowed = complement(allowed)
	}
	if d.intervals == nil {
		d.intervals = allowed
	} else {
		d.intervals = overlap(d.intervals, allowed)
	}
}

// ordered maps an integer so that unsigned order is the order of its type. It
// is its own inverse.
func ordered(v uint64, signed bool) uint64 {
	if signed {
		return v ^ 1<<63
	}
	return v
}

// complement is what sorted, disjoint intervals leave of all integers.
func complement(in []Interval) []Interval {
	out := []Interval{}
	next := uint64(0)
	for _, i := range in {
		if i.Lo > next {
			out = append(out, Interval{next, i.Lo - 1})
		}
		if i.Hi == math.MaxUint64 {
			return out
		}
		next = max(next, i.Hi+1)
	}
	return append(out, Interval{next, math.MaxUint64})
}

// overlap is what two lists of sorted, disjoint intervals have in common.
func overlap(a, b []Interval) []Interval {
	out := []Interval{}
	for i, j := 0, 0; i < len(a) && j < len(b); {
		lo, hi := max(a[i].Lo, b[j].Lo), min(a[i].Hi, b[j].Hi)
		if lo <= hi {
			out = append(out, Interval{lo, hi})
		}
		if a[i].Hi < b[j].Hi {
			i++
		} else {
			j++
		}
	}
	return out
}

// filters is what is left to ask, ordered by dimension, and whether any value
// can satisfy it.
func (c *conjunction) filters() (filters []Filter, possible bool) {
	args := make([]int, 0, len(c.dims))
	for arg := range c.dims {
		args = append(args, arg)
	}
	slices.Sort(args)
	for _, arg := range args {
		d := c.dims[arg]
		var of []Filter
		if d.integer {
			of, possible = d.integerFilters()
		} else {
			of, possible = d.stringFilters()
		}
		if !possible {
			return nil, false
		}
		for _, f := range of {
			f.Arg = arg
			filters = append(filters, f)
		}
	}
	return filters, true
}

func (d *dimension) integerFilters() ([]Filter, bool) {
	if len(d.intervals) == 0 {
		return nil, false
	}
	if points, ok := d.points(d.intervals); ok {
		return []Filter{{Kind: bpf.WireMatchKindMATCH_EXACT, Numbers: points}}, true
	}
	if rest := complement(d.intervals); len(rest) > 0 {
		if points, ok := d.points(rest); ok {
			return []Filter{{Kind: bpf.WireMatchKindMATCH_EXACT, Negated: true, Numbers: points}}, true
		}
		return []Filter{{Kind: bpf.WireMatchKindMATCH_RANGE, Intervals: d.intervals}}, true
	}
	return nil, true // everything
}

// points is the values of intervals that hold one value each.
func (d *dimension) points(in []Interval) ([]uint64, bool) {
	points := make([]uint64, 0, len(in))
	for _, i := range in {
		if i.Lo != i.Hi {
			return nil, false
		}
		points = append(points, ordered(i.Lo, d.signed))
	}
	return points, true
}

func (d *dimension) stringFilters() ([]Filter, bool) {
	var out []Filter
	switch {
	case d.equal != nil:
		for v := range d.notEqual {
			delete(d.equal, v)
		}
		if len(d.equal) == 0 {
			return nil, false
		}
		out = append(out, Filter{Kind: bpf.WireMatchKindMATCH_EXACT, Strings: sorted(d.equal)})
	case len(d.notEqual) > 0:
		out = append(out, Filter{Kind: bpf.WireMatchKindMATCH_EXACT, Negated: true, Strings: sorted(d.notEqual)})
	}
	if d.prefix != nil && len(d.prefix) == 0 || d.postfix != nil && len(d.postfix) == 0 {
		return nil, false
	}
	for kind, values := range map[Kind][]string{
		bpf.WireMatchKindMATCH_PREFIX:      d.prefix,
		bpf.WireMatchKindMATCH_POSTFIX:     d.postfix,
		bpf.WireMatchKindMATCH_NOT_PREFIX:  d.notPrefix,
		bpf.WireMatchKindMATCH_NOT_POSTFIX: d.notPostfix,
	} {
		if len(values) > 0 {
			out = append(out, Filter{Kind: kind, Strings: sorted(toSet(values))})
		}
	}
	slices.SortFunc(out, func(a, b Filter) int { return cmp.Compare(a.Kind, b.Kind) })
	return out, true
}

func sorted(s set) []string {
	values := make([]string, 0, len(s))
	for v := range s {
		values = append(values, v)
	}
	slices.Sort(values)
	return values
}
