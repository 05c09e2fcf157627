// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"

	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/agent/internal/stack"
	"github.com/boltseal/boltseal/agent/internal/stacktree"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// unknownBinary is the label of a process whose binary is not known.
const unknownBinary = "<unknown>"

// stackTrees counts the kernel's stacks of the events of policies that ask for them.
// handle is for the goroutine that reads events.
type stackTrees struct {
	trees   *stacktree.Trees
	resolve func(site, version uint32, bit int) (engine.Rule, bool)
	process func(process.Key) (*process.Process, bool)
	name    func(stack []uint64) []stack.Frame
	// known are the keys of the policies of rules whose events have stacks; empty for
	// other rules. The answer for a version never changes.
	known map[ruleBit]string
}

// handle counts the stack of an event once for each rule whose event has it.
func (s *stackTrees) handle(of event.Event) {
	site, ok := of.(*event.Site)
	if !ok || len(site.KernelStack) == 0 {
		return
	}
	for bit := range site.Posted.All() {
		if site.Silent.Has(bit) {
			continue
		}
		key := s.policy(ruleBit{site.Site, site.Version, bit})
		if key == "" {
			continue
		}
		label := unknownBinary
		if p, ok := s.process(process.Key{Tgid: site.Tgid, Start: site.Start}); ok {
			label = cmp.Or(p.Binary, unknownBinary)
		}
		s.trees.Record(key, site.KernelStack, label)
	}
}

// policy is the key of the policy of a rule, empty if its events have no stack.
func (s *stackTrees) policy(at ruleBit) string {
	key, known := s.known[at]
	if known {
		return key
	}
	rule, ok := s.resolve(at.site, at.version, at.bit)
	if !ok {
		return "" // the enricher counts it
	}
	if rule.Rule.KernelStack {
		key = rule.Policy.Key()
	}
	if len(s.known) >= maxRemembered {
		clear(s.known)
	}
	s.known[at] = key
	return key
}

// Tree is server.Stacks.
func (s *stackTrees) Tree(key string) *tetragon.StackTraceNode {
	return s.trees.Tree(key, func(addresses []uint64) []stacktree.Frame {
		var out []stacktree.Frame
		for _, f := range s.name(addresses) {
			symbol := f.Symbol
			if f.Module != "" {
				symbol += " [" + f.Module + "]"
			}
			out = append(out, stacktree.Frame{Address: f.Address, Symbol: symbol})
		}
		return out
	})
}
