// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agentenv

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
)

// Events collects a stream of events. Its methods may be called at the same time.
type Events struct {
	mu   sync.Mutex
	all  []*tetragon.GetEventsResponse
	err  error
	stop context.CancelFunc
	done chan struct{}
}

// Events subscribes to events and collects them until the test ends. An event of
// what happens after it returns is not missed.
func (a *Agent) Events(tb testing.TB, request *tetragon.GetEventsRequest) *Events {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	e := &Events{stop: stop, done: make(chan struct{})}
	stream, err := a.Tetragon.GetEvents(ctx, request)
	if err == nil {
		// The agent has subscribed when it has sent the headers.
		_, err = stream.Header()
	}
	if err != nil {
		stop()
		tb.Fatalf("agentenv: get events: %v", err)
	}
	go func() {
		defer close(e.done)
		for {
			event, err := stream.Recv()
			e.mu.Lock()
			if err != nil {
				e.err = err
				e.mu.Unlock()
				return
			}
			e.all = append(e.all, event)
			e.mu.Unlock()
		}
	}()
	tb.Cleanup(func() {
		if err := e.Stop(); err != nil {
			tb.Errorf("agentenv: stream of events: %v", err)
		}
	})
	return e
}

// Stop ends the subscription; it returns why the stream had ended before, if it had.
func (e *Events) Stop() error {
	e.stop()
	<-e.done
	if status.Code(e.err) == codes.Canceled || errors.Is(e.err, io.EOF) {
		return nil
	}
	return e.err
}

// All returns what has come so far.
func (e *Events) All() []*tetragon.GetEventsResponse {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.all)
}

// Until waits until check is content with the events, and fails the test if that
// takes longer than limit.
func (e *Events) Until(tb testing.TB, limit time.Duration, what string, check func([]*tetragon.GetEventsResponse) error) {
	tb.Helper()
	testenv.Eventually(tb, limit, what, func() error { return check(e.All()) })
}
