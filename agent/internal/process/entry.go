// SPDX-License-Identifier: Apache-2.0

package process

import "container/list"

// What follows is called with the lock held.

func (c *Cache) find(k Key) *entry {
	e := c.current[k.place()]
	if e != nil {
		c.touch(e)
	}
	return e
}

func (c *Cache) touch(e *entry) {
	if e.list == &c.running {
		c.running.MoveToBack(e.element)
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
	if before := c.current[i.Key.place()]; before != nil {
		c.finish(before, since)
	}
	p := &Process{Info: i, ExecID: execID(c.options.Node, since, i.Key.Tgid), Since: since}
	e := &entry{Process: p}
	if parent != nil {
		p.ParentExecID = parent.ExecID
		e.parent = parent
		parent.children++
	}
	if twin := c.byID[p.ExecID]; twin != nil {
		c.drop(twin)
	}
	c.current[i.Key.place()] = e
	c.byID[p.ExecID] = e
	c.bytes += p.bytes()
	c.move(e, &c.running)
	c.makeRoom(e)
	return e
}

// makeRoom drops entries, but not the newest.
func (c *Cache) makeRoom(newest *entry) {
	for len(c.byID) > c.options.Size || c.bytes > c.options.Bytes {
		victim := c.ended.Front()
		if victim == nil {
			victim = c.needed.Front()
		}
		if victim == nil {
			victim = c.running.Front()
		}
		e := victim.Value.(*entry)
		if e == newest {
			return
		}
		c.stats.Evicted++
		c.drop(e)
	}
}

// finish begins the grace of an entry that runs.
func (c *Cache) finish(e *entry, at uint64) {
	if e.list != &c.running {
		return
	}
	e.end = at
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
		c.letGo(e)
		if e.children > 0 {
			c.move(e, &c.needed)
		} else {
			c.drop(e)
		}
	}
}

// letGo ends an entry's need of its parent.
func (c *Cache) letGo(e *entry) {
	parent := e.parent
	if parent == nil {
		return
	}
	e.parent = nil
	parent.children--
	if parent.children == 0 && parent.list == &c.needed {
		c.drop(parent)
	}
}

func (c *Cache) drop(e *entry) {
	if e.list == nil {
		return
	}
	e.list.Remove(e.element)
	e.list = nil
	c.bytes -= e.Process.bytes()
	delete(c.byID, e.ExecID)
	if c.current[e.Key.place()] == e {
		delete(c.current, e.Key.place())
	}
	c.letGo(e)
}

func (c *Cache) move(e *entry, to *list.List) {
	if e.list != nil {
		e.list.Remove(e.element)
	}
	e.list, e.element = to, to.PushBack(e)
}
