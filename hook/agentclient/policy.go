// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"errors"
	"fmt"
	"slices"
)

// ErrPolicy tells that a fail policy can not be used.
var ErrPolicy = errors.New("fail policy")

// Answer is what a fail policy says about a container that the agent did not
// acknowledge.
type Answer string

const (
	// Block keeps the container from starting.
	Block Answer = "block"
	// Allow lets it start; it is sealed and reported late.
	Allow Answer = "allow"
	// Quarantine is to start it sealed with a named set. It acts as Block until
	// enforcement outlives the agent.
	Quarantine Answer = "quarantine"
)

// FailPolicy says what becomes of a container that the agent did not
// acknowledge. The zero value blocks everything.
type FailPolicy struct {
	// Default is the answer when no rule matches; empty means Block.
	Default Answer `json:"default,omitempty"`
	// NotSinceBoot takes Default's place while the agent has not been up since
	// boot; empty means that it makes no difference.
	NotSinceBoot Answer `json:"not_since_boot,omitempty"`
	// Rules are tried in order; the first that matches answers.
	Rules []Rule `json:"rules,omitempty"`
}

// Rule is one rule of a fail policy.
type Rule struct {
	Match  Match  `json:"match"`
	Policy Answer `json:"policy"`
}

// Match selects containers. All parts that are given must match; of a list one
// pattern must, of a map every entry. At least one part must be given.
type Match struct {
	Image     []Glob `json:"image,omitempty"`
	Name      []Glob `json:"name,omitempty"`
	Namespace []Glob `json:"namespace,omitempty"`
	// Annotations and Labels map keys to patterns for their values; a key that
	// the container does not have does not match.
	Annotations map[string]Glob `json:"annotations,omitempty"`
	Labels      map[string]Glob `json:"labels,omitempty"`
}

// Subject is what the rules look at.
type Subject struct {
	Image, Name, Namespace string
	// Annotations and Labels are the container's and its pod's.
	Annotations, Labels map[string]string
}

// Validate returns the first fault with the path of its field; it wraps
// ErrPolicy. A policy with a fault must not be used in part.
func (p FailPolicy) Validate() error {
	if err := p.Default.validate(true); err != nil {
		return fmt.Errorf("%w: default: %w", ErrPolicy, err)
	}
	if err := p.NotSinceBoot.validate(true); err != nil {
		return fmt.Errorf("%w: not_since_boot: %w", ErrPolicy, err)
	}
	for i, rule := range p.Rules {
		if err := rule.validate(); err != nil {
			return fmt.Errorf("%w: rules[%d]: %w", ErrPolicy, i, err)
		}
	}
	return nil
}

func (a Answer) validate(emptyIsFine bool) error {
	switch a {
	case Block, Allow, Quarantine:
		return nil
	case "":
		if emptyIsFine {
			return nil
		}
	}
	return fmt.Errorf("%q is none of block, allow, quarantine", string(a))
}

func (r Rule) validate() error {
	if err := r.Policy.validate(false); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	m := r.Match
	if len(m.Image)+len(m.Name)+len(m.Namespace)+len(m.Annotations)+len(m.Labels) == 0 {
		return errors.New("match: empty; what holds for every container is the default")
	}
	for _, list := range []struct {
		name  string
		globs []Glob
	}{{"image", m.Image}, {"name", m.Name}, {"namespace", m.Namespace}} {
		for i, g := range list.globs {
			if err := g.validate(); err != nil {
				return fmt.Errorf("match.%s[%d]: %w", list.name, i, err)
			}
		}
	}
	return errors.Join(validateMap("annotations", m.Annotations), validateMap("labels", m.Labels))
}

func validateMap(name string, globs map[string]Glob) error {
	for key, g := range globs {
		if key == "" {
			return fmt.Errorf("match.%s: empty key", name)
		}
		if err := g.validate(); err != nil {
			return fmt.Errorf("match.%s[%q]: %w", name, key, err)
		}
	}
	return nil
}

// answer returns the policy's answer and where in the policy it stands.
func (p FailPolicy) answer(s Subject, neverUp bool) (Answer, string) {
	for i, rule := range p.Rules {
		if rule.Match.matches(s) {
			return rule.Policy, fmt.Sprintf("rules[%d]", i)
		}
	}
	if neverUp && p.NotSinceBoot != "" {
		return p.NotSinceBoot, "not_since_boot"
	}
	if p.Default == "" {
		return Block, "default"
	}
	return p.Default, "default"
}

func (m Match) matches(s Subject) bool {
	return matchesList(m.Image, s.Image) && matchesList(m.Name, s.Name) && matchesList(m.Namespace, s.Namespace) &&
		matchesMap(m.Annotations, s.Annotations) && matchesMap(m.Labels, s.Labels)
}

func matchesList(globs []Glob, value string) bool {
	return len(globs) == 0 || slices.ContainsFunc(globs, func(g Glob) bool { return g.Match(value) })
}

func matchesMap(globs map[string]Glob, values map[string]string) bool {
	for key, g := range globs {
		value, ok := values[key]
		if !ok || !g.Match(value) {
			return false
		}
	}
	return true
}
