// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

func TestCancelLeavesNoTrace(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		d := drawn{rand.New(rand.NewPCG(seed, 3))}
		f := newFixture(4096, 4096)
		if _, err := f.add(d.hook(10)); err != nil {
			t.Fatal(err)
		}
		h := d.hook(10)
		if err := f.Extend(h); err != nil {
			t.Fatal(err)
		}
		first, err := f.Room(len(h.Rules))
		if err != nil {
			t.Fatal(err)
		}
		for i := range h.Rules {
			f.Add(first+i, h, &h.Rules[i])
		}
		before := state(f)
		c, err := f.Changes()
		if err != nil {
			t.Fatal(err)
		}
		c.Cancel()
		if diff := cmp.Diff(before, state(f)); diff != "" {
			t.Fatalf("seed %d: after Cancel (-before +after):\n%s", seed, diff)
		}
		if err := f.sync(); err != nil {
			t.Errorf("seed %d: the same changes later: %v", seed, err)
		}
	}
}

// stringHook is a hook whose rules compare one string.
func stringHook(filters ...Filter) *Hook {
	h := &Hook{Site: Site{Kind: Tracepoint, Subsystem: "syscalls", Name: "sys_enter_it"}, Reads: testReads()[:1], Types: []policy.ArgType{policy.ArgString}}
	for _, f := range filters {
		h.Rules = append(h.Rules, Rule{Post: true, Filters: []Filter{f}})
	}
	return h
}

func intHook(filters ...Filter) *Hook {
	h := stringHook(filters...)
	h.Reads, h.Types = testReads()[1:2], []policy.ArgType{policy.ArgInt64}
	return h
}

func manyStrings(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("/%05d", i))
	}
	return all
}

// Wherever a change breaks off, the way back restores the kernel, and the same
// change succeeds later.
func TestRevert(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		d := drawn{rand.New(rand.NewPCG(seed, 5))}
		f := newFixture(4096, 4096)
		if _, err := f.add(d.hook(10)); err != nil {
			t.Fatal(err)
		}
		h := d.hook(10)
		if err := f.Extend(h); err != nil {
			continue
		}
		for i := range h.Rules {
			f.Add(10+i, h, &h.Rules[i])
		}
		model, values, site := state(f), maps.Clone(f.kernel.values), f.kernel.site
		c, err := f.Changes()
		if err != nil {
			t.Fatal(err)
		}
		f.kernel.breakOff = 1 + d.IntN(60)
		if err := f.kernel.write(c); err != nil && !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		f.kernel.breakOff = 0
		undo, release := c.Revert()
		if err := f.kernel.write(undo); err != nil {
			t.Fatalf("seed %d: undo: %v", seed, err)
		}
		if !maps.Equal(values, f.kernel.values) || site != f.kernel.site {
			t.Fatalf("seed %d: the kernel is not as it was", seed)
		}
		release()
		if diff := cmp.Diff(model, state(f)); diff != "" {
			t.Fatalf("seed %d: model (-before +after):\n%s", seed, diff)
		}
		if err := f.sync(); err != nil {
			t.Errorf("seed %d: the same changes later: %v", seed, err)
		}
	}
}

func TestNoRoom(t *testing.T) {
	t.Parallel()
	t.Run("classes", func(t *testing.T) {
		t.Parallel()
		f := newFixture(2, 16)
		// Three rules with a value each of their own: three classes.
		h := stringHook(Filter{Strings: []string{"a"}}, Filter{Strings: []string{"b"}}, Filter{Strings: []string{"c"}})
		checkNoRoom(t, f, h)
		// One class for all values of one rule.
		fits := stringHook(Filter{Strings: manyStrings(1000)})
		if _, err := f.add(fits); err != nil {
			t.Errorf("a rule that fits: %v", err)
		}
	})
	t.Run("bounds", func(t *testing.T) {
		t.Parallel()
		f := newFixture(64, 4)
		checkNoRoom(t, f, intHook(rangesOf(3)))
		if _, err := f.add(intHook(rangesOf(2))); err != nil {
			t.Errorf("a rule that fits: %v", err)
		}
	})
	t.Run("bounds of one argument", func(t *testing.T) {
		t.Parallel()
		f := newFixture(4096, 65536)
		checkNoRoom(t, f, intHook(rangesOf(1024)))
		if _, err := f.add(intHook(rangesOf(1023))); err != nil {
			t.Errorf("a rule that fits: %v", err)
		}
	})
	t.Run("rules", func(t *testing.T) {
		t.Parallel()
		f := newFixture(64, 64)
		h := stringHook(make([]Filter, MaxRules)...)
		for i := range h.Rules {
			h.Rules[i].Filters = nil
		}
		if first, err := f.add(h); first != 0 || err != nil {
			t.Fatalf("all rules that there is room for: %d, %v", first, err)
		}
		if _, err := f.Room(1); !errors.Is(err, ErrNoRoom) {
			t.Errorf("one rule more: %v", err)
		}
		f.Remove(17)
		f.Remove(19)
		if _, err := f.Room(2); !errors.Is(err, ErrNoRoom) {
			t.Errorf("two rules with one between them: %v", err)
		}
		f.Remove(18)
		if bit, err := f.Room(3); bit != 17 || err != nil {
			t.Errorf("room for three is at %d, %v; want 17", bit, err)
		}
	})
}

func TestReads(t *testing.T) {
	t.Parallel()
	at := func(offset int, kind bpf.WireReadKind) *Hook {
		return &Hook{Reads: []Read{{Offset: uint16(offset), Kind: kind, Size: 8}}}
	}
	const number, text = bpf.WireReadKindREAD_INT, bpf.WireReadKindREAD_USER_STRING
	t.Run("arguments", func(t *testing.T) {
		t.Parallel()
		f := newFixture(64, 64)
		for i := range MaxReads {
			if err := f.Extend(at(8*i, number)); err != nil {
				t.Fatalf("argument %d: %v", i, err)
			}
		}
		if err := f.Extend(at(8, number)); err != nil || len(f.Reads()) != MaxReads {
			t.Errorf("an argument that is read: %v, %v", f.Reads(), err)
		}
		before := f.Reads()
		if err := f.Extend(at(800, number)); !errors.Is(err, ErrNoRoom) {
			t.Errorf("one argument more: %v", err)
		}
		if !slices.Equal(before, f.Reads()) {
			t.Errorf("arguments after the refusal: %v", f.Reads())
		}
		f.Retract(at(8, number)) // one of two users
		if err := f.Extend(at(800, number)); !errors.Is(err, ErrNoRoom) {
			t.Errorf("in the place of one that is still needed: %v", err)
		}
		f.Retract(at(8, number))
		if err := f.Extend(at(800, text)); !errors.Is(err, ErrNoRoom) {
			t.Errorf("a string in the place of a number: %v", err)
		}
		if err := f.Extend(at(800, number)); err != nil || f.Dimension(at(800, number), 0) != 1 {
			t.Errorf("in the place of one that is free: %v, %v", f.Reads(), err)
		}
	})
	t.Run("strings", func(t *testing.T) {
		t.Parallel()
		f := newFixture(64, 64)
		for i := range MaxStrings {
			if err := f.Extend(at(8*i, text)); err != nil {
				t.Fatalf("string %d: %v", i, err)
			}
		}
		if err := f.Extend(at(800, text)); !errors.Is(err, ErrNoRoom) {
			t.Errorf("more strings than buffers: %v", err)
		}
	})
	t.Run("hook that does not fit", func(t *testing.T) {
		t.Parallel()
		f := newFixture(64, 64)
		h := &Hook{}
		for i := range MaxReads + 1 {
			h.Reads = append(h.Reads, at(8*i, number).Reads...)
		}
		if err := f.Extend(h); !errors.Is(err, ErrNoRoom) || len(f.Reads()) != 0 {
			t.Errorf("%v reads after %v", f.Reads(), err)
		}
	})
}

// rangesOf is a filter with n intervals, which have two bounds each.
func rangesOf(n int) Filter {
	f := Filter{Kind: bpf.WireMatchKindMATCH_RANGE}
	for i := range uint64(n) {
		f.Intervals = append(f.Intervals, Interval{10 * i, 10*i + 5})
	}
	return f
}

// checkNoRoom checks that a hook does not fit, that the kernel has nothing of it,
// and that it can be taken back.
func checkNoRoom(t *testing.T, f *fixture, h *Hook) {
	t.Helper()
	if _, err := f.add(h); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("add: %v, want %v", err, ErrNoRoom)
	}
	if len(f.kernel.values) != 0 || f.kernel.site != f.Initial() {
		t.Error("the kernel has a part of what did not fit")
	}
	if err := f.remove(0, h); err != nil {
		t.Errorf("take back: %v", err)
	}
	f.settle()
	checkUnused(t, f)
}

// A class that was given back may be written only when no evaluation can name it.
func TestClassesAreNotReusedBeforeRelease(t *testing.T) {
	t.Parallel()
	f := newFixture(2, 4)
	a, b := stringHook(Filter{Strings: []string{"a"}}), stringHook(Filter{Strings: []string{"b"}})
	if _, err := f.add(a); err != nil {
		t.Fatal(err)
	}
	if _, err := f.add(b); err != nil {
		t.Fatal(err)
	}
	if err := f.remove(0, a); err != nil {
		t.Fatal(err)
	}
	// The bit is free, but the class of bit 0 is still being read: the same class
	// may be named again, and no other may take its place.
	wide := stringHook(Filter{Strings: []string{"a"}}, Filter{Strings: []string{"c"}})
	if bit, _ := f.Room(2); bit != 2 {
		t.Fatalf("room for two rules at %d", bit)
	}
	if _, err := f.add(wide); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("a class was reused before its release: %v", err)
	}
	if err := f.remove(2, wide); err != nil {
		t.Fatal(err)
	}
	f.settle()
	if _, err := f.add(a); err != nil {
		t.Errorf("after the release: %v", err)
	}
}

func TestFirstMatchingRuleActs(t *testing.T) {
	t.Parallel()
	h := stringHook(
		Filter{Strings: []string{"a"}},
		Filter{Kind: bpf.WireMatchKindMATCH_PREFIX, Strings: []string{"b"}},
		Filter{Negated: true, Strings: []string{"c"}},
	)
	h.Rules[1].Signal = sigkill
	for _, c := range []struct {
		value   Value
		enforce bool
		want    int
	}{
		{Value{String: "a"}, true, 0},
		{Value{String: "bb"}, true, 1},
		{Value{String: "d"}, true, 2},
		{Value{String: "c"}, true, -1},
		{Value{Unreadable: true}, true, 1}, // the one that enforces
		{Value{Unreadable: true}, false, -1},
	} {
		if got := h.First([]Value{c.value}, c.enforce); got != c.want {
			t.Errorf("first rule of %+v, enforced %v: %d, want %d", c.value, c.enforce, got, c.want)
		}
	}
}
