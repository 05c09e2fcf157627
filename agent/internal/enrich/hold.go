// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"time"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/bpf"
)

// The kernel knows some containers by their cgroup before anybody has told their
// names: a runtime's first process is in the cgroup when it calls the hook that
// does. Events of such a container wait for the hook's word, which comes before
// the container's entrypoint runs; so where that has been executed, nobody will
// tell more, and they wait no longer. All that waits is published in its order,
// other events of the same processes with it.

// Bounds of what waits: how long, and how much. What is full lets all of the
// container's events go as they are.
const (
	holdFor      = 2 * time.Second
	maxHeld      = 4096 // events of all containers
	maxHeldOf    = 512  // of one
	maxHeldBytes = 8 << 20
)

// waiting is an event that waits, and the process as it was then.
type waiting struct {
	of      event.Event
	process *process.Process
	long    *longExec // nil: none
	bytes   int
}

// hold is the events of one container that wait.
type hold struct {
	slot     uint32
	cgroupID uint64
	since    time.Time
	events   []waiting
}

// holds is all that waits.
type holds struct {
	bySlot    map[uint32]*hold
	byProcess map[process.Key]*hold
	// told is the cgroups of slots whose container is waited for no more.
	told          map[uint32]uint64
	events, bytes int
}

func newHolds() holds {
	return holds{bySlot: map[uint32]*hold{}, byProcess: map[process.Key]*hold{}, told: map[uint32]uint64{}}
}

// show publishes an event, now or when its container is known.
func (e *Enricher) show(w waiting) {
	h := e.holdOf(w.of.Head())
	if h == nil {
		e.publishEvent(w)
		return
	}
	w.bytes = bytesOf(w.of)
	if w.long != nil {
		w.bytes += len(w.long.args) + len(w.long.env)
	}
	if e.holds.events >= maxHeld || len(h.events) >= maxHeldOf || e.holds.bytes+w.bytes > maxHeldBytes {
		e.release(h, true)
		e.publishEvent(w)
		return
	}
	if of, ok := w.of.(*event.Site); ok {
		w.of = of.Clone() // of the reader's, which it uses again
	}
	h.events = append(h.events, w)
	e.holds.byProcess[keyOf(w.of.Head())] = h
	e.holds.events++
	e.holds.bytes += w.bytes
}

// holdOf is what an event has to wait with, nil for nothing.
func (e *Enricher) holdOf(of *event.Header) *hold {
	if len(e.holds.bySlot) > 0 {
		if h := e.holds.byProcess[keyOf(of)]; h != nil {
			return h
		}
		if h := e.holds.bySlot[of.Slot]; h != nil {
			return h
		}
	}
	if of.Slot < uint32(bpf.WireReservedSlotsSLOTS_RESERVED) {
		return nil
	}
	c, ok := e.Containers.BySlot(of.Slot)
	if !ok || !c.Guess || c.Late || !c.Alive() || e.holds.told[of.Slot] == c.CgroupID {
		return nil
	}
	h := &hold{slot: of.Slot, cgroupID: c.CgroupID, since: time.Now()}
	e.holds.bySlot[of.Slot] = h
	return h
}

// release publishes what waits of a container. Over: more will not be told.
func (e *Enricher) release(h *hold, over bool) {
	delete(e.holds.bySlot, h.slot)
	if over {
		e.holds.told[h.slot] = h.cgroupID
	}
	for _, w := range h.events {
		e.holds.events--
		e.holds.bytes -= w.bytes
		delete(e.holds.byProcess, keyOf(w.of.Head()))
		e.publishEvent(w)
	}
}

// releaseReady publishes what need not wait any longer.
func (e *Enricher) releaseReady(now time.Time) {
	for slot, h := range e.holds.bySlot {
		c, ok := e.Containers.BySlot(slot)
		switch {
		case !ok || !c.Guess || !c.Alive():
			e.release(h, false)
		case now.Sub(h.since) > holdFor:
			e.release(h, true)
		}
	}
}

// Flush publishes what has waited long enough, or need not wait any longer, as
// does each event. It is to be called now and then, for there may be no event, and
// may be called beside Handle.
func (e *Enricher) Flush(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.releaseReady(now)
}

// keyOf is the process of an event, as the kernel has it.
func keyOf(of *event.Header) process.Key { return process.Key{Tgid: of.Tgid, Start: of.Start} }

// bytesOf is about what an event takes in memory.
func bytesOf(of event.Event) int {
	n := 1024
	switch of := of.(type) {
	case *event.Exec:
		n += len(of.Binary) + len(of.Cwd)
		for _, a := range of.Args {
			n += len(a) + 16
		}
	case *event.Site:
		n += 8 * (len(of.KernelStack) + len(of.UserStack))
		for i := range of.Strings {
			n += len(of.Strings[i].Value)
		}
	}
	return n
}
