// SPDX-License-Identifier: Apache-2.0

package container

import (
	"slices"
	"sync"
)

// Change is one change of a registry: Old is nil for a container that was
// added, and New is not alive for one that was removed; otherwise New replaced
// Old.
type Change struct {
	Old, New *Container
}

// feed brings changes to subscribers in order, outside of all locks. Whoever
// finds changes waiting and nobody at it delivers them, those of others too.
type feed struct {
	mu          sync.Mutex
	subscribers []*func(Change)
	waiting     []Change
	delivering  bool
}

func (f *feed) subscribe(fn func(Change)) (cancel func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	entry := &fn // functions do not compare; the address does
	f.subscribers = append(slices.Clone(f.subscribers), entry)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		// A copy: deliver may be walking through the list.
		f.subscribers = slices.DeleteFunc(slices.Clone(f.subscribers), func(s *func(Change)) bool { return s == entry })
	}
}

// queue is called under the registry's lock, which orders the changes.
func (f *feed) queue(c Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.subscribers) > 0 {
		f.waiting = append(f.waiting, c)
	}
}

func (f *feed) deliver() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.delivering {
		return
	}
	f.delivering = true
	// Also when a subscriber panics: the next change must not wait for ever.
	defer func() { f.delivering = false }()
	for len(f.waiting) > 0 {
		change, subscribers := f.waiting[0], f.subscribers
		f.waiting = f.waiting[1:]
		for _, s := range subscribers {
			f.call(*s, change)
		}
	}
}

// call runs fn without the lock.
func (f *feed) call(fn func(Change), c Change) {
	f.mu.Unlock()
	defer f.mu.Lock()
	fn(c)
}
