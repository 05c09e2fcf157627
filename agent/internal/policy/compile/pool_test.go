// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBits(t *testing.T) {
	t.Parallel()
	for _, rule := range []int{0, 63, 64, 511} {
		b := With(Bits{}, rule)
		if !Has(b, rule) || Empty(b) {
			t.Errorf("rule %d is not in %v", rule, b)
		}
		if b = Without(b, rule); Has(b, rule) || !Empty(b) {
			t.Errorf("rule %d is in %v", rule, b)
		}
	}
}

// Ranges of bounds never overlap, and all room is one piece again at the end.
func TestBoundsAreHandedOutOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 4))
		p := NewPools(1, 200)
		var taken []span
		for range 500 {
			if len(taken) > 0 && r.IntN(2) == 0 {
				i := r.IntN(len(taken))
				p.dropBounds(taken[i])
				taken = slices.Delete(taken, i, i+1)
				continue
			}
			s, err := p.bounds(uint32(r.IntN(20)))
			if err != nil {
				if !errors.Is(err, ErrNoRoom) {
					t.Fatal(err)
				}
				continue
			}
			for _, other := range taken {
				if s.off < other.off+other.n && other.off < s.off+s.n {
					t.Fatalf("seed %d: %v overlaps %v", seed, s, other)
				}
			}
			if s.off+s.n > 200 {
				t.Fatalf("seed %d: %v is outside", seed, s)
			}
			taken = append(taken, s)
		}
		for _, s := range taken {
			p.dropBounds(s)
		}
		if got := fmt.Sprint(p.room); got != "[{0 200}]" {
			t.Fatalf("seed %d: room at the end: %s", seed, got)
		}
	}
}
