// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"os"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// unshareUTS gives this thread, to which the test is tied, a UTS namespace of its
// own until the test ends.
func unshareUTS(t testing.TB) {
	t.Helper()
	before, err := os.Open("/proc/thread-self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setns(int(before.Fd()), unix.CLONE_NEWUTS); err != nil {
			t.Errorf("go back to the namespace: %v", err)
		}
		_ = before.Close()
	})
}

// dropEffective takes a capability from this thread, to which the test is tied,
// until the test ends.
func dropEffective(t testing.TB, capability int) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before, after [2]unix.CapUserData
	if err := unix.Capget(&header, &before[0]); err != nil {
		t.Fatal(err)
	}
	after = before
	after[capability/32].Effective &^= 1 << (capability % 32)
	if err := unix.Capset(&header, &after[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Capset(&header, &before[0]); err != nil {
			t.Errorf("take the capability back: %v", err)
		}
	})
}

// change makes this thread differ from what its process is first seen to have, in a
// namespace and a capability, if the source asks for that.
func (r *rig) change(source *compiletest.Source) {
	r.t.Helper()
	reads := r.site.table.Reads()
	i := slices.IndexFunc(reads, compile.Read.Origin)
	if i < 0 {
		return
	}
	s := policy.Selector{Actions: []policy.Action{{Kind: policy.NoPost}}}
	if reads[i].Kind == bpf.WireReadKindREAD_NAMESPACE_CHANGES {
		s.NamespaceChanges = []policy.NamespaceChangeFilter{{Namespaces: []policy.Namespace{policy.NamespaceUts}}}
	} else {
		s.CapabilityChanges = []policy.CapabilityFilter{{Set: policy.CapabilitySet(reads[i].Offset), Mask: 1}}
	}
	id, err := r.Load(compilePoint(r.t, policy.Hook{
		Section: policy.Tracepoints, Subsystem: compiletest.Subsystem, Event: compiletest.Event, Selectors: []policy.Selector{s},
	}))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, set := range [][]Member{{{id, false}}, nil} {
		if err := r.Apply([]Assignment{{Slots: []uint32{0}, Set: set}}, true); err != nil {
			r.t.Fatal(err)
		}
		if set != nil {
			r.run(&compiletest.Record{})
		}
	}
	// It stays loaded, for the site would go with its last policy.
	unshareUTS(r.t)
	dropEffective(r.t, unix.CAP_SYS_BOOT)
	source.Process = r.process()
	source.Process.NamespaceChanges = 1 << policy.NamespaceUts
	source.Process.CapabilityChanges[policy.CapabilityEffective] = 1 << unix.CAP_SYS_BOOT
}

// Where there is no room for what a process begins with, rules that enforce take it
// for changed, and others do not.
func TestNoRoomForOrigins(t *testing.T) {
	b := newBench(t)
	b.Engine = openBareFor(t, b.points, 1)
	rule := func(op, actions string) PolicyID {
		return b.load(b.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}],
       matchNamespaceChanges: [{operator: ` + op + `, values: [Uts]}], matchActions: [` + actions + `]}]}
`))
	}
	in, notIn, enforced := rule("In", post), rule("NotIn", post), rule("In", kill)
	b.apply(Member{in, true}, Member{notIn, true}, Member{enforced, true})
	b.chroot() // by this process, which takes the room
	if n := b.counters(notIn).Post; n != 1 {
		t.Errorf("the rule for what has not changed matched %d times, want once", n)
	}
	if !b.busybox() {
		t.Error("a process of which nothing is known lives")
	}
	if got := []uint64{b.counters(in).Post, b.counters(notIn).Post, b.counters(enforced).Signal}; !slices.Equal(got, []uint64{0, 1, 1}) {
		t.Errorf("rules matched %v times, want 0, 1 and 1", got)
	}
	var perCPU []uint64
	err := b.maps.coll.Maps[bpf.SiteMapKernelErrors].Lookup(uint32(bpf.WireKernelErrorKERR_ORIGIN), &perCPU)
	if err != nil || !slices.ContainsFunc(perCPU, func(n uint64) bool { return n > 0 }) {
		t.Errorf("want of room is not counted: %v, %v", perCPU, err)
	}
}

// Of a policy each workload's rules are in force for the slots that are of it, and
// what a selector with a label does is counted apart.
func TestRulesOfWorkloads(t *testing.T) {
	b := newBench(t)
	p := b.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}], selectors: [
      {label: web, matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchWorkloads: {containerSelector: {matchLabels: {name: web}}}},
      {label: db, matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchWorkloads: {containerSelector: {matchLabels: {name: db}}}},
      {matchArgs: [{index: 5, operator: Equal, values: ["$M"]}]}]}
`)
	id := b.load(p)
	want := map[string]uint64{"web": 0, "db": 0}
	all := uint64(0)
	in := func(label string, workloads ...int) {
		t.Helper()
		var set policy.WorkloadSet
		for _, n := range workloads {
			set = set.With(n)
		}
		err := b.Apply([]Assignment{
			{Slots: []uint32{0}, Set: []Member{{id, true}}, Workloads: map[PolicyID]policy.WorkloadSet{id: set}},
			{Slots: []uint32{2}, Set: []Member{{id, true}}, Workloads: map[PolicyID]policy.WorkloadSet{id: set.With(2)}},
		}, true)
		if err != nil {
			t.Fatal(err)
		}
		b.chroot()
		if all++; label != "" {
			want[label]++
		}
		counters, err := b.SelectorCounters(id)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]uint64{}
		for i, c := range counters {
			got[c.Label] = c.Post
			if c.Section != policy.Tracepoints || c.Hook != 0 || c.Index != i {
				t.Errorf("counters of %+v", c.Selector)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("workloads %v: counters %v, want %v", workloads, got, want)
		}
		if n := b.counters(id).Post; n != all {
			t.Errorf("%d events of the policy, want %d", n, all)
		}
	}
	in("")
	in("web", 1)
	in("db", 2)
	in("web", 1, 2)
	in("")
	if err := b.Apply([]Assignment{{Slots: []uint32{0, 2}}}, true); err != nil {
		t.Fatal(err)
	}
	if err := b.Unload(id); err != nil {
		t.Error(err)
	}
	if slices.Contains(b.Engine.counters[:], true) {
		t.Error("counters are in use without a policy")
	}
}
