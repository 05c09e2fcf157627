// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const (
	// DefaultWindow is how long equal events are counted together.
	DefaultWindow = 15 * time.Second
	// DefaultBuffer is how many different events are counted at once.
	DefaultBuffer = 10_000

	// MaxWindow is the longest that a client can have events held back.
	MaxWindow = time.Hour
	// MaxBuffer is the most of them that it can.
	MaxBuffer = 1 << 20
)

// Aggregation makes one event of those that are equal within a window of time. Two
// events are equal when, of what the subscriber gets of them, all but the time at
// their top is: so equal events are of the same process. The one that stands for
// all of them is the first, with the number of them as aggregation_info.count,
// which is 1 for an event that has no equal.
//
// A window begins with an event and has passed on all of its events, in the order
// of their first appearance, when it ends, when it has Buffer different events, or
// when the subscription ends.
type Aggregation struct {
	// Window is how long a window is; it is more than 0.
	Window time.Duration
	// Buffer is how many different events a window has at most; it is more than 0.
	Buffer int
}

// NewAggregation is what a client asks for; nil is none. What it leaves out is as
// DefaultWindow and DefaultBuffer say. The error begins with the name of a field.
func NewAggregation(o *tetragon.AggregationOptions) (*Aggregation, error) {
	if o == nil {
		return nil, nil
	}
	a := &Aggregation{Window: DefaultWindow, Buffer: DefaultBuffer}
	var faults []error
	if o.GetWindowSize() != nil {
		a.Window = o.GetWindowSize().AsDuration()
		if err := o.GetWindowSize().CheckValid(); err != nil || a.Window <= 0 || a.Window > MaxWindow {
			faults = append(faults, fmt.Errorf("window_size: %v is not more than 0 and at most %v", a.Window, MaxWindow))
		}
	}
	if n := o.GetChannelBufferSize(); n > MaxBuffer {
		faults = append(faults, fmt.Errorf("channel_buffer_size: %d is more than %d", n, MaxBuffer))
	} else if n > 0 {
		a.Buffer = int(n)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return a, nil
}

// fingerprint stands for all that is compared of an event. It is two hashes with
// secret seeds, so that nobody finds, or comes upon, two events that share one.
type fingerprint [2]uint64

type aggregator struct {
	Aggregation
	from source

	window []counted
	index  map[fingerprint]int // in window
	end    time.Time           // of window; zero: it has not begun
	ready  []counted           // those to hand out
	closed bool

	seeds [len(fingerprint{})]maphash.Seed
	plain tetragon.GetEventsResponse // what is hashed
	bytes []byte                     // of it
}

// counted is an event and how many are equal to it; 0: it is passed on as it is.
type counted struct {
	event *tetragon.GetEventsResponse
	n     uint64
}

func newAggregator(from source, a Aggregation) *aggregator {
	return &aggregator{
		Aggregation: a, from: from, index: map[fingerprint]int{},
		seeds: [...]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
	}
}

func (a *aggregator) next(ctx context.Context, until time.Time) (*tetragon.GetEventsResponse, error) {
	for {
		if len(a.ready) > 0 {
			first := a.ready[0]
			a.ready[0] = counted{}
			a.ready = a.ready[1:]
			return first.message(), nil
		}
		if a.closed {
			return nil, ErrClosed
		}
		e, err := a.from.next(ctx, earlier(a.end, until))
		switch over := !a.end.IsZero() && !time.Now().Before(a.end); {
		case errors.Is(err, ErrClosed):
			a.closed = true
			a.flush()
		case errors.Is(err, errTime) && over:
			a.flush()
		case err != nil:
			return nil, err
		default:
			if over {
				a.flush()
			}
			a.add(e)
			if !until.IsZero() && !time.Now().Before(until) && len(a.ready) == 0 {
				return nil, errTime
			}
		}
	}
}

// add counts an event.
func (a *aggregator) add(e *tetragon.GetEventsResponse) {
	if a.end.IsZero() {
		a.end = time.Now().Add(a.Window)
	}
	if e.GetRateLimitInfo() != nil {
		a.window = append(a.window, counted{event: e})
	} else {
		key := a.fingerprint(e)
		if at, ok := a.index[key]; ok {
			a.window[at].n++
			return
		}
		a.index[key] = len(a.window)
		a.window = append(a.window, counted{event: e, n: 1})
	}
	if len(a.window) >= a.Buffer {
		a.flush()
	}
}

// flush ends the window.
func (a *aggregator) flush() {
	a.ready = append(a.ready, a.window...)
	clear(a.window)
	a.window = a.window[:0]
	clear(a.index)
	a.end = time.Time{}
}

// fingerprint is that of all but the time. Encoding an event is faster than to walk
// through it by reflection, and the bytes are not kept.
func (a *aggregator) fingerprint(e *tetragon.GetEventsResponse) (f fingerprint) {
	a.plain.Event = e.GetEvent()
	a.plain.NodeName, a.plain.ClusterName, a.plain.NodeLabels = e.GetNodeName(), e.GetClusterName(), e.GetNodeLabels()
	encoded, err := proto.MarshalOptions{Deterministic: true, AllowPartial: true}.MarshalAppend(a.bytes[:0], &a.plain)
	a.bytes = encoded
	if err != nil {
		encoded = fmt.Appendf(nil, "%p", e) // text that is not UTF-8: like no other
	}
	for i, seed := range a.seeds {
		f[i] = maphash.Bytes(seed, encoded)
	}
	return f
}

// message is what stands for the events that were counted.
func (c counted) message() *tetragon.GetEventsResponse {
	if c.n == 0 {
		return c.event
	}
	return &tetragon.GetEventsResponse{
		Event: c.event.GetEvent(), NodeName: c.event.GetNodeName(), Time: c.event.GetTime(),
		ClusterName: c.event.GetClusterName(), NodeLabels: c.event.GetNodeLabels(),
		AggregationInfo: &tetragon.AggregationInfo{Count: c.n},
	}
}
