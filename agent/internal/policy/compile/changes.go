// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/boltseal/boltseal/bpf"
)

// Changes is what the kernel's maps lack. It is written in the order of the
// fields: each names only what was written before. The rules it is about are in
// no version that is in force, so that evaluations under way do not care which
// part they see.
type Changes struct {
	Site    uint32
	Classes []ClassWrite
	Bounds  []BoundsWrite
	// Automata are those of dimensions that search.
	Automata []AutomatonWrite
	// Insert are values that the kernel does not have.
	Insert []ValueWrite
	// Reclass are values that it has, with another class.
	Reclass []ValueWrite
	// Dims are the dimensions that change, whole.
	Dims []DimensionWrite
	// Delete are values that no rule names any more. A deleted value's memory is
	// reused at once: until a grace period after, nothing may be inserted.
	Delete []ValueKey

	table *Table
	// took is what Cancel gives back, drop what Done makes free.
	took             []uint32
	drop             []uint32
	ranges, automata map[int]rangeTable
}

// ClassWrite is the rules of one class.
type ClassWrite struct {
	ID   uint32
	Bits Bits
}

// BoundsWrite is a range table.
type BoundsWrite struct {
	Offset uint32
	Bounds []bpf.WireBound
}

// AutomatonWrite is an automaton.
type AutomatonWrite struct {
	Offset uint32
	Rows   []bpf.WireAutomatonRow
}

// ValueWrite is a value's class.
type ValueWrite struct {
	Key   ValueKey
	Class uint32
}

// DimensionWrite is one dimension of the site.
type DimensionWrite struct {
	Index int
	Value bpf.WireDimension
}

// Empty tells whether there is nothing to do.
func (c *Changes) Empty() bool {
	return len(c.Classes)+len(c.Bounds)+len(c.Automata)+len(c.Insert)+len(c.Reclass)+len(c.Dims)+len(c.Delete) == 0
}

// Changes is the way from what the kernel has to what is wanted. Call Done when
// the kernel has it, or Cancel. On error, ErrNoRoom, nothing is taken.
func (t *Table) Changes() (*Changes, error) {
	c := &Changes{Site: t.id, table: t, ranges: map[int]rangeTable{}, automata: map[int]rangeTable{}}
	for key, bits := range t.touched {
		if err := c.value(key, bits); err != nil {
			c.Cancel()
			return nil, err
		}
	}
	for i := range t.dims {
		if err := c.dimension(i); err != nil {
			c.Cancel()
			return nil, err
		}
	}
	return c, nil
}

func (c *Changes) value(key ValueKey, bits Bits) error {
	old, exists := c.table.values[key]
	if exists && c.table.pools.sets[old] == bits || !exists && Empty(bits) {
		return nil
	}
	if exists {
		c.drop = append(c.drop, old)
	}
	if Empty(bits) {
		c.Delete = append(c.Delete, key)
		return nil
	}
	class, err := c.class(bits)
	if err != nil {
		return err
	}
	if exists {
		c.Reclass = append(c.Reclass, ValueWrite{key, class})
	} else {
		c.Insert = append(c.Insert, ValueWrite{key, class})
	}
	return nil
}

func (c *Changes) class(bits Bits) (uint32, error) {
	id, fresh, err := c.table.pools.class(bits)
	if err != nil {
		return 0, err
	}
	c.took = append(c.took, id)
	if fresh {
		c.Classes = append(c.Classes, ClassWrite{id, bits})
	}
	return id, nil
}

func (c *Changes) dimension(i int) error {
	d := &c.table.dims[i]
	if d.stale {
		if err := c.bounds(i); err != nil {
			return err
		}
	}
	if d.staleAutomaton {
		if err := c.automaton(i); err != nil {
			return err
		}
	}
	if d.wanted != d.kernel {
		c.Dims = append(c.Dims, DimensionWrite{i, d.wanted})
	}
	return nil
}

// bounds builds the range table of a dimension anew: a live one is never
// changed.
func (c *Changes) bounds(dim int) error {
	d := &c.table.dims[dim]
	starts := c.table.boundaries(dim)
	if len(starts) > maxBounds {
		return fmt.Errorf("%w: %d bounds of integers at one argument: at most %d", ErrNoRoom, len(starts), maxBounds)
	}
	write := BoundsWrite{}
	first := len(c.took)
	for _, start := range starts {
		class, err := c.class(c.table.satisfied(dim, start))
		if err != nil {
			return err
		}
		write.Bounds = append(write.Bounds, bpf.WireBound{Bound: start, Class: class})
	}
	region, err := c.table.pools.bounds(uint32(len(starts)))
	if err != nil {
		return err
	}
	c.ranges[dim] = rangeTable{region, slices.Clone(c.took[first:])}
	d.wanted.Bounds = uint64(region.off)<<32 | uint64(region.n)
	write.Offset = region.off
	if len(write.Bounds) > 0 {
		c.Bounds = append(c.Bounds, write)
	}
	return nil
}

// boundaries is where the answer of some range filter of a dimension changes.
func (t *Table) boundaries(dim int) []uint64 {
	var starts []uint64
	for _, e := range t.rules {
		if e == nil {
			continue
		}
		for _, f := range e.rule.Filters {
			if f.Kind != bpf.WireMatchKindMATCH_RANGE || t.Dimension(e.hook, f.Read) != dim {
				continue
			}
			for _, i := range f.Intervals {
				starts = append(starts, i.Lo)
				if i.Hi+1 != 0 {
					starts = append(starts, i.Hi+1)
				}
			}
		}
	}
	slices.Sort(starts)
	return slices.Compact(starts)
}

// satisfied is the rules whose intervals of a dimension hold a number.
func (t *Table) satisfied(dim int, n uint64) Bits {
	var b Bits
	for bit, e := range t.rules {
		if e == nil {
			continue
		}
		for _, f := range e.rule.Filters {
			if f.Kind != bpf.WireMatchKindMATCH_RANGE || t.Dimension(e.hook, f.Read) != dim {
				continue
			}
			i, found := slices.BinarySearchFunc(f.Intervals, n, func(i Interval, n uint64) int { return cmp.Compare(i.Lo, n) })
			if found || i > 0 && f.Intervals[i-1].Hi >= n {
				b = With(b, bit)
			}
		}
	}
	return b
}

// Done notes that the kernel has the changes. Release gives back what they made
// free, a grace period later; it is nil when that is nothing.
func (c *Changes) Done() (release func()) {
	t := c.table
	for _, w := range c.Insert {
		t.values[w.Key] = w.Class
	}
	for _, w := range c.Reclass {
		t.values[w.Key] = w.Class
	}
	for _, key := range c.Delete {
		delete(t.values, key)
	}
	clear(t.touched)
	for _, w := range c.Dims {
		t.dims[w.Index].kernel = w.Value
	}
	drop, dropBounds, dropRows := c.drop, []span(nil), []span(nil)
	for dim, ranges := range c.ranges {
		d := &t.dims[dim]
		drop = append(drop, d.ranges.classes...)
		dropBounds = append(dropBounds, d.ranges.region)
		d.ranges, d.stale = ranges, false
	}
	for dim, automaton := range c.automata {
		d := &t.dims[dim]
		drop = append(drop, d.automaton.classes...)
		dropRows = append(dropRows, d.automaton.region)
		d.automaton, d.staleAutomaton = automaton, false
	}
	if len(drop)+len(dropBounds)+len(dropRows) == 0 {
		return nil
	}
	return func() {
		for _, id := range drop {
			t.pools.drop(id)
		}
		for _, s := range dropBounds {
			t.pools.dropBounds(s)
		}
		for _, s := range dropRows {
			t.pools.rows.give(s)
		}
	}
}

// Cancel gives back what the changes would have used; the kernel must have none
// of them. What is wanted stays as it is.
func (c *Changes) Cancel() {
	_, release := c.Revert()
	release()
}

// Revert is for changes of which the kernel has a part, and cannot have all: undo
// is the changes back, which nobody notes. What they used is given back with
// release, a grace period later. What is wanted stays as it is.
func (c *Changes) Revert() (undo *Changes, release func()) {
	undo = &Changes{Site: c.Site}
	for _, w := range c.Insert {
		undo.Delete = append(undo.Delete, w.Key)
	}
	for _, w := range c.Reclass {
		undo.Reclass = append(undo.Reclass, ValueWrite{w.Key, c.table.values[w.Key]})
	}
	for dim := range c.ranges {
		d := &c.table.dims[dim]
		d.wanted.Bounds = d.kernel.Bounds
	}
	for dim := range c.automata {
		d := &c.table.dims[dim]
		d.wanted.Automaton = d.kernel.Automaton
	}
	for _, w := range c.Dims {
		undo.Dims = append(undo.Dims, DimensionWrite{w.Index, c.table.dims[w.Index].kernel})
	}
	return undo, func() {
		for _, id := range c.took {
			c.table.pools.drop(id)
		}
		for _, ranges := range c.ranges {
			c.table.pools.dropBounds(ranges.region)
		}
		for _, automaton := range c.automata {
			c.table.pools.rows.give(automaton.region)
		}
	}
}
