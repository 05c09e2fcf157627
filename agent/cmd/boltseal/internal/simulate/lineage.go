// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// ancestry is the processes that events have told of so far, by their exec ids.
type ancestry map[string]ancestor

type ancestor struct {
	parent string
	binary string
	pid    uint32
	hasPID bool
}

// mostAncestors bounds the memory that a file of events can take: of processes
// beyond it nothing is known.
const mostAncestors = 1 << 20

// see notes the processes that an event tells of.
func (a ancestry) see(all ...*tetragon.Process) {
	for _, p := range all {
		id := p.GetExecId()
		if _, known := a[id]; id != "" && (known || len(a) < mostAncestors) {
			a[id] = ancestorOf(p)
		}
	}
}

func ancestorOf(p *tetragon.Process) ancestor {
	return ancestor{parent: p.GetParentExecId(), binary: p.GetBinary(), pid: p.GetPid().GetValue(), hasPID: p.GetPid() != nil}
}

// shows tells whether events show that a process is of a lineage. That it is of
// none no event can show: it, and those that it comes of, can have been other programs before.
// own: the event tells its own program.
func (a ancestry) shows(p *tetragon.Process, l compile.Lineage, own bool) bool {
	if own && !l.Ancestors && ancestorOf(p).begins(l) {
		return true
	}
	// A file can say that a process descends from itself.
	seen := map[string]bool{p.GetExecId(): true}
	for id := p.GetParentExecId(); id != "" && !seen[id]; id = a[id].parent {
		seen[id] = true
		if a[id].begins(l) {
			return true
		}
	}
	return false
}

// begins tells whether the lineage is that of the process's own program or id.
func (a ancestor) begins(l compile.Lineage) bool {
	switch {
	case l.Binaries != nil:
		return exact(a.binary) && slices.Contains(l.Binaries, a.binary)
	case l.NamespacePIDs:
		return false // events do not tell them
	}
	return a.hasPID && slices.Contains(l.PIDs, a.pid)
}

// teller is what events have that tell of processes.
type teller interface {
	GetProcess() *tetragon.Process
	GetParent() *tetragon.Process
	GetAncestors() []*tetragon.Process
}

// related are the processes that an event tells of.
func related(e *tetragon.GetEventsResponse) []*tetragon.Process {
	var of teller
	switch event := e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessExec:
		of = event.ProcessExec
	case *tetragon.GetEventsResponse_ProcessExit:
		of = event.ProcessExit
	case *tetragon.GetEventsResponse_ProcessKprobe:
		of = event.ProcessKprobe
	case *tetragon.GetEventsResponse_ProcessTracepoint:
		of = event.ProcessTracepoint
	case *tetragon.GetEventsResponse_ProcessLsm:
		of = event.ProcessLsm
	default:
		return nil
	}
	return append([]*tetragon.Process{of.GetProcess(), of.GetParent()}, of.GetAncestors()...)
}
