// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/boltseal/boltseal/api/capability"
)

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

// String is the kind as the language spells it.
func (n Namespace) String() string {
	names := namespaces()
	if int(n) < len(names) {
		return names[n]
	}
	return "Namespace(" + strconv.Itoa(int(n)) + ")"
}

func namespaces() []string {
	return []string{"Uts", "Ipc", "Mnt", "Pid", "PidForChildren", "Net", "Time", "TimeForChildren", "Cgroup", "User"}
}

// CapabilitySet is one of the sets of capabilities that a process has.
type CapabilitySet uint8

// The sets of matchCapabilities.
const (
	CapabilityEffective CapabilitySet = iota
	CapabilityInheritable
	CapabilityPermitted
)

// String is the set as the language spells it.
func (s CapabilitySet) String() string {
	names := capabilitySets()
	if int(s) < len(names) {
		return names[s]
	}
	return "CapabilitySet(" + strconv.Itoa(int(s)) + ")"
}

func capabilitySets() []string { return []string{"Effective", "Inheritable", "Permitted"} }

// CapabilityFilter is one item of matchCapabilities and of matchCapabilityChanges.
type CapabilityFilter struct {
	Set CapabilitySet
	// Negated: the operator is NotIn.
	Negated bool
	// Mask has a bit for each capability named: In holds when the process has, or
	// has gained or lost, any of them, NotIn when none.
	Mask uint64
	// Namespaced is isNamespaceCapability: only processes outside of the host's
	// user namespace match.
	Namespaced bool
}

// NamespaceChangeFilter is one item of matchNamespaceChanges.
type NamespaceChangeFilter struct {
	// Negated: the operator is NotIn. In holds when the process has changed any of
	// the namespaces, NotIn when it has changed none.
	Negated bool
	// Namespaces are sorted and unique.
	Namespaces []Namespace
}

// filterValues decodes a list that must not be empty.
func (h hook) filterValues(v value, op string, item func(value)) {
	if h.list(v, MaxValues, item) && len(v.node.Content) == 0 {
		h.fault(v, "%s needs at least one value", op)
	}
}

// membership decodes an item whose operator is In or NotIn. own are its keys
// besides operator and values, required those that must be there with them. ok is
// false when there are no values to look at.
func (h hook) membership(v value, own map[string]func(value), required ...string) (values value, negated, ok bool) {
	known := false
	own["operator"] = func(v value) { negated, known = h.inOperator(v) }
	own["values"] = func(v value) { values = v }
	h.object(v, shape{known: own, required: append(required, "operator", "values")})
	return values, negated, known && values.node != nil
}

func (h hook) inOperator(v value) (negated, ok bool) {
	name, ok := h.text(v)
	switch {
	case !ok:
		return false, false
	case name == OpIn.String():
		return false, true
	case name == OpNotIn.String():
		return true, true
	}
	h.fault(v, "unknown operator %s; there are In and NotIn", quote(name))
	return false, false
}

func (h hook) pidFilter(v value) PIDFilter {
	var f PIDFilter
	values, negated, ok := h.membership(v, map[string]func(value){
		"followForks":    func(v value) { f.FollowForks = h.boolean(v) },
		"isNamespacePID": func(v value) { f.NamespacePID = h.boolean(v) },
	})
	if !ok {
		return f
	}
	f.Negated = negated
	h.filterValues(values, inName(negated), func(item value) {
		if n, ok := h.integer(item, 0, math.MaxUint32); ok {
			f.Values = append(f.Values, uint32(n))
		}
	})
	slices.Sort(f.Values)
	f.Values = slices.Compact(f.Values)
	return f
}

func inName(negated bool) string {
	if negated {
		return OpNotIn.String()
	}
	return OpIn.String()
}

// hostNamespace is the value that stands for the namespace of the host.
const hostNamespace = "host_ns"

func (h hook) namespaceFilter(v value) NamespaceFilter {
	var f NamespaceFilter
	values, negated, ok := h.membership(v, map[string]func(value){
		"namespace": func(v value) {
			n := h.oneOf(v, "namespace", namespaces())
			f.Namespace = Namespace(n)
		},
	}, "namespace")
	if !ok {
		return f
	}
	f.Negated = negated
	h.filterValues(values, inName(negated), func(item value) {
		s, ok := h.text(item)
		switch n, reason := number(ArgUint32, s); {
		case !ok:
		case s == hostNamespace:
			f.Host = true
		case reason != "":
			h.fault(item, "%s: write the number of a namespace's inode, or %s", reason, hostNamespace)
		default:
			f.Values = append(f.Values, uint32(n))
		}
	})
	slices.Sort(f.Values)
	f.Values = slices.Compact(f.Values)
	return f
}

// namespaceChangeFilter decodes an item whose values are names of namespaces: the
// schema has no list of them, and their case means nothing.
func (h hook) namespaceChangeFilter(v value) NamespaceChangeFilter {
	var f NamespaceChangeFilter
	values, negated, ok := h.membership(v, map[string]func(value){})
	if !ok {
		return f
	}
	f.Negated = negated
	h.filterValues(values, inName(negated), func(item value) {
		s, ok := h.text(item)
		i := slices.IndexFunc(namespaces(), func(name string) bool { return strings.EqualFold(name, s) })
		switch {
		case !ok:
		case i < 0:
			h.fault(item, "unknown namespace %s; there are %s", quote(s), strings.Join(namespaces(), ", "))
		default:
			f.Namespaces = append(f.Namespaces, Namespace(i))
		}
	})
	slices.Sort(f.Namespaces)
	f.Namespaces = slices.Compact(f.Namespaces)
	return f
}

// oneOf is the position of the text in names; 0 with a fault when it is none.
func (h hook) oneOf(v value, what string, names []string) int {
	s, ok := h.text(v)
	if !ok {
		return 0
	}
	i := slices.Index(names, s)
	if i < 0 {
		h.fault(v, "unknown %s %s; there are %s", what, quote(s), strings.Join(names, ", "))
	}
	return max(i, 0)
}

func (h hook) capabilityFilter(v value) CapabilityFilter {
	var f CapabilityFilter
	values, negated, ok := h.membership(v, map[string]func(value){
		"type":                  func(v value) { f.Set = CapabilitySet(h.oneOf(v, "type", capabilitySets())) },
		"isNamespaceCapability": func(v value) { f.Namespaced = h.boolean(v) },
	})
	if !ok {
		return f
	}
	f.Negated = negated
	h.filterValues(values, inName(negated), func(item value) {
		s, ok := h.text(item)
		if !ok {
			return
		}
		n, known := capability.Number(s)
		if !known {
			h.fault(item, "unknown capability %s", quote(s))
			return
		}
		f.Mask |= 1 << n
	})
	return f
}
