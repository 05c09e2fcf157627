// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/boltseal/boltseal/bpf"
)

const (
	dims = MaxReads
	// maxBounds is what the binary search of the programs can reach.
	maxBounds = 1<<11 - 1
)

// ValueKey is the key of a matched value.
type ValueKey = bpf.WireValueKey

// Table is the model of one site: which value names which class, and what each
// dimension looks up. Add and Remove change what is wanted; Changes says how
// the kernel's maps get there. Not safe for concurrent use.
type Table struct {
	id    uint32
	keys  *Keys
	pools *Pools

	// reads is what the site's program reads, by dimension, and users how many
	// arguments of hooks need it.
	reads []Read
	users []int
	rules [MaxRules]*entry

	// values is what the kernel has; touched what is wanted in its place.
	values  map[ValueKey]uint32
	touched map[ValueKey]Bits
	dims    [dims]dimensionModel
}

type entry struct {
	hook *Hook
	rule *Rule
}

// dimensionModel is one dimension: as the kernel has it and as it is wanted.
type dimensionModel struct {
	kernel, wanted bpf.WireDimension
	kinds          [bpf.WireMatchKindMATCH_KINDS]int
	lengths        map[affix]int
	// stale tells that the range table no longer holds the rules' intervals.
	stale bool
	// ranges is the kernel's range table.
	ranges rangeTable
	// The same of the automaton that searches.
	staleAutomaton bool
	automaton      rangeTable
}

// rangeTable is what the range table or the automaton of a dimension takes from the
// pools.
type rangeTable struct {
	region  span
	classes []uint32
}

type affix struct {
	postfix bool
	len     int
}

// NewTable makes the model of site id, which has no rules. New kernel maps hold
// what [Table.Initial] says.
func NewTable(id uint32, keys *Keys, pools *Pools) *Table {
	t := &Table{id: id, keys: keys, pools: pools, values: map[ValueKey]uint32{}, touched: map[ValueKey]Bits{}}
	initial := t.Initial()
	for d := range t.dims {
		t.dims[d].kernel, t.dims[d].wanted = initial.Dims[d], initial.Dims[d]
		t.dims[d].lengths = map[affix]int{}
	}
	return t
}

// Initial is a site without rules: every lookup, if there were one, would keep
// every rule.
func (t *Table) Initial() bpf.WireSite {
	var all Bits
	for i := range all.Word {
		all.Word[i] = ^uint64(0)
	}
	var site bpf.WireSite
	for d := range site.Dims {
		for k := range site.Dims[d].Miss {
			site.Dims[d].Miss[k] = all
		}
	}
	return site
}

// Reads is the arguments that the site's program must read, by dimension.
func (t *Table) Reads() []Read { return slices.Clone(t.reads) }

// Extend makes room for the arguments of a hook, until Retract. When Reads has
// changed, the site's program must be replaced to read them. An argument that no
// hook needs any more gives its dimension to another; one that is a string only
// to a string, so that the others keep their numbers in events.
func (t *Table) Extend(h *Hook) error {
	reads, users := slices.Clone(t.reads), slices.Clone(t.users)
	for _, r := range h.Reads {
		i := slices.Index(reads, r)
		for j := 0; i < 0 && j < len(reads); j++ {
			if users[j] == 0 && reads[j].Buffer() == r.Buffer() {
				i = j
			}
		}
		if i < 0 {
			i, reads, users = len(reads), append(reads, r), append(users, 0)
		}
		reads[i] = r
		users[i]++
	}
	buffers, steps := 0, 0
	for _, r := range reads {
		steps += r.Steps()
		if r.Buffer() {
			buffers++
		}
	}
	if steps > MaxCode {
		return fmt.Errorf("%w: expressions of policies at %s would take %d steps: at most %d", ErrNoRoom, h.Site, steps, MaxCode)
	}
	if len(reads) > MaxReads || buffers > MaxStrings {
		return fmt.Errorf("%w: policies at %s would read %d values, %d of them strings or structures: at most %d and %d",
			ErrNoRoom, h.Site, len(reads), buffers, MaxReads, MaxStrings)
	}
	t.reads, t.users = reads, users
	return nil
}

// Retract ends the use of a hook's arguments. Its rules have been removed.
func (t *Table) Retract(h *Hook) {
	for _, r := range h.Reads {
		t.users[slices.Index(t.reads, r)]--
	}
}

// Dimension is the dimension of a hook's read. The hook's reads were passed to
// Extend, and not to Retract since.
func (t *Table) Dimension(h *Hook, read int) int {
	return slices.Index(t.reads, h.Reads[read])
}

// Rule is the rule that has the bit, or nil.
func (t *Table) Rule(bit int) (*Hook, *Rule) {
	if e := t.rules[bit]; e != nil {
		return e.hook, e.rule
	}
	return nil, nil
}

// Room finds n consecutive bits that no rule has.
func (t *Table) Room(n int) (bit int, err error) {
	run := 0
	for i, e := range t.rules {
		if run++; e != nil {
			run = 0
		}
		if run == n {
			return i - n + 1, nil
		}
	}
	return 0, fmt.Errorf("%w: site has no %d consecutive rules left of %d", ErrNoRoom, n, MaxRules)
}

// Add gives a free bit to a rule of a hook that was passed to Extend.
func (t *Table) Add(bit int, h *Hook, r *Rule) {
	t.rules[bit] = &entry{h, r}
	t.apply(bit, h, r, true)
}

// Remove takes the bit from its rule. No version in force may have it.
func (t *Table) Remove(bit int) {
	e := t.rules[bit]
	t.rules[bit] = nil
	t.apply(bit, e.hook, e.rule, false)
}

func (t *Table) apply(bit int, h *Hook, r *Rule, add bool) {
	for i := range r.Filters {
		f := &r.Filters[i]
		dim := t.Dimension(h, f.Read)
		d := &t.dims[dim]
		d.constrain(bit, f, add)
		for _, n := range f.Numbers {
			t.touch(ValueKey{Tag: t.tag(dim, f.Kind), Len: 8, Lane: [lanes]uint64{n}}, bit, add)
		}
		for _, s := range f.Strings {
			t.touch(ValueKey{Tag: t.tag(dim, f.Kind), Len: uint32(len(s)), Lane: t.keys.Hash(s)}, bit, add)
		}
		for mask := f.Mask; mask != 0; mask &= mask - 1 {
			t.touch(ValueKey{Tag: t.tag(dim, f.Kind), Len: uint32(bits.TrailingZeros64(mask))}, bit, add)
		}
		for _, n := range f.Networks {
			t.touch(networkKey(t.tag(dim, f.Kind), n), bit, add)
		}
	}
	for d := range t.dims {
		t.dims[d].wanted.Uses = uses(t, d, t.dims[d].wanted.Uses, bit)
	}
}

// uses sets or clears a rule's bit in the rules that constrain a dimension.
func uses(t *Table, dim int, b Bits, bit int) Bits {
	e := t.rules[bit]
	if e != nil && slices.ContainsFunc(e.rule.Filters, func(f Filter) bool { return t.Dimension(e.hook, f.Read) == dim }) {
		return With(b, bit)
	}
	return Without(b, bit)
}

func (t *Table) tag(dim int, kind Kind) uint32 {
	return t.id<<16 | uint32(dim)<<8 | uint32(kind)
}

// networkKey is the key of a network: its first bits as the programs have them in
// registers, and the family, so that no network has addresses of another's.
func networkKey(tag uint32, n netip.Prefix) ValueKey {
	key := ValueKey{Tag: tag, Len: uint32(n.Bits())}
	if n.Addr().Is4() {
		a := n.Masked().Addr().As4()
		key.Lane = [lanes]uint64{uint64(binary.LittleEndian.Uint32(a[:])), 0, afInet}
		return key
	}
	a := n.Masked().Addr().As16()
	key.Lane = [lanes]uint64{binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:]), afInet6}
	return key
}

// Families of addresses, the kernel's numbers.
const (
	afInet  = 2
	afInet6 = 10
)

func (t *Table) touch(key ValueKey, bit int, add bool) {
	b, ok := t.touched[key]
	if !ok {
		if class, ok := t.values[key]; ok {
			b = t.pools.sets[class]
		}
	}
	if add {
		b = With(b, bit)
	} else {
		b = Without(b, bit)
	}
	t.touched[key] = b
}

// constrain notes that a rule asks something of the dimension, or no longer.
func (d *dimensionModel) constrain(bit int, f *Filter, add bool) {
	step := 1
	if !add {
		step = -1
	}
	if d.kinds[f.Kind] += step; d.kinds[f.Kind] > 0 {
		d.wanted.Kinds |= 1 << f.Kind
	} else {
		d.wanted.Kinds &^= 1 << f.Kind
	}
	negated := f.Negated || f.Kind == bpf.WireMatchKindMATCH_NOT_PREFIX ||
		f.Kind == bpf.WireMatchKindMATCH_NOT_POSTFIX || f.Kind == bpf.WireMatchKindMATCH_NOT_MASK
	if add && !negated {
		d.wanted.Miss[f.Kind] = Without(d.wanted.Miss[f.Kind], bit)
	} else {
		d.wanted.Miss[f.Kind] = With(d.wanted.Miss[f.Kind], bit)
	}
	if f.Kind == bpf.WireMatchKindMATCH_RANGE {
		d.stale = true
	}
	if len(f.Substrings) > 0 {
		d.staleAutomaton = true
	}
	for _, s := range f.Strings {
		if f.Kind != bpf.WireMatchKindMATCH_EXACT {
			d.length(affix{f.Kind >= bpf.WireMatchKindMATCH_POSTFIX, len(s)}, step)
		}
	}
	for _, n := range f.Networks {
		d.length(affix{len: n.Bits()}, step)
	}
}

func (d *dimensionModel) length(a affix, step int) {
	d.lengths[a] += step
	word := &d.wanted.PrefixLengths[a.len/64]
	if a.postfix {
		word = &d.wanted.PostfixLengths[a.len/64]
	}
	if d.lengths[a] > 0 {
		*word |= 1 << (a.len % 64)
		return
	}
	*word &^= 1 << (a.len % 64)
	delete(d.lengths, a)
}
