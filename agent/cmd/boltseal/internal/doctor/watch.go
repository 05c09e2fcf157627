// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/stage"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// watch is the events of the run's policies. It is for one goroutine.
type watch struct {
	got    chan *tetragon.GetEventsResponse
	ended  chan struct{} // closed once err is set
	err    error
	events []*tetragon.GetEventsResponse
	within time.Duration // for one event
}

// watch subscribes until the context ends. It is in time for containers that are
// made later: making one takes longer than the agent needs to take a request.
func (r *run) watch(ctx context.Context, p *policies) (*watch, error) {
	stream, err := r.Agent.GetEvents(ctx, &tetragon.GetEventsRequest{
		AllowList: []*tetragon.Filter{{PolicyNames: []string{p.kill(), p.deny()}}},
	})
	if err != nil {
		return nil, errors.New(status.Convert(err).Message())
	}
	w := &watch{got: make(chan *tetragon.GetEventsResponse), ended: make(chan struct{}), within: r.TellTime}
	go func() {
		defer close(w.ended)
		for {
			event, err := stream.Recv()
			if err != nil {
				w.err = errors.New(status.Convert(err).Message())
				return
			}
			select {
			case w.got <- event:
			case <-ctx.Done():
				w.err = context.Cause(ctx)
				return
			}
		}
	}()
	return w, nil
}

// action waits for the event of a policy in a container and returns what was done.
func (w *watch) action(ctx context.Context, policy, id string) (tetragon.KprobeAction, error) {
	timeout := time.NewTimer(w.within)
	defer timeout.Stop()
	for {
		for _, e := range w.events {
			rule := stage.RuleOf(e)
			// An event holds the beginning of a long id.
			docker := stage.ProcessOf(e).GetDocker()
			if rule != nil && rule.GetPolicyName() == policy && docker != "" && strings.HasPrefix(id, docker) {
				return rule.GetAction(), nil
			}
		}
		select {
		case e := <-w.got:
			w.events = append(w.events, e)
		case <-w.ended:
			return 0, fmt.Errorf("the stream of events ended: %w", w.err)
		case <-timeout.C:
			return 0, fmt.Errorf("no event of policy %s came within %s", policy, w.within)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}
