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
	// Tracepoints are the hooks of the section tracepoints.
	Tracepoints []Tracepoint
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
	return slices.ContainsFunc(p.Tracepoints, Tracepoint.Enforces)
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

// Tracepoint is one hook of the section tracepoints.
type Tracepoint struct {
	// Subsystem and Event name the tracepoint, e.g. "syscalls", "sys_enter_open".
	Subsystem, Event string
	// Args are the arguments that are read, in the order of the policy.
	Args []Arg
	// Message is copied to the events; at most 256 bytes.
	Message string
	// Tags are copied to the events; at most 16 of 2 to 128 bytes.
	Tags []string
	// Selectors are ORed, in this order: the first that matches decides the
	// actions. There is always at least one: a hook without selectors has one
	// that matches everything and posts.
	Selectors []Selector

	// at is where the hook stands in the text.
	at position
}

// Enforces tells whether any selector of the hook has an enforcement action.
func (t Tracepoint) Enforces() bool { return slices.ContainsFunc(t.Selectors, Selector.Enforces) }

// Arg is one argument that a hook reads.
type Arg struct {
	// Index is the field's position in the tracepoint's format description,
	// counted from 0 and with the four common_ fields.
	Index uint32
	// Type is the type the policy gives the argument, or ArgAuto.
	Type ArgType
	// Label is copied to the events.
	Label string
}

// Selector is one rule of a hook: all of its filters must hold.
type Selector struct {
	// Args are the filters on arguments, ANDed.
	Args []ArgFilter
	// Binaries are the filters on the path of the process's binary, ANDed.
	Binaries []BinaryFilter
	// Actions run when the selector matches; never empty.
	Actions []Action
}

// Enforces tells whether the selector has an action that acts on the process.
func (s Selector) Enforces() bool {
	return slices.ContainsFunc(s.Actions, func(a Action) bool { return a.Kind.Enforces() })
}

// Posts tells whether a match makes an event: it does unless an action is NoPost.
func (s Selector) Posts() bool {
	return !slices.ContainsFunc(s.Actions, func(a Action) bool { return a.Kind == NoPost })
}

// ArgFilter is one item of matchArgs. The values of an item are ORed; a negated
// operator holds when none of them matches.
type ArgFilter struct {
	// Arg is the position of the argument in the hook's Args.
	Arg int
	// Op is the operator as written; see Operator.Positive and Operator.Negated.
	Op Operator
	// Strings are the values of a filter on a string, sorted and unique; nil for
	// an integer.
	Strings []string
	// Ranges are the values of a filter on an integer, whatever the operator:
	// the filter holds when (the argument is in any range) != Op.Negated().
	// Equal and NotEqual have one range a value (Lo == Hi), unique; those of the
	// other operators are merged. Both are sorted in the order of the type. An
	// empty list matches no argument (GT with the type's largest value).
	Ranges []Range
	// Values are the values as written. They are what is known of a filter on an
	// argument of type ArgAuto until Tracepoint.WithTypes.
	Values []string

	at position
}

// Range is an interval of integers, both ends inside. The ends are 64-bit
// patterns, sign-extended when the argument's type is signed: compare them as
// int64 then, and as uint64 otherwise. Lo is never after Hi in that order.
type Range struct {
	Lo, Hi uint64
}

// BinaryFilter is one item of matchBinaries.
type BinaryFilter struct {
	// Op is OpIn, OpNotIn, or a form of prefix or postfix.
	Op Operator
	// Values are sorted and unique; absolute paths with OpIn and OpNotIn.
	Values []string
}
