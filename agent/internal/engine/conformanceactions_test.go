// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/conformance"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// effect is what two runs of a rule with an action do.
type effect struct {
	// enforce: the rule's policy enforces. Where it does not, what would be done is counted.
	enforce  bool
	counters Counters
	events   int
	// event tells whether the first event is right.
	event func(*siteEvent) bool
}

// effects are those that rows name.
func effects() map[string]effect {
	any := func(*siteEvent) bool { return true }
	return map[string]effect{
		"event":         {counters: Counters{Post: 2}, events: 2, event: any},
		"rate":          {counters: Counters{Post: 1, Limited: 1}, events: 1, event: any},
		"none":          {counters: Counters{NoPost: 2}},
		"signal":        {enforce: true, counters: Counters{Post: 2, Signal: 2}, events: 2, event: func(e *siteEvent) bool { return !compile.Empty(e.Signalled) }},
		"held signal":   {counters: Counters{Post: 2, MonitorSignal: 2}, events: 2, event: func(e *siteEvent) bool { return compile.Empty(e.Signalled) }},
		"held override": {counters: Counters{Post: 2, MonitorOverride: 2}, events: 2, event: any},
		"held notice":   {counters: Counters{Post: 2, MonitorNotify: 2}, events: 2, event: any},
		"kernel stack":  {counters: Counters{Post: 2}, events: 2, event: func(e *siteEvent) bool { return len(e.kernel) > 0 && len(e.user) == 0 }},
		"user stack":    {counters: Counters{Post: 2}, events: 2, event: func(e *siteEvent) bool { return len(e.user) > 0 && len(e.kernel) == 0 }},
	}
}

// hookOf is an item of a section with a selector.
func hookOf(section, selector string) string {
	name := map[string]string{
		"tracepoints": "subsystem: none, event: conformance, raw: true", "kprobes": "call: sys_chroot", "lsmhooks": "hook: file_open",
		"fentries": "call: tcp_close, syscall: false, args: [{index: 0, type: sock}]",
	}[section]
	return fmt.Sprintf("{%s, selectors: [%s]}", name, selector)
}

const enforcers = "  enforcers:\n  - {calls: [sys_chroot]}\n"

// actionText is a policy that does an action where the process is this one, or is not.
func actionText(row conformance.Action, item string, here bool) string {
	op := "NotIn"
	if here {
		op = "In"
	}
	selector := fmt.Sprintf("{matchPIDs: [{operator: %s, values: [%d]}], matchActions: [%s]}", op, os.Getpid(), item)
	text := document(row.Section, hookOf(row.Section, selector))
	if strings.Contains(item, "Enforcer") {
		text += enforcers
	}
	return text
}

// Every action is done where its selector holds, and only there, or is refused.
func TestConformanceOfActions(t *testing.T) {
	rows, err := conformance.Actions()
	if err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGWINCH)
	defer signal.Stop(signals)
	known, j := effects(), newJudges(t)
	done, elsewhere, refused := 0, 0, 0
	for _, row := range rows {
		name := strings.TrimSpace(row.Name + " " + row.Form)
		if err := refusedAt(actionText(row, row.Bad, true)); err != nil {
			t.Errorf("%s: %v", row.Bad, err)
		}
		refused++
		what := "refused"
		switch effect, ok := known[row.Effect]; {
		case ok:
			for _, here := range []bool{true, false} {
				j.does(t, row, effect, here)
			}
			what = "done and not done: " + row.Effect
			done++
		case row.Effect != "-":
			t.Errorf("%s: no effect is called %q", name, row.Effect)
		case row.Text != "-":
			if _, err := policy.Parse([]byte(actionText(row, row.Text, true))); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			what = "taken"
			elsewhere++
		}
		if len(row.Shown) > 0 {
			what += "; on real hooks by " + strings.Join(row.Shown, ", ")
		}
		testenv.Report(t, "conformance: %s: %s", name, what)
	}
	select {
	case <-signals:
	case <-time.After(10 * time.Second):
		t.Error("the signal did not come")
	}
	testenv.Report(t, "conformance: %d actions done and not done, %d on real hooks only, %d refused", done, elsewhere, refused)
}

// refusedAt is nil when a policy has faults of an action alone.
func refusedAt(text string) error {
	_, err := policy.Parse([]byte(text))
	faults := policy.Faults(err)
	if len(faults) == 0 {
		return fmt.Errorf("not refused")
	}
	if i := slices.IndexFunc(faults, func(f *policy.FieldError) bool { return !strings.Contains(f.Path, ".selectors[0].matchActions[0]") }); i >= 0 {
		return fmt.Errorf("refused for something else: %w", faults[i])
	}
	return nil
}

// does runs a rule with an action twice, for this process or for others.
func (j *judges) does(t *testing.T, row conformance.Action, want effect, here bool) {
	t.Helper()
	j.kernel.Prototypes["raw/conformance"] = compile.Prototype{}
	function, _, err := j.kernel.SyscallFunction("sys_chroot")
	if err != nil {
		t.Fatal(err)
	}
	j.kernel.Prototypes[function] = compile.Prototype{}
	j.kernel.Prototypes["lsm/file_open"] = compile.Prototype{}
	pid := uint64(os.Getpid())
	of := trial{enforce: want.enforce, context: make([]uint64, wordsOfSite), value: func(read compile.Read) compile.Value {
		if read.Kind != bpf.WireReadKindREAD_PID {
			t.Fatalf("read %+v", read)
		}
		return compile.Value{Number: pid}
	}}
	id := j.load(t, actionText(row, row.Text, here), of)
	for range 2 {
		j.try(t, id, of.context)
	}
	if got := j.verdicts(id, of)[0]; got != (verdict{here, here}) {
		t.Errorf("%s %s: the plain evaluation says %v and the kernel %v, want %v", row.Name, row.Form, got.plain, got.kernel, here)
	}
	if !here {
		want = effect{}
	}
	got, err := j.Counters(id)
	if err != nil {
		t.Fatal(err)
	}
	if got != want.counters {
		t.Errorf("%s %s, for this process %v: counters %+v, want %+v", row.Name, row.Form, here, got, want.counters)
	}
	events := 0
	for e := j.event(); e != nil; e = j.event() {
		if events++; want.event == nil || !want.event(e) {
			t.Errorf("%s %s, for this process %v: event %+v", row.Name, row.Form, here, e)
		}
	}
	if events != want.events {
		t.Errorf("%s %s, for this process %v: %d events, want %d", row.Name, row.Form, here, events, want.events)
	}
}
