// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/boltseal/boltseal/bpf"
)

const (
	maxRows = int(bpf.WireLimitsAUTOMATON_ROWS)
	// maxStates bounds the work of building one automaton.
	maxStates = maxRows / 2
	halves    = 16
)

// automaton finds substrings as the programs do: see the shared header. States that
// end a substring come first, after the one where a search begins.
type automaton struct {
	rows []bpf.WireAutomatonRow
	// ends is the rules whose substrings end at state 1, 2, ...
	ends []Bits
}

// trie is the substrings by their beginnings; node 0 is the empty one.
type trie struct {
	next []map[byte]int
	ends []Bits
	// order is the nodes from short to long.
	order []int
	// move is where a node leads to with each byte.
	move [][256]uint16
}

// newAutomaton makes what finds substrings; fold: letters of both cases are one, and
// the substrings have small ones.
func newAutomaton(substrings map[string]Bits, fold bool) (*automaton, error) {
	t := &trie{next: []map[byte]int{{}}, ends: []Bits{{}}}
	for _, s := range slices.Sorted(maps.Keys(substrings)) {
		if t.insert(s, substrings[s]); len(t.next) > maxStates {
			return nil, fmt.Errorf("%w: substrings at one argument have more than %d characters", ErrNoRoom, maxStates)
		}
	}
	t.connect(fold)
	return t.automaton()
}

func (t *trie) insert(s string, rules Bits) {
	at := 0
	for i := range len(s) {
		next, ok := t.next[at][s[i]]
		if !ok {
			next = len(t.next)
			t.next[at][s[i]] = next
			t.next, t.ends = append(t.next, map[byte]int{}), append(t.ends, Bits{})
		}
		at = next
	}
	t.ends[at] = join(t.ends[at], rules)
}

func join(a, b Bits) Bits {
	for i := range a.Word {
		a.Word[i] |= b.Word[i]
	}
	return a
}

// connect finds where each node leads to: to the longest end of what was read that is
// the beginning of a substring.
func (t *trie) connect(fold bool) {
	t.move = make([][256]uint16, len(t.next))
	fall := make([]int, len(t.next))
	t.order = append(t.order, 0)
	for i := 0; i < len(t.order); i++ {
		node := t.order[i]
		if node != 0 {
			t.move[node] = t.move[fall[node]]
			t.ends[node] = join(t.ends[node], t.ends[fall[node]])
		}
		for _, b := range slices.Sorted(maps.Keys(t.next[node])) {
			next := t.next[node][b]
			if node != 0 {
				fall[next] = int(t.move[node][b])
			}
			t.move[node][b] = uint16(next)
			t.order = append(t.order, next)
		}
		for b := byte('A'); fold && b <= 'Z'; b++ {
			t.move[node][b] = t.move[node][b+'a'-'A']
		}
	}
}

// automaton numbers the nodes and shares rows that are alike.
func (t *trie) automaton() (*automaton, error) {
	states := slices.Clone(t.order[1:])
	slices.SortStableFunc(states, func(a, b int) int {
		return cmp.Compare(number(Empty(t.ends[a])), number(Empty(t.ends[b])))
	})
	states = append([]int{0}, states...)
	state := make([]uint16, len(states))
	a := &automaton{rows: make([]bpf.WireAutomatonRow, len(states))}
	for i, node := range states {
		state[node] = uint16(i)
		if !Empty(t.ends[node]) {
			a.ends = append(a.ends, t.ends[node])
		}
	}
	shared := map[bpf.WireAutomatonRow]uint16{}
	for i, node := range states {
		for high := range halves {
			var row bpf.WireAutomatonRow
			for low := range halves {
				setNumber(&row, low, state[t.move[node][high<<4|low]])
			}
			at, ok := shared[row]
			if !ok {
				if len(a.rows) == maxRows {
					return nil, fmt.Errorf("%w: substrings at one argument need more than %d rows", ErrNoRoom, maxRows)
				}
				at = uint16(len(a.rows))
				shared[row] = at
				a.rows = append(a.rows, row)
			}
			setNumber(&a.rows[i], high, at)
		}
	}
	return a, nil
}

func number(is bool) int {
	if is {
		return 1
	}
	return 0
}

func setNumber(row *bpf.WireAutomatonRow, half int, n uint16) {
	row.Words[half/4] |= uint64(n) << (half % 4 * 16)
}

// classesOfRow is how many classes a row holds.
const classesOfRow = 8

// classRows are the rows that hold the classes of the states that end a substring.
func classRows(classes []uint32) []bpf.WireAutomatonRow {
	rows := make([]bpf.WireAutomatonRow, (len(classes)+classesOfRow-1)/classesOfRow)
	for i, class := range classes {
		in := i % classesOfRow
		rows[i/classesOfRow].Words[in/2] |= uint64(class) << (in % 2 * 32)
	}
	return rows
}

// substrings are those that the rules of a dimension look for, each with its rules.
func (t *Table) substrings(dim int) map[string]Bits {
	all := map[string]Bits{}
	for bit, e := range t.rules {
		if e == nil {
			continue
		}
		for _, f := range e.rule.Filters {
			if len(f.Substrings) == 0 || t.Dimension(e.hook, f.Read) != dim {
				continue
			}
			for _, s := range f.Substrings {
				all[s] = With(all[s], bit)
			}
		}
	}
	return all
}

// automaton builds the automaton of a dimension anew: a live one is never changed.
func (c *Changes) automaton(dim int) error {
	d := &c.table.dims[dim]
	substrings := c.table.substrings(dim)
	if len(substrings) == 0 {
		c.automata[dim], d.wanted.Automaton = rangeTable{}, 0
		return nil
	}
	a, err := newAutomaton(substrings, c.table.reads[dim].Kind == bpf.WireReadKindREAD_SUBSTRING_FOLDED)
	if err != nil {
		return err
	}
	first := len(c.took)
	for _, rules := range a.ends {
		if _, err := c.class(rules); err != nil {
			return err
		}
	}
	classes := slices.Clone(c.took[first:])
	classRow := len(a.rows)
	rows := append(a.rows, classRows(classes)...)
	if len(rows) > maxRows {
		return fmt.Errorf("%w: substrings at one argument need more than %d rows", ErrNoRoom, maxRows)
	}
	region, err := c.table.pools.rows.take(uint32(len(rows)))
	if err != nil {
		return fmt.Errorf("%w: no %d consecutive rows for substrings are free", ErrNoRoom, len(rows))
	}
	c.automata[dim] = rangeTable{region, classes}
	d.wanted.Automaton = uint64(region.off)<<32 | uint64(classRow)<<16 | uint64(len(classes))
	c.Automata = append(c.Automata, AutomatonWrite{Offset: region.off, Rows: rows})
	return nil
}
