// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// ErrNotLoaded says that there is no policy with the id, or none any more.
var ErrNotLoaded = errors.New("not loaded")

// Counters is how often a policy's rules matched and what they did.
type Counters struct {
	Post, NoPost, Signal, MonitorSignal, Override, MonitorOverride, Notify, MonitorNotify uint64
	// Limited is how many events were not made because of their rate.
	Limited uint64
}

// Selector names a selector of a policy that has a label.
type Selector struct {
	// Section and Hook are the hook's place in the policy, Index is the selector's in
	// the hook.
	Section policy.Section
	Hook    int
	Index   int
	Label   string
}

// SelectorCounters is what a selector that has a label did.
type SelectorCounters struct {
	Selector
	Counters
}

// selectorCounters is one element of policy_counters: that of a selector, or, with
// none, of all rules of the policy that have no other.
type selectorCounters struct {
	of      Selector
	element uint32
}

// takeCounters takes an element for a policy and one for each of its selectors
// that has a label.
func (e *Engine) takeCounters(l *loaded) error {
	wanted := []Selector{{}}
	for _, h := range l.policy.Hooks {
		for i := range h.Rules {
			// The calls of a list can be hooks of their own.
			if s := selectorOf(&h, &h.Rules[i]); s.Label != "" && !slices.Contains(wanted, s) {
				wanted = append(wanted, s)
			}
		}
	}
	for _, s := range wanted {
		element, err := e.takeElement()
		if err != nil {
			return err
		}
		l.counters = append(l.counters, selectorCounters{s, element})
	}
	return nil
}

func selectorOf(h *compile.Hook, r *compile.Rule) Selector {
	if r.Label == "" {
		return Selector{}
	}
	return Selector{Section: h.Section, Hook: h.Index, Index: r.Selector, Label: r.Label}
}

func (e *Engine) takeElement() (uint32, error) {
	i := slices.Index(e.counters[:], false)
	if i < 0 {
		return 0, fmt.Errorf("%w: all %d counters are in use: one for each policy and for each selector with a label",
			compile.ErrNoRoom, len(e.counters))
	}
	zero := make([]bpf.WirePolicyCounters, ebpf.MustPossibleCPU())
	if err := e.maps.coll.Maps[bpf.SiteMapPolicyCounters].Update(uint32(i), zero, ebpf.UpdateAny); err != nil {
		return 0, fmt.Errorf("reset counters: %w", err)
	}
	e.counters[i] = true
	return uint32(i), nil
}

func (e *Engine) freeCounters(l *loaded) {
	for _, c := range l.counters {
		e.counters[c.element] = false
	}
	l.counters = nil
}

// countersOf is the element that a rule's actions are counted in.
func (l *loaded) countersOf(h *compile.Hook, r *compile.Rule) uint32 {
	s := selectorOf(h, r)
	return l.counters[slices.IndexFunc(l.counters, func(c selectorCounters) bool { return c.of == s })].element
}

// Counters sums a policy's counters over all CPUs.
func (e *Engine) Counters(id PolicyID) (Counters, error) {
	all, _, err := e.readCounters(id)
	return all, err
}

// SelectorCounters is the part of a policy's counters that each selector with a
// label has.
func (e *Engine) SelectorCounters(id PolicyID) ([]SelectorCounters, error) {
	_, each, err := e.readCounters(id)
	return each, err
}

func (e *Engine) readCounters(id PolicyID) (all Counters, each []SelectorCounters, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.policies[id]
	if l == nil {
		return all, nil, fmt.Errorf("policy %d: %w", id, ErrNotLoaded)
	}
	for _, c := range l.counters {
		var perCPU []bpf.WirePolicyCounters
		if err := e.maps.coll.Maps[bpf.SiteMapPolicyCounters].Lookup(c.element, &perCPU); err != nil {
			return all, nil, fmt.Errorf("read counters of policy %s: %w", l.policy.Key(), err)
		}
		one := SelectorCounters{Selector: c.of}
		for _, on := range perCPU {
			one.add(on)
			all.add(on)
		}
		if c.of.Label != "" {
			each = append(each, one)
		}
	}
	return all, each, nil
}

func (c *Counters) add(on bpf.WirePolicyCounters) {
	c.Post += on.Post
	c.NoPost += on.Nopost
	c.Signal += on.Signal
	c.MonitorSignal += on.MonitorSignal
	c.Override += on.Override
	c.MonitorOverride += on.MonitorOverride
	c.Notify += on.Notify
	c.MonitorNotify += on.MonitorNotify
	c.Limited += on.Limited
}
