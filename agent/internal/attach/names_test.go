// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/test/testenv"
)

func TestSyscallsOfSymbols(t *testing.T) {
	t.Parallel()
	symbols := map[string]bool{
		"__x64_sys_write": true, "__x64_sys_read": true, "__ia32_sys_read": true, "__x64_sys_ni_syscall": true, "__x64_sys_adjtimex_time32": true,
		"__x64_sys_read.cold": true, "sys_read": true, "__x64_foo": true,
	}
	if got, want := syscalls(symbols, "__x64_"), []string{"sys_read", "sys_write"}; !slices.Equal(got, want) {
		t.Errorf("system calls %q, want %q", got, want)
	}
}

// TestSyscallsOfThisKernel: all of them are calls that filters know the number of.
func TestSyscallsOfThisKernel(t *testing.T) {
	testenv.Require(t, testenv.Root())
	p := &Points{symbols: sync.OnceValues(readSymbols)}
	calls, err := p.Syscalls()
	if err != nil || len(calls) < 200 || !slices.Contains(calls, "sys_openat") {
		t.Fatalf("system calls %q, %v", calls, err)
	}
	parsed, err := policy.Parse([]byte("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n" +
		"  lists: [{name: all, type: generated_syscalls}]\n  tracepoints:\n  - {subsystem: raw_syscalls, event: sys_enter, " +
		"args: [{index: 4, type: syscall64}], selectors: [{matchArgs: [{index: 4, operator: InMap, values: ['list:all']}]}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.WithLists(func(bool) ([]string, error) { return calls, nil }); err != nil {
		t.Errorf("%d system calls: %v", len(calls), strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}
