// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// What a hook promises says when the kernel does not always keep it.
func TestGuarantee(t *testing.T) {
	t.Parallel()
	k := withFunctions("security_a", "lsm/a")
	k.Preempts = map[compile.SiteKind]bool{compile.ModifyReturn: true, compile.Tracepoint: true}
	k.Events = map[string][]compile.Field{"syscalls/sys_enter_a": nil, "syscalls/sys_exit_a": nil, "sched/a": nil}
	deny, kill := policy.Action{Kind: policy.Override, Error: -1}, policy.Action{Kind: policy.Sigkill}
	for _, c := range []struct {
		section policy.Section
		call    string
		actions []policy.Action
		want    string
		missed  bool
	}{
		{policy.LSMHooks, "a", []policy.Action{deny}, "prevented", false},
		{policy.Kprobes, "security_a", []policy.Action{deny}, "prevented", true},
		{policy.Kprobes, "security_a", []policy.Action{deny, kill}, "prevented, and the process killed", true},
		{policy.Kprobes, "security_a", []policy.Action{kill}, "the process is killed", false},
		{policy.Kprobes, "security_a", []policy.Action{{Kind: policy.Signal, Signal: 15}}, "signaled", false},
		{policy.Kprobes, "security_a", []policy.Action{{Kind: policy.Post}}, "reported", false},
		{policy.Tracepoints, "syscalls/sys_enter_a", []policy.Action{kill}, "the process is killed", true},
		{policy.Tracepoints, "sched/a", []policy.Action{kill}, "the process is killed", false},
	} {
		hook := policy.Hook{Section: c.section, Calls: []string{c.call}, Selectors: []policy.Selector{{Actions: c.actions}}}
		if c.section == policy.Tracepoints {
			hook.Subsystem, hook.Event, _ = strings.Cut(c.call, "/")
		}
		p, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{hook}}, k)
		if err != nil {
			t.Errorf("%s %s: %v", c.section, c.call, err)
			continue
		}
		got := p.Hooks[0].Guarantee()
		if !strings.Contains(got, c.want) || strings.Contains(got, "preempted") != c.missed {
			t.Errorf("%s %s %v: %q, want %q, missed %v", c.section, c.call, c.actions, got, c.want, c.missed)
		}
	}
	p, err := compile.Compile(enforced(policy.Action{Error: -1}, "security_a"), k)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"left to the policy's enforcers", "prevented; but when the kernel preempts itself"} {
		if got := p.Hooks[i].Guarantee(); !strings.HasPrefix(got, want) {
			t.Errorf("hook %d: %q, want %q", i, got, want)
		}
	}
}
