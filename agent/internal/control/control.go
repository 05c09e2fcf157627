// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/boltseal/boltseal/agent/internal/cgroup"
	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/match"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/bpf"
)

// Errors that callers tell apart.
var (
	// ErrNotFound says that there is no such policy.
	ErrNotFound = errors.New("not found")
	// ErrRefused says that a request claims what is not a container's: the host's
	// cgroup, the agent's, or another container's. No fail policy allows it.
	ErrRefused = errors.New("refused")
	// ErrOwned says that a policy of the name is from elsewhere, where it has to be
	// changed.
	ErrOwned = errors.New("policy of another origin")
	// ErrInvalid says that a request is malformed.
	ErrInvalid = errors.New("invalid")
)

// Engine is what control needs of package engine.
type Engine interface {
	Load(*compile.Policy) (engine.PolicyID, error)
	Unload(engine.PolicyID) error
	Apply(assignments []engine.Assignment, wait bool) error
	Counters(engine.PolicyID) (engine.Counters, error)
	SelectorCounters(engine.PolicyID) ([]engine.SelectorCounters, error)
	KernelMemory(engine.PolicyID) uint64
}

// Seals is what control needs of package seal.
type Seals interface {
	Take() (uint32, error)
	Hold(slot uint32)
	Free(slot uint32) error
	Expect(slot uint32, path string) error
	Unexpect(slot uint32) error
	Confirm(seal.Claim) (slot uint32, by bpf.WireSealedBy, err error)
	SealedAs(cgroup uint64) (bpf.WireCgroupSeal, bool, error)
	Slot(slot uint32) bpf.WireSlot
	Slots() uint32
	Gone() ([]uint32, error)
}

// Cgroups is what control needs of the unified hierarchy: a cgroup.Root.
type Cgroups interface {
	OfPID(pid int) (cgroup.Location, error)
	ID(path string) (uint64, error)
	PathOf(id uint64) (string, error)
	Kill(path string) error
	Walk(fn func(path string, id uint64) error) error
}

// Options configures a Controller.
type Options struct {
	Registry *container.Registry
	Engine   Engine
	Seals    Seals
	Cgroups  Cgroups
	Kernel   compile.Kernel
	// Names finds containers' names and labels that no hook tells; nil: nobody does.
	Names Names
	Log   *slog.Logger
	// CgroupPrefixes is what may stand before the 64 digits in the name of a
	// container's cgroup.
	CgroupPrefixes []string
	// ExpectFor is how long an announced container may take to be made.
	ExpectFor time.Duration
	// RemovedGrace is how long a removed container is remembered.
	RemovedGrace time.Duration
	// NodeLabels are those of this node, which nodeSelectors ask for; nil: they are
	// not known, and a policy that has one is refused.
	NodeLabels match.NodeLabels
	// Remote are the actions to other hosts that the operator allows; policies with
	// others are refused.
	Remote []policy.ActionKind
	// Deleted is told the key of a policy that is out of force and was deleted; nil:
	// nobody. It must not call the controller.
	Deleted func(key string)
}

// Controller holds policies and containers together. It is safe for concurrent
// use.
type Controller struct {
	Options

	mu       sync.Mutex
	policies map[string]*held
	sets     keySets
	// subjects is the containers' slots; host and idle are the two others.
	subjects map[uint32]*subject
	host     *subject
	idle     *subject
	// guesses is slots whose container is known by its cgroup alone.
	guesses map[uint32]string
}

// subject is what policies are for.
type subject struct {
	container *container.Container
	keys      *keySet
	slots     func() []uint32
}

// New makes a controller without policies.
func New(o Options) *Controller {
	c := &Controller{
		Options:  o,
		policies: map[string]*held{},
		sets:     keySets{},
		subjects: map[uint32]*subject{},
		guesses:  map[uint32]string{},
	}
	none := c.sets.of(map[string]policy.WorkloadSet{})
	c.host = &subject{keys: none, slots: func() []uint32 { return []uint32{seal.Host} }}
	c.idle = &subject{keys: none, slots: c.idleSlots}
	return c
}

// idleSlots is all slots that no container holds, with that of containers that
// found no room.
func (c *Controller) idleSlots() []uint32 {
	slots := make([]uint32, 0, c.Seals.Slots())
	for slot := seal.Host + 1; slot < c.Seals.Slots(); slot++ {
		if c.subjects[slot] == nil {
			slots = append(slots, slot)
		}
	}
	return slots
}

func (c *Controller) everySubject() []*subject {
	all := make([]*subject, 0, len(c.subjects)+2)
	all = append(all, c.host, c.idle)
	for _, s := range c.subjects {
		all = append(all, s)
	}
	return all
}

// wants is what a subject is to have of a policy.
func (c *Controller) wants(s *subject, h *held) wanted {
	p := h.compiled.Policy
	if !h.enabled || !match.SelectsNode(p, c.NodeLabels) {
		return wanted{}
	}
	switch {
	case s == c.host && match.SelectsHost(p):
		return wanted{true, match.HostWorkloads(p)}
	case s == c.idle && match.SelectsAll(p):
		return wanted{true, match.AllWorkloads(p)}
	case s != c.host && s != c.idle && match.Selects(p, s.container):
		return wanted{true, match.Workloads(p, s.container)}
	}
	return wanted{}
}

// keysFor is the policies that are for a subject.
func (c *Controller) keysFor(s *subject) *keySet {
	keys := map[string]policy.WorkloadSet{}
	for key, h := range c.policies {
		if w := c.wants(s, h); w.in {
			keys[key] = w.workloads
		}
	}
	return c.sets.of(keys)
}

// assignment is what the engine puts in force for keys.
func (c *Controller) assignment(s *keySet, slots []uint32) engine.Assignment {
	a := engine.Assignment{Slots: slots, Set: make([]engine.Member, 0, len(s.keys))}
	for key, workloads := range s.keys {
		h := c.policies[key]
		a.Set = append(a.Set, engine.Member{Policy: h.id, Enforce: h.enforce})
		if workloads == (policy.WorkloadSet{}) {
			continue
		}
		if a.Workloads == nil {
			a.Workloads = map[engine.PolicyID]policy.WorkloadSet{}
		}
		a.Workloads[h.id] = workloads
	}
	return a
}

// apply puts subjects' keys in force.
func (c *Controller) apply(subjects []*subject, wait bool) error {
	slots := map[*keySet][]uint32{}
	for _, s := range subjects {
		slots[s.keys] = append(slots[s.keys], s.slots()...)
	}
	assignments := make([]engine.Assignment, 0, len(slots))
	for keys, of := range slots {
		assignments = append(assignments, c.assignment(keys, of))
	}
	return c.Engine.Apply(assignments, wait)
}
