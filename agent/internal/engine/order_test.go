// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/bpf"
)

// versionsInKernel counts the elements of the map of sets.
func (b *bench) versionsInKernel() (n int) {
	b.t.Helper()
	var key bpf.WireSetKey
	var rules bpf.WireSetRules
	for i := b.maps.coll.Maps[bpf.SiteMapSetRules].Iterate(); i.Next(&key, &rules); {
		n++
	}
	return n
}

// hasValue tells whether the kernel holds any value of a policy.
func (b *bench) hasValue() bool {
	var key [32]byte
	err := b.maps.coll.Maps[bpf.SiteMapMatchValues].NextKey(nil, &key)
	return !errors.Is(err, ebpf.ErrKeyNotExist)
}

// The order of steps that makes changes safe, seen at each grace period: what is
// withdrawn is out of force before, and deleted or reused only after.
func TestGracePeriodsStandBetween(t *testing.T) {
	b := newBench(t)
	var at func()
	graces := 0
	b.grace = func() error {
		graces++
		at()
		return gracePeriod()
	}
	during := func(step string, want int, do, check func()) {
		t.Helper()
		graces, at = 0, check
		do()
		if graces != want {
			t.Errorf("%s: %d grace periods, want %d", step, graces, want)
		}
	}
	nothing := func() { t.Error("waited though nothing was withdrawn") }

	a, z := b.load(b.chroots(post)), b.load(b.chroots(wink))
	during("put in force", 0, func() { b.apply(Member{a, true}) }, nothing)
	old := b.versions.slots[0].id
	during("replace", 1, func() { b.apply(Member{z, true}) }, func() {
		if now := uint32(b.options.Slots.(*arraySlots).Load(0).Version); now == old {
			t.Error("waited before the new version was in force")
		}
		if n := b.versionsInKernel(); n != 2 {
			t.Errorf("%d versions while evaluations may be under way, want old and new", n)
		}
	})
	if n := b.versionsInKernel(); n != 1 {
		t.Errorf("%d versions are left", n)
	}
	during("without waiting", 0, func() {
		set := []Assignment{{Slots: []uint32{0}, Set: []Member{{a, true}}}}
		if err := b.Apply(set, false); err != nil {
			t.Fatal(err)
		}
	}, nothing)
	during("unload what was in force before", 1, func() {
		if err := b.Unload(z); err != nil {
			t.Fatal(err)
		}
	}, func() {
		if n := b.versionsInKernel(); n != 2 {
			t.Errorf("%d versions while evaluations may be under way, want old and new", n)
		}
		if h, _ := b.policies[z].hooks[0].site.table.Rule(b.policies[z].hooks[0].first); h == nil {
			t.Error("the rule was taken out before the grace period")
		}
	})
	during("withdraw and unload", 1, func() {
		b.apply()
		if err := b.Unload(a); err != nil {
			t.Fatal(err)
		}
	}, func() {
		if !b.hasValue() {
			t.Error("values were deleted before the grace period")
		}
	})
	free := b.pools.FreeClasses()
	during("load after an unload", 1, func() { a = b.load(b.chroots(post)) }, func() {
		if b.hasValue() {
			t.Error("a value was inserted while one that was deleted may be in use")
		}
		if b.pools.FreeClasses() != free {
			t.Error("a class was given back while it may be in use")
		}
	})
	during("load after nothing", 0, func() { b.load(b.chroots(post)) }, nothing)
}

// Sets that change and are waited for, for a fixed time and not a number of times:
// an engine that does not wait makes so many changes that acts are lost.
func TestNoActIsLostWhenVersionsAreDeleted(t *testing.T) {
	b := newBench(t)
	a, z := b.load(b.chroots(post)), b.load(b.chroots(post))
	b.apply(Member{a, true})
	_, stop := b.hammered()
	changes := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); changes++ {
		b.apply(Member{[]PolicyID{z, a}[changes%2], true})
	}
	acts := stop()
	if posted := b.counters(a).Post + b.counters(z).Post; posted != acts {
		t.Errorf("%d acts and %d matches in %d changes", acts, posted, changes)
	}
}
