// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
)

// generatedKernel has system calls and functions that patterns can match.
func generatedKernel() compiletest.Kernel {
	function := compile.Prototype{Known: true, Params: []compile.Param{{Name: "f", Struct: "file"}}}
	return compiletest.Kernel{Prototypes: map[string]compile.Prototype{
		"__x64_sys_openat": {}, "__x64_sys_read": {}, "__x64_sys_write": {}, "__ia32_sys_read": {},
		"security_file_open": function, "security_file_permission": function, "vfs_read": {}, "lsm/file_open": function,
	}, Events: map[string][]compile.Field{"raw_syscalls/sys_enter": {
		{Name: "common_type", Size: 2}, {Name: "id", Type: "long", Offset: 8, Size: 8, Signed: true},
	}}}
}

// TestGeneratedListsAreTheKernels: what a policy's lists stand for is the kernel's to
// say, each time that it is compiled.
func TestGeneratedListsAreTheKernels(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]byte("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n" +
		"  lists: [{name: s, type: generated_syscalls, pattern: 'read|write'}, {name: f, type: generated_ftrace, pattern: ^security_file_}]\n" +
		"  enforcers: [{calls: ['list:f']}]\n  kprobes:\n  - {call: 'list:s'}\n" +
		"  - {call: 'list:f', syscall: false, selectors: [{matchActions: [{action: NotifyEnforcer, argError: -1}]}]}\n" +
		"  tracepoints: [{subsystem: raw_syscalls, event: sys_enter, args: [{index: 1, type: syscall64}], " +
		"selectors: [{matchArgs: [{index: 1, operator: InMap, values: ['list:s']}]}]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	k := generatedKernel()
	c, err := compile.Compile(p, k)
	if err != nil {
		t.Fatal(err)
	}
	var sites []string
	for _, h := range c.Hooks {
		sites = append(sites, h.Section.String()+" "+h.Site.String())
	}
	want := []string{
		"tracepoints raw_syscalls/sys_enter", "kprobes kprobe:__x64_sys_read,__x64_sys_write", "kprobes kprobe:security_file_open,security_file_permission",
		"enforcers fmod_ret:security_file_open", "enforcers fmod_ret:security_file_permission",
	}
	if !slices.Equal(sites, want) {
		t.Errorf("sites %q, want %q", sites, want)
	}
	// read and write are 0 and 1.
	r := c.Hooks[0].Rules[0]
	for number, matches := range map[uint64]bool{0: true, 1: true, 257: false} {
		if got := r.Matches(&c.Hooks[0], []compile.Value{{Number: number}}, false); got != matches {
			t.Errorf("call %d matches: %t", number, got)
		}
	}
	if len(p.Hooks[1].Calls) != 0 {
		t.Error("the policy has changed")
	}
	delete(k.Prototypes, "__x64_sys_write")
	if c, err = compile.Compile(p, k); err != nil || c.Hooks[1].Site.Name != "__x64_sys_read" {
		t.Errorf("on another kernel: %v", err)
	}
	delete(k.Prototypes, "__x64_sys_read")
	if _, err = compile.Compile(p, k); err == nil || !strings.Contains(err.Error(), "line 8: spec.kprobes[0].call: list \"s\": the kernel has nothing") {
		t.Errorf("on a kernel without such calls: %v", err)
	}
}
