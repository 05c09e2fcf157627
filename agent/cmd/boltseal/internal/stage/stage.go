// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// ErrLeft says that something of a stage could not be removed.
var ErrLeft = errors.New("left behind")

// Options says what a stage is made of.
type Options struct {
	// BinDir holds boltseald and boltseal-hook.
	BinDir string
	// Name begins the names of everything that is made. With a container's role it
	// has to stay below 24 bytes: an event holds the first 31 of a container's id.
	Name string
}

// Stage is an agent and what its containers are made of. It is for one goroutine.
// Close it, also after an error of its methods.
type Stage struct {
	tools
	scene
	undo

	runc  runc
	agent *Agent
	watch *Watch
}

// New makes the directory of a stage, and starts nothing. It needs root.
func New(o Options) (*Stage, error) {
	if uid := os.Geteuid(); uid != 0 {
		return nil, fmt.Errorf("this is user %d, and containers and kernel programs need root: run it as root", uid)
	}
	t, err := findTools(o.BinDir)
	if err != nil {
		return nil, err
	}
	if err := usable(os.TempDir()); err != nil {
		return nil, err
	}
	s := &Stage{tools: t}
	var suffix [3]byte
	_, _ = rand.Read(suffix[:]) // never fails
	s.name = o.Name + "-" + hex.EncodeToString(suffix[:])
	s.dir = filepath.Join(os.TempDir(), s.name)
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, err
	}
	s.later("remove "+s.dir, func(context.Context) error { return os.RemoveAll(s.dir) })
	s.later("remove cgroups", func(ctx context.Context) error { return RemoveCgroups(ctx, s.name) })
	s.runc = runc{path: s.tools.runc, scene: s.scene}
	if err := errors.Join(adoptOrphans(), s.build()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close takes everything back. The error is ErrLeft when something could not be.
func (s *Stage) Close() error {
	if err := s.undo.run(); err != nil {
		return fmt.Errorf("%w: %w", ErrLeft, err)
	}
	return nil
}

// Start starts the agent.
func (s *Stage) Start(ctx context.Context) (*Agent, error) {
	a, err := startAgent(ctx, s.tools, s.scene, &s.undo)
	if err == nil {
		s.agent = a
	}
	return a, err
}

// Started tells whether the agent was started, so that its log may say something.
func (s *Stage) Started() bool { return s.agent != nil }

// LogTail is the end of the agent's log, fit for a terminal.
func (s *Stage) LogTail() string { return logTail(s.scene) }

// Busybox is the program of that name on the host.
func (s *Stage) Busybox() string { return s.busybox }

// StartWatch begins to collect the events of the containers, and those of policies
// wherever they act. It is in time for containers that are made later.
func (s *Stage) StartWatch(ctx context.Context, policies ...string) (w *Watch, err error) {
	s.watch, err = startWatch(ctx, s.agent, s.name, policies, &s.undo)
	return s.watch, err
}

// BuildRoot writes the files of a container: busybox as /bin/busybox and under the
// names of applets, and files by their paths. It is read-only in the container, but
// for /tmp and /dev.
func (s *Stage) BuildRoot(name string, applets []string, files map[string]string) (root string, err error) {
	return s.buildRoot(s.busybox, name, applets, files)
}

// Name gives a container its id and its cgroup.
func (s *Stage) Name(c *Container) {
	c.ID = s.name + "-" + c.Role
	c.CgroupPath = "/" + s.name + "/" + c.ID
}

// Outcome is all that is known of one container at its end.
type Outcome struct {
	Container
	// Created and Ended are what the agent said of it before its entrypoint ran
	// and after it had ended.
	Created, Ended *boltseal.Container
	Status         unix.WaitStatus
	Output         string
	Events         []*tetragon.GetEventsResponse
}

// Contain takes one container through its life, after Start and StartWatch.
func (s *Stage) Contain(ctx context.Context, c *Container) (o Outcome, err error) {
	s.Name(c)
	if err := s.buildBundle(c, s.hook); err != nil {
		return o, err
	}
	if err := s.runc.create(ctx, c, &s.undo); err != nil {
		return o, err
	}
	if o.Created, err = s.listed(ctx, c); err != nil {
		return o, err
	}
	pid := c.init
	if err := s.runc.start(ctx, c); err != nil {
		return o, err
	}
	if o.Status, err = s.runc.wait(ctx, c); err != nil {
		return o, err
	}
	if err := s.watch.exited(ctx, c, pid); err != nil {
		return o, err
	}
	if o.Ended, err = s.listed(ctx, c); err != nil {
		return o, err
	}
	output, err := os.ReadFile(s.runc.output(c))
	o.Container, o.Output, o.Events = *c, string(output), s.watch.Of(c)
	return o, err
}

// listed is what the agent says of a container, whose cgroup is there until it
// is deleted.
func (s *Stage) listed(ctx context.Context, c *Container) (*boltseal.Container, error) {
	response, err := s.agent.ListContainers(ctx, &boltseal.ListContainersRequest{IdPrefix: c.ID})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", Said(err))
	}
	if n := len(response.GetContainers()); n != 1 {
		return nil, fmt.Errorf("list containers: the agent knows %d with the id %s", n, c.ID)
	}
	return response.GetContainers()[0], nil
}

// Remove kills and deletes a container when it is there, before Close would.
func (s *Stage) Remove(c *Container) error {
	ctx, cancel := context.WithTimeout(context.Background(), undoTime)
	defer cancel()
	return s.runc.remove(ctx, c)
}
