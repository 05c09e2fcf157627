// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// limiter leaves out what is more than some events a minute, and tells how many
// that was when the minute is over, or at the end.
type limiter struct {
	from      source
	perMinute int
	origin    Origin

	end     time.Time // of the minute; zero: it has not begun
	passed  int       // in it
	dropped uint64    // and not told of
	held    *tetragon.GetEventsResponse
	limited atomic.Uint64 // for good
}

func (l *limiter) next(ctx context.Context, until time.Time) (*tetragon.GetEventsResponse, error) {
	for {
		if l.dropped > 0 && !time.Now().Before(l.end) {
			return l.tell(), nil
		}
		e, err := l.event(ctx, until)
		switch {
		case errors.Is(err, ErrClosed) && l.dropped > 0:
			return l.tell(), nil
		case errors.Is(err, errTime) && l.dropped > 0 && !time.Now().Before(l.end):
			continue
		case err != nil:
			return nil, err
		case e.GetRateLimitInfo() != nil: // of what the queue lost
			return e, nil
		}
		if now := time.Now(); !now.Before(l.end) {
			if l.dropped > 0 {
				l.held = e
				continue
			}
			l.end, l.passed = now.Add(time.Minute), 0
		}
		if l.passed < l.perMinute {
			l.passed++
			return e, nil
		}
		n := max(1, e.GetAggregationInfo().GetCount())
		l.dropped += n
		l.limited.Add(n)
	}
}

// event is the next event; when some were dropped, the end of the minute ends the
// wait for it.
func (l *limiter) event(ctx context.Context, until time.Time) (*tetragon.GetEventsResponse, error) {
	if e := l.held; e != nil {
		l.held = nil
		return e, nil
	}
	if l.dropped > 0 {
		until = earlier(l.end, until)
	}
	return l.from.next(ctx, until)
}

func (l *limiter) tell() *tetragon.GetEventsResponse {
	n := l.dropped
	l.dropped = 0
	return l.origin.Missing(n)
}
