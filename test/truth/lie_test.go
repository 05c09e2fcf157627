// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// lie makes one event of a stream untrue; it reports whether it could.
type lie struct {
	name string
	tell func(all []*tetragon.GetEventsResponse, n int) ([]*tetragon.GetEventsResponse, bool)
}

// of changes what an event says.
func of(name string, change func(e *tetragon.GetEventsResponse, p, parent *tetragon.Process) bool) lie {
	return lie{name, func(all []*tetragon.GetEventsResponse, n int) ([]*tetragon.GetEventsResponse, bool) {
		all = slices.Clone(all)
		e := proto.Clone(all[n]).(*tetragon.GetEventsResponse)
		all[n] = e
		if x := e.GetProcessExec(); x != nil {
			return all, change(e, x.GetProcess(), x.GetParent())
		}
		return all, change(e, e.GetProcessExit().GetProcess(), e.GetProcessExit().GetParent())
	}}
}

func lies() []lie {
	type message = *tetragon.Process
	return []lie{
		{"left out", func(all []*tetragon.GetEventsResponse, n int) ([]*tetragon.GetEventsResponse, bool) {
			return slices.Delete(slices.Clone(all), n, n+1), true
		}},
		{"told twice", func(all []*tetragon.GetEventsResponse, n int) ([]*tetragon.GetEventsResponse, bool) {
			return append(slices.Clone(all), all[n]), true
		}},
		of("another parent", func(_ *tetragon.GetEventsResponse, p, _ message) bool {
			p.ParentExecId = p.GetExecId()
			return true
		}),
		of("the parent's pid", func(_ *tetragon.GetEventsResponse, _, parent message) bool {
			parent.Pid = wrapperspb.UInt32(parent.GetPid().GetValue() + 1)
			return true
		}),
		of("the parent's binary", func(_ *tetragon.GetEventsResponse, _, parent message) bool {
			parent.Binary += "x"
			return true
		}),
		of("binary", func(_ *tetragon.GetEventsResponse, p, _ message) bool { p.Binary += "x"; return true }),
		// The lie must not look like arguments that were cut: some are one letter, thousands of times.
		of("arguments", func(_ *tetragon.GetEventsResponse, p, _ message) bool { p.Arguments = "\a" + p.Arguments; return true }),
		of("directory", func(_ *tetragon.GetEventsResponse, p, _ message) bool { p.Cwd += "/x"; return true }),
		of("flags", func(_ *tetragon.GetEventsResponse, p, _ message) bool { p.Flags += " miss"; return true }),
		of("exec id", func(_ *tetragon.GetEventsResponse, p, parent message) bool {
			p.ExecId = parent.GetExecId()
			return true
		}),
		of("container", func(_ *tetragon.GetEventsResponse, p, _ message) bool { p.Docker += "x"; return true }),
		of("user", func(e *tetragon.GetEventsResponse, p, _ message) bool {
			p.Uid = wrapperspb.UInt32(77)
			return e.GetProcessExec() != nil
		}),
		of("thread", func(e *tetragon.GetEventsResponse, p, _ message) bool {
			p.Tid = wrapperspb.UInt32(1)
			return e.GetProcessExec() != nil
		}),
		of("status", func(e *tetragon.GetEventsResponse, _, _ message) bool {
			if e.GetProcessExit() == nil {
				return false
			}
			e.GetProcessExit().Status++
			return true
		}),
		of("signal", func(e *tetragon.GetEventsResponse, _, _ message) bool {
			if e.GetProcessExit() == nil {
				return false
			}
			e.GetProcessExit().Signal += "X"
			return true
		}),
	}
}

// seesLies makes each event of some programs untrue in each way: the comparison must not
// be content with one of them.
func (h *theatre) seesLies(t *testing.T) {
	const count = 2
	var roots []*process
	var homes []*home
	for range count {
		root, at := h.programOf(rand.Uint64())
		roots, homes = append(roots, root), append(homes, at)
	}
	performed, events := h.record(t, roots, homes)
	told := 0
	for _, p := range performed {
		if p.err != nil {
			t.Fatal(p.err)
		}
		ours := p.tree(t, events)
		if wrong := p.compared(t, h, ours); len(wrong) > 0 {
			t.Fatalf("before any lie: %q", wrong)
		}
		for n := range ours {
			for _, l := range lies() {
				untrue, could := l.tell(ours, n)
				if !could {
					continue
				}
				if told++; len(p.compared(t, h, untrue)) == 0 {
					t.Errorf("%s: not seen of event %d: %v", l.name, n, ours[n])
				}
			}
		}
	}
	if told == 0 {
		t.Error("nothing was told")
	}
}

// tree is the events that are about the program's processes.
func (p *performance) tree(t *testing.T, events []*tetragon.GetEventsResponse) []*tetragon.GetEventsResponse {
	t.Helper()
	pids := map[uint32]bool{}
	for _, l := range read(p).lives {
		pids[l.pid] = true
	}
	return slices.DeleteFunc(slices.Clone(events), func(e *tetragon.GetEventsResponse) bool {
		process := e.GetProcessExec().GetProcess()
		if process == nil {
			process = e.GetProcessExit().GetProcess()
		}
		return !pids[process.GetPid().GetValue()]
	})
}

// compared compares the performance with events, which may be no stream at all.
func (p *performance) compared(t *testing.T, h *theatre, events []*tetragon.GetEventsResponse) []string {
	t.Helper()
	s, err := newStream(events)
	if err != nil {
		return []string{err.Error()}
	}
	return compare(p, s, h.spectator)
}
