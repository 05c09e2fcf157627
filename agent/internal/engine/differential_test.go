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
	pairs     = flag.Int("boltseal.pairs", 6_000, "random pairs of policies and events that the kernel and Go must judge alike")
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
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			matched += judge(t, source(seed), seed, min(setsOfOne, (*pairs-tried+pairsOfOne-1)/pairsOfOne))
		})
		tried += setsOfOne * pairsOfOne
		seed++
	}
	t.Logf("%d pairs, %d rules matched", tried, matched)
	if matched < *pairs/10 {
		t.Errorf("only %d rules matched in %d pairs: the test shows nothing", matched, tried)
	}
}

// The same for many expressions at once: each is a value that its site computes.
func TestKernelAndGoComputeAlike(t *testing.T) {
	const sites, expressions, records = 8, 12, 150
	matched := 0
	for seed := range uint64(sites) {
		source := compiletest.New(*firstSeed + seed)
		p := compilePoint(t, source.Expressions(expressions))
		d := &differential{source: source, rig: newRigOf(t, source, &p.Hooks[0])}
		id, err := d.rig.Load(p)
		if err != nil {
			t.Fatal(err)
		}
		d.loaded = []*tested{{id: id, policy: p, enforce: true}}
		if err := d.rig.Apply([]Assignment{{Slots: []uint32{0}, Set: []Member{{id, true}}}}, true); err != nil {
			t.Fatal(err)
		}
		for range records {
			record := source.Record(d.rig.binary)
			d.rig.run(record)
			n, _, _ := d.compare(record)
			if matched += n; t.Failed() {
				t.Fatalf("seed %d: %+v", *firstSeed+seed, p.Hooks[0].Rules)
			}
		}
	}
	if all := sites * expressions * records; matched < all/10 || matched > all*9/10 {
		t.Errorf("%d of %d expressions were true: the test shows little", matched, all)
	}
}

// judge tries sets of random policies at one site.
func judge(t *testing.T, source *compiletest.Source, seed uint64, sets int) (matched int) {
	t.Helper()
	d := &differential{source: source}
	d.rig = newRig(t, d.source)
	d.rig.change(d.source)
	d.source.Paths = append(d.source.Paths, d.rig.binary)
	d.source.Process.Lineage = d.rig.lineage
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
	// workloads are those that the host's processes are of.
	workloads policy.WorkloadSet
	want      Counters
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
	in := Assignment{Slots: []uint32{0}, Workloads: map[PolicyID]policy.WorkloadSet{}}
	for _, p := range keep {
		in.Set = append(in.Set, Member{p.id, p.enforce})
		p.workloads = policy.WorkloadSet{}
		for n := range compiletest.Workloads {
			if d.source.IntN(2) == 0 {
				p.workloads = p.workloads.With(n + 1)
			}
		}
		in.Workloads[p.id] = p.workloads
	}
	d.loaded = keep
	if err := d.rig.Apply([]Assignment{in}, true); err != nil {
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
	return d.rig.compile(points...)
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
				rule, bit := &h.hook.Rules[i], h.first+i
				if !p.workloads.Has(rule.Workload) {
					continue
				}
				rules++
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
				if rule.Returns {
					pending = append(pending, chosen{p, h.hook, rule, bit})
				} else {
					did.post(p, rule, bit)
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
		bits.post(c.of, c.rule, c.bit)
	}
	if got := d.rig.matching(); got != matching {
		d.explain(record, matching, got)
	}
	d.compareEvent(record, bits)
	return matched
}

// eventBits is what an event says of rules.
type eventBits struct {
	returned                                   bool
	posted, silent, signalled, returnSignalled compile.Bits
}

// post notes what becomes of a rule's event.
func (b *eventBits) post(of *tested, rule *compile.Rule, bit int) {
	if rule.Post {
		of.want.Post++
	} else {
		of.want.NoPost++
	}
	if rule.Post || len(rule.Remote) > 0 {
		b.posted = compile.With(b.posted, bit)
	}
	if !rule.Post && len(rule.Remote) > 0 {
		b.silent = compile.With(b.silent, bit)
	}
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
	want.Posted, want.Silent = bits.posted, bits.silent
	want.Signalled, want.ReturnSignalled = bits.signalled, bits.returnSignalled
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
		switch bit := uint32(1) << dim; {
		case read.Buffer():
			// An address can be found at which there is nothing: its length tells.
			want.Unreadable |= got.Unreadable & bit
		case read.Chain.From != 0 && value.Unreadable:
			want.Unreadable |= bit
		}
		switch {
		case read.Kind == bpf.WireReadKindREAD_INT, read.Kind == bpf.WireReadKindREAD_CAPABILITY_SET:
			want.Regs[dim] = value.Number
		case read.Kind == bpf.WireReadKindREAD_USER_SOCKADDR, read.Kind == bpf.WireReadKindREAD_FD:
			// What is in it is looked at where events are told of.
			want.Mode[len(want.strings)] = value.Mode
			want.StringLen[len(want.strings)] = got.StringLen[len(want.strings)]
			want.strings = append(want.strings, got.strings[len(want.strings)])
			continue
		}
		if !read.Buffer() {
			continue
		}
		if read.Kind == bpf.WireReadKindREAD_USER_SOCKADDR_UN && !value.Unreadable {
			family := record.Value(compile.Read{Kind: bpf.WireReadKindREAD_USER_UNIX_FAMILY, Offset: read.Offset, Size: read.Size})
			value.Mode = uint32(family.Number)
		}
		length, text := uint32(len(value.String)), value.String
		user := record.Users[int(read.Offset)]
		if read.Returned() {
			user = record.Result.Text
		}
		switch {
		case value.Unreadable && (user.Unreadable || read.Chain.From != 0):
			length = uint32(bpf.WireStringStatusSTRING_UNREADABLE)
		case value.Unreadable:
			length = uint32(bpf.WireStringStatusSTRING_TRUNCATED)
		}
		want.StringLen[len(want.strings)] = length
		want.Mode[len(want.strings)] = value.Mode
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
