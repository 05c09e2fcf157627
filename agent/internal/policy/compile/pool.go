// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"
	"slices"

	"github.com/boltseal/boltseal/bpf"
)

// ErrNoRoom says that a fixed limit of the kernel maps is reached. The error
// that wraps it names the limit.
var ErrNoRoom = errors.New("no room")

// Bits is a set of rules of one site.
type Bits = bpf.WireRuleBits

// With is the set with one rule more.
func With(b Bits, rule int) Bits {
	b.Word[rule/64] |= 1 << (rule % 64)
	return b
}

// Without is the set with one rule less.
func Without(b Bits, rule int) Bits {
	b.Word[rule/64] &^= 1 << (rule % 64)
	return b
}

// Has tells whether a rule is in the set.
func Has(b Bits, rule int) bool { return b.Word[rule/64]&(1<<(rule%64)) != 0 }

// Empty tells whether no rule is in the set.
func Empty(b Bits) bool { return b == Bits{} }

// Pools hands out what all sites share: classes, and room for range tables and automata.
// What is given back must be out of every evaluation's sight first. Not safe
// for concurrent use.
type Pools struct {
	classes map[Bits]uint32
	sets    []Bits
	refs    []int
	free    []uint32
	// room is what is free of the bounds map, rows of the automata.
	room, rows room
}

type span struct{ off, n uint32 }

// room is free ranges, sorted and disjoint.
type room []span

// NewPools makes pools for maps of these sizes.
func NewPools(classes, bounds uint32) *Pools {
	p := &Pools{
		classes: map[Bits]uint32{},
		sets:    make([]Bits, classes),
		refs:    make([]int, classes),
		room:    room{{0, bounds}},
		rows:    room{{0, uint32(maxRows)}},
	}
	for id := range classes {
		p.free = append(p.free, classes-1-id)
	}
	return p
}

// FreeClasses is the number of classes that nothing uses.
func (p *Pools) FreeClasses() int { return len(p.free) }

// FreeRoom is how many bounds of integers and how many rows of automata nothing uses.
func (p *Pools) FreeRoom() (bounds, rows uint64) { return p.room.free(), p.rows.free() }

// class takes a reference to the class of a set; fresh: its value must be
// written before anything names it.
func (p *Pools) class(b Bits) (id uint32, fresh bool, err error) {
	id, ok := p.classes[b]
	if !ok {
		if len(p.free) == 0 {
			return 0, false, fmt.Errorf("%w: %d classes of values are in use", ErrNoRoom, len(p.sets))
		}
		id, p.free = p.free[len(p.free)-1], p.free[:len(p.free)-1]
		p.classes[b], p.sets[id] = id, b
	}
	p.refs[id]++
	return id, !ok, nil
}

// drop gives a reference back. The id can be handed out again at once, so the
// caller drops only what no evaluation can reach.
func (p *Pools) drop(id uint32) {
	if p.refs[id]--; p.refs[id] == 0 {
		delete(p.classes, p.sets[id])
		p.free = append(p.free, id)
	}
}

// bounds takes room for n elements.
func (p *Pools) bounds(n uint32) (span, error) {
	s, err := p.room.take(n)
	if err != nil {
		return s, fmt.Errorf("%w: no %d consecutive bounds of integers are free", ErrNoRoom, n)
	}
	return s, nil
}

func (p *Pools) dropBounds(s span) { p.room.give(s) }

// free is how many elements are free.
func (r room) free() (n uint64) {
	for _, s := range r {
		n += uint64(s.n)
	}
	return n
}

// take takes n consecutive elements.
func (r *room) take(n uint32) (span, error) {
	if n == 0 {
		return span{}, nil
	}
	for i, s := range *r {
		switch {
		case s.n == n:
			*r = slices.Delete(*r, i, i+1)
			return s, nil
		case s.n > n:
			(*r)[i] = span{s.off + n, s.n - n}
			return span{s.off, n}, nil
		}
	}
	return span{}, ErrNoRoom
}

// give gives back what was taken.
func (r *room) give(s span) {
	if s.n == 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(*r, s, func(a, b span) int { return int(a.off) - int(b.off) })
	all := slices.Insert(*r, i, s)
	joined := all[:1]
	for _, next := range all[1:] {
		if last := &joined[len(joined)-1]; last.off+last.n == next.off {
			last.n += next.n
		} else {
			joined = append(joined, next)
		}
	}
	*r = joined
}
