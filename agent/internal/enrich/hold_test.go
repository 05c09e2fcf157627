// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// guess puts a container into slot 8 of which only the cgroup is known.
func (w *world) guess(t *testing.T) *container.Container {
	t.Helper()
	c := &container.Container{ID: "guess", Name: "guess", Slot: 8, CgroupID: 80, Guess: true}
	if err := w.containers.Put(c); err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) announce(t *testing.T) {
	t.Helper()
	if _, err := w.containers.Remove("guess", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := w.containers.Put(&container.Container{ID: "c", Name: "web", Image: "web:1", Slot: 8, CgroupID: 80}); err != nil {
		t.Fatal(err)
	}
}

// told is the binaries of execs, and of exits after a dash, with the container's
// name.
func told(messages []*tetragon.GetEventsResponse) (all []string) {
	for _, m := range messages {
		p, mark := m.GetProcessExec().GetProcess(), ""
		if exit := m.GetProcessExit(); exit != nil {
			p, mark = exit.GetProcess(), "-"
		}
		all = append(all, mark+p.GetBinary()+" "+p.GetPod().GetContainer().GetName())
	}
	return all
}

func (w *world) wantTold(t *testing.T, what string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, told(w.sink.take(t))); diff != "" {
		t.Errorf("%s: want -, got +:\n%s", what, diff)
	}
}

func execOf(tgid, slot uint32, cgroup uint64, binary string) *event.Exec {
	return &event.Exec{Header: head(300*second, tgid, slot, cgroup), Parent: childOf(1), Binary: binary}
}

// TestEventsWaitForTheirContainer: others go on meanwhile, but not those of the
// same process.
func TestEventsWaitForTheirContainer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.guess(t)
	w.Handle(execOf(700, 8, 80, "/init"))
	w.Handle(execOf(701, 5, 50, "/other"))
	w.Handle(&event.Exit{Header: head(301*second, 700, 0, 9)})
	w.Handle(execOf(702, 8, 80, "/hook"))
	w.wantTold(t, "before", "/other web")
	w.announce(t)
	w.Handle(execOf(703, 0, 9, "/host"))
	w.wantTold(t, "after", "/init web", "-/init ", "/hook web", "/host ")
	w.Handle(execOf(704, 8, 80, "/entrypoint"))
	w.wantTold(t, "later", "/entrypoint web")
	if w.holds.events != 0 || w.holds.bytes != 0 || len(w.holds.byProcess) != 0 || len(w.holds.bySlot) != 0 {
		t.Errorf("left over: %+v", w.holds)
	}
}

// TestMatchesThatWaitStayAsTheyWere: the reader uses the memory of a match again.
func TestMatchesThatWaitStayAsTheyWere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.guess(t)
	match := &event.Site{Header: head(300*second, 700, 8, 80), UserStack: []uint64{1, 2}}
	match.Strings[0].Value = "first"
	w.Handle(match)
	stack := match.UserStack
	*match = event.Site{Header: head(301*second, 701, 5, 50)}
	stack[0] = 9
	held, ok := w.holds.bySlot[8].events[0].of.(*event.Site)
	if !ok || held.Tgid != 700 || held.Strings[0].Value != "first" || held.UserStack[0] != 1 {
		t.Errorf("waits as %+v", held)
	}
}

// TestNobodyWaitsForEver: each way in which a container's events go on unnamed.
func TestNobodyWaitsForEver(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(w *world){
		"its entrypoint has been executed": func(w *world) { w.Handle(&event.Armed{Header: head(301*second, 700, 8, 80)}) },
		"time":                             func(w *world) { w.Flush(time.Now().Add(holdFor + time.Second)) },
	} {
		w := newWorld(t)
		w.guess(t)
		w.Handle(execOf(700, 8, 80, "/init"))
		w.Flush(time.Now())
		w.wantTold(t, name+", before")
		act(w)
		w.Handle(execOf(700, 8, 80, "/entrypoint"))
		w.wantTold(t, name, "/init guess", "/entrypoint guess")
	}
}

func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.guess(t)
	for n := range uint32(maxHeldOf) {
		w.Handle(execOf(1000+n, 8, 80, "/x"))
	}
	w.wantTold(t, "not full")
	w.Handle(execOf(1, 8, 80, "/last"))
	if got := told(w.sink.take(t)); len(got) != maxHeldOf+1 || got[maxHeldOf] != "/last guess" {
		t.Errorf("%d messages", len(got))
	}

	w = newWorld(t)
	w.guess(t)
	long := strings.Repeat("x", 4095)
	for n := range uint32(maxHeldOf) {
		e := execOf(1000+n, 8, 80, long)
		for range 8 {
			e.Args = append(e.Args, long)
		}
		w.Handle(e)
		if w.holds.bytes > maxHeldBytes {
			t.Fatalf("%d bytes wait", w.holds.bytes)
		}
	}
	if got := len(w.sink.take(t)); got != maxHeldOf {
		t.Errorf("%d messages", got)
	}
}

// TestWhoDoesNotWait: late containers have run for long, and nobody is told of
// what has no slot.
func TestWhoDoesNotWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	late := *w.guess(t)
	late.Late = true
	if err := w.containers.Put(&late); err != nil {
		t.Fatal(err)
	}
	w.Handle(execOf(700, 8, 80, "/late"))
	w.wantTold(t, "late", "/late guess")
	w.Handle(execOf(701, 77, 770, "/unknown"))
	w.wantTold(t, "unknown", "/unknown ")
}
