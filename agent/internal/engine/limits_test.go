// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// equal is a policy for the test's event whose one rule has these values.
func equal(t testing.TB, values ...string) *compile.Policy {
	t.Helper()
	return compilePoint(t, policy.Hook{
		Section: policy.Tracepoints, Subsystem: compiletest.Subsystem, Event: compiletest.Event,
		Args: []policy.Arg{{Index: 0, Type: policy.ArgString}},
		Selectors: []policy.Selector{{
			Args:    []policy.ArgFilter{{Op: policy.OpEqual, Strings: values}},
			Actions: []policy.Action{{Kind: policy.Post}},
		}},
	})
}

func numbered(n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf("/%08d", i)
	}
	return values
}

// A policy with more values than the map takes leaves none behind, and the next
// policy finds all the room.
func TestValuesThatDoNotFit(t *testing.T) {
	r := newRig(t, compiletest.New(1))
	most := int(r.maps.coll.Maps[bpf.SiteMapMatchValues].MaxEntries())
	small, err := r.Load(equal(t, "here", "/00000007"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply([]Assignment{{Slots: []uint32{0}, Set: []Member{{small, true}}}}, true); err != nil {
		t.Fatal(err)
	}
	before := *r.pools
	classes := before.FreeClasses()
	if _, err := r.Load(equal(t, numbered(most)...)); !errors.Is(err, compile.ErrNoRoom) {
		t.Fatalf("load %d values beside one: %v", most, err)
	}
	if n := r.countValues(); n != 2 {
		t.Errorf("%d values are in the kernel, want the two of the other policy", n)
	}
	record := compiletest.New(1).Record(r.binary)
	for text, want := range map[string]bool{"here": true, "/00000007": true, "/00000008": false} {
		record.Users[8] = compiletest.Text{String: text}
		r.run(record)
		if got := compile.Has(r.matching(), 0); got != want {
			t.Errorf("after the refusal the rule matches %q: %v", text, got)
		}
	}
	id, err := r.Load(equal(t, numbered(most-1)...))
	if err != nil {
		t.Fatalf("load as many as there is room for: %v", err)
	}
	if err := r.Unload(id); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	if n := r.pools.FreeClasses(); n != classes {
		t.Errorf("%d classes are free, %d were", n, classes)
	}
}

func (r *rig) countValues() (n int) {
	r.t.Helper()
	var key compile.ValueKey
	var class uint32
	i := r.maps.coll.Maps[bpf.SiteMapMatchValues].Iterate()
	for i.Next(&key, &class) {
		n++
	}
	if err := i.Err(); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// A set that does not fit changes no slot; versions that no slot names make room.
func TestSetsThatDoNotFit(t *testing.T) {
	r := newRig(t, compiletest.New(1))
	const policies = 17 // of which there are 2^17 sets
	var ids []PolicyID
	for i := range policies {
		id, err := r.Load(equal(t, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	set := func(bits int) (set []Member) {
		for i, id := range ids {
			if bits&(1<<i) != 0 {
				set = append(set, Member{id, true})
			}
		}
		return set
	}
	most := int(r.maps.coll.Maps[bpf.SiteMapSetRules].MaxEntries())
	for bits := 1; bits <= most+10; bits++ {
		if err := r.Apply([]Assignment{{Slots: []uint32{0}, Set: set(bits)}}, false); err != nil {
			t.Fatalf("set %d, of which one is in force at a time: %v", bits, err)
		}
	}
	// All at once there is no room, and none changes.
	if err := r.forget(); err != nil {
		t.Fatal(err)
	}
	was := r.versions.slots[0]
	var all []Assignment
	for bits := 1; bits <= most+1; bits++ {
		all = append(all, Assignment{Slots: []uint32{0}, Set: set(bits)})
	}
	if err := r.Apply(all, false); !errors.Is(err, compile.ErrNoRoom) {
		t.Fatalf("%d sets at once: %v", len(all), err)
	}
	if r.versions.slots[0] != was {
		t.Error("a slot changed though the sets did not fit")
	}
	if err := r.forget(); err != nil {
		t.Fatal(err)
	}
	var key bpf.WireSetKey
	var rules bpf.WireSetRules
	n := 0
	for i := r.maps.coll.Maps[bpf.SiteMapSetRules].Iterate(); i.Next(&key, &rules); {
		n++
	}
	if n != 1 {
		t.Errorf("%d versions are left in the kernel, want that in force", n)
	}
}

func TestLimitsOfSitesAndPolicies(t *testing.T) {
	r := newRig(t, compiletest.New(1))
	t.Run("policies", func(t *testing.T) {
		p := equal(t, "a")
		for i := range r.counters {
			r.counters[i] = true
		}
		defer clear(r.counters[:])
		if _, err := r.Load(p); !errors.Is(err, compile.ErrNoRoom) {
			t.Errorf("one policy too many: %v", err)
		}
	})
	t.Run("sites", func(t *testing.T) {
		for i := range r.byID {
			if r.byID[i] == nil {
				r.byID[i] = &site{}
			}
		}
		p := equal(t, "a")
		p.Hooks[0].Site.Name = "another"
		if _, err := r.Load(p); !errors.Is(err, compile.ErrNoRoom) {
			t.Errorf("one site too many: %v", err)
		}
		r.byID[9].detached = true
		s, err := r.Engine.site(p.Hooks[0].Site)
		if err != nil || s.id != 9 {
			t.Errorf("the place of a site that is gone: %+v, %v", s, err)
		}
	})
	t.Run("rules", func(t *testing.T) {
		p := equal(t, "a")
		rule := p.Hooks[0].Rules[0]
		for range compile.MaxRules {
			p.Hooks[0].Rules = append(p.Hooks[0].Rules, rule)
		}
		if _, err := r.Load(p); !errors.Is(err, compile.ErrNoRoom) {
			t.Errorf("one rule too many: %v", err)
		}
		p.Hooks[0].Rules = p.Hooks[0].Rules[1:]
		if _, err := r.Load(p); err != nil {
			t.Errorf("as many rules as a site has: %v", err)
		}
	})
}

// What an event says of a bit is told by the version that judged it, also when
// the bit has another rule by now.
func TestResolve(t *testing.T) {
	r := newRig(t, compiletest.New(1))
	load := func(value string) (PolicyID, uint32) {
		t.Helper()
		id, err := r.Load(equal(t, value))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Apply([]Assignment{{Slots: []uint32{0}, Set: []Member{{id, true}}}}, true); err != nil {
			t.Fatal(err)
		}
		return id, r.versions.slots[0].id
	}
	at := map[uint32]string{}
	for i := range ownersKept {
		value := fmt.Sprint("value ", i)
		id, version := load(value)
		at[version] = value
		if err := r.Apply([]Assignment{{Slots: []uint32{0}}}, true); err != nil {
			t.Fatal(err)
		}
		if err := r.Unload(id); err != nil {
			t.Fatal(err)
		}
		// The site goes with its last rule, so that one is kept there.
		r.sites[r.site.name], r.site.detached = r.site, false
	}
	for version, value := range at {
		rule, ok := r.Resolve(r.site.id, version, 0)
		if !ok || rule.Rule.Filters[0].Strings[0] != value {
			t.Errorf("bit 0 at version %d is %+v, want the rule about %q", version, rule.Rule, value)
		}
		if ok && (len(rule.Dimensions) != 1 || len(rule.Strings) != 1 || rule.Strings[0] < 0) {
			t.Errorf("bit 0 at version %d: arguments at %v, strings at %v", version, rule.Dimensions, rule.Strings)
		}
	}
	for name, c := range map[string]struct {
		site, version uint32
		bit           int
	}{
		"site that never was":    {200, 1, 0},
		"site outside":           {1 << 20, 1, 0},
		"version before all":     {r.site.id, 0, 0},
		"bit that nobody had":    {r.site.id, 1, 77},
		"bit outside":            {r.site.id, 1, compile.MaxRules},
		"bit below":              {r.site.id, 1, -1},
		"version after the last": {r.site.id, 1 << 30, 0},
	} {
		if rule, ok := r.Resolve(c.site, c.version, c.bit); ok {
			t.Errorf("%s: %+v", name, rule)
		}
	}
}
