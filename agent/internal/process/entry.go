// SPDX-License-Identifier: Apache-2.0

package process

import "container/list"

// entry is a value in the cache, or one that was dropped and that others hold.
type entry struct {
	*Process
	// up is the parent's entry. It stays for as long as the entry holds or is held,
	// even when the parent was dropped: who holds lets go of the same entries.
	up *entry
	// holds tells that this entry holds its parent, and above is how many ancestors
	// beyond the parent it holds.
	holds bool
	above uint8
	// uses is by whom it is held, and was.
	uses Uses
	end  uint64
	// share is that of its container.
	share *share
	// list is where the entry is; nil when it was dropped.
	list    *list.List
	element *list.Element
}

// What follows is called with the lock held.

func (c *Cache) find(k Key) *entry {
	e := c.current[k.place()]
	if e != nil {
		c.touch(e)
	}
	return e
}

func (c *Cache) touch(e *entry) {
	if e.runs() {
		e.share.running.MoveToBack(e.element)
	}
}

// parentOf is the entry of i's parent, made when it is not known.
func (c *Cache) parentOf(i Info) *entry {
	if i.Parent.Tgid == 0 {
		i.Parent = Key{}
	}
	if e := c.find(i.Parent); e != nil {
		return e
	}
	if i.Parent.Tgid != 0 {
		return c.miss(Info{Key: i.Parent})
	}
	kernel := Info{Binary: "<kernel>", Cwd: "/", AUID: NoAUID, Flags: ProcFS | RootCwd}
	return c.add(kernel, 0, nil)
}

// miss adds a process of which nothing but ids is known.
func (c *Cache) miss(i Info) *entry {
	c.stats.Missed++
	i.AUID, i.Flags = NoAUID, Miss
	return c.add(i, i.Key.Start, nil)
}

func (c *Cache) add(i Info, since uint64, parent *entry) *entry {
	p := &Process{Info: i, ExecID: execID(c.options.Node, since, i.Key.Tgid), Since: since}
	if parent != nil {
		p.ParentExecID = parent.ExecID
	}
	place := i.Key.place()
	twin := c.byID[p.ExecID]
	e := twin
	if twin == nil || twin.up != nil || twin.Key.place() != place {
		e = &entry{}
	}
	c.hold(e, parent) // before its twin lets go
	switch {
	case twin == e:
		// The same value, of which more is known now, or nothing is: who holds it goes
		// on doing so.
		c.leave(e)
		if i.Flags == Miss {
			p = e.Process
		}
	case twin != nil:
		c.drop(twin)
	}
	if before := c.current[place]; before != nil && before != e {
		c.finish(before, since)
	}
	e.Process = p
	c.current[place] = e
	c.byID[p.ExecID] = e
	if !e.runs() {
		e.uses[bySelf].Taken++
	}
	c.enter(e)
	c.makeRoom(e)
	return e
}

// makeRoom drops entries, but not the newest: first what has ended, then of the
// container that has most. One whose births come and whose ends are lost takes
// no room from others.
func (c *Cache) makeRoom(newest *entry) {
	for len(c.byID) > c.options.Size || c.bytes > c.options.Bytes {
		if front := c.ended.Front(); front != nil {
			if e := front.Value.(*entry); c.endGrace(e) {
				c.stats.Evicted++
			}
			continue
		}
		victim := c.largestShare(nil).victim()
		if victim == newest {
			others := c.largestShare(newest.share)
			if others == nil {
				return
			}
			victim = others.victim()
		}
		c.stats.Evicted++
		c.drop(victim)
	}
}

// finish begins the grace of an entry that runs.
func (c *Cache) finish(e *entry, at uint64) {
	if !e.runs() {
		return
	}
	e.end = at
	e.uses[bySelf].Given++
	c.move(e, &c.ended)
}

// expire ends the graces that are over at a time. Events of different CPUs can be
// a little out of order, which does not matter here.
func (c *Cache) expire(now uint64) {
	for front := c.ended.Front(); front != nil; front = c.ended.Front() {
		e := front.Value.(*entry)
		if e.end+uint64(c.options.Grace) >= now {
			return
		}
		c.endGrace(e)
	}
}

// endGrace ends the grace of an entry, and tells whether that was its end.
func (c *Cache) endGrace(e *entry) bool {
	if e.held() {
		c.move(e, &e.share.needed)
		c.letGo(e)
		return false
	}
	c.drop(e)
	return true
}

// drop takes an entry out. What others hold of it is the way to those above it.
func (c *Cache) drop(e *entry) {
	if e.list == nil {
		return
	}
	if e.runs() {
		e.uses[bySelf].Given++
	}
	e.list.Remove(e.element)
	e.list, e.element = nil, nil
	c.leave(e)
	delete(c.byID, e.ExecID)
	if c.current[e.Key.place()] == e {
		delete(c.current, e.Key.place())
	}
	e.Process = nil
	if e.held() {
		c.bytes += droppedBytes
	}
	c.letGo(e)
	e.cut()
}

func (c *Cache) move(e *entry, to *list.List) {
	if e.list != nil {
		e.list.Remove(e.element)
	}
	e.list, e.element = to, to.PushBack(e)
}
