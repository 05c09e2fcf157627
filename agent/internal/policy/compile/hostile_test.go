// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
)

// hook is a policy with one hook, on the tracepoint that is not the kernel's.
func hook(lines string) []byte {
	return fmt.Appendf(nil, "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n  tracepoints:\n"+
		"  - subsystem: %s\n    event: %s\n%s", compiletest.Subsystem, compiletest.Event, lines)
}

// sites is a policy with other sections.
func sites(spec string) []byte {
	return []byte("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n" + spec)
}

// seeds are sound policies, and for each step on the way one that fails there.
func seeds() [][]byte {
	filter := func(index int, kind, op, values string) []byte {
		return hook(fmt.Sprintf("    args: [{index: %d, type: %s}]\n    selectors:\n    - matchArgs: [{args: [0], operator: %s, values: [%s]}]\n"+
			"      matchActions: [{action: Sigkill}]\n", index, kind, op, values))
	}
	return [][]byte{
		hook(""),
		hook("    args: [{index: 0, type: string}, {index: 1, type: string}, {index: 2, type: string}, {index: 3, type: string}]\n"),
		filter(0, "string", "Postfix", "/etc/shadow, "+strings.Repeat("x", 128)),
		filter(2, "string", "NotPrefix", strings.Repeat("x", 256)+", '', \"\\0\""),
		filter(0, "string", "Equal", strings.Repeat("x", 4095)+", "+strings.Repeat("y", 4096)),
		filter(4, "int64", "GT", "'-9223372036854775808'"),
		filter(5, "uint64", "InRange", "'0:18446744073709551615', '7:3'"),
		filter(6, "int", "NotEqual", "1, -1, 0x7fffffff, 4294967295"),
		filter(12, "auto", "Equal", "7"),
		filter(0, "int", "Equal", "7"),
		filter(4, "string", "Equal", "x"),
		filter(99, "int", "Equal", "7"),
		hook("    selectors:\n    - matchBinaries: [{operator: NotIn, values: [/bin/sh, '']}]\n      matchActions: [{action: Signal, argSig: 64}]\n"),
		hook("    selectors: [" + strings.Repeat("{matchActions: [{action: NoPost}]}, ", 32) + "]\n"),
		[]byte(strings.ReplaceAll(string(hook("")), compiletest.Event, "../nope")),
		hook("    args: [{index: 6, type: int}]\n    selectors:\n    - matchArgs: [{args: [0], operator: Equal, values: [1]}, " +
			"{args: [0], operator: Equal, values: [2]}]\n"),
		sites("  lists: [{name: s, type: generated_syscalls, pattern: 'read|write'}, {name: f, type: generated_ftrace, pattern: ^security_}]\n" +
			"  enforcers: [{calls: ['list:f', sys_read]}]\n" +
			"  kprobes:\n  - {call: 'list:s', args: [{index: 1, type: string}]}\n" +
			"  - {call: 'list:f', syscall: false, selectors: [{matchActions: [{action: NotifyEnforcer, argError: -1}]}]}\n"),
		sites("  tracepoints: [{subsystem: raw_syscalls, event: sys_enter, args: [{index: 1, type: syscall64}], " +
			"selectors: [{matchArgs: [{index: 1, operator: NotInMap, values: ['list:s', 3]}]}]}]\n  lists: [{name: s, type: generated_syscalls}]\n"),
		sites("  lists: [{name: f, type: generated_ftrace, pattern: '(a|b)*c{1,50}$'}]\n  kprobes: [{call: 'list:f', syscall: false, ignore: {callNotFound: true}}]\n"),
		sites("  lsmhooks:\n  - {hook: file_open, args: [{index: 0, type: file}], selectors: [{matchArgs: [{index: 0, operator: Prefix, values: [/etc/]}], " +
			"matchActions: [{action: Override, argError: -1}, {action: GetUrl, argUrl: 'http://example.org/'}]}]}\n"),
		sites("  kprobes:\n  - {call: sys_openat, selectors: [{matchActions: [{action: DnsLookup, argFqdn: a.example.org}, {action: NoPost}]}]}\n"),
		[]byte("{a: &a [*a]}"),
		[]byte("\x7fELF"),
	}
}

// FuzzAddPolicy takes texts the way that AddTracingPolicy takes them, up to the
// kernel: each is refused with its faults named, or compiles to what a site has
// room for, is entered into a table, and leaves it as it was.
func FuzzAddPolicy(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := policy.Parse(text)
		if err != nil {
			checkFaults(t, err, p == nil)
			return
		}
		compiled, err := compile.Compile(p, generatedKernel())
		if err != nil {
			checkFaults(t, err, compiled == nil)
			return
		}
		pools := compile.NewPools(4096, 4096)
		room := pools.FreeClasses()
		// Those of one site share a table.
		tables := map[compile.Site]*compile.Table{}
		for i := range compiled.Hooks {
			h := &compiled.Hooks[i]
			if tables[h.Site] == nil {
				tables[h.Site] = compile.NewTable(uint32(len(tables)), compile.NewKeys(), pools)
			}
			enter(t, tables[h.Site], h)
		}
		if pools.FreeClasses() != room {
			t.Errorf("%d of %d classes are free when all rules have gone", pools.FreeClasses(), room)
		}
	})
}

// checkFaults holds an error to what the API promises of it.
func checkFaults(t *testing.T, err error, nothing bool) {
	t.Helper()
	var fault *policy.FieldError
	if !nothing || err.Error() == "" || len(policy.Faults(err)) == 0 || !errors.As(err, &fault) {
		t.Errorf("refused with %q, nothing returned: %t", err, nothing)
	}
}

// enter enters a hook into a table, checks it against the limits, and takes it out again.
func enter(t *testing.T, table *compile.Table, h *compile.Hook) {
	t.Helper()
	if len(h.Rules) > compile.MaxRules || len(h.Reads) > compile.MaxReads*8 {
		t.Errorf("%d rules on %d arguments", len(h.Rules), len(h.Reads))
	}
	if err := table.Extend(h); err != nil {
		if !errors.Is(err, compile.ErrNoRoom) {
			t.Errorf("extend: %v", err)
		}
		return
	}
	first := 0
	if len(h.Rules) > 0 { // none of them may be able to match
		var err error
		if first, err = table.Room(len(h.Rules)); err != nil {
			t.Fatalf("no room for %d rules in an empty table: %v", len(h.Rules), err)
		}
	}
	for i := range h.Rules {
		table.Add(first+i, h, &h.Rules[i])
	}
	settle(t, table)
	for i := range h.Rules {
		table.Remove(first + i)
	}
	table.Retract(h)
	settle(t, table)
}

// settle carries the changes out that a table asks for, or gives them up.
func settle(t *testing.T, table *compile.Table) {
	t.Helper()
	changes, err := table.Changes()
	switch {
	case err == nil:
		if release := changes.Done(); release != nil {
			release()
		}
	case !errors.Is(err, compile.ErrNoRoom):
		t.Errorf("changes: %v", err)
	}
}
