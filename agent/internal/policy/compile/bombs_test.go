// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// TestLargestPoliciesCompileInBounds holds that what the bounds of a text let through
// is not much more work to compile than to read. It is one of memory, which
// processors that are busy elsewhere do not change.
func TestLargestPoliciesCompileInBounds(t *testing.T) {
	const limit = 600 << 20
	kernel := generatedKernel()
	for i := range 20_000 {
		kernel.Prototypes[fmt.Sprintf("f%d", i)] = compile.Prototype{}
	}
	values := func(n int, of string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, of+",", i)
		}
		return b.String()
	}
	strange := func(op string) string {
		return "    args: [{index: 0, type: string}]\n    selectors:\n    - matchArgs: [{args: [0], operator: " + op + ", values: &v [" +
			values(100_000, "/a/%06d") + "]}]\n    - matchArgs: [{args: [0], operator: " + op + ", values: *v}]\n" +
			"    - matchArgs: [{args: [0], operator: " + op + ", values: *v}]\n"
	}
	for name, text := range map[string][]byte{
		"strings":  hook(strange("Equal")),
		"prefixes": hook(strange("NotPrefix")),
		"numbers": hook("    args: [{index: 6, type: int}]\n    selectors:\n    - matchArgs: [{args: [0], operator: InMap, values: [" +
			values(99_999, "'%d00:%[1]d50'") + "0]}]\n"),
		"functions": sites("  lists: [{name: f, type: generated_ftrace, pattern: ^f}]\n  kprobes:\n" +
			strings.Repeat("  - {call: 'list:f', syscall: false}\n", 24)),
		"functions that are denied": sites("  lists: [{name: f, type: generated_ftrace, pattern: ^f}]\n  kprobes:\n" +
			strings.Repeat("  - {call: 'list:f', syscall: false, selectors: [{matchActions: [{action: Override, argError: -1}]}]}\n", 4)),
		"uses of a list": sites("  lists: [{name: f, type: generated_ftrace, pattern: ^f}]\n  kprobes:\n" +
			strings.Repeat("  - {call: 'list:f', syscall: false}\n", 1024)),
		"faults": hook("    args: [{index: 0, type: string}]\n    selectors: [" +
			strings.Repeat("{matchArgs: [{args: [0], operator: Equal, values: [1]}, {args: [0], operator: Equal, values: [2]}]},", 32) + "]\n"),
	} {
		p, err := policy.Parse(text)
		if err != nil {
			t.Errorf("%s: %.300v", name, err)
			continue
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = compile.Compile(p, kernel)
		runtime.ReadMemStats(&after)
		if n := len(policy.Faults(err)); n > 101 {
			t.Errorf("%s: %d faults are told", name, n)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > limit {
			t.Errorf("%s: allocated %d MiB, more than %d (%.100v)", name, used>>20, limit>>20, err)
		} else {
			t.Logf("%s: %d bytes of text, %d MiB, %.100v", name, len(text), used>>20, err)
		}
	}
}
