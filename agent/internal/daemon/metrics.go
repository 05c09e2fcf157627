// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/metrics"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/agent/internal/reader"
	"github.com/boltseal/boltseal/agent/internal/server"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// measures is the metrics of an agent that offers them.
type measures struct {
	*metrics.Metrics
	ring *reader.Use
	// kernel keeps the kernel's statistics of programs on; nil: nobody asked for it.
	kernel io.Closer
}

// baseSite is what the agent's own programs are told as.
const baseSite = "base"

// newMeasures is nil when no metrics are asked for.
func newMeasures(a *agent) (m *measures, err error) {
	if a.config.MetricsAddress == "" {
		return nil, nil
	}
	m = &measures{}
	if m.ring, err = reader.OpenUse(a.seals.Events()); err != nil {
		return nil, err
	}
	if a.config.MetricsProgramStats {
		if m.kernel, err = ebpf.EnableStats(unix.BPF_STATS_RUN_TIME); err != nil {
			return nil, errors.Join(fmt.Errorf("have the kernel measure programs: %w", err), m.ring.Close())
		}
	}
	m.Metrics, err = metrics.New(metrics.Options{
		Version: a.version, GoVersion: runtime.Version(), Node: a.node,
		Labels: a.config.MetricsLabels, Compatible: a.config.MetricsCompatible, Grace: a.config.RemovedGrace,
		Methods: methods(&tetragon.FineGuidanceSensors_ServiceDesc, &tetragon.EventLogService_ServiceDesc, &boltseal.Boltseal_ServiceDesc),
		Sources: m.sources(a),
	})
	if err != nil {
		return nil, errors.Join(err, m.closeSources())
	}
	return m, nil
}

func (m *measures) sources(a *agent) metrics.Sources {
	return metrics.Sources{
		Containers: a.registry,
		Slot:       a.seals.Slot, Slots: a.seals.Slots,
		Lost:         a.lostBySlot,
		LostOf:       func(slot uint32) (uint64, error) { return a.seals.Lost(slot), nil },
		KernelErrors: a.kernelErrors,
		Ring: func() (used, size uint64, err error) {
			used, size = m.ring.Bytes()
			return used, size, nil
		},
		Maps: a.mapUse, Programs: a.programUse,
		Sites: a.siteUse, Policies: a.policyUse,
		PolicyFaults:    func() int { return len(a.policyFaults()) },
		Subscribers:     a.events.subscribers,
		SlowSubscribers: a.events.hub.Lost,
		Undecoded:       a.events.reader.Undecoded, Unresolved: a.events.enricher.Unresolved,
		Processes: a.events.processes.Stats, ProcessRoom: a.config.ProcessCache,
		Binary: func(k process.Key) string {
			if p, ok := a.events.processes.Get(k); ok {
				return p.Binary
			}
			return ""
		},
		Rule: rules{a.engine}.measured,
		Now:  bootTime,
	}
}

// close ends what newMeasures began; no scrape is under way when it returns. Safe on
// nil.
func (m *measures) close() error {
	if m == nil {
		return nil
	}
	m.Close()
	return m.closeSources()
}

func (m *measures) closeSources() error {
	err := m.ring.Close()
	if m.kernel != nil {
		err = errors.Join(err, m.kernel.Close())
	}
	return err
}

// serveMetrics serves metrics, if any are asked for, until the context ends.
func (a *agent) serveMetrics(ctx context.Context, group *errgroup.Group) error {
	if a.measures == nil {
		return nil
	}
	listener, err := a.listenMetrics(ctx)
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	log := a.log.With("component", "metrics")
	log.Info("serving metrics", "address", listener.Addr().String())
	group.Go(func() error { return a.measures.Serve(ctx, listener, log) })
	return nil
}

func (a *agent) listenMetrics(ctx context.Context) (net.Listener, error) {
	if path := a.config.MetricsSocket(); path != "" {
		return server.Listen(ctx, path)
	}
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", a.config.MetricsAddress)
}

// callStats is who is told of the API's calls, nil without metrics.
func (m *measures) callStats() stats.Handler {
	if m == nil {
		return nil
	}
	return m.Metrics
}

// methods are the methods of services as calls name them.
func methods(services ...*grpc.ServiceDesc) (all []string) {
	for _, s := range services {
		for _, method := range s.Methods {
			all = append(all, "/"+s.ServiceName+"/"+method.MethodName)
		}
		for _, stream := range s.Streams {
			all = append(all, "/"+s.ServiceName+"/"+stream.StreamName)
		}
	}
	return all
}

// controlled is what the API changes and lists, with hooks measured.
func (a *agent) controlled() server.Control {
	if a.measures == nil {
		return a.control
	}
	return measuredControl{a.control, a.measures.Metrics}
}

type measuredControl struct {
	*control.Controller
	metrics *metrics.Metrics
}

// Admit measures how long a hook waits.
func (m measuredControl) Admit(a control.Admission) (*container.Container, error) {
	start := time.Now()
	admitted, err := m.Controller.Admit(a)
	m.metrics.Hooked(time.Since(start), admitted)
	return admitted, err
}

func (a *agent) kernelErrors() (byName map[string]uint64, ringFull uint64, err error) {
	counts, err := a.seals.Errors()
	if err != nil {
		return nil, 0, err
	}
	byName = map[string]uint64{}
	for i, name := range server.KernelErrorNames() {
		byName[name] = counts[i]
	}
	return byName, counts[bpf.WireKernelErrorKERR_RING_FULL], nil
}

// lostBySlot is how many events of each slot found no room in the ring.
func (a *agent) lostBySlot() ([]uint64, error) {
	lost := make([]uint64, a.seals.Slots())
	for slot := range lost {
		lost[slot] = a.seals.Lost(uint32(slot))
	}
	return lost, nil
}

func (a *agent) mapUse() ([]metrics.Map, error) {
	base, err := a.seals.Maps()
	if err != nil {
		return nil, err
	}
	var all []metrics.Map
	for _, m := range base {
		all = append(all, metrics.Map(m))
	}
	for _, m := range a.engine.Maps() {
		all = append(all, metrics.Map(m))
	}
	return all, nil
}

func (a *agent) programUse() ([]metrics.Program, error) {
	base, err := a.seals.Programs()
	if err != nil {
		return nil, err
	}
	var all []metrics.Program
	for _, p := range base {
		all = append(all, metrics.Program{Site: baseSite, Name: p.Name, Runs: p.Runs, Skipped: p.Skipped, Time: p.Time})
	}
	sites, err := a.engine.Programs()
	if err != nil {
		return nil, err
	}
	for _, p := range sites {
		all = append(all, metrics.Program{Site: p.Site, Name: p.Name, Runs: p.Runs, Skipped: p.Skipped, Time: p.Time})
	}
	return all, nil
}

func (a *agent) siteUse() (all []metrics.Site) {
	for _, s := range a.engine.Sites() {
		all = append(all, metrics.Site{Name: s.Name, Rules: s.Rules, Missed: s.Missed})
	}
	return all
}

func (a *agent) policyUse() ([]metrics.Policy, error) {
	var all []metrics.Policy
	for _, p := range a.control.PolicyStates() {
		counters, err := a.engine.Counters(p.ID)
		if errors.Is(err, engine.ErrNotLoaded) {
			continue // deleted or replaced since
		}
		if err != nil {
			return nil, err
		}
		all = append(all, metrics.Policy{
			Namespace: p.Namespace, Name: p.Name, Mode: p.Mode, Enabled: p.Enabled, Containers: p.Containers,
			KernelMemory: a.engine.KernelMemory(p.ID),
			Actions: map[string]uint64{
				"post": counters.Post, "no_post": counters.NoPost, "limited": counters.Limited,
				"signal": counters.Signal, "monitor_signal": counters.MonitorSignal,
				"override": counters.Override, "monitor_override": counters.MonitorOverride,
				"notify": counters.Notify, "monitor_notify": counters.MonitorNotify,
			},
		})
	}
	return all, nil
}

func (e *events) subscribers() (all []metrics.Subscriber) {
	for _, s := range e.hub.Subscribers() {
		all = append(all, metrics.Subscriber{Number: s.Number, Queued: s.Queued, Capacity: s.Capacity, Lost: s.Lost})
	}
	return all
}

// measured is what a bit of a site stood for in a version, as far as metrics tell it.
func (r rules) measured(site, version uint32, bit int) (metrics.Rule, bool) {
	of, ok := r.Resolve(site, version, bit)
	if !ok {
		return metrics.Rule{}, false
	}
	rule := metrics.Rule{Namespace: of.PolicyNamespace, Policy: of.PolicyName, Hook: of.Function, Type: tetragon.EventType_PROCESS_TRACEPOINT}
	switch of.Section {
	case policy.LSMHooks:
		rule.Type = tetragon.EventType_PROCESS_LSM
	case policy.Kprobes, policy.Fentries:
		rule.Type = tetragon.EventType_PROCESS_KPROBE
	case policy.Tracepoints:
		rule.Hook = of.Subsys + "/" + of.Event
	default:
		rule.Hook = cmp.Or(of.Function, of.Event)
	}
	return rule, true
}

// bootTime is the clock of the kernel's times, in ns.
func bootTime() uint64 {
	var t unix.Timespec
	// The clock exists since 2.6.39 and the call cannot fail with it.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return uint64(t.Nano())
}
