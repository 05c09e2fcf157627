// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

var (
	// ErrConflict says that another live container holds the cgroup id or slot.
	ErrConflict = errors.New("held by another container")
	// ErrNotFound says that no live container has the id.
	ErrNotFound = errors.New("no such container")
	// ErrAmbiguous says that several live containers have ids with the prefix.
	ErrAmbiguous = errors.New("prefix of several container ids")
	// ErrFull says that the registry holds as many live containers as it may.
	ErrFull = errors.New("too many containers")
	// ErrInvalid says that a value is no container that can be registered.
	ErrInvalid = errors.New("invalid container")
)

// Registry finds containers. It is safe for concurrent use.
type Registry struct {
	limit int
	feed  feed

	mu   sync.RWMutex
	live map[string]*Container
	// byCgroup and bySlot also hold removed containers, until they are forgotten
	// or a live one takes their place.
	byCgroup map[uint64]*Container
	bySlot   map[uint32]*Container
	// former are the values in byCgroup and bySlot that are not live any more,
	// in the order of their removal.
	former []*Container
}

// New is an empty registry of at most limit live containers; 0 is no limit.
func New(limit int) *Registry {
	return &Registry{
		limit:    limit,
		live:     map[string]*Container{},
		byCgroup: map[uint64]*Container{},
		bySlot:   map[uint32]*Container{},
	}
}

// Put adds c, or replaces the live container of the same id. The caller must
// not modify c any more. The error is ErrInvalid, ErrFull, or ErrConflict with
// the id of the live container that holds c's cgroup id or slot; then nothing
// has changed.
func (r *Registry) Put(c *Container) error {
	if c == nil || c.ID == "" || !c.Alive() {
		return fmt.Errorf("put container: %w: needs an id, and no time of removal", ErrInvalid)
	}
	r.mu.Lock()
	old := r.live[c.ID]
	if err := r.admit(c, old); err != nil {
		r.mu.Unlock()
		return fmt.Errorf("put container %s: %w", c.ID, err)
	}
	if old != nil {
		r.release(old, c)
	}
	r.live[c.ID] = c
	if c.CgroupID != 0 {
		r.byCgroup[c.CgroupID] = c
	}
	if c.Slot != 0 {
		r.bySlot[c.Slot] = c
	}
	r.feed.queue(Change{Old: old, New: c})
	r.mu.Unlock()
	r.feed.deliver()
	return nil
}

// admit tells what stands against c in place of old, which may be nil.
func (r *Registry) admit(c, old *Container) error {
	if old == nil && r.limit > 0 && len(r.live) >= r.limit {
		return fmt.Errorf("%w: the limit is %d", ErrFull, r.limit)
	}
	if h := r.byCgroup[c.CgroupID]; c.CgroupID != 0 && h != nil && h != old && h.Alive() {
		return fmt.Errorf("cgroup id %d: %w: %s", c.CgroupID, ErrConflict, h.ID)
	}
	if h := r.bySlot[c.Slot]; c.Slot != 0 && h != nil && h != old && h.Alive() {
		return fmt.Errorf("slot %d: %w: %s", c.Slot, ErrConflict, h.ID)
	}
	return nil
}

// release takes the keys from old that next does not have: no record can come
// late for them, as old's container lives on under its new keys.
func (r *Registry) release(old, next *Container) {
	if old.CgroupID != next.CgroupID && r.byCgroup[old.CgroupID] == old {
		delete(r.byCgroup, old.CgroupID)
	}
	if old.Slot != next.Slot && r.bySlot[old.Slot] == old {
		delete(r.bySlot, old.Slot)
	}
}

// Remove takes the live container with the id out, as of the given time, and
// returns its last value with Removed set. By cgroup id and by slot it can
// still be found until Forget. The error is ErrNotFound.
func (r *Registry) Remove(id string, at time.Time) (*Container, error) {
	r.mu.Lock()
	old := r.live[id]
	if old == nil {
		r.mu.Unlock()
		return nil, fmt.Errorf("remove container %s: %w", id, ErrNotFound)
	}
	removed := *old
	if removed.Removed = at; at.IsZero() {
		removed.Removed = time.Now() // a zero time would say that it is alive
	}
	delete(r.live, id)
	kept := false
	if r.byCgroup[old.CgroupID] == old {
		r.byCgroup[old.CgroupID], kept = &removed, true
	}
	if r.bySlot[old.Slot] == old {
		r.bySlot[old.Slot], kept = &removed, true
	}
	if kept {
		r.former = append(r.former, &removed)
	}
	r.feed.queue(Change{Old: old, New: &removed})
	r.mu.Unlock()
	r.feed.deliver()
	return &removed, nil
}

// Forget drops the containers that were removed before the given time, and
// tells how many. Someone has to call it now and then: it is what bounds the
// memory of a registry whose containers come and go.
func (r *Registry) Forget(before time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := len(r.former)
	r.former = slices.DeleteFunc(r.former, func(c *Container) bool {
		if !c.Removed.Before(before) {
			return false
		}
		if r.byCgroup[c.CgroupID] == c {
			delete(r.byCgroup, c.CgroupID)
		}
		if r.bySlot[c.Slot] == c {
			delete(r.bySlot, c.Slot)
		}
		return true
	})
	return count - len(r.former)
}

// ByID is the live container with the id.
func (r *Registry) ByID(id string) (*Container, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c, ok := r.live[id]
	return c, ok
}

// ByIDPrefix is the live container whose id starts with prefix; an id that is
// the prefix wins over longer ones. The error is ErrNotFound or ErrAmbiguous.
func (r *Registry) ByIDPrefix(prefix string) (*Container, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if c, ok := r.live[prefix]; ok {
		return c, nil
	}
	var found *Container
	for id, c := range r.live {
		if prefix == "" || !strings.HasPrefix(id, prefix) {
			continue
		}
		if found != nil {
			// Sorted, so that one question has one answer.
			a, b := min(found.ID, id), max(found.ID, id)
			return nil, fmt.Errorf("find container %q: %w: %s, %s", prefix, ErrAmbiguous, a, b)
		}
		found = c
	}
	if found == nil {
		return nil, fmt.Errorf("find container %q: %w", prefix, ErrNotFound)
	}
	return found, nil
}

// ByCgroup is the container with the cgroup id, live or removed not long ago.
func (r *Registry) ByCgroup(id uint64) (*Container, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c, ok := r.byCgroup[id]
	return c, ok
}

// BySlot is the container with the slot, live or removed not long ago. A slot
// that is given to another container answers with that one at once: who hands
// out slots should let them rest for as long as records may be late.
func (r *Registry) BySlot(slot uint32) (*Container, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c, ok := r.bySlot[slot]
	return c, ok
}

// List is a snapshot of the live containers, sorted by the time they were added,
// then by id.
func (r *Registry) List() []*Container {
	r.mu.RLock()
	all := slices.Collect(maps.Values(r.live))
	r.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Container) int { return cmp.Or(a.Added.Compare(b.Added), cmp.Compare(a.ID, b.ID)) })
	return all
}

// Len is the number of live containers.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.live)
}

// Subscribe has fn called for every change from now on, until cancel. Changes
// come one at a time and in the order they were made, with no lock held: fn may
// call the registry. They come on the goroutine of one of the callers that make
// changes, mostly before its own call returns, and keep it: fn should be quick.
// After cancel one call may still be under way.
func (r *Registry) Subscribe(fn func(Change)) (cancel func()) {
	return r.feed.subscribe(fn)
}
