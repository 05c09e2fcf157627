// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

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
	filters  filter.Compiler
	// count is told of each event after all others; nil: nobody counts.
	count func(event.Event)
	// remote is nil where the operator allows no remote actions.
	remote *remoteActions
	// trees counts the kernel's stacks of events.
	trees *stackTrees
	// describe makes an enricher of its own, for messages of the present moment.
	describe  func() (*enrich.Enricher, error)
	processes *process.Cache
	// throttle is nil where the rate of events is not limited.
	throttle *throttling
	queue    int
	log      *slog.Logger
}

func newEvents(a *agent) (*events, error) {
	log := a.log.With("component", "events")
	redactions, err := compileRedactions(a.config.RedactionFilters)
	if err != nil {
		return nil, err
	}
	r, err := reader.Open(a.seals.Events(), log)
	if err != nil {
		return nil, err
	}
	labels := nodeLabels(a.config.NodeLabels, a.node)
	e := &events{reader: r, control: a.control, queue: a.config.EventQueue, log: log}
	e.hub.Origin = export.Origin{Node: a.node, Cluster: a.config.ClusterName, Labels: labels}
	if a.remote != nil {
		e.remote = &remoteActions{resolve: a.engine.Resolve, submit: a.remote.Submit, known: map[ruleBit][]remote.Request{}}
	}
	e.processes = process.New(process.Options{
		Node: a.node, Size: a.config.ProcessCache, Ancestors: len(a.config.EnableAncestors) > 0,
	})
	named := &stacks{symbols: stack.New(stack.Options{Proc: "/proc", Addresses: a.config.ExposeStackAddresses})}
	e.trees = &stackTrees{
		trees: a.trees, resolve: a.engine.Resolve, process: e.processes.Get, name: named.kernel, known: map[ruleBit]string{},
	}
	e.filters = filter.Compiler{Lineage: lineage{e.processes}}
	if n, interval := a.config.ProcessRate(); n > 0 {
		e.throttle = &throttling{
			origin: e.hub.Origin, containers: a.registry, pathOf: a.cgroups.PathOf, bootTime: kernel.BootTime, publish: e.hub.Publish, log: log,
		}
		e.throttle.begin(throttle.Rate{Events: n, Interval: interval})
	}
	host := process.HostNamespaces("/proc")
	e.describe = func() (*enrich.Enricher, error) {
		return enrich.New(enrich.Options{
			Node: a.node, Cluster: a.config.ClusterName, NodeLabels: labels,
			Processes: e.processes, Containers: a.registry, Rules: rules{a.engine}, Sink: redacted{&e.hub, redactions},
			Life: enrich.Life{
				Credentials: a.config.ProcessCred, Namespaces: a.config.ProcessNS,
				Environment: a.config.ProcessEnvironment, Variables: a.config.EnvironmentVariables,
				HostNamespaces: host,
			},
			BootTime: kernel.BootTime, Started: a.containerStarted, Ancestors: ancestorsOf(a.config), Users: users(a.config),
			Stacks: named,
		})
	}
	e.enricher, err = e.describe()
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if e.throttle != nil {
		e.enricher.Throttle = e.throttle
	}
	// The programs are attached, so that no process is missed between the two.
	running, err := process.FromProc("/proc", process.Scan{Environment: a.config.ProcessEnvironment, CgroupID: e.cgroupOf(a)})
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	e.processes.Load(running)
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
	var flushing sync.WaitGroup
	defer flushing.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	flushing.Go(func() { e.flush(ctx) })
	return e.reader.Run(ctx, e.handle)
}

// flushEvery is how often events that wait for their container are looked at while
// there are no others.
const flushEvery = 250 * time.Millisecond

func (e *events) flush(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			e.enricher.Flush(now)
		}
	}
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
	e.trees.handle(ev)
	if e.remote != nil {
		e.remote.handle(ev)
	}
	if e.throttle != nil {
		e.throttle.handle(ev)
	}
	if e.count != nil {
		e.count(ev)
	}
}

// Stream sends events to one subscriber until it goes away.
func (e *events) Stream(
	ctx context.Context, r *tetragon.GetEventsRequest, subscribed func() error, send func(*tetragon.GetEventsResponse) error,
) error {
	options, err := e.compileRequest(r)
	if err != nil {
		return fmt.Errorf("%w: %w", server.ErrFilter, err)
	}
	options.Queue = e.queue
	sub, err := e.hub.Subscribe(ctx, options)
	if err != nil {
		return err
	}
	defer sub.Close()
	if err := subscribed(); err != nil {
		return err
	}
	return sub.Stream(ctx, send)
}

// compileRequest refuses what this version does not do.
func (e *events) compileRequest(r *tetragon.GetEventsRequest) (export.Options, error) {
	aggregation, err := export.NewAggregation(r.GetAggregationOptions())
	if err != nil {
		return export.Options{}, fmt.Errorf("aggregation_options.%w", err)
	}
	view, err := e.filters.CompileRequest(r)
	if err != nil {
		return export.Options{}, err
	}
	return export.Options{Name: "GetEvents", View: view, Aggregation: aggregation}, nil
}
