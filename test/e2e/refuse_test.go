// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// kernelObjects counts what a process holds open of the kernel's BPF: maps,
// programs, links and the events that programs are attached to.
func kernelObjects(t *testing.T, pid int) map[string]int {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) == 0 {
		t.Fatalf("descriptors of process %d: %v", pid, err)
	}
	kind := regexp.MustCompile(`^anon_inode:\[?(bpf[-_a-z]*|perf_event)\]?$`)
	count := map[string]int{}
	for _, link := range links {
		target, _ := os.Readlink(link) // closed meanwhile
		if m := kind.FindStringSubmatch(target); m != nil {
			count[m[1]]++
		}
	}
	return count
}

// What this kernel has not, or cannot do, is refused with the reason, and nothing of
// the policy stays: neither of the hook that is at fault nor of those beside it.
func TestRefusedWhole(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	const sound = "  tracepoints:\n  - subsystem: syscalls\n    event: sys_enter_fchmod\n    args: [{index: 5, type: fd}]\n" +
		"    selectors: [{matchArgs: [{args: [0], operator: Equal, values: [/none]}]}]\n"
	before := kernelObjects(t, agent.Pid)
	if before["bpf-map"] == 0 || before["bpf-prog"] == 0 {
		t.Fatalf("the agent holds %v: this cannot be told", before)
	}
	for _, c := range []struct{ name, hooks, say string }{
		{"a function that is not there", "  kprobes:\n  - {call: security_no_such_thing, syscall: false}\n", "spec.kprobes[0]: function security_no_such_thing"},
		{"a system call that is not there", "  kprobes:\n  - {call: sys_no_such_thing}\n", "sys_no_such_thing"},
		{"a tracepoint that is not there", "  tracepoints:\n  - {subsystem: sched, event: no_such_thing}\n", "no_such_thing"},
		{"a raw tracepoint that is not there", "  tracepoints:\n  - {subsystem: raw_tp, event: no_such_thing, raw: true}\n", "no_such_thing"},
		{"a security hook that is not there", "  lsmhooks:\n  - {hook: no_such_thing}\n", "spec.lsmhooks[0]"},
		{"an override where none can be", "  kprobes:\n  - call: wake_up_new_task\n    syscall: false\n    selectors: [{matchActions: [{action: Override, argError: -1}]}]\n", "action Override is for system calls"},
		{"an argument that is not there", "  kprobes:\n  - {call: security_task_getpgid, syscall: false, args: [{index: 9, type: int}]}\n", "spec.kprobes[0]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hooks := sound + c.hooks
			if rest, ok := strings.CutPrefix(c.hooks, "  tracepoints:\n"); ok {
				hooks = sound + rest
			}
			text := "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: refused}\nspec:\n" + hooks
			err := agent.Add(t.Context(), text)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v, want that it is refused because of %q", err, c.say)
			}
			if after := kernelObjects(t, agent.Pid); !maps.Equal(after, before) {
				t.Errorf("the agent holds %v, and held %v", after, before)
			}
			if s := agent.Status(t); len(s.GetSites()) != 0 || s.GetPolicies() != 0 {
				t.Errorf("left: sites %v, %d policies", s.GetSites(), s.GetPolicies())
			}
		})
	}
	// The same hook alone is what this is compared with: it makes some.
	agent.Policy(t, "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: sound}\nspec:\n"+sound)
	if with := kernelObjects(t, agent.Pid); maps.Equal(with, before) {
		t.Errorf("the agent holds %v with a policy and without", with)
	}
	agent.Delete(t, "sound")
	if after := kernelObjects(t, agent.Pid); !maps.Equal(after, before) {
		t.Errorf("after the policy is gone the agent holds %v, and held %v", after, before)
	}
}
