// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

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
func (f *fixture) check(of func(Read) Value) error {
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
	got := f.kernel.evaluate(f.Reads(), values, all, enforced)
	for bit, enforce := range f.active {
		h, r := f.Rule(bit)
		args := make([]Value, len(h.Reads))
		for i, read := range h.Reads {
			args[i] = of(read)
		}
		if want := r.Matches(h, args, enforce); Has(got, bit) != want {
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
	for i := range uint16(8) {
		all = append(all,
			Read{Offset: 16 + 16*i, Kind: bpf.WireReadKindREAD_USER_STRING, Size: 8},
			Read{Offset: 24 + 16*i, Kind: bpf.WireReadKindREAD_INT, Size: 8, Signed: i%2 == 0})
	}
	return append(all, Read{Kind: bpf.WireReadKindREAD_BINARY})
}

func (d drawn) hook(rules int) *Hook {
	h := &Hook{}
	all := testReads()
	for _, i := range d.Perm(len(all))[:1+d.IntN(4)] {
		h.Reads = append(h.Reads, all[i])
	}
	for range rules {
		r := Rule{Post: true, Signal: uint8(d.IntN(2) * sigkill)}
		for arg := range h.Reads {
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
	if h.Reads[arg].Kind == bpf.WireReadKindREAD_BINARY {
		return []Filter{{Read: arg, Negated: negated, Strings: d.texts()}}
	}
	if !h.Reads[arg].Text() {
		if d.IntN(2) == 0 {
			return []Filter{{Read: arg, Kind: bpf.WireMatchKindMATCH_RANGE, Intervals: d.intervals()}}
		}
		return []Filter{{Read: arg, Negated: negated, Numbers: []uint64{uint64(d.IntN(20)), uint64(20 + d.IntN(9))}}}
	}
	var all []Filter
	for kind := bpf.WireMatchKindMATCH_EXACT; kind <= bpf.WireMatchKindMATCH_NOT_POSTFIX; kind++ {
		if d.IntN(4) == 0 {
			all = append(all, Filter{Read: arg, Kind: kind, Strings: d.texts()})
		}
	}
	return all
}

func (d drawn) value(read Read) Value {
	if !read.Text() {
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
				if err := f.check(func(r Read) Value { return values[r] }); err != nil {
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
