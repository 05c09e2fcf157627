// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/enrich"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/agent/internal/filter"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/agent/internal/reader"
	"github.com/boltseal/boltseal/agent/internal/remote"
	"github.com/boltseal/boltseal/agent/internal/server"
	"github.com/boltseal/boltseal/agent/internal/stack"
	"github.com/boltseal/boltseal/agent/internal/throttle"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// events takes the kernel's events to those who act by them and to subscribers.
type events struct {
	reader   *reader.Reader
	enricher *enrich.Enricher
	control  *control.Controller
	hub      export.Hub
	// remote is nil where the operator allows no remote actions.
	remote *remoteActions
	// throttle is nil where the rate of events is not limited.
	throttle *throttling
	node     string
	queue    int
	log      *slog.Logger
}

func newEvents(a *agent) (*events, error) {
	log := a.log.With("component", "events")
	r, err := reader.Open(a.seals.Events(), log)
	if err != nil {
		return nil, err
	}
	e := &events{reader: r, control: a.control, node: a.node, queue: a.config.EventQueue, log: log}
	if a.remote != nil {
		e.remote = &remoteActions{resolve: a.engine.Resolve, submit: a.remote.Submit, known: map[ruleBit][]remote.Request{}}
	}
	if n, interval := a.config.ProcessRate(); n > 0 {
		e.throttle = &throttling{
			node: a.node, containers: a.registry, pathOf: a.cgroups.PathOf, bootTime: kernel.BootTime, publish: e.hub.Publish, log: log,
		}
		e.throttle.begin(throttle.Rate{Events: n, Interval: interval})
	}
	processes := process.New(process.Options{Node: a.node, Size: a.config.ProcessCache})
	options := enrich.Options{
		Node: a.node, Processes: processes, Containers: a.registry, Rules: rules{a.engine}, Sink: &e.hub,
		BootTime: kernel.BootTime,
		Stacks:   stacks{stack.New(stack.Options{Proc: "/proc", Addresses: a.config.ExposeStackAddresses})},
	}
	if e.throttle != nil {
		options.Throttle = e.throttle
	}
	e.enricher, err = enrich.New(options)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	// The programs are attached, so that no process is missed between the two.
	running, err := process.FromProc("/proc", e.cgroupOf(a))
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	processes.Load(running)
	return e, nil
}

// cgroupOf finds the cgroup of a process, 0 when there is no telling.
func (e *events) cgroupOf(a *agent) func(pid int) uint64 {
	return func(pid int) uint64 {
		at, err := a.cgroups.OfPID(pid)
		if err != nil {
			return 0 // the root, or gone
		}
		return at.ID
	}
}

// rules tells the enricher what the engine knows of a rule.
type rules struct{ engine *engine.Engine }

// Resolve is what a bit of a site stood for in a version.
func (r rules) Resolve(site, version uint32, bit int) (enrich.Rule, bool) {
	of, ok := r.engine.Resolve(site, version, bit)
	if !ok {
		return enrich.Rule{}, false
	}
	rule := enrich.Rule{
		PolicyNamespace: of.Policy.Namespace, PolicyName: of.Policy.Name,
		Section: of.Hook.Section, Message: of.Hook.Message, Tags: of.Hook.Tags,
		Signal: of.Rule.Signal, Override: of.Rule.Overrides, Unnotifies: of.Rule.Unnotifies,
		KernelStack: of.Rule.KernelStack, UserStack: of.Rule.UserStack, FileHash: of.Rule.FileHash,
		Data: of.Hook.Data, ReturnSignal: of.Rule.ReturnSignal,
		Track: tracked(of.Rule.Track), TrackReturn: tracked(of.Rule.TrackReturn),
	}
	if of.Hook.Section == policy.Tracepoints {
		rule.Subsys, rule.Event = of.Hook.Site.Subsystem, of.Hook.Site.Name
	} else {
		rule.Function = of.Hook.Site.Name
	}
	for i, t := range of.Hook.Types {
		rule.Args = append(rule.Args, enrich.Arg{
			Type: t, Reg: of.Dimensions[i], String: of.Strings[i], Label: of.Hook.Labels[i],
		})
	}
	if result := of.Hook.Result; result != nil {
		rule.Return = &enrich.Arg{Type: result.Type, Reg: of.Result, String: of.ResultString, Label: result.Label}
	}
	return rule, true
}

// tracked is what a rule does about a socket's owner, as the API has it.
func tracked(t compile.Track) tetragon.KprobeAction {
	switch {
	case t.Do&bpf.WireTrackTRACK_SOCK != 0:
		return tetragon.KprobeAction_KPROBE_ACTION_TRACKSOCK
	case t.Do&bpf.WireTrackUNTRACK_SOCK != 0:
		return tetragon.KprobeAction_KPROBE_ACTION_UNTRACKSOCK
	}
	return tetragon.KprobeAction_KPROBE_ACTION_UNKNOWN
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
	e.enricher.Handle(ev)
	if e.remote != nil {
		e.remote.handle(ev)
	}
	if e.throttle != nil {
		e.throttle.handle(ev)
	}
}

// Stream sends events to one subscriber until it goes away.
func (e *events) Stream(
	ctx context.Context, r *tetragon.GetEventsRequest, subscribed func() error, send func(*tetragon.GetEventsResponse) error,
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
	if err := subscribed(); err != nil {
		return err
	}
	told := uint64(0)
	for {
		next, err := sub.Next(ctx)
		if errors.Is(err, export.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if lost := sub.Lost(); lost > told {
			if err := send(e.lost(lost - told)); err != nil {
				return err
			}
			told = lost
		}
		if err := send(next); err != nil {
			return err
		}
	}
}

// lost tells a subscriber how many events it was too slow for.
func (e *events) lost(n uint64) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{
		NodeName: e.node, Time: timestamppb.Now(),
		Event: &tetragon.GetEventsResponse_RateLimitInfo{RateLimitInfo: &tetragon.RateLimitInfo{NumberOfDroppedProcessEvents: n}},
	}
}

// compileRequest refuses what this version does not do.
func compileRequest(r *tetragon.GetEventsRequest) (export.Filter, error) {
	if r.GetAggregationOptions() != nil {
		return nil, errors.New("aggregation_options: not supported by this version")
	}
	if unknown := r.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		return nil, errors.New("fields that this version does not know")
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
