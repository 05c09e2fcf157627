// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/expression"
	"github.com/boltseal/boltseal/bpf"
)

// conjunction joins the filters of one selector so that at most one is left for
// each dimension and kind: the kernel has one bit for each.
type conjunction struct {
	hook *Hook
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
	number    bool
	signed    bool
	// mask has a bit in common with the value, notMask none; 0: no condition.
	mask, notMask uint64
	// never: the mask is empty.
	never bool
	// networks: the address is in one of each; nil: no condition.
	networks []netip.Prefix
	// The address is in none of these.
	notNetworks []netip.Prefix
	// substrings: the text has one of them; nil: no condition.
	substrings []string
	// expression is what the number is the value of.
	expression *expression.Program
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

// addArg adds a filter on an argument.
func (c *conjunction) addArg(f policy.ArgFilter) error { return c.add(f, c.hook.operands(false)) }

// add adds a filter on one of the operands.
func (c *conjunction) add(f policy.ArgFilter, on operands) error {
	if ok, err := c.addComputed(f, on); ok {
		return err
	}
	// Arguments that are read alike are one dimension, where a rule has but one
	// filter of a kind: they are joined as if they were one.
	read, t := slices.Index(c.hook.Reads, on.reads[f.Arg]), on.types[f.Arg]
	switch {
	case t == policy.ArgSockaddrUn && f.Op == policy.OpFamily:
		c.addIntegers(c.hook.filterRead(unixFamily(c.hook.Reads[f.Arg])), f.Ranges, false, false)
		return nil
	case t.Text():
		if !c.addStrings(read, f.Op, f.Strings) {
			return fmt.Errorf("%s: %w", f.Op, policy.ErrUnsupported)
		}
		return nil
	case t.Socket():
		return c.addSocket(read, f)
	case !t.Word():
		return fmt.Errorf("%s on type %s: %w", f.Op, t, policy.ErrUnsupported)
	case f.Op == policy.OpMask:
		mask := uint64(0)
		for _, m := range f.Masks {
			mask |= m
		}
		c.addMask(read, mask)
		return nil
	}
	c.addIntegers(read, f.Ranges, f.Op.Negated(), t.Signed() || t == policy.ArgCapability)
	return nil
}

// addSocket adds a filter on a part of a socket.
func (c *conjunction) addSocket(of int, f policy.ArgFilter) error {
	whole := c.hook.Reads[of]
	parts := map[policy.Operator]bpf.WireReadKind{
		policy.OpSPort: bpf.WireReadKindREAD_SOURCE_PORT, policy.OpSPortPriv: bpf.WireReadKindREAD_SOURCE_PORT,
		policy.OpDPort: bpf.WireReadKindREAD_TARGET_PORT, policy.OpDPortPriv: bpf.WireReadKindREAD_TARGET_PORT,
		policy.OpSAddr: bpf.WireReadKindREAD_SOURCE_ADDRESS, policy.OpDAddr: bpf.WireReadKindREAD_TARGET_ADDRESS,
		policy.OpProtocol: bpf.WireReadKindREAD_PROTOCOL, policy.OpFamily: bpf.WireReadKindREAD_FAMILY,
		policy.OpState: bpf.WireReadKindREAD_STATE,
	}
	kind, ok := parts[f.Op.Positive()]
	if !ok {
		return fmt.Errorf("%s: %w", f.Op, policy.ErrUnsupported)
	}
	read := c.hook.filterRead(partOf(whole, kind))
	if !c.hook.Reads[read].Address() {
		c.addIntegers(read, f.Ranges, f.Op.Negated(), false)
		return nil
	}
	d := c.dim(read)
	switch {
	case f.Op.Negated():
		d.notNetworks = append(d.notNetworks, f.Prefixes...)
	case d.networks == nil:
		d.networks = slices.Clone(f.Prefixes)
	default:
		d.networks = bothNetworks(d.networks, f.Prefixes)
	}
	return nil
}

// bothNetworks is the networks of addresses that are in one of a and one of b: of
// two that overlap one holds the other.
func bothNetworks(a, b []netip.Prefix) []netip.Prefix {
	joint := []netip.Prefix{}
	for _, x := range a {
		for _, y := range b {
			if !x.Overlaps(y) {
				continue
			}
			if x.Bits() < y.Bits() {
				x = y
			}
			if !slices.Contains(joint, x) {
				joint = append(joint, x)
			}
		}
	}
	return joint
}

// addMask adds a filter on bits. A rule has one mask for a dimension: of another
// one the value is looked at once more.
func (c *conjunction) addMask(read int, mask uint64) {
	for {
		d := c.dim(read)
		d.number = true
		switch {
		case mask == 0:
			d.never = true
			return
		case d.mask == 0 || d.mask == mask:
			d.mask = mask
			return
		}
		again := c.hook.Reads[read]
		again.Copy++
		read = c.hook.filterRead(again)
	}
}

// points are ranges of one value each, sorted and unique.
func points(values []uint32) []policy.Range {
	values = slices.Clone(values)
	slices.Sort(values)
	ranges := []policy.Range{}
	for _, v := range slices.Compact(values) {
		ranges = append(ranges, policy.Range{Lo: uint64(v), Hi: uint64(v)})
	}
	return ranges
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
func (c *conjunction) addIntegers(read int, ranges []policy.Range, negated, signed bool) {
	d := c.dim(read)
	d.number, d.signed = true, signed
	allowed := make([]Interval, 0, len(ranges))
	for _, r := range ranges {
		allowed = append(allowed, Interval{ordered(r.Lo, d.signed), ordered(r.Hi, d.signed)})
	}
	slices.SortFunc(allowed, func(a, b Interval) int { return cmp.Compare(a.Lo, b.Lo) })
	if negated {
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
	reads := make([]int, 0, len(c.dims))
	for read := range c.dims {
		reads = append(reads, read)
	}
	slices.Sort(reads)
	for _, read := range reads {
		d := c.dims[read]
		var of []Filter
		switch {
		case c.hook.Reads[read].Address():
			of, possible = d.addressFilters()
		case c.hook.Reads[read].Search():
			of, possible = []Filter{{Kind: bpf.WireMatchKindMATCH_SUBSTRING, Substrings: d.substrings}}, true
		case d.number:
			of, possible = d.numberFilters()
		default:
			of, possible = d.stringFilters()
		}
		if !possible {
			return nil, false
		}
		for _, f := range of {
			f.Read = read
			filters = append(filters, f)
		}
	}
	return filters, true
}

func (d *dimension) addressFilters() (filters []Filter, possible bool) {
	if d.networks != nil {
		if len(d.networks) == 0 {
			return nil, false
		}
		filters = append(filters, Filter{Kind: bpf.WireMatchKindMATCH_PREFIX, Networks: d.networks})
	}
	if len(d.notNetworks) > 0 {
		filters = append(filters, Filter{Kind: bpf.WireMatchKindMATCH_NOT_PREFIX, Networks: d.notNetworks})
	}
	return filters, true
}

func (d *dimension) numberFilters() (filters []Filter, possible bool) {
	if d.never {
		return nil, false
	}
	if d.intervals != nil {
		if filters, possible = d.integerFilters(); !possible {
			return nil, false
		}
	}
	if d.mask != 0 {
		filters = append(filters, Filter{Kind: bpf.WireMatchKindMATCH_MASK, Mask: d.mask})
	}
	if d.notMask != 0 {
		filters = append(filters, Filter{Kind: bpf.WireMatchKindMATCH_NOT_MASK, Mask: d.notMask})
	}
	return filters, true
}

func (d *dimension) integerFilters() ([]Filter, bool) {
	if len(d.intervals) == 0 {
		return nil, false
	}
	if points, ok := d.points(d.intervals); ok {
		return []Filter{{Kind: bpf.WireMatchKindMATCH_EXACT, Numbers: points, Expression: d.expression}}, true
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
