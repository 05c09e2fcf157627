// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

var (
	// ErrClosed is the end of a subscription: it or its hub was closed, or its
	// context ended.
	ErrClosed = errors.New("subscription is closed")
	// ErrTooMany says that there are as many subscribers as there may be.
	ErrTooMany = errors.New("too many subscribers")
)

const (
	// DefaultQueue is the length of a subscriber's queue.
	DefaultQueue = 10_000
	// MaxSubscribers bounds the memory that queues take.
	MaxSubscribers = 128
)

// Filter tells whether a subscriber wants an event, which it must not modify.
type Filter func(*tetragon.GetEventsResponse) bool

// Hub fans events out. The zero Hub is ready for use; it is safe for concurrent
// use and must not be copied.
type Hub struct {
	mu          sync.Mutex // of changes of subscribers
	closed      bool
	subscribers atomic.Pointer[[]*Subscription]
	lost        atomic.Uint64
}

// Active tells whether anybody is subscribed. An event that is made while nobody
// is need not be published.
func (h *Hub) Active() bool { return len(h.list()) > 0 }

func (h *Hub) list() []*Subscription {
	if list := h.subscribers.Load(); list != nil {
		return *list
	}
	return nil
}

// Publish hands an event to all subscribers and never blocks. The event must not
// be modified any more, by anybody: all subscribers get the same one.
func (h *Hub) Publish(e *tetragon.GetEventsResponse) {
	for _, s := range h.list() {
		select {
		case s.queue <- e:
		default:
			s.lost.Add(1)
			h.lost.Add(1)
		}
	}
}

// Subscribe begins a subscription to what is published from now on. It ends with
// the context or with Close, one of which has to come. A nil filter wants
// everything. queue is the number of events that can wait; 0: DefaultQueue. The
// error is ErrTooMany, or ErrClosed after the hub was closed.
func (h *Hub) Subscribe(ctx context.Context, filter Filter, queue int) (*Subscription, error) {
	if queue <= 0 {
		queue = DefaultQueue
	}
	s := &Subscription{
		hub: h, filter: filter, queue: make(chan *tetragon.GetEventsResponse, queue), done: make(chan struct{}),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.list()
	switch {
	case h.closed:
		return nil, fmt.Errorf("subscribe: %w", ErrClosed)
	case len(list) >= MaxSubscribers:
		return nil, fmt.Errorf("subscribe: %w: the limit is %d", ErrTooMany, MaxSubscribers)
	}
	s.number = freeNumber(list)
	list = append(slices.Clone(list), s) // Publish may be walking through the old one
	h.subscribers.Store(&list)
	s.stop = context.AfterFunc(ctx, s.end)
	return s, nil
}

// Close ends all subscriptions; what waits in their queues can still be read.
func (h *Hub) Close() {
	h.mu.Lock()
	list := h.list()
	h.closed = true
	h.mu.Unlock()
	for _, s := range list {
		s.Close()
	}
}

// remove takes s out, if it is still in.
func (h *Hub) remove(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.list()
	if n := slices.Index(list, s); n >= 0 {
		list = slices.Delete(slices.Clone(list), n, n+1)
		h.subscribers.Store(&list)
	}
}

// Subscription is one subscriber's queue. It is safe for concurrent use.
type Subscription struct {
	hub    *Hub
	number int
	filter Filter
	queue  chan *tetragon.GetEventsResponse
	lost   atomic.Uint64
	once   sync.Once
	done   chan struct{}
	stop   func() bool
}

// Next waits for the next event that the filter wants. Events must not be
// modified. The error is the context's, or ErrClosed once the subscription has
// ended and its queue is empty.
func (s *Subscription) Next(ctx context.Context) (*tetragon.GetEventsResponse, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, err := s.receive(ctx)
		if err != nil {
			return nil, err
		}
		if s.filter == nil || s.filter(e) {
			return e, nil
		}
	}
}

func (s *Subscription) receive(ctx context.Context) (*tetragon.GetEventsResponse, error) {
	select {
	case e := <-s.queue: // also when the subscription has ended
		return e, nil
	default:
	}
	select {
	case e := <-s.queue:
		return e, nil
	case <-s.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Lost is how many events found the queue full since the subscription began. The
// filter did not see them: some of them it might not have wanted.
func (s *Subscription) Lost() uint64 { return s.lost.Load() }

// Close ends the subscription. It can be called more than once.
func (s *Subscription) Close() {
	s.stop()
	s.end()
}

func (s *Subscription) end() {
	s.once.Do(func() {
		s.hub.remove(s)
		close(s.done)
	})
}
