// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// eventTime is how long an event may take from the kernel to here.
const eventTime = 10 * time.Second

// Watch collects the events of the stage's containers, and of policies wherever
// they act. Its methods are for one goroutine.
type Watch struct {
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
func startWatch(ctx context.Context, a *Agent, containerPrefix string, policies []string, u *undo) (*Watch, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watch{stop: cancel, got: make(chan received)}
	u.later("stop watching events", func(context.Context) error {
		cancel()
		return nil
	})
	var err error
	filters := []*tetragon.Filter{{ContainerId: []string{containerPrefix}}}
	if len(policies) > 0 {
		filters = append(filters, &tetragon.Filter{PolicyNames: policies})
	}
	w.stream, err = a.GetEvents(ctx, &tetragon.GetEventsRequest{AllowList: filters})
	if err != nil {
		return nil, fmt.Errorf("watch events: %w", Said(err))
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
func (w *Watch) exited(ctx context.Context, c *Container, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, eventTime)
	defer cancel()
	for {
		select {
		case r := <-w.got:
			if r.err != nil {
				return fmt.Errorf("watch events: %w", Said(r.err))
			}
			w.events = append(w.events, r.event)
			if p := r.event.GetProcessExit().GetProcess(); p.GetDocker() == c.ID && int(p.GetPid().GetValue()) == pid {
				return nil
			}
		case <-ctx.Done():
			err := ctx.Err()
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("none came within %s", eventTime)
			}
			return fmt.Errorf("wait for the event of the end of container %s: %w", c.Role, err)
		}
	}
}

// Of returns the events of a container so far.
func (w *Watch) Of(c *Container) []*tetragon.GetEventsResponse {
	var own []*tetragon.GetEventsResponse
	for _, e := range w.events {
		if ProcessOf(e).GetDocker() == c.ID {
			own = append(own, e)
		}
	}
	return own
}

// Elsewhere returns the events that rules made outside of the containers.
func (w *Watch) Elsewhere(all []*Container) []*tetragon.GetEventsResponse {
	var found []*tetragon.GetEventsResponse
	for _, e := range w.events {
		inside := slices.ContainsFunc(all, func(c *Container) bool { return ProcessOf(e).GetDocker() == c.ID })
		if !inside && RuleOf(e) != nil {
			found = append(found, e)
		}
	}
	return found
}

// Rule is what all events of rules tell.
type Rule interface {
	GetPolicyName() string
	GetAction() tetragon.KprobeAction
}

// RuleOf is nil for an event that no rule made.
func RuleOf(e *tetragon.GetEventsResponse) Rule {
	switch event := e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessTracepoint:
		return event.ProcessTracepoint
	case *tetragon.GetEventsResponse_ProcessKprobe:
		return event.ProcessKprobe
	case *tetragon.GetEventsResponse_ProcessLsm:
		return event.ProcessLsm
	}
	return nil
}

// ProcessOf is the process that an event is about.
func ProcessOf(e *tetragon.GetEventsResponse) *tetragon.Process {
	switch event := e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessExec:
		return event.ProcessExec.GetProcess()
	case *tetragon.GetEventsResponse_ProcessExit:
		return event.ProcessExit.GetProcess()
	case *tetragon.GetEventsResponse_ProcessTracepoint:
		return event.ProcessTracepoint.GetProcess()
	case *tetragon.GetEventsResponse_ProcessKprobe:
		return event.ProcessKprobe.GetProcess()
	case *tetragon.GetEventsResponse_ProcessLsm:
		return event.ProcessLsm.GetProcess()
	}
	return nil
}
