// SPDX-License-Identifier: Apache-2.0

package process

import (
	"container/list"
	"sync"
	"time"
)

// Options configures a Cache.
type Options struct {
	// Node is the node's name in exec ids.
	Node string
	// Size is the number of values that are kept at most; 0: 65536.
	Size int
	// Bytes is about how much memory they may take; 0: 64 MiB. A process can give
	// itself 4 KiB each of path, arguments and directory.
	Bytes int
	// Grace is how long a value is kept after its end; 0: 10 s.
	Grace time.Duration
	// Ancestors: a value is kept for all that descend from it, as [Cache.Line] tells
	// of them, and not for its children alone.
	Ancestors bool
}

// Cache knows processes. It is fed in the order of the kernel's events and safe
// for concurrent use.
type Cache struct {
	options Options

	mu      sync.Mutex
	current map[place]*entry
	byID    map[string]*entry
	// Every entry is in one list: here those that have ended, within their grace, the
	// first to end first; the others in the lists of their container.
	ended list.List
	slots map[uint32]*share
	// largest is the share of most bytes, as far as largestShare has looked.
	largest *share
	bytes   int
	stats   Stats
}

// Stats counts what the cache did since it was made.
type Stats struct {
	// Size is the number of values in it, Bytes about the memory they take.
	Size, Bytes int
	// Evicted is how many values made room for others.
	Evicted uint64
	// Missed is how often a process was named that was not there.
	Missed uint64
}

// place is where a process is looked up: one start in /proc's resolution, within
// which a tgid is not used again.
type place struct {
	tgid uint32
	tick uint64
}

// tick is the resolution of start times in /proc, which are rounded down: USER_HZ
// is 100 on all machines that the agent runs on.
const tick = uint64(time.Second / 100)

func (k Key) place() place { return place{k.Tgid, k.Start / tick} }

// New is an empty cache.
func New(o Options) *Cache {
	if o.Size <= 0 {
		o.Size = 65536
	}
	if o.Bytes <= 0 {
		o.Bytes = 64 << 20
	}
	if o.Grace <= 0 {
		o.Grace = 10 * time.Second
	}
	return &Cache{options: o, current: map[place]*entry{}, byID: map[string]*entry{}, slots: map[uint32]*share{}}
}

// Fork takes in a new process. Of what it executes nothing needs to be told: it
// is its maker's, or its parent's where no maker is told.
func (c *Cache) Fork(i Info) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(i.Key.Start)
	parent := c.parentOf(i)
	maker := parent
	if i.Maker.Tgid != 0 {
		maker = c.parentOf(Info{Parent: i.Maker})
	}
	i.inherit(&maker.Info)
	return c.add(i, i.Key.Start, parent).Process
}

// Exec takes in that a process has executed a file, at a time in ns since boot.
// The flags Exec, Clone, NoCwd and RootCwd are found here.
func (c *Cache) Exec(at uint64, i Info) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(at)
	i.Flags |= Exec
	switch {
	case i.Cwd == "/":
		i.Flags |= RootCwd
	case i.Cwd == "" && i.Flags&ErrorCwd == 0:
		i.Flags |= NoCwd
	}
	if before := c.find(i.Key); before != nil {
		if before.Flags&(Exec|Clone) == Clone {
			i.Flags |= Clone
		}
		c.finish(before, at)
	}
	return c.add(i, at, c.parentOf(i)).Process
}

// Exit takes in that a process has ended. First is false when that was known:
// two threads that end at once are both the last.
func (c *Cache) Exit(at uint64, i Info) (p *Process, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(at)
	e := c.find(i.Key)
	if e == nil {
		e = c.miss(i)
	}
	if !e.runs() {
		return e.Process, false
	}
	c.finish(e, at)
	return e.Process, true
}

// Seen is the process that i.Key names. One that is not known is taken in with
// the ids of i and the flag Miss, so that all its events have one exec id.
func (c *Cache) Seen(i Info) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.find(i.Key); e != nil {
		return e.Process
	}
	return c.miss(i).Process
}

// Load takes in processes that were found in /proc. Those of which more than ids
// is known already stay as they are.
func (c *Cache) Load(found []Info) {
	c.mu.Lock()
	defer c.mu.Unlock()
	byTgid := make(map[uint32]Info, len(found))
	for _, i := range found {
		byTgid[i.Key.Tgid] = i
	}
	var load func(i Info)
	load = func(i Info) {
		delete(byTgid, i.Key.Tgid)
		if parent, ok := byTgid[i.Parent.Tgid]; ok {
			load(parent) // first, so that its exec id is known
		}
		if e := c.find(i.Key); e == nil || e.Flags&Miss != 0 {
			i.Flags |= ProcFS
			c.add(i, i.Key.Start, c.parentOf(i))
		}
	}
	for _, i := range found {
		if _, ok := byTgid[i.Key.Tgid]; ok {
			load(i)
		}
	}
}

// Get is the present value of a process, or its last one.
func (c *Cache) Get(k Key) (*Process, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.find(k); e != nil {
		return e.Process, true
	}
	c.stats.Missed++
	return nil, false
}

// ByExecID is the process with the exec id, which can be one that has executed
// another file since.
func (c *Cache) ByExecID(id string) (*Process, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byID[id]
	if !ok {
		return nil, false
	}
	c.touch(e)
	return e.Process, true
}

// Stats tells what the cache holds and did.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Size, s.Bytes = len(c.byID), c.bytes
	return s
}
