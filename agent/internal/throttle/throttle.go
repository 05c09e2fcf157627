// SPDX-License-Identifier: Apache-2.0

// Package throttle tells which cgroups execute so many programs that their events
// are left out. It only counts: what is left out is decided by who asks.
//
// A container counts as one, with all its cgroups, so that it gains nothing by
// making more of them; a process of no container counts for its own cgroup. Times
// are those of the kernel's events, in ns since boot.
package throttle

import (
	"sync"
	"time"

	"github.com/boltseal/boltseal/bpf"
)

// calm is for how long a cgroup has to keep to the rate before its events are
// told again.
const calm = 5 * time.Second

// maxGroups bounds the cgroups that are counted: as many as there can be
// containers, and as many others.
const maxGroups = 2 * int(bpf.WireLimitsSLOTS_MAX)

// Rate is how many events a cgroup may make in an interval.
type Rate struct {
	Events   int
	Interval time.Duration
}

// Change tells that the events of a cgroup begin, or cease, to be left out.
type Change struct {
	// Began is false when it ended.
	Began bool
	// Slot is the container's; Cgroup is where the event that began it came from.
	Slot   uint32
	Cgroup uint64
	// At is in ns since boot.
	At uint64
}

// Limiter counts events. It is safe for concurrent use.
type Limiter struct {
	rate   Rate
	notify func(Change)

	mu     sync.Mutex
	groups map[group]*count
	// leftOut is how many events did not pass, by slot.
	leftOut map[uint32]uint64
}

// group is who shares a rate: slot is a container's, or else cgroup is not 0.
type group struct {
	slot   uint32
	cgroup uint64
}

type count struct {
	begin     uint64 // of the interval
	events    int    // in it
	over      uint64 // when the rate was last exceeded
	throttled bool
	cgroup    uint64 // of the event that began it
}

// New is a limiter; notify is called at each change, with a lock held: it must not
// call the limiter.
func New(rate Rate, notify func(Change)) *Limiter {
	return &Limiter{rate: rate, notify: notify, groups: map[group]*count{}, leftOut: map[uint32]uint64{}}
}

// Count counts an event of which nothing would be told anyhow.
func (l *Limiter) Count(slot uint32, cgroup, at uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(slot, cgroup, at)
}

// Passes counts an event and tells whether it is to be told. A cgroup that there is
// no room to count is not throttled.
func (l *Limiter) Passes(slot uint32, cgroup, at uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	passes := l.count(slot, cgroup, at)
	if !passes {
		l.leftOut[slot]++
	}
	return passes
}

func (l *Limiter) count(slot uint32, cgroup, at uint64) bool {
	key := group{slot: slot}
	if slot == uint32(bpf.WireReservedSlotsSLOT_HOST) {
		key.cgroup = cgroup
	}
	c := l.groups[key]
	if c == nil {
		if len(l.groups) >= maxGroups {
			l.forgetIdle()
		}
		if len(l.groups) >= maxGroups {
			return true
		}
		c = &count{begin: at}
		l.groups[key] = c
	}
	// Events of different CPUs can be a little out of order.
	if at > c.begin && at-c.begin >= uint64(l.rate.Interval) {
		c.begin, c.events = at, 0
	}
	c.events++
	if c.events > l.rate.Events {
		c.over = max(c.over, at)
		if !c.throttled {
			c.throttled, c.cgroup = true, cgroup
			l.notify(Change{Began: true, Slot: slot, Cgroup: cgroup, At: at})
		}
	} else if c.throttled && c.calmAt(at) {
		l.end(key, c, at)
	}
	return !c.throttled
}

// LeftOut is how many events of a slot's container did not pass.
func (l *Limiter) LeftOut(slot uint32) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leftOut[slot]
}

// Sweep ends what is over at a time, also of cgroups of which nothing is heard any
// more.
func (l *Limiter) Sweep(now uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, c := range l.groups {
		switch {
		case c.throttled && c.calmAt(now):
			l.end(key, c, now)
		case !c.throttled && now > c.begin && now-c.begin >= uint64(l.rate.Interval):
			delete(l.groups, key)
		}
	}
}

// Forget ends what is of a container that is gone: the slot is the next one's.
func (l *Limiter) Forget(slot uint32, now uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := group{slot: slot}
	if c := l.groups[key]; c != nil && c.throttled {
		l.end(key, c, now)
	}
	delete(l.groups, key)
	delete(l.leftOut, slot)
}

func (c *count) calmAt(now uint64) bool { return now > c.over && now-c.over >= uint64(calm) }

func (l *Limiter) end(key group, c *count, at uint64) {
	c.throttled = false
	l.notify(Change{Slot: key.slot, Cgroup: c.cgroup, At: at})
}

// forgetIdle drops the counts of those that are not throttled: they begin anew.
func (l *Limiter) forgetIdle() {
	for key, c := range l.groups {
		if !c.throttled {
			delete(l.groups, key)
		}
	}
}
