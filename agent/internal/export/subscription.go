// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// View is which events a subscriber gets and what of them. Both are called by the
// one who reads.
type View interface {
	// Passes tells whether the subscriber wants an event, which it must not modify.
	Passes(*tetragon.GetEventsResponse) bool
	// Fields is what the subscriber gets of an event that passes: the event itself,
	// or another that shares with it what it likes and modifies nothing of it.
	Fields(*tetragon.GetEventsResponse) *tetragon.GetEventsResponse
}

// Options are those of a subscription; the zero Options are for every event.
type Options struct {
	// Name is the subscriber's in Stats.
	Name string
	// View is nil for everything as it is.
	View View
	// Queue is the number of events that can wait; 0: DefaultQueue.
	Queue int
	// Aggregation counts equal events together; nil: none are.
	Aggregation *Aggregation
	// PerMinute is the most events in a minute, each of which begins with the first
	// event after the one before; what is beyond is left out and told of at the end
	// of the minute. 0 leaves all events out. Nil: no limit.
	PerMinute *int
}

// Stats are the numbers of a subscriber. What was published since it subscribed
// is Queued, Lost, Filtered, Limited or Sent.
type Stats struct {
	// ID is one that no other subscriber of the hub had. Name is that of its options.
	ID uint64
	// Number is unique among the present subscribers, and less than MaxSubscribers:
	// those of subscriptions that have ended are used again.
	Number int
	Name   string
	// Queued are the events that wait, of Capacity that can.
	Queued, Capacity int
	// Lost found the queue full. The view did not see them: some of them it might not
	// have wanted.
	Lost uint64
	// Filtered were not wanted by the view.
	Filtered uint64
	// Limited were more than the limit per minute.
	Limited uint64
	// Sent were handed on, or are being counted together with others.
	Sent uint64
}

// Subscription is one subscriber's stream. Next is for one goroutine, the rest is
// safe for concurrent use.
type Subscription struct {
	id     uint64
	number int
	name   string
	hub    *Hub
	queue  *queue
	limit  *limiter // nil: none
	out    source
	once   sync.Once
	stop   func() bool
}

// source hands out events in order. One goroutine reads from it.
type source interface {
	// next waits for an event until a time, for ever if that is zero. The error is
	// errTime, the context's, or for good ErrClosed.
	next(ctx context.Context, until time.Time) (*tetragon.GetEventsResponse, error)
}

// errTime says that no event came in time.
var errTime = errors.New("no event in time")

// earlier is the earlier of two times, of which the zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func newSubscription(h *Hub, o Options) *Subscription {
	s := &Subscription{hub: h, name: o.Name, queue: newQueue(h.Origin, o.View, o.Queue)}
	s.out = s.queue
	if o.Aggregation != nil {
		s.out = newAggregator(s.out, *o.Aggregation)
	}
	if o.PerMinute != nil {
		s.limit = &limiter{from: s.out, perMinute: *o.PerMinute, origin: h.Origin}
		s.out = s.limit
	}
	return s
}

// Next waits for the next event, which must not be modified. The error is the
// context's, or ErrClosed once the subscription has ended and all is read.
func (s *Subscription) Next(ctx context.Context) (*tetragon.GetEventsResponse, error) {
	return s.out.next(ctx, time.Time{})
}

// Stream sends what Next gives until the subscription or the context has ended,
// which is no error, or send fails.
func (s *Subscription) Stream(ctx context.Context, send func(*tetragon.GetEventsResponse) error) error {
	for {
		switch e, err := s.Next(ctx); {
		case err == nil:
			if err := send(e); err != nil {
				return err
			}
		case errors.Is(err, ErrClosed), errors.Is(err, ctx.Err()):
			return nil
		default:
			return err
		}
	}
}

// Stats are the subscriber's numbers of this moment.
func (s *Subscription) Stats() Stats {
	stats := s.queue.stats()
	stats.ID, stats.Number, stats.Name = s.id, s.number, s.name
	if s.limit != nil {
		// Read after Sent was: what is limited meanwhile has left it as well.
		stats.Limited = min(s.limit.limited.Load(), stats.Sent)
		stats.Sent -= stats.Limited
	}
	return stats
}

// Close ends the subscription: what waits can still be read. It can be called
// more than once.
func (s *Subscription) Close() {
	s.stop()
	s.end()
}

func (s *Subscription) end() {
	s.once.Do(func() {
		s.queue.close() // it loses nothing from here on
		s.hub.remove(s)
	})
}
