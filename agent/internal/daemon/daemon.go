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
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policydir"
	"github.com/boltseal/boltseal/agent/internal/remote"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/agent/internal/server"
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
	log      *slog.Logger
	started  time.Time
	node     string
	cgroups  cgroup.Root
	points   *attach.Points
	features kernel.Features
	seals    *seal.Seals
	engine   *engine.Engine
	registry *container.Registry
	control  *control.Controller
	events   *events
	spool    *spool
	// remote carries remote actions out, nil where none are allowed.
	remote *remote.Requests
	// fixed is the policies of files that are read once; policies is the directory of
	// others, nil without one.
	fixed    *fixed
	policies *policydir.Directory
}

// Run runs the agent until the context ends. Enforcement ends with it.
func Run(ctx context.Context, c config.Config, version string, log *slog.Logger) (err error) {
	a := &agent{config: c, log: log, started: time.Now()}
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.open(ctx); err != nil {
		return err
	}
	listener, err := server.Listen(ctx, c.SocketPath())
	if err != nil {
		return err
	}
	defer listener.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.events.run(ctx) })
	group.Go(func() error { return a.control.Run(ctx) })
	if err := a.load(); err != nil {
		return errors.Join(err, a.stop(group))
	}
	group.Go(func() error { return a.spool.run(ctx) })
	if a.policies != nil {
		group.Go(func() error { return a.policies.Run(ctx) })
	}
	if a.remote != nil {
		group.Go(func() error { return a.remote.Run(ctx) })
	}
	list, probes := features(a.features)
	var throttled func(uint32) uint64
	if t := a.events.throttle; t != nil {
		group.Go(func() error { return t.run(ctx) })
		throttled = t.LeftOut
	}
	s := server.New(server.Options{
		Version: version, NodeName: a.node, CgroupRoot: a.cgroups.Path(), Started: a.started,
		Control: a.control, Containers: a.registry, Events: a.events, Kernel: a.seals, Sites: a.engine.Sites,
		PolicyFaults: a.policyFaults, Throttled: throttled, Features: list, Probes: probes, Log: log.With("component", "server"),
	})
	group.Go(func() error { return s.Serve(listener) })
	group.Go(func() error {
		<-ctx.Done()
		s.Stop()
		return nil
	})
	if err := a.announce(); err != nil {
		log.Warn("tell hooks that the agent has been up", "error", err)
	}
	log.Info("ready", "socket", c.SocketPath(), "version", version)
	return group.Wait()
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
	hostname, err := os.Hostname()
	if err != nil && a.config.NodeName == "" {
		return fmt.Errorf("name this node: %w", err)
	}
	a.node = cmp.Or(a.config.NodeName, hostname)
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
		Preempted: preempted,
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
	a.control = control.New(control.Options{
		Registry: a.registry, Engine: a.engine, Seals: a.seals, Cgroups: a.cgroups, Kernel: a.points,
		Log: a.log.With("component", "control"), CgroupPrefixes: a.config.CgroupPrefixes,
		ExpectFor: expectFor, RemovedGrace: a.config.RemovedGrace,
		NodeLabels: nodeLabels(a.config.NodeLabels, a.node), Remote: allowedRemote(a.config),
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
	a.events, err = newEvents(a)
	return err
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
	var errs []error
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
