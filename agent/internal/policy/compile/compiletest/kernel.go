// SPDX-License-Identifier: Apache-2.0

package compiletest

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// Kernel is a kernel of a test's own: it can do everything but what is named, and
// has the functions that are listed. The zero value has the one event of [Fields]
// and no functions.
type Kernel struct {
	// Cannot is what it cannot do, and why.
	Cannot map[compile.Mechanism]error
	// Preempts are the kinds of which it skips programs at times.
	Preempts map[compile.SiteKind]bool
	// Events are the fields of tracepoints besides the one, by "subsystem/event".
	Events map[string][]compile.Field
	// Prototypes are those of functions; of hooks as "lsm/NAME" and of raw
	// tracepoints as "raw/NAME".
	Prototypes map[string]compile.Prototype
	// Members is what paths lead to, by how the start is written ("function:0",
	// "module/structure") and, after a blank, the path.
	Members map[string]compile.Member
}

// Can is nil for what is not named in Cannot.
func (k Kernel) Can(m compile.Mechanism) error { return k.Cannot[m] }

// Misses tells whether the kind is in Preempts: tracepoints are those of system calls.
func (k Kernel) Misses(kind compile.SiteKind, syscall bool) bool {
	return k.Preempts[kind] && (kind != compile.Tracepoint || syscall)
}

// Tracepoint finds one of Events, or [Fields].
func (k Kernel) Tracepoint(subsystem, event string) ([]compile.Field, error) {
	if subsystem == Subsystem && event == Event {
		return Fields(), nil
	}
	if fields, ok := k.Events[subsystem+"/"+event]; ok {
		return fields, nil
	}
	return nil, fmt.Errorf("event %s/%s: %w", subsystem, event, compile.ErrNoCall)
}

// Function finds one of Prototypes.
func (k Kernel) Function(name string) (compile.Prototype, error) {
	if p, ok := k.Prototypes[name]; ok {
		return p, nil
	}
	return compile.Prototype{}, fmt.Errorf("%s: %w", name, compile.ErrNoCall)
}

// Functions are the names of Prototypes.
func (k Kernel) Functions() ([]string, error) {
	names := slices.Sorted(maps.Keys(k.Prototypes))
	return slices.DeleteFunc(names, func(name string) bool { return strings.Contains(name, "/") }), nil
}

// Syscalls are those whose functions are in Prototypes.
func (k Kernel) Syscalls() ([]string, error) {
	prefix, _, _ := k.SyscallFunction("")
	names, _ := k.Functions()
	var calls []string
	for _, name := range names {
		if call, ok := strings.CutPrefix(name, prefix+"sys_"); ok {
			calls = append(calls, "sys_"+call)
		}
	}
	return calls, nil
}

// Hook finds the prototype "lsm/NAME".
func (k Kernel) Hook(name string) (compile.Prototype, error) { return k.Function("lsm/" + name) }

// RawTracepoint finds the prototype "raw/NAME".
func (k Kernel) RawTracepoint(name string) (compile.Prototype, error) {
	return k.Function("raw/" + name)
}

// SyscallFunction is as on the machine's architecture.
func (k Kernel) SyscallFunction(call string) (function string, compat bool, err error) {
	prefix, old := "__x64_", "__ia32_"
	if runtime.GOARCH == "arm64" {
		prefix, old = "__arm64_", "__arm64_compat_"
	}
	if name, ok := strings.CutPrefix(call, "i386/"); ok {
		return old + name, true, nil
	}
	return prefix + call, false, nil
}

// Member finds one of Members.
func (k Kernel) Member(from compile.Start, path string) (compile.Member, error) {
	start := from.Type
	switch {
	case from.Module != "":
		start = from.Module + "/" + start
	case start == "":
		start = fmt.Sprintf("%s:%d", from.Name, from.Param)
	}
	if m, ok := k.Members[start+" "+path]; ok {
		return m, nil
	}
	return compile.Member{}, fmt.Errorf("%s has no %q", start, path)
}

// Registers are those of amd64, of which one has a name.
func (k Kernel) Registers() compile.Registers {
	return compile.Registers{
		Args: []uint16{112, 104, 96, 88, 72, 64}, Call: []uint16{112, 104, 96, 56, 72, 64},
		Compat: []uint16{40, 88, 96, 104, 112, 32}, Result: 80,
		Named: map[string]compile.Register{"rdi": {Offset: 112, Size: 8}, "edi": {Offset: 112, Size: 4}},
		Stack: 152, Popped: 8,
	}
}

// HostNamespace is a number for each.
func (k Kernel) HostNamespace(n policy.Namespace) (uint32, error) {
	return 4026531840 + uint32(n), nil
}
