// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/types/known/timestamppb"

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

// Origin is what the events of a hub say of where they are from.
type Origin struct {
	Node, Cluster string
	// Labels are those of the node. They are shared and must not be modified.
	Labels map[string]string
}

// Missing tells that n events are missing.
func (o Origin) Missing(n uint64) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{
		NodeName: o.Node, ClusterName: o.Cluster, NodeLabels: o.Labels, Time: timestamppb.Now(),
		Event: &tetragon.GetEventsResponse_RateLimitInfo{RateLimitInfo: &tetragon.RateLimitInfo{NumberOfDroppedProcessEvents: n}},
	}
}

// Hub fans events out. The zero Hub is ready for use; it is safe for concurrent
// use and must not be copied.
type Hub struct {
	// Origin is that of the events that tell of others that are missing. It is set
	// before the first subscription.
	Origin Origin

	mu          sync.Mutex // of changes of subscribers
	closed      bool
	last        uint64 // id
	subscribers atomic.Pointer[[]*Subscription]
	lost        uint64 // by subscriptions that have ended
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

// Publish hands an event to all subscribers and waits for none of them. The event
// must not be modified any more, by anybody: all subscribers get the same one.
func (h *Hub) Publish(e *tetragon.GetEventsResponse) {
	for _, s := range h.list() {
		s.queue.offer(e)
	}
}

// Subscribe begins a subscription to what is published from now on. It ends with
// the context or with Close, one of which has to come. The error is ErrTooMany, or
// ErrClosed after the hub was closed.
func (h *Hub) Subscribe(ctx context.Context, o Options) (*Subscription, error) {
	s := newSubscription(h, o)
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.list()
	switch {
	case h.closed:
		return nil, fmt.Errorf("subscribe: %w", ErrClosed)
	case len(list) >= MaxSubscribers:
		return nil, fmt.Errorf("subscribe: %w: the limit is %d", ErrTooMany, MaxSubscribers)
	}
	h.last++
	s.id, s.number = h.last, freeNumber(list)
	list = append(slices.Clone(list), s) // Publish may be walking through the old one
	h.subscribers.Store(&list)
	s.stop = context.AfterFunc(ctx, s.end)
	return s, nil
}

// Subscribers are the numbers of all subscribers, the oldest first.
func (h *Hub) Subscribers() []Stats {
	list := h.list()
	all := make([]Stats, len(list))
	for i, s := range list {
		all[i] = s.Stats()
	}
	return all
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
		h.lost += s.queue.stats().Lost
	}
}

// Lost is how many events found a queue full, of all subscriptions that there were.
func (h *Hub) Lost() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	lost := h.lost
	for _, s := range h.list() {
		lost += s.queue.stats().Lost
	}
	return lost
}

// freeNumber is the least number that none of the subscribers has.
func freeNumber(list []*Subscription) (number int) {
	for slices.ContainsFunc(list, func(s *Subscription) bool { return s.number == number }) {
		number++
	}
	return number
}
