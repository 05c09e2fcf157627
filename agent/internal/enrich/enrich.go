// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"fmt"
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

// Throttle limits how many events of processes are told.
type Throttle interface {
	// Count counts an event of a slot and a cgroup at a time, in ns since boot.
	Count(slot uint32, cgroup, at uint64)
	// Passes does too, and tells whether it is to be told.
	Passes(slot uint32, cgroup, at uint64) bool
}

// Options configures an Enricher. All fields but Throttle are needed.
type Options struct {
	// Node is the node's name in messages.
	Node string
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
}

// Enricher makes messages. Handle is for one goroutine, the one that reads
// events in their order.
type Enricher struct {
	Options
	boot       time.Time
	bootAsked  uint64 // when, on the clock of events
	processes  map[processKey]*tetragon.Process
	rules      map[ruleKey]*Rule
	constants  *policy.Constants
	rests      rests
	unresolved atomic.Uint64
}

// Bounds of what is kept of earlier messages. Both are emptied when full: what is
// in use is back soon.
const (
	maxProcesses = 8192
	maxRules     = 8192
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
		constants: policy.NewConstants(),
	}, nil
}

// Unresolved is how many matches made no message because nobody knew the rule
// any more. Safe for concurrent use.
func (e *Enricher) Unresolved() uint64 { return e.unresolved.Load() }

// Handle takes in an event: it updates the process cache and, while the sink is
// active, publishes the messages of the event.
func (e *Enricher) Handle(of event.Event) {
	e.askClock(of.Head().Ktime)
	switch of := of.(type) {
	case *event.Fork:
		i := info(&of.Header)
		i.Parent = process.Key(of.Parent)
		e.Processes.Fork(i)
		if e.Throttle != nil {
			e.Throttle.Count(of.Slot, of.CgroupID, of.Ktime)
		}
	case *event.Exec:
		p := e.Processes.Exec(of.Ktime, execInfo(of))
		if e.passes(&of.Header) && e.Sink.Active() {
			e.publishExec(of, p)
		}
	case *event.Exit:
		p, first := e.Processes.Exit(of.Ktime, info(&of.Header))
		if first && e.passes(&of.Header) && e.Sink.Active() {
			e.publishExit(of, p)
		}
	case *event.Data:
		e.rests.keep(of)
	case *event.Site:
		e.rests.join(of)
		if e.Sink.Active() {
			e.publishSite(of)
		}
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

func execInfo(of *event.Exec) process.Info {
	i := info(&of.Header)
	i.Parent = process.Key(of.Parent)
	i.AUID, i.Binary, i.Args, i.Cwd = of.AUID, of.Binary, of.Args, of.Cwd
	for _, f := range [...]struct {
		flag  bpf.WireExecFlags
		means process.Flags
	}{
		{bpf.WireExecFlagsEXEC_BINARY_TRUNCATED, process.ErrorFilename},
		{bpf.WireExecFlagsEXEC_ARGS_TRUNCATED, process.TruncArgs},
		{bpf.WireExecFlagsEXEC_CWD_TRUNCATED, process.ErrorCwd},
		{bpf.WireExecFlagsEXEC_ARGS_UNREADABLE, process.ErrorArgs},
	} {
		if of.Flags&f.flag != 0 {
			i.Flags |= f.means
		}
	}
	return i
}

func (e *Enricher) publishExec(of *event.Exec, p *process.Process) {
	e.publish(&of.Header, &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExec{
		ProcessExec: &tetragon.ProcessExec{Process: e.process(p, &of.Header), Parent: e.parent(p)},
	}})
}

func (e *Enricher) publishExit(of *event.Exit, p *process.Process) {
	e.publish(&of.Header, &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExit{
		ProcessExit: &tetragon.ProcessExit{
			Process: e.process(p, &of.Header), Parent: e.parent(p),
			Signal: signalName(of.Code & 0x7f), Status: of.Code >> 8 & 0xff, Time: e.time(of.Ktime),
		},
	}})
}

func (e *Enricher) publish(h *event.Header, m *tetragon.GetEventsResponse) {
	m.NodeName, m.Time = e.Node, e.time(h.Ktime)
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
	}
}

// time is the wall time of ns since boot.
func (e *Enricher) time(ktime uint64) *timestamppb.Timestamp {
	return timestamppb.New(e.boot.Add(time.Duration(ktime)))
}
