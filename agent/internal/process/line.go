// SPDX-License-Identifier: Apache-2.0

package process

import "slices"

// maxAncestors is how many ancestors beyond its parent an entry holds, and a line
// has: a process that forks and ends for ever would else keep all that it was.
const maxAncestors = 64

// droppedBytes is about what a dropped entry takes that others hold.
const droppedBytes = 160

// Uses counts by whom a value in the cache has been taken into use: by itself for
// as long as it runs, by those whose parent it is, and by those whose ancestor
// further up it is. The last two use it until they have ended, their grace with
// it, or have made room.
type Uses [3]Use

// Use counts one way of use: how often a value was taken, and given back. Both
// start anew after 2^32.
type Use struct{ Taken, Given uint32 }

// The indexes of Uses.
const (
	bySelf = iota
	byChild
	byDescendant
)

// Refs is how many use the value now.
func (u *Uses) Refs() uint32 {
	n := uint32(0)
	for _, use := range u {
		n += use.Taken - use.Given
	}
	return n
}

// Ops is the counts by the names that the API has for them: process++, process--,
// parent++, parent--, ancestor++ and ancestor--, without those that are 0.
func (u *Uses) Ops() map[string]int32 {
	ops := map[string]int32{}
	for i, name := range [len(u)]string{"process", "parent", "ancestor"} {
		if n := u[i].Taken; n != 0 {
			ops[name+"++"] = int32(n)
		}
		if n := u[i].Given; n != 0 {
			ops[name+"--"] = int32(n)
		}
	}
	return ops
}

// Color tells how near a value is to being removed.
type Color string

const (
	// InUse tells that something uses it.
	InUse Color = "inUse"
	// DeletePending tells that nothing does: it is removed when its grace is over.
	DeletePending Color = "deletePending"
)

// Entry is a value as the cache has it.
type Entry struct {
	*Process
	// Running tells that neither its exit nor another exec has been told of: that
	// the kernel has the process too.
	Running bool
	Color   Color
	Uses    Uses
}

// Dump is a snapshot of all values with their uses, in no order.
func (c *Cache) Dump() []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Entry, 0, len(c.byID))
	for _, e := range c.byID {
		color := InUse
		if e.uses.Refs() == 0 {
			color = DeletePending
		}
		all = append(all, Entry{Process: e.Process, Running: e.runs(), Color: color, Uses: e.uses})
	}
	return all
}

// Relative is a value, and how many use it.
type Relative struct {
	*Process
	Refs uint32
}

// Line appends to line p, then its parent and, if asked for, its ancestors from the
// parent's parent on: each once, the last one being that of the kernel, or the
// last that is known, and at most 64 of them. A process has the parent that it had
// at its fork or exec, who adopts it later is none.
func (c *Cache) Line(p *Process, ancestors bool, line []Relative) []Relative {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, generations := len(line), 1
	if ancestors {
		generations += maxAncestors
	}
	line = append(line, Relative{Process: p})
	if e := c.byID[p.ExecID]; e != nil {
		line[from].Refs = e.uses.Refs()
	}
	for range generations {
		e := c.byID[line[len(line)-1].ParentExecID]
		if e == nil || slices.ContainsFunc(line[from:], func(r Relative) bool { return r.Process == e.Process }) {
			break
		}
		c.touch(e)
		line = append(line, Relative{e.Process, e.uses.Refs()})
	}
	return line
}

// What follows is called with the lock held.

// held tells whether another entry needs this one.
func (e *entry) held() bool {
	return e.uses[byChild].Taken != e.uses[byChild].Given || e.uses[byDescendant].Taken != e.uses[byDescendant].Given
}

// hold makes an entry that holds nothing need its parent and, if they are kept, its
// ancestors. What /proc tells of processes that come and go can be a loop, which
// is cut.
func (c *Cache) hold(e, parent *entry) {
	for a, n := parent, 0; a != nil && n <= maxAncestors && e.held(); a, n = a.up, n+1 {
		if a == e {
			return
		}
	}
	if parent == nil || parent == e {
		return
	}
	e.up, e.holds, e.above = parent, true, 0
	parent.uses[byChild].Taken++
	if !c.options.Ancestors {
		return
	}
	for a := parent.up; a != nil && a.list != nil && e.above < maxAncestors; a = a.up {
		a.uses[byDescendant].Taken++
		e.above++
	}
}

// letGo ends an entry's need of all that it holds.
func (c *Cache) letGo(e *entry) {
	if !e.holds {
		return
	}
	e.holds = false
	a, next := e.up, e.up.up
	if !c.options.Ancestors {
		e.up = nil // nobody goes through it
	}
	c.give(a, byChild)
	for ; e.above > 0; e.above-- {
		a, next = next, next.up
		c.give(a, byDescendant)
	}
	e.cut()
}

// give gives one use of an entry back.
func (c *Cache) give(e *entry, by int) {
	e.uses[by].Given++
	switch {
	case e.held():
	case e.needed():
		c.drop(e)
	case e.list == nil:
		c.bytes -= droppedBytes
		e.cut()
	}
}

// cut ends the way up from an entry that nobody goes through any more.
func (e *entry) cut() {
	if !e.holds && !e.held() {
		e.up = nil
	}
}
