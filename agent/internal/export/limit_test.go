// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func limited(t *testing.T, h *Hub, n int, o Options) *Subscription {
	t.Helper()
	o.PerMinute = &n
	s, err := h.Subscribe(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLimitPerMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		s := limited(t, &h, 2, Options{})
		begin := time.Now()
		publish(&h, 1, 2, 3, 4)
		for n := range 2 {
			if e := next(t, s); name(e) != []string{"1", "2"}[n] {
				t.Errorf("%v", e)
			}
		}
		time.AfterFunc(30*time.Second, func() { publish(&h, 5) })
		e, err := s.Next(t.Context())
		if err != nil || name(e) != "-3" || time.Since(begin) != time.Minute {
			t.Errorf("after %v: %v, %v", time.Since(begin), e, err)
		}
		// The next minute begins with the next event.
		time.AfterFunc(time.Minute, func() { publish(&h, 6, 7, 8) })
		for _, want := range []string{"6", "7"} {
			if e, err := s.Next(t.Context()); err != nil || name(e) != want {
				t.Errorf("%v, %v, want %s", e, err, want)
			}
		}
		h.Close() // tells as well
		if e := next(t, s); name(e) != "-1" {
			t.Errorf("%v", e)
		}
		end(t, s)
		if stats := s.Stats(); stats.Sent != 4 || stats.Limited != 4 {
			t.Errorf("%+v", stats)
		}
	})
}

// TestLimitTellsBeforeTheNextMinute: who reads late gets it in order all the same.
func TestLimitTellsBeforeTheNextMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		s := limited(t, &h, 1, Options{})
		slow := make(chan struct{})
		publish(&h, 1, 2)
		time.AfterFunc(2*time.Minute, func() {
			publish(&h, 3)
			h.Close()
			close(slow)
		})
		next(t, s)
		// 2 is taken by a look that ends before the minute.
		if e, err := s.limit.next(t.Context(), time.Now()); err == nil {
			t.Errorf("%v", e)
		}
		<-slow
		if got := counts(t, s); got != "-1 3" {
			t.Errorf("%s", got)
		}
	})
}

func TestLimitOfNothing(t *testing.T) {
	t.Parallel()
	var h Hub
	s := limited(t, &h, 0, Options{Aggregation: &Aggregation{Window: time.Minute, Buffer: 2}})
	publish(&h, 1, 1, 1, 2)
	h.Close()
	if got := counts(t, s); got != "-4" {
		t.Errorf("%s", got)
	}
}

// TestLossIsNotLimited: it is told as it is.
func TestLossIsNotLimited(t *testing.T) {
	t.Parallel()
	var h Hub
	s := limited(t, &h, 1, Options{Queue: 2})
	publish(&h, 1, 2, 3)
	h.Close()
	if got := counts(t, s); got != "1 -1 -1" {
		t.Errorf("%s", got)
	}
}

// late is a source whose events come when they come, whatever it was asked for.
type late []time.Duration

func (l *late) next(context.Context, time.Time) (*tetragon.GetEventsResponse, error) {
	if len(*l) == 0 {
		return nil, ErrClosed
	}
	<-time.After((*l)[0])
	*l = (*l)[1:]
	return event(len(*l)), nil
}

// TestLimitTellsBeforeALateEvent: one that came after the minute had ended.
func TestLimitTellsBeforeALateEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiter{from: &late{0, 0, 90 * time.Second, 0}, perMinute: 1}
		for _, want := range []string{"3", "-1", "1", "-1"} {
			if e, err := l.next(t.Context(), time.Time{}); err != nil || name(e) != want {
				t.Errorf("%v, %v; want %s", e, err, want)
			}
		}
	})
}
