// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// related is what all messages with ancestors have.
type related interface {
	GetProcess() *tetragon.Process
	GetParent() *tetragon.Process
	GetAncestors() []*tetragon.Process
}

func TestAncestors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind    AncestorsOf
		section policy.Section
		of      func(*tetragon.GetEventsResponse) related
	}{
		{AncestorsOfBase, 0, func(m *tetragon.GetEventsResponse) related {
			if m.GetProcessExit() != nil {
				return m.GetProcessExit()
			}
			return m.GetProcessExec()
		}},
		{AncestorsOfLSM, policy.LSMHooks, func(m *tetragon.GetEventsResponse) related { return m.GetProcessLsm() }},
		{AncestorsOfKprobe, policy.Kprobes, func(m *tetragon.GetEventsResponse) related { return m.GetProcessKprobe() }},
		{AncestorsOfKprobe, policy.Fentries, func(m *tetragon.GetEventsResponse) related { return m.GetProcessKprobe() }},
		{AncestorsOfTracepoint, policy.Tracepoints, func(m *tetragon.GetEventsResponse) related { return m.GetProcessTracepoint() }},
	} {
		for _, enabled := range [][]AncestorsOf{nil, {AncestorsOfUSDT}, {AncestorsOfUprobe, test.kind}} {
			w := newWorld(t)
			w.Processes = process.New(process.Options{Node: "node", Ancestors: true})
			w.Enricher.Ancestors = enabled
			w.Handle(&event.Exec{Header: head(10*second, 1, 0, 9), Binary: "/sbin/init"})
			w.Handle(&event.Fork{Header: head(100*second, 100, 0, 9), Parent: childOf(1)})
			w.sink.take(t)
			w.start(t)
			if test.kind == AncestorsOfBase {
				w.Handle(&event.Exec{Header: head(202*second, 200, 5, 50), Parent: childOf(100), Binary: "/bin/sh"})
				w.Handle(&event.Exit{Header: head(203*second, 200, 5, 50)})
			} else {
				rule := killRule()
				rule.Section, rule.Function = test.section, "function"
				w.rules.known[ruleKey{3, 4, 1}] = rule
				w.Handle(siteEvent([]int{1}, nil))
			}
			want := []string{"/sbin/init", "<kernel>"}
			if len(enabled) < 2 {
				want = nil
			}
			messages := w.sink.take(t)
			if len(messages) == 0 {
				t.Fatalf("%s: no message", test.kind)
			}
			for _, m := range messages {
				of := test.of(m)
				var got []string
				for _, a := range of.GetAncestors() {
					got = append(got, a.GetBinary())
				}
				if diff := cmp.Diff(want, got); diff != "" || of.GetParent().GetBinary() != "/usr/bin/runc" {
					t.Errorf("%s of %v, parent %s: want -, got +:\n%s", test.kind, enabled, of.GetParent().GetBinary(), diff)
				}
			}
		}
	}
}

// TestRulesOfAMatchShareTheFamily: it is made once for all of one kind.
func TestRulesOfAMatchShareTheFamily(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Processes = process.New(process.Options{Node: "node", Ancestors: true})
	w.Enricher.Ancestors = []AncestorsOf{AncestorsOfLSM, AncestorsOfTracepoint}
	w.Handle(&event.Exec{Header: head(10*second, 1, 0, 9), Binary: "/sbin/init"})
	w.Handle(&event.Fork{Header: head(100*second, 100, 0, 9), Parent: childOf(1)})
	w.sink.take(t)
	w.start(t)
	var bits []int
	for bit, section := range []policy.Section{policy.Tracepoints, policy.Tracepoints, policy.Kprobes, policy.Kprobes, policy.LSMHooks, policy.LSMHooks} {
		rule := killRule()
		rule.Section, rule.Function = section, "function"
		w.rules.known[ruleKey{3, 4, bit}] = rule
		bits = append(bits, bit)
	}
	w.Handle(siteEvent(bits, nil))
	messages := w.sink.take(t)
	if len(messages) != len(bits) {
		t.Fatalf("%d messages, want %d", len(messages), len(bits))
	}
	of := func(n int) related {
		m := messages[n]
		switch {
		case m.GetProcessLsm() != nil:
			return m.GetProcessLsm()
		case m.GetProcessKprobe() != nil:
			return m.GetProcessKprobe()
		}
		return m.GetProcessTracepoint()
	}
	for n := 0; n < len(bits); n += 2 {
		one, other := of(n), of(n+1)
		a, b := one.GetAncestors(), other.GetAncestors()
		want := 2
		if messages[n].GetProcessKprobe() != nil {
			want = 0 // nobody asked for them
		}
		if len(a) != want || len(b) != want || want > 0 && &a[0] != &b[0] {
			t.Errorf("messages %d and %d have ancestors of their own: %v and %v", n, n+1, a, b)
		}
		if one.GetProcess() != of(0).GetProcess() || other.GetParent() != of(0).GetParent() || other.GetParent() == nil {
			t.Errorf("messages %d and %d are of other processes than the first", n, n+1)
		}
	}
}

// TestRefcntIsThatOfTheMoment: what was published before does not change.
func TestRefcntIsThatOfTheMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(t)
	var shown []*tetragon.Process
	for n := range uint32(3) {
		w.Handle(&event.Exec{Header: head(300*second, 300+n, 0, 9), Parent: childOf(100)})
		shown = append(shown, w.sink.take(t)[0].GetProcessExec().GetParent())
	}
	for n, m := range shown {
		// By itself, process 200 and those so far.
		if m.GetRefcnt() != uint32(2+n+1) || m.GetBinary() != "/usr/bin/runc" {
			t.Errorf("message %d: %v", n, m)
		}
	}
}

// TestShallow fills every field that the message has, also those that are yet to
// come.
func TestShallow(t *testing.T) {
	t.Parallel()
	m := &tetragon.Process{}
	fields := m.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsList():
			list := m.ProtoReflect().Mutable(f).List()
			list.Append(list.NewElement())
		case f.Message() != nil:
			m.ProtoReflect().Mutable(f)
		case f.Kind() == protoreflect.StringKind:
			m.ProtoReflect().Set(f, protoreflect.ValueOfString("x"))
		case f.Kind() == protoreflect.Uint32Kind:
			m.ProtoReflect().Set(f, protoreflect.ValueOfUint32(7))
		default:
			t.Fatalf("field %s of kind %s", f.Name(), f.Kind())
		}
	}
	if got := shallow(m); !proto.Equal(m, got) {
		t.Errorf("%v, want %v", got, m)
	}
}
