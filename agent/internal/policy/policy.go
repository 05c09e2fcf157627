// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"slices"
)

// ErrMonitorOnly says that a policy has no enforcement action, so that there is
// no mode to choose.
var ErrMonitorOnly = errors.New("policy has no enforcement action")

// Kind is the kind of a policy's envelope.
type Kind uint8

// The kinds of policies.
const (
	// Cluster is a TracingPolicy.
	Cluster Kind = iota + 1
	// Namespaced is a TracingPolicyNamespaced.
	Namespaced
)

// String is the kind as the envelope spells it.
func (k Kind) String() string {
	switch k {
	case Cluster:
		return "TracingPolicy"
	case Namespaced:
		return "TracingPolicyNamespaced"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Mode says what a policy's enforcement actions do.
type Mode uint8

// The modes of a policy.
const (
	// Enforce performs the actions.
	Enforce Mode = iota + 1
	// Monitor counts and reports them, and performs none.
	Monitor
	// MonitorOnly is the mode of a policy without enforcement actions. It is
	// computed, never asked for.
	MonitorOnly
)

// String is the mode as the option policy-mode and the listings spell it.
func (m Mode) String() string {
	switch m {
	case Enforce:
		return "enforce"
	case Monitor:
		return "monitor"
	case MonitorOnly:
		return "monitor_only"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// Policy is a parsed policy. It is immutable: do not modify it nor what it
// refers to. It is safe for concurrent use.
type Policy struct {
	// Name is metadata.name.
	Name string
	// Namespace is metadata.namespace: empty for Cluster, never for Namespaced.
	Namespace string
	// Kind is the envelope's kind.
	Kind Kind
	// Mode is enforce or monitor as the options say, or MonitorOnly when no
	// selector has an enforcement action.
	Mode Mode
	// Labels and Annotations are those of metadata.
	Labels, Annotations map[string]string
	// PodSelector is nil when the policy has none; an empty one is not nil.
	PodSelector *LabelSelector
	// ContainerSelector is nil when the policy has none; an empty one is not nil.
	ContainerSelector *LabelSelector
	// HostSelector tells that the policy has "hostSelector: {}".
	HostSelector bool
	// NodeSelector is nil when the policy has none: it is for every node.
	NodeSelector *LabelSelector
	// Workloads are what matchWorkloads of selectors say, each once; at most
	// [MaxWorkloads].
	Workloads []Workload
	// Hooks are those of all sections, in the order of [Section] and of the text.
	Hooks []Hook
	// Enforcers are the functions and system calls, named as in Hook.Calls, at
	// which what a NotifyEnforcer action asked for is done.
	Enforcers []string
	// Generated are the lists whose values are the kernel's, and EnforcerLists the
	// names of those that more enforcers are from; nil when there are none, and after
	// WithLists.
	Generated     []Generated
	EnforcerLists []string
	// Options are the settings of spec.options apart from the mode.
	Options Options
	// Warnings are what loads but is not done as written: a message or a tag that
	// was cut, a path that no binary can have.
	Warnings []*FieldError
	// Text is the YAML text that the policy was parsed from.
	Text string
}

// Key identifies a policy: "name", or "namespace/name" for Namespaced.
func (p *Policy) Key() string {
	if p.Namespace == "" {
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}

// Enforces tells whether any selector has an enforcement action.
func (p *Policy) Enforces() bool {
	return slices.ContainsFunc(p.Hooks, Hook.Enforces)
}

// WithMode is a copy of the policy in mode m, which is Enforce or Monitor. It is
// ErrMonitorOnly when the policy has nothing to enforce.
func (p *Policy) WithMode(m Mode) (*Policy, error) {
	if m != Enforce && m != Monitor {
		return nil, fmt.Errorf("policy %s: mode %s cannot be chosen", p.Key(), m)
	}
	if p.Mode == MonitorOnly {
		return nil, fmt.Errorf("set mode of policy %s: %w", p.Key(), ErrMonitorOnly)
	}
	changed := *p
	changed.Mode = m
	return &changed, nil
}
