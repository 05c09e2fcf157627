// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/agent/internal/filter"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/agent/internal/reader"
	"github.com/boltseal/boltseal/agent/internal/server"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// events takes the kernel's events to those who act by them and to subscribers.
type events struct {
	reader    *reader.Reader
	processes *process.Cache
	control   *control.Controller
	hub       export.Hub
	queue     int
	log       *slog.Logger
}

func newEvents(a *agent) (*events, error) {
	log := a.log.With("component", "events")
	r, err := reader.Open(a.seals.Events(), log)
	if err != nil {
		return nil, err
	}
	e := &events{
		reader: r, control: a.control, queue: a.config.EventQueue, log: log,
		processes: process.New(process.Options{Node: a.node, Size: a.config.ProcessCache}),
	}
	return e, nil
}

// run reads events until the context ends.
func (e *events) run(ctx context.Context) error {
	defer e.hub.Close()
	return e.reader.Run(ctx, e.handle)
}

func (e *events) close() error { return e.reader.Close() }

// handle lets those act first who must, so that an event's container is known
// when it is told of.
func (e *events) handle(ev event.Event) {
	switch ev := ev.(type) {
	case *event.CgroupSealed:
		e.control.Sealed(ev.Slot, ev.ID, ev.Path, ev.By)
	case *event.CgroupGone:
		e.control.Gone(ev.Slot, ev.ID)
	case *event.TaskUnsealed:
		e.control.Unsealed(ev.Tgid, ev.Header.Slot)
	}
}

// Stream sends events to one subscriber until it goes away.
func (e *events) Stream(
	ctx context.Context, r *tetragon.GetEventsRequest, send func(*tetragon.GetEventsResponse) error,
) error {
	passes, err := compileRequest(r)
	if err != nil {
		return fmt.Errorf("%w: %w", server.ErrFilter, err)
	}
	sub, err := e.hub.Subscribe(ctx, passes, e.queue)
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		next, err := sub.Next(ctx)
		if errors.Is(err, export.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := send(next); err != nil {
			return err
		}
	}
}

// compileRequest refuses what this version does not do.
func compileRequest(r *tetragon.GetEventsRequest) (export.Filter, error) {
	if r.GetAggregationOptions() != nil {
		return nil, errors.New("aggregation_options: not supported by this version")
	}
	if len(r.GetFieldFilters()) > 0 {
		return nil, errors.New("field_filters: not supported by this version")
	}
	f, err := filter.Compile(r.GetAllowList(), r.GetDenyList())
	if err != nil {
		return nil, err
	}
	return f.Passes, nil
}
