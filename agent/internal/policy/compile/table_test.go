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

// fixture is a table with the kernel that follows it.
type fixture struct {
	*Table
	kernel *kernel
	// active is the rules in force, by bit, with whether they are enforced.
	active map[int]bool
	// release is what may be reused after a grace period.
	release []func()
}

func newFixture(classes, bounds uint32) *fixture {
	t := NewTable(3, NewKeys(), NewPools(classes, bounds))
	return &fixture{Table: t, kernel: newKernel(t), active: map[int]bool{}}
}

// sync brings the kernel to what is wanted.
func (f *fixture) sync() error {
	c, err := f.Changes()
	if err != nil {
		return err
	}
	if err := f.kernel.write(c); err != nil {
		return err
	}
	if release := c.Done(); release != nil {
		f.release = append(f.release, release)
	}
	again, err := f.Changes()
	if err != nil {
		return err
	}
	if !again.Empty() {
		return fmt.Errorf("changes left after all were made: %+v", again)
	}
	again.Cancel()
	return nil
}

func (f *fixture) settle() {
	for _, release := range f.release {
		release()
	}
	f.release = nil
}

// add puts a hook's rules at consecutive bits.
func (f *fixture) add(h *Hook) (first int, err error) {
	if err := f.Extend(h); err != nil {
		return 0, err
	}
	return f.place(h)
}

func (f *fixture) place(h *Hook) (first int, err error) {
	if first, err = f.Room(len(h.Rules)); err != nil {
		return 0, err
	}
	for i := range h.Rules {
		f.Add(first+i, h, &h.Rules[i])
	}
	return first, f.sync()
}

func (f *fixture) remove(first int, h *Hook) error {
	for i := range h.Rules {
		f.Remove(first + i)
	}
	return f.sync()
}

// check holds an event against the plain evaluation of every active rule.
func (f *fixture) check(of func(Read) Value, binary Value) error {
	var all, enforced Bits
	for bit, enforce := range f.active {
		all = With(all, bit)
		if _, r := f.Rule(bit); enforce && r.Enforces() {
			enforced = With(enforced, bit)
		}
	}
	values := make([]Value, len(f.Reads()))
	for i, read := range f.Reads() {
		values[i] = of(read)
	}
	got := f.kernel.evaluate(f.Reads(), values, binary, all, enforced)
	for bit, enforce := range f.active {
		h, r := f.Rule(bit)
		args := make([]Value, len(h.Args))
		for i, read := range h.Args {
			args[i] = of(read)
		}
		if want := r.Matches(h, args, binary, enforce); Has(got, bit) != want {
			return fmt.Errorf("rule %d (%+v) of %+v: %v, want %v", bit, r.Filters, args, Has(got, bit), want)
		}
	}
	return nil
}

// drawn draws hooks of few values, so that rules share values and classes.
type drawn struct{ *rand.Rand }

func (d drawn) text() string {
	const letters = "ab/"
	s := make([]byte, d.IntN(12))
	for i := range s {
		s[i] = letters[d.IntN(len(letters))]
	}
	return string(s)
}

func (d drawn) texts() []string {
	var all []string
	for range 1 + d.IntN(4) {
		all = append(all, d.text()+"a")
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (d drawn) intervals() []Interval {
	var all []Interval
	at := uint64(1)<<63 - 10
	for range 1 + d.IntN(4) {
		at += 1 + uint64(d.IntN(5))
		end := at + uint64(d.IntN(5))
		all = append(all, Interval{at, end})
		at = end
	}
	switch d.IntN(6) {
	case 0:
		all[0].Lo = 0
	case 1:
		all[len(all)-1].Hi = ^uint64(0)
	}
	return all
}

// testReads is the words that hooks of these tests read: more than a site can at
// one time.
func testReads() []Read {
	var all []Read
	for i := range uint16(5) {
		all = append(all,
			Read{Offset: 16 + 16*i, Kind: bpf.WireArgKindARG_USER_STRING, Size: 8},
			Read{Offset: 24 + 16*i, Kind: bpf.WireArgKindARG_INT, Size: 8, Signed: i%2 == 0})
	}
	return all
}

func (d drawn) hook(rules int) *Hook {
	h := &Hook{}
	all := testReads()
	for _, i := range d.Perm(len(all))[:1+d.IntN(4)] {
		h.Args = append(h.Args, all[i])
	}
	for range rules {
		r := Rule{Post: true, Signal: uint8(d.IntN(2) * sigkill)}
		for arg := Binary; arg < len(h.Args); arg++ {
			if d.IntN(2) == 0 {
				r.Filters = append(r.Filters, d.filters(h, arg)...)
			}
		}
		h.Rules = append(h.Rules, r)
	}
	return h
}

func (d drawn) filters(h *Hook, arg int) []Filter {
	negated := d.IntN(2) == 0
	if arg == Binary {
		return []Filter{{Arg: arg, Negated: negated, Strings: d.texts()}}
	}
	if !h.Args[arg].IsString() {
		if d.IntN(2) == 0 {
			return []Filter{{Arg: arg, Kind: bpf.WireMatchKindMATCH_RANGE, Intervals: d.intervals()}}
		}
		return []Filter{{Arg: arg, Negated: negated, Numbers: []uint64{uint64(d.IntN(20)), uint64(20 + d.IntN(9))}}}
	}
	var all []Filter
	for kind := bpf.WireMatchKindMATCH_EXACT; kind <= bpf.WireMatchKindMATCH_NOT_POSTFIX; kind++ {
		if d.IntN(4) == 0 {
			all = append(all, Filter{Arg: arg, Kind: kind, Strings: d.texts()})
		}
	}
	return all
}

func (d drawn) value(read Read) Value {
	if !read.IsString() {
		if d.IntN(2) == 0 {
			return Value{Number: uint64(int64(d.IntN(40)) - 10)}
		}
		return Value{Number: uint64(d.IntN(40)) + 1<<63 - 12}
	}
	return d.name()
}

func (d drawn) name() Value {
	if d.IntN(10) == 0 {
		return Value{Unreadable: true}
	}
	return Value{String: d.text() + d.text()}
}

// Whatever is added and removed, in any order, an evaluation by the maps gives
// the answers of the plain one, and when all is gone nothing is in use.
func TestTableIsWhatItsRulesSay(t *testing.T) {
	t.Parallel()
	type placed struct {
		first int
		hook  *Hook
	}
	refused := 0
	for seed := range uint64(30) {
		d := drawn{rand.New(rand.NewPCG(seed, 2))}
		f := newFixture(4096, 4096)
		var in []placed
		take := func(i int) {
			for bit := range in[i].hook.Rules {
				delete(f.active, in[i].first+bit)
			}
			if err := f.remove(in[i].first, in[i].hook); err != nil {
				t.Fatalf("seed %d: remove: %v", seed, err)
			}
			f.Retract(in[i].hook)
			in = slices.Delete(in, i, i+1)
		}
		for range 40 {
			if len(in) > 0 && d.IntN(5) < 2 {
				take(d.IntN(len(in)))
			} else {
				f.settle() // what was removed is out of sight before anything new comes
				h := d.hook(1 + d.IntN(20))
				if err := f.Extend(h); err != nil {
					refused++
					continue
				}
				first, err := f.place(h)
				if err != nil {
					t.Fatalf("seed %d: add: %v", seed, err)
				}
				in = append(in, placed{first, h})
				enforce := d.IntN(2) == 0
				for i := range h.Rules {
					f.active[first+i] = enforce
				}
			}
			for range 10 {
				values := map[Read]Value{}
				for _, read := range testReads() {
					values[read] = d.value(read)
				}
				if err := f.check(func(r Read) Value { return values[r] }, d.name()); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		}
		for len(in) > 0 {
			take(0)
		}
		f.settle()
		checkUnused(t, f)
	}
	if refused == 0 {
		t.Error("no hook was refused: the arguments always fitted")
	}
}

// checkUnused checks that a table without rules holds nothing.
func checkUnused(t *testing.T, f *fixture) {
	t.Helper()
	if n := len(f.kernel.values); n != 0 {
		t.Errorf("%d values are left in the kernel", n)
	}
	if diff := cmp.Diff(f.Initial(), f.kernel.site); diff != "" {
		t.Errorf("site without rules (-want +got):\n%s", diff)
	}
	if free, all := len(f.pools.free), len(f.pools.sets); free != all || len(f.pools.classes) != 0 {
		t.Errorf("%d of %d classes are free", free, all)
	}
	if room := f.pools.room; len(room) != 1 || room[0].off != 0 {
		t.Errorf("room for bounds is %v, want one piece", room)
	}
}

// state is what a table and its pools hold, to see that nothing has changed.
func state(f *fixture) map[string]any {
	of := map[string]any{
		"values": fmt.Sprint(f.values), "free": len(f.pools.free), "classes": len(f.pools.classes),
		"room": fmt.Sprint(f.pools.room), "refs": fmt.Sprint(f.pools.refs),
	}
	for i := range f.dims {
		of[fmt.Sprint("dimension ", i)] = f.dims[i].kernel
		of[fmt.Sprint("wanted ", i)] = f.dims[i].wanted
		of[fmt.Sprint("ranges ", i)] = fmt.Sprint(f.dims[i].ranges)
	}
	return of
}

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
	h := &Hook{Site: Site{"syscalls", "sys_enter_it"}, Args: testReads()[:1], Types: []policy.ArgType{policy.ArgString}}
	for _, f := range filters {
		h.Rules = append(h.Rules, Rule{Post: true, Filters: []Filter{f}})
	}
	return h
}

func intHook(filters ...Filter) *Hook {
	h := stringHook(filters...)
	h.Args, h.Types = testReads()[1:2], []policy.ArgType{policy.ArgInt64}
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
	at := func(offset int, kind bpf.WireArgKind) *Hook {
		return &Hook{Args: []Read{{Offset: uint16(offset), Kind: kind, Size: 8}}}
	}
	const number, text = bpf.WireArgKindARG_INT, bpf.WireArgKindARG_USER_STRING
	t.Run("arguments", func(t *testing.T) {
		t.Parallel()
		f := newFixture(64, 64)
		for i := range MaxArgs {
			if err := f.Extend(at(8*i, number)); err != nil {
				t.Fatalf("argument %d: %v", i, err)
			}
		}
		if err := f.Extend(at(8, number)); err != nil || len(f.Reads()) != MaxArgs {
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
		for i := range MaxArgs + 1 {
			h.Args = append(h.Args, at(8*i, number).Args...)
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
		if got := h.First([]Value{c.value}, Value{}, c.enforce); got != c.want {
			t.Errorf("first rule of %+v, enforced %v: %d, want %d", c.value, c.enforce, got, c.want)
		}
	}
}
