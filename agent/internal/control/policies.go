// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// held is a policy that is loaded.
type held struct {
	id       engine.PolicyID
	compiled *compile.Policy
	enabled  bool
	enforce  bool
	// file is where the policy is from; empty: from the API.
	file string
}

// AddPolicy puts a policy in force. One of the same name and namespace is
// replaced in one step: no act passes between the two; that of a file is not, and
// the error wraps ErrOwned. When it returns without error the policy is enforced;
// on error nothing has changed.
func (c *Controller) AddPolicy(yaml []byte) (*policy.Policy, error) {
	p, err := policy.Parse(yaml)
	if err != nil {
		return nil, fmt.Errorf("%w policy: %w", ErrInvalid, err)
	}
	if err := c.add(p, "", ""); err != nil {
		return nil, err
	}
	return p, nil
}

// add puts a policy in force that is the file's; "" for that of the API. instead is
// the key of one of the same file that goes in the same step, or empty.
func (c *Controller) add(p *policy.Policy, file, instead string) error {
	if p.NodeSelector != nil && c.NodeLabels == nil {
		return fmt.Errorf("%w policy %s: spec.nodeSelector: the labels of this node are not known: tell them to the agent with --node-labels", ErrInvalid, p.Key())
	}
	if err := c.allowRemote(p); err != nil {
		return fmt.Errorf("%w policy %s: %w", ErrInvalid, p.Key(), err)
	}
	compiled, err := compile.Compile(p, c.Kernel)
	if err != nil {
		return fmt.Errorf("%w policy %s: %w", ErrInvalid, p.Key(), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.policies[p.Key()]
	if err := claim(p.Key(), old, file); err != nil {
		return err
	}
	id, err := c.Engine.Load(compiled)
	if err != nil {
		return err
	}
	next := &held{id: id, compiled: compiled, enabled: true, enforce: p.Mode == policy.Enforce, file: file}
	changes := []change{{p.Key(), next}}
	gone := []*held{old}
	if other := c.policies[instead]; other != nil && other.file != "" && instead != p.Key() {
		changes, gone = append(changes, change{instead, nil}), append(gone, other)
	}
	if err := c.exchange(changes...); err != nil {
		return errors.Join(err, c.Engine.Unload(id))
	}
	return c.unload(gone)
}

func (c *Controller) unload(gone []*held) error {
	var errs []error
	for _, h := range gone {
		if h != nil {
			errs = append(errs, c.Engine.Unload(h.id))
		}
	}
	return errors.Join(errs...)
}

// change is what takes the place of the policy with a key; nil: nothing.
type change struct {
	key  string
	next *held
}

// exchange makes changes in one step.
func (c *Controller) exchange(changes ...change) error {
	var changed []*subject
	before := map[*subject]*keySet{}
	used := map[*keySet]bool{}
	type step struct {
		from *keySet
		key  string
		to   wanted
	}
	after := map[step]*keySet{}
	for _, s := range c.everySubject() {
		to, concerned := s.keys, false
		for _, ch := range changes {
			var w wanted
			if ch.next != nil {
				w = c.wants(s, ch.next)
			}
			concerned = concerned || w.in || to.has(ch.key)
			next, known := after[step{to, ch.key, w}]
			if !known {
				next = c.sets.with(to, ch.key, w)
				after[step{to, ch.key, w}] = next
			}
			to = next
		}
		if concerned {
			before[s] = s.keys
			s.keys = to
			changed = append(changed, s)
		}
		used[s.keys] = true
	}
	old := make([]change, 0, len(changes))
	for _, ch := range changes {
		old = append(old, change{ch.key, c.policies[ch.key]})
		c.put(ch.key, ch.next)
	}
	if err := c.apply(changed, true); err != nil {
		for _, ch := range old {
			c.put(ch.key, ch.next)
		}
		for s, keys := range before {
			s.keys = keys
		}
		return err
	}
	c.sets.keep(used)
	for _, ch := range changes {
		if ch.next == nil && c.Deleted != nil {
			c.Deleted(ch.key)
		}
	}
	return nil
}

func (c *Controller) put(key string, h *held) {
	if h == nil {
		delete(c.policies, key)
		return
	}
	c.policies[key] = h
}

func policyKey(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

func (c *Controller) find(namespace, name string) (string, *held, error) {
	key := policyKey(namespace, name)
	h := c.policies[key]
	if h == nil {
		return key, nil, fmt.Errorf("policy %q: %w", key, ErrNotFound)
	}
	return key, h, nil
}

// DeletePolicy takes a policy out of force. When it returns nothing acts by it. That
// of a file stays, and the error wraps ErrOwned: the file would bring it back.
func (c *Controller) DeletePolicy(namespace, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, h, err := c.find(namespace, name)
	if err != nil {
		return err
	}
	if err := claim(key, h, ""); err != nil {
		return err
	}
	if err := c.exchange(change{key, nil}); err != nil {
		return err
	}
	return c.Engine.Unload(h.id)
}

// ConfigurePolicy enables or disables a policy or changes its mode, nil leaving
// either as it is, in one step. When it returns the change is in force.
func (c *Controller) ConfigurePolicy(namespace, name string, enable *bool, mode *policy.Mode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, h, err := c.find(namespace, name)
	if err != nil {
		return err
	}
	next := *h
	if enable != nil {
		next.enabled = *enable
	}
	if mode != nil {
		changed, err := h.compiled.Policy.WithMode(*mode)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		compiled := *h.compiled
		compiled.Policy = changed
		next.compiled, next.enforce = &compiled, *mode == policy.Enforce
	}
	return c.exchange(change{key, &next})
}

// PolicyStatus is one policy as it is listed.
type PolicyStatus struct {
	ID       uint64
	Policy   *policy.Policy
	Enabled  bool
	Sites    []string
	Hooks    []HookStatus
	Counters engine.Counters
	// Selectors is the part of Counters of each selector that has a label.
	Selectors []engine.SelectorCounters
	// KernelMemory is in bytes, computed from the sizes of map elements.
	KernelMemory uint64
	// Containers is the number of containers that the policy is for.
	Containers int
	// File is where the policy is from; empty: from the API.
	File string
}

// HookStatus is one hook of a policy as it is listed.
type HookStatus struct {
	Section policy.Section
	Index   int
	// Site is where and by which mechanism, Guarantee what enforcing it promises.
	Site, Guarantee string
}

// Policies lists the policies by key.
func (c *Controller) Policies() ([]PolicyStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]PolicyStatus, 0, len(c.policies))
	for key, h := range c.policies {
		counters, err := c.Engine.Counters(h.id)
		if err != nil {
			return nil, err
		}
		selectors, err := c.Engine.SelectorCounters(h.id)
		if err != nil {
			return nil, err
		}
		s := PolicyStatus{
			ID: uint64(h.id), Policy: h.compiled.Policy, Enabled: h.enabled,
			Counters: counters, Selectors: selectors, KernelMemory: c.Engine.KernelMemory(h.id),
			File: h.file,
		}
		for _, hook := range h.compiled.Hooks {
			s.Sites = append(s.Sites, hook.Site.String())
			s.Hooks = append(s.Hooks, HookStatus{
				Section: hook.Section, Index: hook.Index, Site: hook.Site.String(), Guarantee: hook.Guarantee(),
			})
		}
		for _, subject := range c.subjects {
			if subject.keys.has(key) {
				s.Containers++
			}
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b PolicyStatus) int { return cmp.Compare(a.Policy.Key(), b.Policy.Key()) })
	return list, nil
}

// PoliciesOf lists the keys of the policies in force for a slot.
func (c *Controller) PoliciesOf(slot uint32) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.subjects[slot]
	if s == nil {
		return nil
	}
	keys := make([]string, 0, len(s.keys.keys))
	for key := range s.keys.keys {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
