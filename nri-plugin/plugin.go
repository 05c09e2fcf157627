// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"

	"github.com/containerd/nri/pkg/api"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/bundle"
	"github.com/boltseal/boltseal/hook/settings"
)

// atOnce is how many containers the agent is told of at once that nobody waits for.
const atOnce = 16

// plugin is what the connections to all runtimes share. It is safe for concurrent
// use.
type plugin struct {
	// load reads the configuration. It is read for each container, as by the hook: what
	// is changed holds from the next one on, and here as there.
	load func() (settings.Settings, error)
	log  *slog.Logger
	// hook is the path of boltseal-hook on the host and hookArgs its arguments:
	// it is what keeps a container from starting when this plugin is away. Empty:
	// no hook is added, and StartContainer alone decides.
	hook     string
	hookArgs []string
	// life is what work lasts for that nobody waits for.
	life context.Context

	background sync.WaitGroup
}

// inBackground does work that nobody waits for, some of it at the same time.
func (p *plugin) inBackground(work []func()) {
	queue := make(chan func(), len(work))
	for _, do := range work {
		queue <- do
	}
	close(queue)
	for range min(len(work), atOnce) {
		p.background.Go(func() {
			for do := range queue {
				do()
			}
		})
	}
}

// terms are what is gone by about one container.
type terms struct {
	settings.Settings
	// err is what is wrong with the configuration: then nothing starts.
	err error
}

func (p *plugin) terms() terms {
	s, err := p.load()
	return terms{s, err}
}

// send gives the agent an encoded request.
func (t terms) send(ctx context.Context, raw []byte) agentclient.Outcome {
	if t.err != nil {
		return agentclient.Outcome{Cause: agentclient.BadConfig, Err: t.err}
	}
	outcome := agentclient.OutcomeOf(agentclient.Client{Address: t.Address}.RuntimeHook(ctx, raw))
	if outcome.Cause != agentclient.Acknowledged {
		outcome.NeverUp = t.NeverUp()
	}
	return outcome
}

// decide is what the fail policy makes of an outcome.
func (t terms) decide(request *bundle.Request, o agentclient.Outcome) agentclient.Decision {
	return agentclient.Decide(o, t.FailPolicy, agentclient.SubjectOf(request))
}

// spool writes down for the agent that a container was started without it.
func (t terms) spool(request *bundle.Request) error {
	late := *request
	late.Annotations = maps.Clone(request.Annotations)
	late.Late = true
	raw, err := late.Marshal()
	if err != nil {
		return err
	}
	return agentclient.Spool(t.SpoolDir, late.ID, raw)
}

// tellOf logs what came of an event, of a container that may have made no request.
func (s *session) tellOf(ctx context.Context, event string, c *api.Container, o agentclient.Outcome, d agentclient.Decision) {
	s.tell(ctx, event, &bundle.Request{ID: c.GetId(), Name: c.GetName(), InitPid: c.GetPid()}, o, d)
}

// tell logs what came of an event.
func (s *session) tell(ctx context.Context, event string, r *bundle.Request, o agentclient.Outcome, d agentclient.Decision) {
	level, word := slog.LevelInfo, "start"
	switch {
	case !d.Start:
		// Of what runs already it says that the agent did not take it.
		level, word = slog.LevelError, "block"
	case d.Late:
		level = slog.LevelWarn
	}
	var status *agentclient.StatusError
	code := ""
	if errors.As(o.Err, &status) {
		code = status.Code.String()
	}
	s.log.Log(ctx, level, "container", "event", event, "container_id", r.ID, "name", r.Name, "pid", r.InitPid,
		"cause", o.Cause.String(), "grpc_code", code, "decision", word, "late", d.Late, "reason", d.Reason)
}
