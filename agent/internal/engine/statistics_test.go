// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

func (r *rig) mapUse() map[string]uint64 {
	all := map[string]uint64{}
	for _, m := range r.Maps() {
		all[m.Name] = m.Entries
		if m.Capacity != uint64(r.maps.coll.Maps[m.Name].MaxEntries()) || m.Entries > m.Capacity {
			r.t.Errorf("%+v", m)
		}
	}
	return all
}

// TestMapsAreCounted: what is told of the values is what the kernel has, also after
// changes and a policy that does not fit; and what is unloaded leaves all as it was.
func TestMapsAreCounted(t *testing.T) {
	r := newRig(t, compiletest.New(1))
	before := r.mapUse()
	id, err := r.Load(equal(t, numbered(100)...))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply([]Assignment{{Slots: []uint32{0}, Set: []Member{{id, true}}}}, true); err != nil {
		t.Fatal(err)
	}
	// Its values are some of the first's, whose classes change in place.
	second, err := r.Load(equal(t, numbered(50)...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Load(equal(t, numbered(int(r.maps.coll.Maps[bpf.SiteMapMatchValues].MaxEntries())+1)...)); err == nil {
		t.Fatal("more values than there is room for")
	}
	with := r.mapUse()
	for name, want := range map[string]uint64{
		bpf.SiteMapMatchValues: uint64(r.countValues()), bpf.SiteMapPolicyCounters: before[bpf.SiteMapPolicyCounters] + 2,
		bpf.SiteMapSetRules: 1, bpf.SiteMapSites: before[bpf.SiteMapSites],
	} {
		if with[name] != want {
			t.Errorf("%s has %d entries, want %d", name, with[name], want)
		}
	}
	if with[bpf.SiteMapMatchValues] != 100 {
		t.Errorf("%d values, want 100", with[bpf.SiteMapMatchValues])
	}
	if err := r.Apply([]Assignment{{Slots: []uint32{0}}}, true); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Unload(id), r.Unload(second), r.wait()); err != nil {
		t.Fatal(err)
	}
	after := r.mapUse()
	for _, name := range []string{bpf.SiteMapMatchValues, bpf.SiteMapPolicyCounters, bpf.SiteMapClasses, bpf.SiteMapBounds, bpf.SiteMapAutomata} {
		if after[name] != before[name] {
			t.Errorf("%s has %d entries after all is unloaded, and had %d", name, after[name], before[name])
		}
	}
	if n := r.countValues(); after[bpf.SiteMapMatchValues] != uint64(n) {
		t.Errorf("%d values are told of, and there are %d", after[bpf.SiteMapMatchValues], n)
	}
}

func TestProgramsAreListedBySite(t *testing.T) {
	r := newRig(t, compiletest.New(1))
	if _, err := r.Load(equal(t, "x")); err != nil {
		t.Fatal(err)
	}
	all, err := r.Programs()
	if err != nil {
		t.Fatal(err)
	}
	site, found := r.Sites()[0].Name, false
	for _, p := range all {
		found = found || p.Site == site && p.Name != ""
	}
	if !found {
		t.Errorf("programs %+v: none of site %s", all, site)
	}
	if _, err := r.Counters(99); !errors.Is(err, ErrNotLoaded) {
		t.Errorf("counters of a policy that there is not: %v", err)
	}
}
