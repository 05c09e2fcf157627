// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"flag"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

var (
	pairs     = flag.Int("boltseal.pairs", 20_000, "random pairs of policies and events that the kernel and Go must judge alike")
	firstSeed = flag.Uint64("boltseal.seed", 1, "where the random policies and events begin")
)

// pairsOfOne is how many events one set of policies is tried with.
const pairsOfOne = 200

// setsOfOne is how many sets of policies one site sees, coming and going.
const setsOfOne = 25

// The programs and the plain evaluation judge every event alike: which rules
// match, which of each hook acts, what it does, what the event says, and what is
// counted. Policies come and go at the same site meanwhile, so that bits, classes
// and values are used again and again.
func TestKernelAndGoJudgeAlike(t *testing.T) {
	judgeAlike(t, func(seed uint64) *compiletest.Source { return compiletest.New(seed) })
}

// The same of calls that return: of what is judged as they are entered, and of what
// is when they return.
func TestKernelAndGoJudgeReturnsAlike(t *testing.T) {
	judgeAlike(t, func(seed uint64) *compiletest.Source { return compiletest.NewReturning(seed) })
}

func judgeAlike(t *testing.T, source func(seed uint64) *compiletest.Source) {
	t.Helper()
	seed, tried, matched := *firstSeed, 0, 0
	for tried < *pairs && !t.Failed() {
		matched += judge(t, seed, source(seed), min(setsOfOne, (*pairs-tried+pairsOfOne-1)/pairsOfOne))
		tried += setsOfOne * pairsOfOne
		seed++
	}
	t.Logf("%d pairs, %d rules matched", tried, matched)
	if matched < *pairs/10 {
		t.Errorf("only %d rules matched in %d pairs: the test shows nothing", matched, tried)
	}
}

// judge tries sets of random policies at one site.
func judge(t *testing.T, seed uint64, source *compiletest.Source, sets int) (matched int) {
	t.Helper()
	d := &differential{source: source}
	d.rig = newRig(t, d.source)
	d.source.Paths = append(d.source.Paths, d.rig.binary)
	for set := range sets {
		d.change()
		for range pairsOfOne {
			record := d.source.Record(d.rig.binary)
			d.rig.run(record)
			n, entry, pending := d.compare(record)
			if source.ReturnArg != nil {
				d.rig.leave(record)
				n += d.compareReturn(record, entry.signalled, pending)
			}
			if matched += n; t.Failed() {
				t.Fatalf("seed %d, set %d", seed, set)
			}
		}
		d.compareCounters()
		if e := d.rig.event(); e != nil {
			t.Errorf("seed %d, set %d: an event too many: %+v", seed, set, e)
		}
	}
	return matched
}

// differential is the policies of a rig's site.
type differential struct {
	rig    *rig
	source *compiletest.Source
	loaded []*tested
}

type tested struct {
	id      PolicyID
	policy  *compile.Policy
	enforce bool
	want    Counters
}

// change takes some policies out, brings others in, and puts them in force.
func (d *differential) change() {
	t := d.rig.t
	t.Helper()
	var keep, out []*tested
	for _, p := range d.loaded {
		if d.source.IntN(3) == 0 {
			out = append(out, p)
			continue
		}
		p.enforce = d.source.IntN(2) == 0
		keep = append(keep, p)
	}
	// In one step: what comes is loaded beside what goes.
	most := []int{1, 8, 40}[d.source.IntN(3)]
	for range 1 + d.source.IntN(most) {
		p := &tested{policy: d.draw(), enforce: d.source.IntN(2) == 0}
		var err error
		if p.id, err = d.rig.Load(p.policy); err != nil {
			break // all rules are in use
		}
		keep = append(keep, p)
	}
	var set []Member
	for _, p := range keep {
		set = append(set, Member{p.id, p.enforce})
	}
	d.loaded = keep
	if err := d.rig.Apply([]Assignment{{Slots: []uint32{0}, Set: set}}, true); err != nil {
		t.Fatal(err)
	}
	for _, p := range out {
		if err := d.rig.Unload(p.id); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *differential) draw() *compile.Policy {
	var points []policy.Hook
	for range 1 + d.source.IntN(2) {
		points = append(points, d.source.Hook(1+d.source.IntN(32)))
	}
	return compilePoint(d.rig.t, points...)
}

// chosen is a rule that waits for the call's return.
type chosen struct {
	of   *tested
	hook *compile.Hook
	rule *compile.Rule
	bit  int
}

// compare holds the last evaluation against the plain one, and tells which rules
// wait for the return.
func (d *differential) compare(record *compiletest.Record) (matched int, did eventBits, pending []chosen) {
	t := d.rig.t
	t.Helper()
	var matching compile.Bits
	rules := 0
	for _, p := range d.loaded {
		for _, h := range d.rig.policies[p.id].hooks {
			values := record.Values(h.hook)
			acted := false
			for i := range h.hook.Rules {
				rules++
				rule, bit := &h.hook.Rules[i], h.first+i
				if !rule.Matches(h.hook, values, p.enforce) {
					continue
				}
				matched++
				matching = compile.With(matching, bit)
				if acted {
					continue // only the first rule of a hook acts
				}
				acted = true
				switch {
				case rule.Signal != 0 && p.enforce:
					did.signalled = compile.With(did.signalled, bit)
					p.want.Signal++
				case rule.Signal != 0:
					p.want.MonitorSignal++
				}
				switch {
				case rule.Returns:
					pending = append(pending, chosen{p, h.hook, rule, bit})
				case rule.Post:
					did.posted = compile.With(did.posted, bit)
					p.want.Post++
				default:
					p.want.NoPost++
				}
			}
		}
	}
	if rules == 0 {
		return 0, did, nil // nothing is evaluated
	}
	if got := d.rig.matching(); got != matching {
		d.explain(record, matching, got)
	}
	d.compareEvent(record, did)
	return matched, did, pending
}

// compareReturn holds what was judged as the call returned against the plain
// evaluation.
func (d *differential) compareReturn(record *compiletest.Record, signalled compile.Bits, pending []chosen) (matched int) {
	t := d.rig.t
	t.Helper()
	if calls, _ := d.rig.remembered(t); calls != 0 {
		t.Errorf("%d calls are remembered after they have returned", calls)
	}
	if len(pending) == 0 {
		return 0
	}
	var matching compile.Bits
	bits := eventBits{returned: true, signalled: signalled}
	for _, c := range pending {
		if !c.rule.MatchesReturn(c.hook, record.Values(c.hook), c.of.enforce) {
			continue
		}
		matched++
		matching = compile.With(matching, c.bit)
		switch {
		case c.rule.ReturnSignal != 0 && c.of.enforce:
			bits.returnSignalled = compile.With(bits.returnSignalled, c.bit)
			c.of.want.Signal++
		case c.rule.ReturnSignal != 0:
			c.of.want.MonitorSignal++
		}
		if c.rule.Post {
			bits.posted = compile.With(bits.posted, c.bit)
			c.of.want.Post++
		} else {
			c.of.want.NoPost++
		}
	}
	if got := d.rig.matching(); got != matching {
		d.explain(record, matching, got)
	}
	d.compareEvent(record, bits)
	return matched
}

// eventBits is what an event says of rules.
type eventBits struct {
	returned                           bool
	posted, signalled, returnSignalled compile.Bits
}

// explain names the rules that were judged differently.
func (d *differential) explain(record *compiletest.Record, want, got compile.Bits) {
	t := d.rig.t
	t.Helper()
	for bit := range compile.MaxRules {
		if compile.Has(want, bit) == compile.Has(got, bit) {
			continue
		}
		h, r := d.rig.site.table.Rule(bit)
		t.Errorf("rule %d %.300q: kernel %v, Go %v", bit, fmt.Sprint(r), compile.Has(got, bit), compile.Has(want, bit))
		if h != nil {
			t.Logf("values %.300q of %+v", fmt.Sprint(record.Values(h)), h.Reads)
		}
	}
}

// compareEvent compares the event, if there must be one, with the record.
func (d *differential) compareEvent(record *compiletest.Record, bits eventBits) {
	t := d.rig.t
	t.Helper()
	if compile.Empty(bits.posted) {
		return // one that is there will be read in another's place
	}
	got := d.rig.event()
	if got == nil {
		t.Error("no event")
		return
	}
	want := &siteEvent{}
	want.H = got.H // looked at below
	want.Site, want.Version = d.rig.site.id, d.rig.versions.slots[0].id
	want.Posted, want.Signalled, want.ReturnSignalled = bits.posted, bits.signalled, bits.returnSignalled
	if bits.returned {
		want.Returned = 1
	}
	want.Regs = got.Regs // pointers are where they are
	for dim, read := range d.rig.site.table.Reads() {
		value := record.Value(read)
		if read.Returned() && !bits.returned {
			if read.Buffer() {
				want.strings = append(want.strings, "")
			} else {
				want.Regs[dim] = 0
			}
			continue
		}
		switch {
		case read.Kind == bpf.WireReadKindREAD_INT:
			want.Regs[dim] = value.Number
		case read.Kind == bpf.WireReadKindREAD_USER_SOCKADDR:
			// What is in it is looked at where events are told of.
			want.StringLen[len(want.strings)] = got.StringLen[len(want.strings)]
			want.strings = append(want.strings, got.strings[len(want.strings)])
			continue
		}
		if !read.Buffer() {
			continue
		}
		length, text := uint32(len(value.String)), value.String
		user := record.Users[int(read.Offset)]
		if read.Returned() {
			user = record.Result.Text
		}
		switch {
		case value.Unreadable && user.Unreadable:
			length = uint32(bpf.WireStringStatusSTRING_UNREADABLE)
		case value.Unreadable:
			length = uint32(bpf.WireStringStatusSTRING_TRUNCATED)
		}
		want.StringLen[len(want.strings)] = length
		want.strings = append(want.strings, text)
	}
	for len(want.strings) < len(want.StringLen) {
		want.strings = append(want.strings, "")
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(siteEvent{})); diff != "" {
		t.Errorf("event (-want +got):\n%.3000s", diff)
	}
	if h := got.H; h.Type != uint16(bpf.WireEventTypeEVENT_SITE) || h.Tid != uint32(d.rig.tid) || h.Slot != 0 || h.Ktime == 0 {
		t.Errorf("header %+v, want one of task %d in slot 0", h, d.rig.tid)
	}
}

func (d *differential) compareCounters() {
	t := d.rig.t
	t.Helper()
	for _, p := range d.loaded {
		got, err := d.rig.Counters(p.id)
		if err != nil {
			t.Fatal(err)
		}
		if got != p.want {
			t.Errorf("counters of policy %d: %+v, want %+v", p.id, got, p.want)
		}
	}
}
