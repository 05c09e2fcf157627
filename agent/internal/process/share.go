// SPDX-License-Identifier: Apache-2.0

package process

import "container/list"

// share is what the cache holds of one container: of those that run the one not
// used for longest first, and of those that have ended what a running child needs.
type share struct {
	slot            uint32
	running, needed list.List
	// bytes and entries are of all, also of those within their grace.
	bytes, entries int
}

// victim is who makes room first; nil when all have ended within their grace.
func (s *share) victim() *entry {
	front := s.needed.Front()
	if front == nil {
		front = s.running.Front()
	}
	if front == nil {
		return nil
	}
	return front.Value.(*entry)
}

func (e *entry) runs() bool { return e.share != nil && e.list == &e.share.running }

// needed tells whether an entry is there for others alone.
func (e *entry) needed() bool { return e.share != nil && e.list == &e.share.needed }

// enter puts a new entry into its container's share.
func (c *Cache) enter(e *entry) {
	s := c.slots[e.Slot]
	if s == nil {
		s = &share{slot: e.Slot}
		c.slots[e.Slot] = s
	}
	e.share = s
	n := e.Process.bytes()
	s.bytes += n
	s.entries++
	c.bytes += n
	if c.largest == nil || s.bytes > c.largest.bytes {
		c.largest = s
	}
	c.move(e, &s.running)
}

// leave takes an entry out of its container's share.
func (c *Cache) leave(e *entry) {
	s, n := e.share, e.Process.bytes()
	s.bytes -= n
	s.entries--
	c.bytes -= n
	if s.entries > 0 {
		return
	}
	delete(c.slots, s.slot)
	if c.largest == s {
		c.largest = nil
	}
}

// largestShare is about the largest share but one, nil when there is no other: what
// is remembered as the largest does until it is below the average, which no largest
// can be, so that all are looked through but seldom.
func (c *Cache) largestShare(but *share) *share {
	if but == nil && c.largest != nil && c.largest.bytes*len(c.slots) >= c.bytes {
		return c.largest
	}
	var found *share
	for _, s := range c.slots {
		if s != but && (found == nil || s.bytes > found.bytes) {
			found = s
		}
	}
	if but == nil {
		c.largest = found
	}
	return found
}
