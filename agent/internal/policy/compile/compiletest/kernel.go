// SPDX-License-Identifier: Apache-2.0

package compiletest

import (
	"fmt"
	"runtime"
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
}

// Can is nil for what is not named in Cannot.
func (k Kernel) Can(m compile.Mechanism) error { return k.Cannot[m] }

// Misses tells whether the kind is in Preempts.
func (k Kernel) Misses(kind compile.SiteKind) bool { return k.Preempts[kind] }

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

// Registers are those of amd64.
func (k Kernel) Registers() compile.Registers {
	return compile.Registers{
		Args: []uint16{112, 104, 96, 88, 72, 64}, Call: []uint16{112, 104, 96, 56, 72, 64},
		Compat: []uint16{40, 88, 96, 104, 112, 32}, Result: 80,
		Stack: 152, Popped: 8,
	}
}

// HostNamespace is a number for each.
func (k Kernel) HostNamespace(n policy.Namespace) (uint32, error) {
	return 4026531840 + uint32(n), nil
}
