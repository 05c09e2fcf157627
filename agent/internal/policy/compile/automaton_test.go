// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// find runs an automaton on a text as the programs do.
func (a *automaton) find(text string) (found Bits) {
	half := func(row, n int) int { return int(a.rows[row].Words[n/4] >> (n % 4 * 16) & 0xffff) }
	state := 0
	for _, c := range []byte(text) {
		if state = half(half(state, int(c>>4)), int(c&15)); state > 0 && state <= len(a.ends) {
			found = join(found, a.ends[state-1])
		}
	}
	return found
}

// An automaton finds the substrings that are in a text, and no others: also those
// that overlap, that are in one another, and those of other letters' cases.
func TestAutomatonFindsSubstrings(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	random := func(n, alphabet int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "aAbBzZ[@`{\xff\x01"[r.IntN(alphabet)]
		}
		return string(b)
	}
	found := 0
	for range 400 {
		alphabet := 1 + r.IntN(12)
		substrings, fold := map[string]Bits{}, r.IntN(2) == 0
		for bit := range 1 + r.IntN(100) {
			s := random(1+r.IntN(1+r.IntN(8)), alphabet)
			if fold {
				s = policy.FoldASCII(s)
			}
			substrings[s] = With(substrings[s], bit)
		}
		a, err := newAutomaton(substrings, fold)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			text := random(r.IntN(40), alphabet)
			in := text
			if fold {
				in = policy.FoldASCII(text)
			}
			var want Bits
			for s, rules := range substrings {
				if strings.Contains(in, s) {
					want = join(want, rules)
					found++
				}
			}
			if got := a.find(text); got != want {
				t.Fatalf("%v in %q, fold %v: %v, want %v", substrings, text, fold, got, want)
			}
		}
	}
	if found < 1000 {
		t.Errorf("only %d were found: the test shows nothing", found)
	}
}

// The largest filter that the language has fits twice, so that it can be replaced.
func TestAutomatonOfLargestFilter(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	substrings := map[string]Bits{}
	for range 100 {
		b := make([]byte, 99)
		for i := range b {
			b[i] = byte(1 + r.IntN(255))
		}
		substrings[string(b)] = With(Bits{}, 0)
	}
	a, err := newAutomaton(substrings, false)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(a.rows); 2*n > maxRows {
		t.Errorf("%d rows of %d", n, maxRows)
	}
	for s := range substrings {
		if Empty(a.find("x" + s + "y")) {
			t.Errorf("%q is not found", s)
		}
	}
	for i := range 400 {
		substrings[fmt.Sprintf("%d%s", i, strings.Repeat("x", 90))] = With(Bits{}, 0)
	}
	if _, err := newAutomaton(substrings, false); !errors.Is(err, ErrNoRoom) {
		t.Errorf("46,000 characters: %v", err)
	}
}

// What a table takes for automata it gives back, also when a change comes to nothing.
func TestAutomataGiveBack(t *testing.T) {
	t.Parallel()
	text := Read{Kind: bpf.WireReadKindREAD_USER_STRING, Offset: 8, Size: 8}
	hook := &Hook{Reads: []Read{text, computedOf(bpf.WireReadKindREAD_SUBSTRING, text)}}
	rule := func(substrings ...string) *Rule {
		return &Rule{Filters: []Filter{{Read: 1, Kind: bpf.WireMatchKindMATCH_SUBSTRING, Substrings: substrings}}}
	}
	pools := NewPools(100, 100)
	table := NewTable(3, NewKeys(), pools)
	if err := table.Extend(hook); err != nil {
		t.Fatal(err)
	}
	change := func() *Changes {
		c, err := table.Changes()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	done := func() {
		if release := change().Done(); release != nil {
			release()
		}
	}
	table.Add(0, hook, rule("abc", "b"))
	change().Cancel()
	if len(pools.rows) != 1 || int(pools.rows[0].n) != maxRows || pools.FreeClasses() != 100 {
		t.Errorf("after a cancelled change: %v, %d classes", pools.rows, pools.FreeClasses())
	}
	c := change()
	if len(c.Automata) != 1 || len(c.Dims) != 1 || c.Dims[0].Value.Automaton == 0 || c.Dims[0].Value.Kinds != 1 {
		t.Errorf("changes: %+v", c)
	}
	c.Done()
	table.Add(1, hook, rule("bc"))
	done()
	table.Remove(0)
	table.Remove(1)
	done()
	if len(pools.rows) != 1 || int(pools.rows[0].n) != maxRows || pools.FreeClasses() != 100 {
		t.Errorf("after all: %v, %d classes", pools.rows, pools.FreeClasses())
	}
	if table.dims[1].kernel.Automaton != 0 {
		t.Errorf("automaton %x without rules", table.dims[1].kernel.Automaton)
	}
}
