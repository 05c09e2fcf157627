// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/agent/internal/stack"
	"github.com/boltseal/boltseal/agent/internal/stacktree"
)

func TestStacksOfEvents(t *testing.T) {
	t.Parallel()
	var asked []string
	cache := process.New(process.Options{})
	known := process.Key{Tgid: 7, Start: 8}
	cache.Exec(9, process.Info{Key: known, Binary: "/bin/known"})
	s := &stackTrees{trees: &stacktree.Trees{}, process: cache.Get, known: map[ruleBit]string{}}
	s.name = func(addresses []uint64) []stack.Frame {
		return []stack.Frame{{Symbol: "inner", Module: "mod"}, {Address: addresses[1], Symbol: "outer"}}
	}
	s.resolve = func(site, version uint32, bit int) (engine.Rule, bool) {
		asked = append(asked, fmt.Sprint(site, version, bit))
		rule := engine.Rule{Policy: &compile.Policy{Policy: &policy.Policy{Name: "p", Namespace: "n"}}, Rule: &compile.Rule{}}
		rule.Rule.KernelStack = bit != 1
		return rule, bit != 2
	}
	of := func(pid uint32) *event.Site {
		e := &event.Site{Header: event.Header{Tgid: pid, Start: 8}, Site: 3, Version: 4, KernelStack: []uint64{1, 2}}
		// Bit 1 asks for no stack, 2 is not known, 3 is told of nobody.
		e.Posted[0], e.Silent[0] = 0b1111, 0b1000
		return e
	}
	for _, e := range []event.Event{of(7), of(7), of(99), &event.Site{Site: 5, Posted: event.RuleBits{1}}, &event.Armed{}} {
		s.handle(e)
	}
	root := s.Tree("n/p")
	outer := root.GetChildren()[0]
	inner := outer.GetChildren()[0]
	if root.GetCount() != 3 || outer.GetAddress().GetSymbol() != "outer" || outer.GetAddress().GetAddress() != 2 ||
		inner.GetAddress().GetSymbol() != "inner [mod]" {
		t.Errorf("tree %v", root)
	}
	labels := inner.GetLabels()
	if len(labels) != 2 || labels[0].GetKey() != "/bin/known" || labels[0].GetCount() != 2 || labels[1].GetKey() != unknownBinary {
		t.Errorf("labels %v", labels)
	}
	// An event without a stack asks for nothing; what is known is not asked for again.
	if got := strings.Join(asked, ", "); got != "3 4 0, 3 4 1, 3 4 2, 3 4 2, 3 4 2" {
		t.Errorf("asked for %s", got)
	}
	for version := range 2 * uint32(maxRemembered) {
		s.handle(&event.Site{Version: version, Posted: event.RuleBits{1}, KernelStack: []uint64{1, 2}})
	}
	if len(s.known) > maxRemembered {
		t.Errorf("%d rules are remembered", len(s.known))
	}
}

// BenchmarkNoStack is what trees of stacks cost an event that has none.
func BenchmarkNoStack(b *testing.B) {
	s := &stackTrees{}
	e := &event.Site{Posted: event.RuleBits{1}}
	for b.Loop() {
		s.handle(e)
	}
}
