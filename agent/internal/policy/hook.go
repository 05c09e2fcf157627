// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"slices"
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
	// List is the name of the list that Calls are from; often empty.
	List string
	// Syscall: arguments are those of the system call, and not the function's.
	Syscall bool
	// IgnoreMissing is ignore.callNotFound: calls that the kernel does not have
	// are left out.
	IgnoreMissing bool
	// Args are the arguments that are read, in the order of the policy.
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
	// ReturnCopy: what the argument points to is read when the function returns.
	ReturnCopy bool
}

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
			faults = append(faults, h.at.below(".args[%d].type", i).fault("cannot be told: name a type"))
		}
	}
	if len(faults) > 0 {
		return h, errors.Join(faults...)
	}
	h.Selectors = slices.Clone(h.Selectors)
	for i := range h.Selectors {
		s := &h.Selectors[i]
		s.Args = slices.Clone(s.Args)
		for j := range s.Args {
			f := &s.Args[j]
			if !auto[f.Arg] {
				continue
			}
			// A list is only of system calls, which no description tells of.
			f.resolve(h.Args[f.Arg].Type, &names{}, func(value int, reason string) {
				at := f.at.below(".operator")
				if value >= 0 {
					at = f.at.below(".values[%d]", value)
				}
				faults = append(faults, at.fault("%s", reason))
			})
		}
	}
	return h, errors.Join(faults...)
}
