// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/boltseal/boltseal/bpf"
)

// kernel is what the maps of one site hold, and an evaluation as bpf/site/site.h
// does it. It refuses changes that an evaluation under way could see half of.
type kernel struct {
	id      uint32
	keys    *Keys
	classes map[uint32]Bits
	bounds  map[uint32]bpf.WireBound
	values  map[ValueKey]uint32
	site    bpf.WireSite
	// breakOff makes write fail at that value, counted from 1.
	breakOff int
}

var errBroken = errors.New("broken off")

func newKernel(t *Table) *kernel {
	return &kernel{
		id: t.id, keys: t.keys, site: t.Initial(),
		classes: map[uint32]Bits{}, bounds: map[uint32]bpf.WireBound{}, values: map[ValueKey]uint32{},
	}
}

// write takes changes as package engine writes them.
func (k *kernel) write(c *Changes) error {
	if c.Site != k.id {
		return fmt.Errorf("changes of site %d", c.Site)
	}
	used := k.named()
	for _, w := range c.Classes {
		if used[w.ID] {
			return fmt.Errorf("class %d is written while a value or a range names it", w.ID)
		}
		k.classes[w.ID] = w.Bits
	}
	for _, w := range c.Bounds {
		for i, b := range w.Bounds {
			at := w.Offset + uint32(i)
			if k.reachable(at) {
				return fmt.Errorf("bound %d is written while a dimension names its table", at)
			}
			k.bounds[at] = b
		}
	}
	step := 0
	for _, w := range c.Insert {
		if step++; step == k.breakOff {
			return errBroken
		}
		if _, exists := k.values[w.Key]; exists {
			return fmt.Errorf("value %v is inserted, and is there", w.Key)
		}
		k.values[w.Key] = w.Class
	}
	for _, w := range c.Reclass {
		if step++; step == k.breakOff {
			return errBroken
		}
		if _, exists := k.values[w.Key]; !exists {
			return fmt.Errorf("value %v changes its class, and is not there", w.Key)
		}
		k.values[w.Key] = w.Class
	}
	for _, w := range c.Dims {
		k.site.Dims[w.Index] = w.Value
	}
	for _, key := range c.Delete {
		// The way back does not know how far the way there was made.
		if _, exists := k.values[key]; !exists && c.table != nil {
			return fmt.Errorf("value %v is deleted, and is not there", key)
		}
		delete(k.values, key)
	}
	return nil
}

// named is the classes that an evaluation can reach.
func (k *kernel) named() map[uint32]bool {
	named := map[uint32]bool{}
	for _, class := range k.values {
		named[class] = true
	}
	for at, b := range k.bounds {
		if k.reachable(at) {
			named[b.Class] = true
		}
	}
	return named
}

func (k *kernel) reachable(bound uint32) bool {
	return slices.ContainsFunc(k.site.Dims[:], func(d bpf.WireDimension) bool {
		first, n := uint32(d.Bounds>>32), uint32(d.Bounds)
		return bound >= first && bound < first+n
	})
}

// evaluate is the rules of a set that an event satisfies. values are those of
// the site's reads; all is the rules in force and enforced those that enforce.
func (k *kernel) evaluate(reads []Read, values []Value, all, enforced Bits) Bits {
	matching := all
	for dim, read := range reads {
		d := &k.site.Dims[dim]
		if read.Text() {
			k.text(&matching, d, dim, values[dim], enforced)
		} else {
			k.integer(&matching, d, dim, values[dim].Number, read.Signed)
		}
	}
	return matching
}

func (k *kernel) integer(matching *Bits, d *bpf.WireDimension, dim int, n uint64, signed bool) {
	if d.Kinds&(1<<bpf.WireMatchKindMATCH_EXACT) != 0 {
		key := ValueKey{Tag: k.tag(dim, bpf.WireMatchKindMATCH_EXACT), Len: 8, Lane: [lanes]uint64{n}}
		keep(matching, d.Miss[bpf.WireMatchKindMATCH_EXACT], k.delta(key))
	}
	if d.Kinds&(1<<bpf.WireMatchKindMATCH_RANGE) == 0 {
		return
	}
	if signed {
		n ^= 1 << 63
	}
	first, size := uint32(d.Bounds>>32), int(uint32(d.Bounds))
	if size > maxBounds {
		panic("the programs cannot search a table of this size")
	}
	// The last element that is not above the number.
	i := sort.Search(size, func(i int) bool { return k.bounds[first+uint32(i)].Bound > n })
	var delta Bits
	if i > 0 {
		delta = k.classes[k.bounds[first+uint32(i-1)].Class]
	}
	keep(matching, d.Miss[bpf.WireMatchKindMATCH_RANGE], delta)
}

func (k *kernel) text(matching *Bits, d *bpf.WireDimension, dim int, v Value, enforced Bits) {
	if d.Kinds == 0 {
		return
	}
	if v.Unreadable {
		for w := range matching.Word {
			matching.Word[w] &= ^d.Uses.Word[w] | enforced.Word[w]
		}
		return
	}
	for kind := bpf.WireMatchKindMATCH_EXACT; kind <= bpf.WireMatchKindMATCH_NOT_POSTFIX; kind++ {
		if d.Kinds&(1<<kind) == 0 {
			continue
		}
		var joined Bits
		for _, part := range parts(d, kind, v.String) {
			delta := k.delta(ValueKey{Tag: k.tag(dim, kind), Len: uint32(len(part)), Lane: k.keys.Hash(part)})
			for w := range joined.Word {
				joined.Word[w] |= delta.Word[w]
			}
		}
		keep(matching, d.Miss[kind], joined)
	}
}

// parts is what is looked up of a string by one kind of comparison.
func parts(d *bpf.WireDimension, kind Kind, s string) (out []string) {
	if kind == bpf.WireMatchKindMATCH_EXACT {
		return []string{s}
	}
	lengths := d.PrefixLengths[:]
	if kind >= bpf.WireMatchKindMATCH_POSTFIX {
		lengths = d.PostfixLengths[:]
	}
	for n := range min(len(s)+1, 64*len(lengths)) {
		if lengths[n/64]&(1<<(n%64)) == 0 {
			continue
		}
		if kind >= bpf.WireMatchKindMATCH_POSTFIX {
			out = append(out, s[len(s)-n:])
		} else {
			out = append(out, s[:n])
		}
	}
	return out
}

func (k *kernel) tag(dim int, kind Kind) uint32 { return k.id<<16 | uint32(dim)<<8 | uint32(kind) }

func (k *kernel) delta(key ValueKey) Bits {
	if class, ok := k.values[key]; ok {
		return k.classes[class]
	}
	return Bits{}
}

func keep(matching *Bits, miss, delta Bits) {
	for w := range matching.Word {
		matching.Word[w] &= miss.Word[w] ^ delta.Word[w]
	}
}
