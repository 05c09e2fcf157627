// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func event(n int) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{NodeName: strconv.Itoa(n)}
}

// wants is a view of whole events.
type wants func(*tetragon.GetEventsResponse) bool

func (w wants) Passes(e *tetragon.GetEventsResponse) bool { return w(e) }
func (wants) Fields(e *tetragon.GetEventsResponse) *tetragon.GetEventsResponse {
	return e
}

func subscribe(t *testing.T, h *Hub, view View, queue int) *Subscription {
	t.Helper()
	s, err := h.Subscribe(t.Context(), Options{View: view, Queue: queue})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// next is the next event; a test that waits for one that does not come fails.
func next(t *testing.T, s *Subscription) *tetragon.GetEventsResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	e, err := s.Next(ctx)
	if err != nil {
		t.Fatalf("no event: %v", err)
	}
	return e
}

// missing checks that the next event tells of n that are missing.
func missing(t *testing.T, s *Subscription, n uint64) {
	t.Helper()
	if e := next(t, s); e.GetRateLimitInfo().GetNumberOfDroppedProcessEvents() != n {
		t.Errorf("%v does not tell that %d events are missing", e, n)
	}
}

func lost(s *Subscription) uint64 { return s.Stats().Lost }

// end checks that nothing waits in a subscription that has ended.
func end(t *testing.T, s *Subscription) {
	t.Helper()
	if e, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, error %v instead of the end", e, err)
	}
}

func TestEverySubscriberGetsEveryEventInOrder(t *testing.T) {
	t.Parallel()
	var h Hub
	defer h.Close()
	h.Publish(event(-1)) // to nobody
	a, b := subscribe(t, &h, nil, 0), subscribe(t, &h, nil, 0)
	for n := range 1000 {
		h.Publish(event(n))
	}
	for n := range 1000 {
		x, y := next(t, a), next(t, b)
		if x.NodeName != strconv.Itoa(n) || x != y {
			t.Fatalf("event %d is %v and %v", n, x, y)
		}
	}
	if lost(a)+lost(b) != 0 {
		t.Errorf("lost %d and %d", lost(a), lost(b))
	}
}

func TestSlowSubscriberLosesItsOwnEventsOnly(t *testing.T) {
	t.Parallel()
	var h Hub
	slow, fast := subscribe(t, &h, nil, 10), subscribe(t, &h, nil, 100)
	for n := range 100 {
		h.Publish(event(n))
	}
	h.Close()
	for n := range 100 {
		if e := next(t, fast); e.NodeName != strconv.Itoa(n) {
			t.Fatalf("event %d is %v", n, e)
		}
	}
	end(t, fast)
	for n := range 10 {
		if e := next(t, slow); e.NodeName != strconv.Itoa(n) {
			t.Fatalf("event %d is %v", n, e)
		}
	}
	missing(t, slow, 90)
	end(t, slow)
	if lost(fast) != 0 || lost(slow) != 90 {
		t.Errorf("lost %d and %d, not 0 and 90", lost(fast), lost(slow))
	}
}

func TestDefaultQueue(t *testing.T) {
	t.Parallel()
	var h Hub
	defer h.Close()
	s := subscribe(t, &h, nil, 0)
	for n := range DefaultQueue + 3 {
		h.Publish(event(n))
	}
	if lost(s) != 3 {
		t.Errorf("lost %d", lost(s))
	}
}

func TestFilterRunsWhereItIsRead(t *testing.T) {
	t.Parallel()
	var h Hub
	calls := 0
	s := subscribe(t, &h, wants(func(e *tetragon.GetEventsResponse) bool { calls++; return e.NodeName == "7" }), 0)
	for n := range 10 {
		h.Publish(event(n))
	}
	if calls != 0 {
		t.Errorf("Publish called the filter %d times", calls)
	}
	h.Close()
	if e := next(t, s); e.NodeName != "7" {
		t.Errorf("%v", e)
	}
	end(t, s)
}

func TestActive(t *testing.T) {
	t.Parallel()
	var h Hub
	if h.Active() {
		t.Error("active without subscribers")
	}
	a, b := subscribe(t, &h, nil, 0), subscribe(t, &h, nil, 0)
	a.Close()
	a.Close()
	if !h.Active() {
		t.Error("not active with a subscriber")
	}
	b.Close()
	if h.Active() {
		t.Error("active after the last subscriber")
	}
}

func TestSubscriptionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	var h Hub
	ctx, cancel := context.WithCancel(t.Context())
	s, err := h.Subscribe(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
	if h.Active() {
		t.Error("still subscribed")
	}
	if s, err := h.Subscribe(ctx, Options{}); err == nil {
		end(t, s)
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	t.Parallel()
	var h Hub
	defer h.Close()
	s := subscribe(t, &h, wants(func(*tetragon.GetEventsResponse) bool { return false }), 0)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := s.Next(ctx)
		result <- err
	}()
	h.Publish(event(0))
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	h.Publish(event(1))
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with an event waiting: error %v", err)
	}
}

func TestCloseWakesReaders(t *testing.T) {
	t.Parallel()
	var h Hub
	s := subscribe(t, &h, nil, 0)
	result := make(chan error)
	go func() {
		_, err := s.Next(t.Context())
		result <- err
	}()
	h.Close()
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
	if _, err := h.Subscribe(t.Context(), Options{}); !errors.Is(err, ErrClosed) {
		t.Errorf("subscribe after close: error %v", err)
	}
	h.Publish(event(0))
}

func TestSubscribersAreLimited(t *testing.T) {
	t.Parallel()
	var h Hub
	defer h.Close()
	var last *Subscription
	for range MaxSubscribers {
		last = subscribe(t, &h, nil, 1)
	}
	if _, err := h.Subscribe(t.Context(), Options{Queue: 1}); !errors.Is(err, ErrTooMany) {
		t.Errorf("error %v", err)
	}
	last.Close()
	subscribe(t, &h, nil, 1)
}

// TestNothingIsLostUncounted: with subscribers coming and going, each event of
// one that stays is either read or counted.
func TestNothingIsLostUncounted(t *testing.T) {
	t.Parallel()
	const publishers, each = 4, 5000
	var h Hub
	s := subscribe(t, &h, nil, 64)
	var read, told uint64
	var readers, writers sync.WaitGroup
	readers.Go(func() {
		for {
			e, err := s.Next(t.Context())
			if err != nil {
				return
			}
			if n := e.GetRateLimitInfo().GetNumberOfDroppedProcessEvents(); n > 0 {
				told += n
			} else {
				read++
			}
		}
	})
	for range publishers {
		writers.Go(func() {
			for n := range each {
				h.Publish(event(n))
			}
		})
	}
	for range 2 {
		writers.Go(func() {
			for range 500 {
				ctx, cancel := context.WithCancel(t.Context())
				s, err := h.Subscribe(ctx, Options{Queue: 4})
				if err != nil {
					t.Error(err)
				} else if h.Active() {
					cancel()
					s.Close()
				}
				cancel()
			}
		})
	}
	writers.Wait()
	h.Close()
	readers.Wait()
	if read+told != publishers*each || told != lost(s) {
		t.Errorf("%d read, %d lost and %d told as lost of %d", read, lost(s), told, publishers*each)
	}
	if h.Active() {
		t.Error("a subscriber is left")
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, subscribers := range []int{0, 1, 4} {
		b.Run(strconv.Itoa(subscribers), func(b *testing.B) {
			var h Hub
			var readers sync.WaitGroup
			for range subscribers {
				s, err := h.Subscribe(b.Context(), Options{})
				if err != nil {
					b.Fatal(err)
				}
				readers.Go(func() {
					for {
						if _, err := s.Next(b.Context()); err != nil {
							return
						}
					}
				})
			}
			e := event(0)
			b.ReportAllocs()
			for b.Loop() {
				h.Publish(e)
			}
			h.Close()
			readers.Wait()
		})
	}
}
