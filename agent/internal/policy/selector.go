// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"
)

// Selector is one rule of a hook: all of its filters must hold.
type Selector struct {
	// Args are the filters on arguments, ANDed.
	Args []ArgFilter
	// Data are the filters on items of data, ANDed.
	Data []ArgFilter
	// Binaries are the filters on the path of the process's binary, ANDed.
	Binaries []BinaryFilter
	// ParentBinaries are the same on the binary of the process's parent.
	ParentBinaries []BinaryFilter
	// PIDs, Namespaces and Capabilities are filters on the process, ANDed.
	PIDs         []PIDFilter
	Namespaces   []NamespaceFilter
	Capabilities []CapabilityFilter
	// NamespaceChanges and CapabilityChanges are filters on what the process has
	// changed since it executed its program or was born, ANDed.
	NamespaceChanges  []NamespaceChangeFilter
	CapabilityChanges []CapabilityFilter
	// Workload says for which processes of the policy's the selector is: 0 for all of
	// them, else Policy.Workloads[Workload-1].
	Workload int
	// Label names the selector where its counters are shown; often empty.
	Label string
	// Actions run when the selector matches; never empty.
	Actions []Action
	// ReturnArgs are the filters on what the function returns, ANDed. They are asked
	// when it does, of the selector that was chosen as it was entered.
	ReturnArgs []ArgFilter
	// ReturnActions run when ReturnArgs hold.
	ReturnActions []Action
}

// Enforces tells whether the selector has an action that acts on the process.
func (s Selector) Enforces() bool {
	enforces := func(a Action) bool { return a.Kind.Enforces() }
	return slices.ContainsFunc(s.Actions, enforces) || slices.ContainsFunc(s.ReturnActions, enforces)
}

// Posts tells whether a match makes an event: it does unless an action is NoPost.
func (s Selector) Posts() bool {
	silent := func(a Action) bool { return a.Kind == NoPost }
	return !slices.ContainsFunc(s.Actions, silent) && !slices.ContainsFunc(s.ReturnActions, silent)
}

// ArgFilter is one item of matchArgs. The values of an item are ORed; a negated
// operator holds when none of them matches.
type ArgFilter struct {
	// Arg is the position of the argument in the hook's Args.
	Arg int
	// Op is the operator as written; see Operator.Positive and Operator.Negated.
	Op Operator
	// Old is the position of the argument with the capabilities of before, of
	// OpCapabilitiesGained; Arg is that of the new ones.
	Old int
	// Strings are the values of a filter on a string, sorted and unique; nil for
	// an integer.
	Strings []string
	// Masks are the values of OpMask: the filter holds when the argument has a bit
	// of any of them. OpCapabilitiesGained has one, of the capabilities that count.
	Masks []uint64
	// Prefixes are the networks of OpSAddr and OpDAddr and their negations, masked,
	// unique. An address alone is a network of one.
	Prefixes []netip.Prefix
	// Ranges are the values of a filter on an integer, or on an integer of a socket
	// (ports, protocol, family, state), or on the type of a file (the highest four
	// bits of the inode's mode), whatever the operator:
	// the filter holds when (the argument is in any range) != Op.Negated().
	// Equal and NotEqual have one range a value (Lo == Hi), unique; those of the
	// other operators are merged. Both are sorted in the order of the type. An
	// empty list matches no argument (GT with the type's largest value).
	Ranges []Range
	// Lists are the names of lists among the values that are not in Ranges before
	// Policy.WithLists.
	Lists []string
	// Values are the values as written. They are what is known of a filter on an
	// argument of type ArgAuto until Hook.WithTypes. Those of OpCelExpr are
	// expressions over all arguments of the hook, of which Arg is but the first.
	Values []string

	at position
}

// Range is an interval of integers, both ends inside. The ends are 64-bit
// patterns, sign-extended when the argument's type is signed: compare them as
// int64 then, and as uint64 otherwise. Lo is never after Hi in that order.
type Range struct {
	Lo, Hi uint64
}
