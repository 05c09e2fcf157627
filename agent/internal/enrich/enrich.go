// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// Containers finds containers, also those removed not long ago.
type Containers interface {
	// BySlot is the container with the index in the kernel's maps.
	BySlot(slot uint32) (*container.Container, bool)
	// ByCgroup is the container whose root cgroup has the id.
	ByCgroup(id uint64) (*container.Container, bool)
}

// Rules knows what the rules of sites stand for.
type Rules interface {
	// Resolve is the rule that a bit of a site was in a version of its rules. The
	// answer for a version never changes, but that it can be forgotten.
	Resolve(site, version uint32, bit int) (Rule, bool)
}

// Sink takes messages.
type Sink interface {
	// Active tells whether anybody wants messages.
	Active() bool
	// Publish hands a message on. It must not block; the message and all that it
	// holds are shared and must not be modified.
	Publish(*tetragon.GetEventsResponse)
}

// Started tells when a container's first process began, in ns since boot; 0 when
// that is not known. It is asked while an event waits.
type Started func(*container.Container) uint64

// Users finds the names of users of the host.
type Users interface {
	// Name is empty for a user that has none.
	Name(uid uint32) string
}

// Throttle limits how many events of processes are told.
type Throttle interface {
	// Count counts an event of a slot and a cgroup at a time, in ns since boot.
	Count(slot uint32, cgroup, at uint64)
	// Passes does too, and tells whether it is to be told.
	Passes(slot uint32, cgroup, at uint64) bool
}

// Options configures an Enricher. All fields are needed but those of Life and of the
// cluster, Started, Ancestors, Users and Throttle.
type Options struct {
	Life
	// Node is the node's name in messages.
	Node string
	// Cluster and NodeLabels are in all messages, when there are any. The labels are
	// shared and must not be modified.
	Cluster    string
	NodeLabels map[string]string
	// Processes is the cache that is fed.
	Processes  *process.Cache
	Containers Containers
	Rules      Rules
	Stacks     Stacks
	Sink       Sink
	// Throttle counts births, execs and ends of processes; execs and ends that it
	// does not let pass make no message. Nil: all pass.
	Throttle Throttle
	// BootTime is the wall time at which the clock of events was zero. It is asked
	// again now and then, since the wall clock gets adjusted.
	BootTime func() (time.Time, error)
	Started  Started
	// Ancestors are the kinds of messages that have the ancestors of their process:
	// the cache must keep them.
	Ancestors []AncestorsOf
	// Users names the user of a process that is in no container.
	Users Users
}

// Enricher makes messages. Handle is for one goroutine, the one that reads
// events in their order.
type Enricher struct {
	Options

	mu         sync.Mutex // Flush is not for the goroutine of Handle alone
	holds      holds
	boot       time.Time
	bootAsked  uint64 // when, on the clock of events
	processes  map[processKey]*tetragon.Process
	pods       map[*container.Container]*tetragon.Pod
	line       []process.Relative
	rules      map[ruleKey]*Rule
	constants  *policy.Constants
	rests      rests
	longBytes  atomic.Int64 // of the texts of messages of [Enricher.whole] that are alive
	bytes      int          // of the texts of processes
	unresolved atomic.Uint64
}

// Bounds of what is kept of earlier messages. Both are emptied when full: what is
// in use is back soon.
const (
	maxProcesses = 8192
	// maxProcessBytes is about how much their texts may take.
	maxProcessBytes = 64 << 20
	maxRules        = 8192
)

// bootEvery is how often the boot time is asked for.
const bootEvery = uint64(30 * time.Second)

// New is an enricher; the error is that of BootTime.
func New(o Options) (*Enricher, error) {
	boot, err := o.BootTime()
	if err != nil {
		return nil, fmt.Errorf("find boot time: %w", err)
	}
	return &Enricher{
		Options: o, boot: boot, processes: map[processKey]*tetragon.Process{}, rules: map[ruleKey]*Rule{},
		pods: map[*container.Container]*tetragon.Pod{}, holds: newHolds(),
		constants: policy.NewConstants(),
	}, nil
}

// Unresolved is how many matches made no message because nobody knew the rule
// any more. Safe for concurrent use.
func (e *Enricher) Unresolved() uint64 { return e.unresolved.Load() }

// Handle takes in an event: it updates the process cache and, while the sink is
// active, publishes the messages of the event, those of a container that is not
// known yet a little later.
func (e *Enricher) Handle(of event.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.askClock(of.Head().Ktime)
	if len(e.holds.bySlot) > 0 {
		e.releaseReady(time.Now())
	}
	switch of := of.(type) {
	case *event.Fork:
		e.fork(of)
	case *event.Exec:
		long := e.rests.joinExec(of)
		e.keep(of, long)
		p := e.Processes.Exec(of.Ktime, e.execInfo(of))
		if e.passes(&of.Header) && e.Sink.Active() {
			e.show(waiting{of: of, process: p, long: long})
		}
	case *event.Exit:
		p, first := e.Processes.Exit(of.Ktime, info(&of.Header))
		if first && e.passes(&of.Header) && e.Sink.Active() {
			e.show(waiting{of: of, process: p})
		}
	case *event.Data:
		e.rests.keep(of)
	case *event.Site:
		e.rests.join(of)
		if e.Sink.Active() {
			e.show(waiting{of: of, process: e.Processes.Seen(info(&of.Header))})
		}
	case *event.Armed:
		if h := e.holds.bySlot[of.Slot]; h != nil {
			e.release(h, true)
		}
	}
}

func (e *Enricher) publishEvent(w waiting) {
	switch of := w.of.(type) {
	case *event.Exec:
		e.publishExec(of, w.process, w.long)
	case *event.Exit:
		e.publishExit(of, w.process)
	case *event.Site:
		e.publishSite(of, w.process)
	}
}

// fork takes in the birth of a process, which is not told of but counts.
func (e *Enricher) fork(of *event.Fork) {
	e.Processes.Fork(forkInfo(of))
	if e.Throttle != nil {
		e.Throttle.Count(of.Slot, of.CgroupID, of.Ktime)
	}
}

// passes counts an exec or an exit, and tells whether it is told. The process cache has it either way, so that matches go on naming their process.
func (e *Enricher) passes(h *event.Header) bool {
	return e.Throttle == nil || e.Throttle.Passes(h.Slot, h.CgroupID, h.Ktime)
}

// info is what every event tells of its process.
func info(h *event.Header) process.Info {
	return process.Info{
		Key: process.Key{Tgid: h.Tgid, Start: h.Start}, UID: h.UID, AUID: process.NoAUID, Slot: h.Slot, CgroupID: h.CgroupID,
	}
}

func forkInfo(of *event.Fork) process.Info {
	i := info(&of.Header)
	i.Parent, i.NSPid = process.Key(of.Parent), of.NSPid
	if of.Maker != of.Parent {
		i.Maker = process.Key(of.Maker)
	}
	i.Tree, i.State = tree(of.Tree), state(of.State)
	return i
}

func (e *Enricher) execInfo(of *event.Exec) process.Info {
	i := info(&of.Header)
	i.Parent, i.NSPid = process.Key(of.Parent), of.NSPid
	i.AUID, i.Binary, i.Args, i.Cwd = of.AUID, of.Binary, of.Args, of.Cwd
	i.Env = of.Env
	i.Tree, i.State, i.File = tree(of.Tree), state(of.State), executed(of)
	if of.CgroupID == 0 {
		i.Flags |= process.ErrorCgroupID
	}
	if of.Data != 0 {
		i.Flags |= process.DataArgs
	}
	for _, f := range [...]struct {
		flag  bpf.WireExecFlags
		means process.Flags
	}{
		{bpf.WireExecFlagsEXEC_BINARY_TRUNCATED, process.ErrorFilename},
		{bpf.WireExecFlagsEXEC_ARGS_TRUNCATED, process.TruncArgs},
		{bpf.WireExecFlagsEXEC_CWD_TRUNCATED, process.ErrorCwd | process.ErrorPathCwd},
		{bpf.WireExecFlagsEXEC_CWD_UNREADABLE, process.ErrorCwd},
		{bpf.WireExecFlagsEXEC_ENV_TRUNCATED, process.ErrorEnvs},
		{bpf.WireExecFlagsEXEC_ENV_UNREADABLE, process.ErrorEnvs},
		{bpf.WireExecFlagsEXEC_ARGS_UNREADABLE, process.ErrorArgs},
	} {
		if of.Flags&f.flag != 0 {
			i.Flags |= f.means
		}
	}
	return i
}

func (e *Enricher) publishExec(of *event.Exec, p *process.Process, long *longExec) {
	f := e.family(p, &of.Header, AncestorsOfBase)
	if long != nil {
		f.process = e.whole(f.process, p, long)
	}
	e.publish(&of.Header, &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExec{
		ProcessExec: &tetragon.ProcessExec{Process: f.process, Parent: f.parent, Ancestors: f.ancestors},
	}})
}

func (e *Enricher) publishExit(of *event.Exit, p *process.Process) {
	f := e.family(p, &of.Header, AncestorsOfBase)
	e.publish(&of.Header, &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExit{
		ProcessExit: &tetragon.ProcessExit{
			Process: f.process, Parent: f.parent, Ancestors: f.ancestors,
			Signal: signalName(of.Code & 0x7f), Status: of.Code >> 8 & 0xff, Time: e.time(of.Ktime),
		},
	}})
}

func (e *Enricher) publish(h *event.Header, m *tetragon.GetEventsResponse) {
	m.NodeName, m.Time = e.Node, e.time(h.Ktime)
	m.ClusterName, m.NodeLabels = e.Cluster, e.NodeLabels
	e.Sink.Publish(m)
}

// askClock asks for the boot time if that was long ago. Called before a message
// is begun, so that all times in it are of one clock.
func (e *Enricher) askClock(now uint64) {
	if now <= e.bootAsked+bootEvery {
		return
	}
	e.bootAsked = now
	// An answer was there once; on an error it does.
	if boot, err := e.BootTime(); err == nil && !boot.Equal(e.boot) {
		e.boot = boot
		clear(e.processes) // their start times are of the clock before
		clear(e.pods)
	}
}

// time is the wall time of ns since boot.
func (e *Enricher) time(ktime uint64) *timestamppb.Timestamp {
	return timestamppb.New(e.boot.Add(time.Duration(ktime)))
}
