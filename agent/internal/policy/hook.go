// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Section is a kind of hooks.
type Section uint8

// The sections of the language.
const (
	Tracepoints Section = iota + 1
	Kprobes
	LSMHooks
	Fentries
	// Enforcers is where what NotifyEnforcer asks for is done. It has calls, and no
	// hooks of its own.
	Enforcers
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
	case Enforcers:
		return "enforcers"
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
	// List is the name of the list that Calls are from; often empty. Calls of a list
	// that is generated are not known before Policy.WithLists.
	List string
	// Syscall: arguments are those of the system call, and not the function's.
	Syscall bool
	// IgnoreMissing is ignore.callNotFound: calls that the kernel does not have
	// are left out.
	IgnoreMissing bool
	// Args are the arguments that are read, in the order of the policy, and after
	// them the items of data, whose Source is not SourceArg.
	Args []Arg
	// Return: events are of the function's return, and have what it returned.
	Return bool
	// ReturnArg is what the function returns; nil without Return.
	ReturnArg *Arg
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

// ArgPath is where the argument at a position of Args stands in the policy:
// "spec.kprobes[0].data[1]".
func (h Hook) ArgPath(i int) string { return h.Path() + h.argKey(i) }

func (h Hook) argKey(i int) string {
	first := h.firstData()
	if i < first {
		return fmt.Sprintf(".args[%d]", i)
	}
	return fmt.Sprintf(".data[%d]", i-first)
}

// firstData is the position of the first item of data in Args.
func (h Hook) firstData() int {
	if i := slices.IndexFunc(h.Args, func(a Arg) bool { return a.Source != SourceArg }); i >= 0 {
		return i
	}
	return len(h.Args)
}

// Name is what the hook names: "subsystem/event", a call, or "list:NAME".
func (h Hook) Name() string {
	switch {
	case h.Section == Tracepoints:
		return h.Subsystem + "/" + h.Event
	case h.List != "":
		return listPrefix + h.List
	}
	return strings.Join(h.Calls, ",")
}

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
	// length of an ArgCharBuf or an ArgSockaddrUn, or the number of vectors of an
	// ArgIovec; 0: none.
	SizeArg uint32
	// Source is what the value is read from.
	Source Source
	// Resolve is the path from there to the value, see ParseMemberPath; empty: the
	// argument itself. Of SourceRegister it is the name of a register.
	Resolve string
	// BTFType is the structure at which the path begins, one of the module
	// BTFModule or of the kernel itself. Empty: the type of the argument.
	BTFType, BTFModule string
	// MaxData asks for the bytes of an ArgCharBuf after the first 4095, up to
	// MaxDataBytes.
	MaxData bool
	// Elements is how many integers an ArgInt32Array has, 1 to MaxElements.
	Elements uint32
	// ReturnCopy: what the argument points to is read when the function returns.
	ReturnCopy bool
}

// MaxDataBytes is how many bytes of an ArgCharBuf with MaxData events show.
const MaxDataBytes = 327360

// MaxElements is how many integers an ArgInt32Array can have.
const MaxElements = 1023

// WithTypes is a copy of the hook whose arguments of type ArgAuto have the type
// at the same position in types, and whose filters on them have their values
// typed. The caller reads the types from the kernel's description of the hook;
// those of arguments that the policy itself types are not looked at. The error holds a
// [*FieldError] for each value and operator that does not fit.
func (h Hook) WithTypes(types []ArgType) (Hook, error) {
	if len(types) != len(h.Args) {
		return h, fmt.Errorf("%d types for %d arguments", len(types), len(h.Args))
	}
	var faults []error
	auto := make([]bool, len(h.Args))
	h.Args = slices.Clone(h.Args)
	for i := range h.Args {
		if auto[i] = h.Args[i].Type == ArgAuto; auto[i] {
			h.Args[i].Type = types[i]
		}
		if h.Args[i].Type == ArgAuto {
			faults = append(faults, h.at.below("%s.type", h.argKey(i)).fault("cannot be told: name a type"))
		}
	}
	if len(faults) > 0 {
		return h, errors.Join(faults...)
	}
	h.Selectors = slices.Clone(h.Selectors)
	for i := range h.Selectors {
		s := &h.Selectors[i]
		s.Args, s.Data = slices.Clone(s.Args), slices.Clone(s.Data)
		for _, filters := range [][]ArgFilter{s.Args, s.Data} {
			for j := range filters {
				if f := &filters[j]; f.dependsOn(auto) {
					faults = append(faults, f.typed(h.argTypes())...)
				}
			}
		}
	}
	return h, errors.Join(faults...)
}

func (h Hook) argTypes() []ArgType { return argTypes(h.Args) }

func argTypes(args []Arg) []ArgType {
	types := make([]ArgType, len(args))
	for i, a := range args {
		types[i] = a.Type
	}
	return types
}

// dependsOn tells whether the filter is about one of the arguments that are marked.
func (f *ArgFilter) dependsOn(marked []bool) bool {
	switch f.Op {
	case OpCelExpr:
		return slices.Contains(marked, true)
	case OpCapabilitiesGained:
		return marked[f.Arg] || marked[f.Old]
	}
	return marked[f.Arg]
}

// typed types the filter's values when the types of the hook's arguments are known.
func (f *ArgFilter) typed(types []ArgType) (faults []error) {
	// A list is only of system calls, which no description tells of.
	f.resolveAll(types, &names{}, func(value int, reason string) {
		at := f.at.below(".operator")
		if value >= 0 {
			at = f.at.below(".values[%d]", value)
		}
		faults = append(faults, at.fault("%s", reason))
	})
	return faults
}
