// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// eventTime is how long an event may take from the kernel to here.
const eventTime = 10 * time.Second

// watch collects the events of the demo's containers, and of its policy wherever
// it acts. Its methods are for one goroutine.
type watch struct {
	stream tetragon.FineGuidanceSensors_GetEventsClient
	stop   context.CancelFunc
	got    chan received
	events []*tetragon.GetEventsResponse
}

type received struct {
	event *tetragon.GetEventsResponse
	err   error
}

// startWatch subscribes. It is in time when it returns: the agent has answered,
// or will have, before a container that is made later does its acts.
func startWatch(ctx context.Context, a *agent, containerPrefix string, u *undo) (*watch, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{stop: cancel, got: make(chan received)}
	u.later("stop watching events", func(context.Context) error {
		cancel()
		return nil
	})
	var err error
	w.stream, err = a.GetEvents(ctx, &tetragon.GetEventsRequest{AllowList: []*tetragon.Filter{
		{ContainerId: []string{containerPrefix}},
		{PolicyNames: []string{policyName}},
	}})
	if err != nil {
		return nil, fmt.Errorf("watch events: %w", said(err))
	}
	go func() {
		for {
			event, err := w.stream.Recv()
			select {
			case w.got <- received{event, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return w, nil
}

// exited waits until the agent has told of the end of a container's process.
func (w *watch) exited(ctx context.Context, c *container, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, eventTime)
	defer cancel()
	for {
		select {
		case r := <-w.got:
			if r.err != nil {
				return fmt.Errorf("watch events: %w", said(r.err))
			}
			w.events = append(w.events, r.event)
			if p := r.event.GetProcessExit().GetProcess(); p.GetDocker() == c.id && int(p.GetPid().GetValue()) == pid {
				return nil
			}
		case <-ctx.Done():
			err := ctx.Err()
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("none came within %s", eventTime)
			}
			return fmt.Errorf("wait for the event of the end of container %s: %w", c.role, err)
		}
	}
}

// of returns the events of a container so far.
func (w *watch) of(c *container) []*tetragon.GetEventsResponse {
	var own []*tetragon.GetEventsResponse
	for _, e := range w.events {
		if processOf(e).GetDocker() == c.id {
			own = append(own, e)
		}
	}
	return own
}

// elsewhere returns the acts of the policy outside of the containers.
func (w *watch) elsewhere(all []*container) []*tetragon.ProcessTracepoint {
	var found []*tetragon.ProcessTracepoint
	for _, e := range w.events {
		t := e.GetProcessTracepoint()
		if t == nil {
			continue
		}
		inside := false
		for _, c := range all {
			inside = inside || t.GetProcess().GetDocker() == c.id
		}
		if !inside {
			found = append(found, t)
		}
	}
	return found
}

func processOf(e *tetragon.GetEventsResponse) *tetragon.Process {
	switch {
	case e.GetProcessExec() != nil:
		return e.GetProcessExec().GetProcess()
	case e.GetProcessExit() != nil:
		return e.GetProcessExit().GetProcess()
	}
	return e.GetProcessTracepoint().GetProcess()
}
