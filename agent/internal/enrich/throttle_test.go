// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"fmt"
	"slices"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
)

// throttle notes what it is asked, and lets pass what is not of a slot.
type throttle struct {
	closed uint32
	asked  []string
}

func (t *throttle) Count(slot uint32, cgroup, at uint64) {
	t.asked = append(t.asked, fmt.Sprintf("count %d/%d at %d", slot, cgroup, at/second))
}

func (t *throttle) Passes(slot uint32, cgroup, at uint64) bool {
	t.asked = append(t.asked, fmt.Sprintf("pass %d/%d at %d", slot, cgroup, at/second))
	return slot != t.closed
}

// What does not pass makes no message, and is known all the same.
func TestThrottledEventsFeedTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	limit := &throttle{closed: 5}
	w.Throttle = limit
	w.Handle(&event.Fork{Header: head(200*second, 200, 5, 50), Parent: childOf(100)})
	w.Handle(&event.Exec{Header: head(201*second, 200, 5, 50), Parent: childOf(100), Binary: "/bin/sh", Cwd: "/"})
	if p, ok := w.Processes.Get(process.Key{Tgid: 200, Start: head(201*second, 200, 5, 50).Start}); !ok || p.Binary != "/bin/sh" {
		t.Errorf("the process of an exec that is not told: %+v", p)
	}
	w.Handle(&event.Exec{Header: head(202*second, 300, 6, 60), Parent: childOf(100), Binary: "/bin/ls", Cwd: "/"})
	for range 2 { // the second is known to be none
		w.Handle(&event.Exit{Header: head(203*second, 200, 5, 50)})
		w.Handle(&event.Exit{Header: head(204*second, 300, 6, 60)})
	}
	var told []string
	for _, m := range w.sink.take(t) {
		told = append(told, fmt.Sprintf("%T %d%d", m.GetEvent(), m.GetProcessExec().GetProcess().GetPid().GetValue(), m.GetProcessExit().GetProcess().GetPid().GetValue()))
	}
	if want := []string{"*tetragon.GetEventsResponse_ProcessExec 3000", "*tetragon.GetEventsResponse_ProcessExit 0300"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	if want := []string{
		"count 5/50 at 200", "pass 5/50 at 201", "pass 6/60 at 202", "pass 5/50 at 203", "pass 6/60 at 204",
	}; !slices.Equal(limit.asked, want) {
		t.Errorf("asked %q, want %q", limit.asked, want)
	}
}
