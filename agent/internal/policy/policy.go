// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"net/netip"
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
	// Hooks are those of all sections, in the order of [Section] and of the text.
	Hooks []Hook
	// Enforcers are the functions and system calls, named as in Hook.Calls, at
	// which what a NotifyEnforcer action asked for is done.
	Enforcers []string
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

// Options are settings that choose between ways to do the same.
type Options struct {
	// SingleKprobes is disable-kprobe-multi: every function has a probe of its own.
	SingleKprobes bool
	// OverrideMethod is how enforcers override; empty: what the kernel has.
	OverrideMethod OverrideMethod
}

// OverrideMethod is a way to make a function return early.
type OverrideMethod string

// The methods, as the option override-method spells them.
const (
	OverrideReturn OverrideMethod = "override-return"
	OverrideModify OverrideMethod = "fmod-ret"
)

// Section is a kind of hooks.
type Section uint8

// The sections of the language.
const (
	Tracepoints Section = iota + 1
	Kprobes
	LSMHooks
	Fentries
)

// String is the section's key in spec.
func (s Section) String() string {
	switch s {
	case Tracepoints:
		return "tracepoints"
	case Kprobes:
		return "kprobes"
	case LSMHooks:
		return "lsmhooks"
	case Fentries:
		return "fentries"
	}
	return fmt.Sprintf("Section(%d)", uint8(s))
}

// Hook is one item of a section: where a policy applies and what it does there.
type Hook struct {
	// Section is the kind of the hook, Index its position in it.
	Section Section
	Index   int
	// Subsystem and Event name a tracepoint, e.g. "syscalls", "sys_enter_open".
	Subsystem, Event string
	// Raw: a raw tracepoint, whose arguments are those of the kernel's code.
	Raw bool
	// Calls are the functions of Kprobes and Fentries, or the one hook of
	// LSMHooks. With Syscall they are system calls: "sys_open", or with the ABI
	// "i386/sys_open".
	Calls []string
	// List is the name of the list that Calls are from; often empty.
	List string
	// Syscall: arguments are those of the system call, and not the function's.
	Syscall bool
	// IgnoreMissing is ignore.callNotFound: calls that the kernel does not have
	// are left out.
	IgnoreMissing bool
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
func (h Hook) Enforces() bool { return slices.ContainsFunc(h.Selectors, Selector.Enforces) }

// Path is where the hook stands in the policy: "spec.kprobes[0]".
func (h Hook) Path() string { return fmt.Sprintf("spec.%s[%d]", h.Section, h.Index) }

// Arg is one argument that a hook reads.
type Arg struct {
	// Index is the field's position in a tracepoint's format description, counted
	// from 0 and with the four common_ fields, or that of a function's argument.
	Index uint32
	// Type is the type the policy gives the argument, or ArgAuto.
	Type ArgType
	// Label is copied to the events.
	Label string
	// SizeArg is the position, counted from 1, of the argument that holds the
	// length of an ArgCharBuf; 0: none.
	SizeArg uint32
}

// Selector is one rule of a hook: all of its filters must hold.
type Selector struct {
	// Args are the filters on arguments, ANDed.
	Args []ArgFilter
	// Binaries are the filters on the path of the process's binary, ANDed.
	Binaries []BinaryFilter
	// PIDs, Namespaces and Capabilities are filters on the process, ANDed.
	PIDs         []PIDFilter
	Namespaces   []NamespaceFilter
	Capabilities []CapabilityFilter
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
	// Masks are the values of OpMask: the filter holds when the argument has a bit
	// of any of them.
	Masks []uint64
	// Prefixes are the networks of OpSAddr and OpDAddr and their negations, masked,
	// unique. An address alone is a network of one.
	Prefixes []netip.Prefix
	// Ranges are the values of a filter on an integer, or on an integer of a socket
	// (ports, protocol, family, state), whatever the operator:
	// the filter holds when (the argument is in any range) != Op.Negated().
	// Equal and NotEqual have one range a value (Lo == Hi), unique; those of the
	// other operators are merged. Both are sorted in the order of the type. An
	// empty list matches no argument (GT with the type's largest value).
	Ranges []Range
	// Values are the values as written. They are what is known of a filter on an
	// argument of type ArgAuto until Hook.WithTypes.
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
	// FollowChildren: what the binary's processes start counts as the binary. Only
	// with OpIn and OpNotIn.
	FollowChildren bool
}

// PIDFilter is one item of matchPIDs.
type PIDFilter struct {
	// Negated: the operator is NotIn.
	Negated bool
	// Values are process ids, sorted and unique.
	Values []uint32
	// FollowForks: children of the processes count as well, also those that were
	// born before the policy was loaded.
	FollowForks bool
	// NamespacePID: the ids are those of the process's own pid namespace.
	NamespacePID bool
}

// Namespace is a kind of namespaces.
type Namespace uint8

// The namespaces of matchNamespaces.
const (
	NamespaceUts Namespace = iota
	NamespaceIpc
	NamespaceMnt
	NamespacePid
	NamespacePidForChildren
	NamespaceNet
	NamespaceTime
	NamespaceTimeForChildren
	NamespaceCgroup
	NamespaceUser
)

// NamespaceFilter is one item of matchNamespaces.
type NamespaceFilter struct {
	Namespace Namespace
	// Negated: the operator is NotIn.
	Negated bool
	// Values are inode numbers, sorted and unique.
	Values []uint32
	// Host: the value host_ns was given, the namespace of the host's first process.
	Host bool
}

// CapabilitySet is one of the sets of capabilities that a process has.
type CapabilitySet uint8

// The sets of matchCapabilities.
const (
	CapabilityEffective CapabilitySet = iota
	CapabilityInheritable
	CapabilityPermitted
)

// CapabilityFilter is one item of matchCapabilities.
type CapabilityFilter struct {
	Set CapabilitySet
	// Negated: the operator is NotIn.
	Negated bool
	// Mask has a bit for each capability named: In holds when the process has any
	// of them, NotIn when it has none.
	Mask uint64
	// Namespaced is isNamespaceCapability: only processes outside of the host's
	// user namespace match.
	Namespaced bool
}
