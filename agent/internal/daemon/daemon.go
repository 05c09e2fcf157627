// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/boltseal/boltseal/agent/internal/attach"
	"github.com/boltseal/boltseal/agent/internal/cgroup"
	"github.com/boltseal/boltseal/agent/internal/config"
	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/match"
	"github.com/boltseal/boltseal/agent/internal/names"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policydir"
	"github.com/boltseal/boltseal/agent/internal/remote"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/agent/internal/server"
	"github.com/boltseal/boltseal/agent/internal/stacktree"
)

// expectFor is how long an announced container may take to be made: an image
// may have to be unpacked between the two.
const expectFor = 10 * time.Minute

// bootedMarker tells hooks that the agent has been up since boot. It lies beside
// the socket, on a file system that a boot empties.
const bootedMarker = "booted"

// agent is the parts of a running agent.
type agent struct {
	config   config.Config
	version  string
	log      *slog.Logger
	level    *slog.LevelVar
	started  time.Time
	health   *server.Health
	node     string
	cgroups  cgroup.Root
	points   *attach.Points
	features kernel.Features
	seals    *seal.Seals
	engine   *engine.Engine
	registry *container.Registry
	names    *names.Finder
	control  *control.Controller
	events   *events
	exports  *exports
	trees    *stacktree.Trees
	spool    *spool
	// measures is nil when no metrics are offered.
	measures *measures
	// remote carries remote actions out, nil where none are allowed.
	remote *remote.Requests
	// fixed is the policies of files that are read once; policies is the directory of
	// others, nil without one.
	fixed    *fixed
	policies *policydir.Directory
}

// Run runs the agent until the context ends. Enforcement ends with it. Level is that
// of the log, which clients may change.
func Run(ctx context.Context, c config.Config, version string, log *slog.Logger, level *slog.LevelVar) (err error) {
	a := &agent{
		config: c, version: version, log: log, level: level, started: time.Now(),
		health: server.NewHealth(), trees: &stacktree.Trees{},
	}
	// It answers as long as there is anything to tell of.
	endHealth, err := a.serveHealth(ctx)
	if err != nil {
		return err
	}
	defer endHealth()
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.open(ctx); err != nil {
		return err
	}
	listener, err := server.Listen(ctx, c.SocketPath())
	if err != nil {
		return err
	}
	defer listener.Close()
	if a.measures, err = newMeasures(a); err != nil {
		return err
	}
	if a.measures != nil {
		a.events.count = a.measures.Count
	}
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, a.health.Stopping)()
	group.Go(func() error { return a.vital(a.events.run(ctx)) })
	a.exports.started = true
	group.Go(func() error { return a.exports.run(ctx) })
	group.Go(func() error { return a.vital(a.control.Run(ctx)) })
	if err := errors.Join(a.load(), a.serveProfiles(ctx, group)); err != nil {
		return errors.Join(err, a.stop(group))
	}
	group.Go(func() error { return a.spool.run(ctx) })
	if t := a.events.throttle; t != nil {
		group.Go(func() error { return t.run(ctx) })
	}
	group.Go(func() error { return a.followNames(ctx) })
	if a.policies != nil {
		group.Go(func() error { return a.policies.Run(ctx) })
	}
	if a.remote != nil {
		group.Go(func() error { return a.remote.Run(ctx) })
	}
	s := a.server()
	group.Go(func() error { return s.Serve(listener) })
	group.Go(func() error {
		<-ctx.Done()
		a.health.Stopping()
		s.Stop()
		return nil
	})
	a.health.Ready()
	if err := a.serveMetrics(ctx, group); err != nil {
		return errors.Join(err, a.stop(group))
	}
	if err := a.announce(); err != nil {
		log.Warn("tell hooks that the agent has been up", "error", err)
	}
	log.Info("ready", "socket", c.SocketPath(), "version", version)
	return group.Wait()
}

// vital has the agent's health tell that a part has failed without which it ends.
func (a *agent) vital(err error) error {
	if err != nil {
		a.health.Fail(err)
	}
	return err
}

func (a *agent) server() *server.Server {
	list, probes := features(a.features)
	return server.New(server.Options{
		Version: a.version, NodeName: a.node, CgroupRoot: a.cgroups.Path(), Started: a.started,
		Control: a.controlled(), Containers: a.registry, Events: a.events, EventLog: a.exports, Kernel: a.seals, Sites: a.engine.Sites,
		PolicyFaults: a.policyFaults, Throttled: a.events.throttled, Features: list, Probes: probes, Processes: a.events, Stacks: a.events.trees,
		Settings: a.config.Settings(), Calls: a.measures.callStats(), Health: a.health, Reflection: a.config.EnableReflection,
		Log: a.log.With("component", "server"), Level: a.level,
	})
}

// serveHealth answers for the agent's health at the address that is for it alone, if
// there is one, until it is told to end.
func (a *agent) serveHealth(ctx context.Context) (end func(), err error) {
	if a.config.HealthServerAddress == "" {
		return func() {}, nil
	}
	l, err := server.ListenLocal(ctx, a.config.HealthServerAddress)
	if err != nil {
		return nil, fmt.Errorf("health server: %w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.health.Serve(ctx, l); err != nil {
			a.log.Error("health server", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}, nil
}

// serveProfiles does so at the configured address, if there is one.
func (a *agent) serveProfiles(ctx context.Context, group *errgroup.Group) error {
	if a.config.PprofAddress == "" {
		return nil
	}
	l, err := server.ListenLocal(ctx, a.config.PprofAddress)
	if err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	group.Go(func() error { return serveProfiles(ctx, l) })
	return nil
}

// stop ends what has been started when the rest could not be.
func (a *agent) stop(group *errgroup.Group) error {
	group.Go(func() error { return errStopped })
	if err := group.Wait(); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}

var errStopped = errors.New("stopped")

// nodeLabels are the labels that the node is known to have; nil when none were
// told.
func nodeLabels(told []string, node string) match.NodeLabels {
	if len(told) == 0 {
		return nil
	}
	all := match.NodeLabels{"kubernetes.io/hostname": node}
	for _, label := range told {
		key, value, _ := strings.Cut(label, "=")
		all[key] = value
	}
	return all
}

// open opens what the agent works with, up to attached base programs.
func (a *agent) open(ctx context.Context) (err error) {
	if a.node, err = a.nodeName(); err != nil {
		return err
	}
	if a.cgroups, err = a.findRoot(); err != nil {
		return err
	}
	a.features = kernel.Probe(ctx, kernel.Options{})
	for _, f := range a.features.All() {
		if f.Err != nil {
			a.log.Info("kernel feature is missing", "feature", f.Feature, "reason", f.Err)
		}
	}
	if a.points, err = attach.Open(a.features); err != nil {
		return err
	}
	room := uint32(0)
	if !a.features.Has(kernel.TaskStorage) {
		if room, err = kernel.TaskRoom(); err != nil {
			return err
		}
	}
	preempted, err := kernel.RawTracepointsPreempted()
	if err != nil {
		return err
	}
	keys := compile.NewKeys()
	a.seals, err = seal.Open(seal.Options{
		HashKeys: *keys, RuntimeComms: a.config.RuntimeNames, NamePrefixes: a.config.CgroupPrefixes,
		RingBytes: uint32(a.config.RingBytes), Slots: uint32(a.config.MaxContainers), TaskRoom: room,
		Preempted:   preempted,
		Environment: a.config.ProcessEnvironment, ForkState: a.config.ProcessCred || a.config.ProcessNS,
	})
	if err != nil {
		return err
	}
	a.engine, err = engine.Open(engine.Options{
		Keys: keys, Base: a.seals.SharedMaps(), Slots: a.seals, Attacher: a.points, TaskRoom: room,
		Preempted: preempted, Agent: uint32(os.Getpid()), Origins: a.seals,
	})
	if err != nil {
		return err
	}
	a.registry = container.New(a.config.MaxContainers)
	a.names = names.New()
	a.control = control.New(control.Options{
		Registry: a.registry, Engine: a.engine, Seals: a.seals, Cgroups: a.cgroups, Kernel: a.points,
		Names: a.names, Log: a.log.With("component", "control"), CgroupPrefixes: a.config.CgroupPrefixes,
		ExpectFor: expectFor, RemovedGrace: a.config.RemovedGrace,
		NodeLabels: nodeLabels(a.config.NodeLabels, a.node), Remote: allowedRemote(a.config),
		Deleted: a.trees.Forget,
	})
	if len(a.control.Remote) > 0 {
		a.remote = remote.New(a.control.Enforces, a.log.With("component", "remote"))
	}
	a.spool = newSpool(a.config.SpoolDir, func(late control.Admission) error {
		_, err := a.control.Admit(late)
		return err
	}, a.log)
	a.fixed = &fixed{Policies: a.control, owners: map[string]string{}}
	if dir := a.config.PolicyDir; dir != "" {
		a.policies = policydir.New(dir, a.fixed, a.log.With("component", "policies"))
	}
	if a.events, err = newEvents(a); err != nil {
		return err
	}
	a.exports, err = openExports(&a.events.hub, a.events.filters, a.config.AllExports(), a.config.EventQueue, a.log.With("component", "exports"))
	return err
}

// nodeName is the host's name unless the configuration has another.
func (a *agent) nodeName() (string, error) {
	hostname, err := os.Hostname()
	if err != nil && a.config.NodeName == "" {
		return "", fmt.Errorf("name this node: %w", err)
	}
	return cmp.Or(a.config.NodeName, hostname), nil
}

func (a *agent) findRoot() (cgroup.Root, error) {
	if a.config.CgroupRoot != "" {
		return cgroup.At(a.config.CgroupRoot)
	}
	return cgroup.FindRoot()
}

// load puts policies in force and takes in what ran before the agent did.
func (a *agent) load() error {
	if err := a.fixed.load(a.config.PolicyFiles); err != nil {
		return err
	}
	if a.policies != nil {
		if err := a.policies.Load(); err != nil {
			return err
		}
	}
	if err := a.recall(); err != nil {
		return err
	}
	if err := a.spool.replay(); err != nil {
		return err
	}
	return a.control.AdoptRunning()
}

func (a *agent) announce() error {
	marker := filepath.Join(filepath.Dir(a.config.SocketPath()), bootedMarker)
	return os.WriteFile(marker, nil, 0o600)
}

// close closes what was opened, in reverse.
func (a *agent) close() error {
	errs := []error{a.measures.close()}
	if a.exports != nil {
		errs = append(errs, a.exports.close())
	}
	if a.events != nil {
		errs = append(errs, a.events.close())
	}
	if a.engine != nil {
		errs = append(errs, a.engine.Close())
	}
	if a.seals != nil {
		errs = append(errs, a.seals.Close())
	}
	if a.points != nil {
		errs = append(errs, a.points.Close())
	}
	return errors.Join(errs...)
}
