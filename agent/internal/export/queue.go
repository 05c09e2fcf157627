// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"sync"
	"time"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// queue is what waits for one subscriber. It knows between which events others are
// missing. offer, stats and close are safe for concurrent use.
type queue struct {
	origin Origin
	view   View
	wake   chan struct{} // has an element when there may be something new

	mu          sync.Mutex
	ring        []waiting
	first, used int
	missing     uint64 // lost after the last one that waits
	closed      bool
	lost        uint64
	filtered    uint64
	sent        uint64
}

// waiting is an event and how many were lost right before it.
type waiting struct {
	event *tetragon.GetEventsResponse
	lost  uint64
}

func newQueue(origin Origin, view View, length int) *queue {
	if length <= 0 {
		length = DefaultQueue
	}
	return &queue{origin: origin, view: view, wake: make(chan struct{}, 1), ring: make([]waiting, length)}
}

// offer adds an event, or counts it when there is no room. It does not wait: the
// lock is held for some stores only, never while a view runs.
func (q *queue) offer(e *tetragon.GetEventsResponse) {
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return
	case q.used == len(q.ring):
		q.missing++
		q.lost++
		q.mu.Unlock()
		return // who is to read has a full queue to read
	}
	at := q.first + q.used
	if at >= len(q.ring) {
		at -= len(q.ring)
	}
	q.ring[at] = waiting{e, q.missing}
	q.used++
	q.missing = 0
	q.mu.Unlock()
	q.notify()
}

func (q *queue) notify() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take takes what is next: an event, or how many are missing here.
func (q *queue) take() (e *tetragon.GetEventsResponse, lost uint64, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used == 0 {
		lost, q.missing = q.missing, 0
		return nil, lost, q.closed
	}
	at := &q.ring[q.first]
	if at.lost > 0 {
		lost, at.lost = at.lost, 0
		return nil, lost, false
	}
	e, at.event = at.event, nil
	q.used--
	if q.first++; q.first == len(q.ring) {
		q.first = 0
	}
	return e, 0, false
}

// next is the next event that passes the view, or tells that some are missing.
func (q *queue) next(ctx context.Context, until time.Time) (*tetragon.GetEventsResponse, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, lost, closed := q.take()
		switch {
		case e != nil:
			if e = q.project(e); e != nil {
				return e, nil
			}
			if !until.IsZero() && !time.Now().Before(until) {
				return nil, errTime
			}
		case lost > 0:
			return q.origin.Missing(lost), nil
		case closed:
			return nil, ErrClosed
		default:
			if err := q.wait(ctx, until); err != nil {
				return nil, err
			}
		}
	}
}

// project is what the subscriber gets of an event, nil for nothing.
func (q *queue) project(e *tetragon.GetEventsResponse) *tetragon.GetEventsResponse {
	if q.view != nil {
		if !q.view.Passes(e) {
			q.count(&q.filtered)
			return nil
		}
		e = q.view.Fields(e)
	}
	q.count(&q.sent)
	return e
}

func (q *queue) count(n *uint64) {
	q.mu.Lock()
	*n++
	q.mu.Unlock()
}

// wait waits for something new, or for the end.
func (q *queue) wait(ctx context.Context, until time.Time) error {
	var late <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-q.wake:
		return nil
	case <-late:
		return errTime
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.notify()
}

func (q *queue) stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stats{Queued: q.used, Capacity: len(q.ring), Lost: q.lost, Filtered: q.filtered, Sent: q.sent}
}
