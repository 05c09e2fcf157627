// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"slices"

	"github.com/boltseal/boltseal/agent/internal/filter/subject"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Lineage knows from which processes a process descends. It is asked where events
// are filtered, and must be safe for concurrent use if they are.
type Lineage interface {
	// Ancestor is what is known of the process with an exec id; false: nothing.
	Ancestor(execID string) (Ancestor, bool)
}

// Ancestor is a process from which others descend.
type Ancestor struct {
	PID    uint32
	Binary string
	// ParentExecID is the exec id of its parent; empty: it has none, or it is not known.
	ParentExecID string
}

// maxAncestors ends the walk where a lineage has no end.
const maxAncestors = 1024

// ancestry tells whether a test holds for some ancestor of the process of an event,
// the parent being the first of them: first those of the event itself, which know
// what was true then, and from the last of these on those of the lineage.
func (c *compilation) ancestry(e *tetragon.GetEventsResponse, parentToo bool, test func(Ancestor) bool) bool {
	last := subject.Process(e)
	if last == nil {
		return false
	}
	depth := 0 // of last; the parent's is 1
	if parent := subject.Parent(e); parent != nil {
		if parentToo && test(ancestor(parent)) {
			return true
		}
		last, depth = parent, 1
	}
	for _, a := range subject.Ancestors(e) {
		if test(ancestor(a)) {
			return true
		}
		last, depth = a, max(depth, 1)+1
	}
	if c.lineage == nil {
		return false
	}
	for id := last.GetParentExecId(); id != "" && depth < maxAncestors; {
		a, ok := c.lineage.Ancestor(id)
		if !ok {
			return false
		}
		depth++
		if (parentToo || depth > 1) && test(a) {
			return true
		}
		id = a.ParentExecID
	}
	return false
}

func ancestor(p *tetragon.Process) Ancestor {
	return Ancestor{PID: p.GetPid().GetValue(), Binary: p.GetBinary()}
}

// pidSet holds for processes with the pids and for all that descend from them. The
// pid 0 is nobody's.
func (c *compilation) pidSet(f *tetragon.Filter) (predicate, []error) {
	set := f.GetPidSet()
	in := func(a Ancestor) bool { return a.PID != 0 && slices.Contains(set, a.PID) }
	return func(e *tetragon.GetEventsResponse) bool {
		p := subject.Process(e)
		return p != nil && in(ancestor(p)) || c.ancestry(e, true, in)
	}, nil
}

// ancestorBinaries looks at ancestors from the parent's parent on.
func (c *compilation) ancestorBinaries(f *tetragon.Filter) (predicate, []error) {
	all, errs := compileAll(f.GetAncestorBinaryRegex())
	test := func(a Ancestor) bool { return all.match(a.Binary) }
	return func(e *tetragon.GetEventsResponse) bool { return c.ancestry(e, false, test) }, errs
}
