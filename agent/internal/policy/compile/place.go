// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// place is where a hook goes, and how its arguments are found there.
type place struct {
	Site
	// Indirect: what the site reads is in registers, to which the word at
	// RegsOffset points.
	Indirect   bool
	RegsOffset uint16
	// ResultOffset is where what was decided before is, or what is returned.
	ResultOffset uint16
	// words are the offsets of arguments.
	words []uint16
	// Frame is how calls are known again when they return, and returned what is known
	// of what they return.
	Frame    Frame
	returned Prototype
	// prototype is what is known of the arguments; fields are a tracepoint's.
	prototype Prototype
	fields    []Field
}

// placeOf finds where a hook goes. A hook of functions that the kernel lacks, and
// that may be left out, has no place: nil.
func placeOf(p *policy.Policy, h policy.Hook, k Kernel) (*place, error) {
	switch {
	case h.Section == policy.Tracepoints && h.Raw:
		return rawPlace(h, k)
	case h.Section == policy.Tracepoints:
		fields, err := k.Tracepoint(h.Subsystem, h.Event)
		if err != nil {
			return nil, err
		}
		at := &place{Site: Site{Kind: Tracepoint, Subsystem: h.Subsystem, Name: h.Event}, fields: fields}
		if len(at.ExitEvents()) > 0 {
			at.ResultOffset = syscallExitResult
		}
		return at, nil
	case h.Section == policy.LSMHooks:
		return hookPlace(h, k)
	}
	return functionPlace(p, h, k)
}

// syscallExitResult is where the record of every sys_exit_* event has the result.
const syscallExitResult = 16

const wordSize = 8

// contextWords is the layout of a context that is an array of arguments.
func contextWords(n int) []uint16 {
	words := make([]uint16, n)
	for i := range words {
		words[i] = uint16(wordSize * i)
	}
	return words
}

// unknownParams is how many arguments are taken for there when nobody knows.
const unknownParams = 5

func rawPlace(h policy.Hook, k Kernel) (*place, error) {
	prototype, err := k.RawTracepoint(h.Event)
	if err != nil {
		return nil, err
	}
	at := &place{Site: Site{Kind: RawTracepoint, Name: h.Event}, prototype: prototype}
	at.words = contextWords(unknownParams)
	if prototype.Known {
		at.words = contextWords(len(prototype.Params))
	}
	return at, nil
}

func hookPlace(h policy.Hook, k Kernel) (*place, error) {
	name := h.Calls[0]
	if err := k.Can(CanLSM); err != nil {
		return nil, fmt.Errorf("%w; a kprobe on security_%s can see the same, and deny it where the kernel has fmod_ret", err, name)
	}
	prototype, err := k.Hook(name)
	if err != nil {
		return nil, err
	}
	at := &place{Site: Site{Kind: LSM, Name: name}, prototype: prototype, words: contextWords(len(prototype.Params))}
	if prototype.Void {
		if overrides(h) {
			return nil, fmt.Errorf("hook %s decides nothing: Override has no effect there", name)
		}
		return at, nil
	}
	at.ResultOffset = uint16(wordSize * len(prototype.Params))
	return at, nil
}

func overrides(h policy.Hook) bool {
	return slices.ContainsFunc(h.Selectors, func(s policy.Selector) bool {
		return slices.ContainsFunc(s.Actions, func(a policy.Action) bool { return a.Kind == policy.Override })
	})
}

// functionPlace is where a hook on functions goes.
func functionPlace(p *policy.Policy, h policy.Hook, k Kernel) (*place, error) {
	var names, found []string
	var prototype Prototype
	ambiguous := false
	compats := map[bool]bool{}
	for _, call := range h.Calls {
		name, compat, of, err := function(h, call, k)
		if errors.Is(err, ErrNoCall) && h.IgnoreMissing {
			continue
		}
		if err != nil {
			return nil, err
		}
		compats[compat] = true
		names, found = append(names, name), append(found, call)
		prototype, ambiguous = of, ambiguous || of.Ambiguous
	}
	switch {
	case len(names) == 0:
		return nil, nil
	case len(compats) > 1 && len(h.Args) > 0:
		return nil, errors.New("system calls of two ABIs have their arguments in different registers: use a hook for each")
	case len(names) > 1:
		prototype = Prototype{}
	}
	slices.Sort(names)
	kind, err := functionKind(p, h, names, ambiguous, k)
	if err != nil {
		return nil, err
	}
	names = slices.Compact(names)
	at := &place{Site: Site{Kind: kind, Name: strings.Join(names, ","), Syscall: h.Syscall}, prototype: prototype}
	at.Multi = kind == Kprobe && len(names) > 1 && !single(p, h) && k.Can(CanKprobeMulti) == nil
	at.layout(k.Registers(), compats[true])
	at.returning(found, compats[true], k)
	return at, nil
}

// single tells whether each function needs a probe of its own. A return probe of many
// does not tell which call it is that returns.
func single(p *policy.Policy, h policy.Hook) bool {
	return p.Options.SingleKprobes || h.Returns() && !h.Syscall
}

// function is the kernel's function that a call names.
func function(h policy.Hook, call string, k Kernel) (name string, compat bool, of Prototype, err error) {
	name = call
	if h.Syscall {
		if name, compat, err = k.SyscallFunction(call); err != nil {
			return "", false, of, err
		}
	}
	of, err = k.Function(name)
	return name, compat, of, err
}

// layout says where the arguments are.
func (at *place) layout(r Registers, compat bool) {
	var first uint16
	at.words = r.Args
	if at.Kind.Trampoline() {
		at.words = contextWords(max(len(at.prototype.Params), unknownParams))
		at.ResultOffset = uint16(wordSize * len(at.prototype.Params))
	} else {
		first = r.Args[0]
		at.ResultOffset = r.Result
	}
	if at.Kind.Trampoline() && at.prototype.Known {
		at.words = at.words[:len(at.prototype.Params)]
	}
	if !at.Syscall {
		at.returned = at.prototype
		return
	}
	// A system call's function has one argument: the registers.
	at.Indirect, at.RegsOffset = true, first
	at.words, at.prototype = r.Call, Prototype{}
	if compat {
		at.words = r.Compat
	}
}

// functionKind picks the best way to do what a hook on functions asks for.
func functionKind(p *policy.Policy, h policy.Hook, names []string, ambiguous bool, k Kernel) (SiteKind, error) {
	if h.Section == policy.Fentries {
		return Fentry, k.Can(CanFentry)
	}
	if !overrides(h) {
		return Kprobe, k.Can(CanKprobe)
	}
	security := func(name string) bool { return strings.HasPrefix(name, "security_") }
	switch {
	case h.Syscall:
		return syscallOverride(p, ambiguous, k)
	case !slices.ContainsFunc(names, func(name string) bool { return !security(name) }):
		if err := k.Can(CanModifyReturn); err != nil {
			return 0, fmt.Errorf("action Override on %s: %w", names[0], err)
		}
		return ModifyReturn, nil
	}
	return 0, errors.New("action Override is for system calls and functions that begin with security_")
}

func syscallOverride(p *policy.Policy, ambiguous bool, k Kernel) (SiteKind, error) {
	override, modify := k.Can(CanOverride), k.Can(CanModifySyscall)
	if modify == nil && ambiguous {
		modify = errors.New("the kernel describes several functions of its name")
	}
	// What a kprobe cannot read, because it is not in memory yet, a trampoline can.
	switch method := p.Options.OverrideMethod; {
	case method != policy.OverrideReturn && modify == nil:
		return ModifyReturn, nil
	case method != policy.OverrideModify && override == nil:
		return KprobeOverride, nil
	case method == policy.OverrideModify:
		override = modify
	}
	return 0, fmt.Errorf("action Override on a system call: %w; a security hook that covers it (lsmhooks, or a kprobe on a security_ function) can deny instead", override)
}
