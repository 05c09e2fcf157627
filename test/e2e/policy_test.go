// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

const (
	enforce = tetragon.TracingPolicyMode_TP_MODE_ENFORCE
	monitor = tetragon.TracingPolicyMode_TP_MODE_MONITOR
)

// TestPolicyLife takes a policy through its states: each is in force when the
// call that asks for it returns, and listed.
func TestPolicyLife(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	r := newRunning(t, agent)
	policy := func(values string) string {
		return agentenv.PolicyText("life", r.mark, exitCode("int", "operator: Equal, values: ["+values+"]", "{action: Sigkill}")...)
	}
	listed := func(state tetragon.TracingPolicyState, mode tetragon.TracingPolicyMode, signals, monitored uint64) {
		t.Helper()
		p := agent.PolicyStatus(t, "life")
		c := p.GetStats().GetActionCounters()
		if p.GetState() != state || p.GetMode() != mode || c.GetSignal() != signals || c.GetMonitorSignal() != monitored ||
			len(p.GetSensors()) == 0 || p.GetKernelMemoryBytes() == 0 {
			t.Errorf("listed as %v; want %s, %s, %d signals, %d monitored", p, state, mode, signals, monitored)
		}
	}
	const on, off = tetragon.TracingPolicyState_TP_STATE_ENABLED, tetragon.TracingPolicyState_TP_STATE_DISABLED
	name := &tetragon.DisableTracingPolicyRequest{Name: "life"}
	r.tries(t, exits(42, 42))
	agent.Policy(t, policy("42"))
	listed(on, enforce, 0, 0)
	r.tries(t, exits(killed, 42))
	listed(on, enforce, 1, 0)
	agent.Mode(t, "life", monitor)
	r.tries(t, exits(42, 42))
	listed(on, monitor, 1, 1)
	agent.Mode(t, "life", enforce)
	r.tries(t, exits(killed, 42))
	listed(on, enforce, 2, 1)
	if _, err := agent.Tetragon.DisableTracingPolicy(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	r.tries(t, exits(42, 42))
	listed(off, enforce, 2, 1)
	if known := agent.Container(t, r.ID); len(known.GetPolicies()) != 0 {
		t.Errorf("policies %q of a container whose policy is disabled", known.GetPolicies())
	}
	if _, err := agent.Tetragon.EnableTracingPolicy(t.Context(), &tetragon.EnableTracingPolicyRequest{Name: "life"}); err != nil {
		t.Fatal(err)
	}
	r.tries(t, exits(killed, 42))
	listed(on, enforce, 3, 1)
	// One with the same name takes its place.
	agent.Policy(t, policy("43"))
	r.tries(t, exits(42, 42), exits(killed, 43))
	if n := agent.Status(t).GetPolicies(); n != 1 {
		t.Errorf("%d policies after one was replaced", n)
	}
	agent.Delete(t, "life")
	r.tries(t, exits(42, 42), exits(43, 43))
	for what, err := range map[string]error{
		"delete":    deletes(t.Context(), agent, "life"),
		"configure": configures(t.Context(), agent, "life"),
	} {
		if status.Code(err) != codes.NotFound {
			t.Errorf("%s of a policy that is gone: %v", what, err)
		}
	}
	if s := agent.Status(t); s.GetPolicies() != 0 || len(s.GetSites()) != 0 {
		t.Errorf("left: %d policies, sites %v", s.GetPolicies(), s.GetSites())
	}
}

func deletes(ctx context.Context, agent *agentenv.Agent, name string) error {
	_, err := agent.Tetragon.DeleteTracingPolicy(ctx, &tetragon.DeleteTracingPolicyRequest{Name: name})
	return err
}

func configures(ctx context.Context, agent *agentenv.Agent, name string) error {
	_, err := agent.Tetragon.ConfigureTracingPolicy(ctx, &tetragon.ConfigureTracingPolicyRequest{Name: name, Mode: enforce.Enum()})
	return err
}

// TestPoliciesStandSideBySide: policies at one site hold each for its own
// containers, and one that goes leaves the others alone.
func TestPoliciesStandSideBySide(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	a, b := newRunning(t, agent), newRunning(t, agent)
	add := func(name string, r *running, value int) {
		t.Helper()
		agent.Policy(t, agentenv.PolicyText(name, r.mark, exitCode("int", fmt.Sprintf("operator: Equal, values: [%d]", value), "{action: Sigkill}")...))
	}
	add("a1", a, 1)
	add("a2", a, 2)
	add("b3", b, 3)
	a.tries(t, exits(killed, 1), exits(killed, 2), exits(3, 3))
	b.tries(t, exits(1, 1), exits(2, 2), exits(killed, 3))
	agent.Delete(t, "a1")
	a.tries(t, exits(1, 1), exits(killed, 2), exits(3, 3))
	b.tries(t, exits(1, 1), exits(2, 2), exits(killed, 3))
	if known := agent.Container(t, a.ID); strings.Join(known.GetPolicies(), " ") != "a2" {
		t.Errorf("policies %q", known.GetPolicies())
	}
}

// invalid is policies with the field that is at fault.
func invalid() map[string]string {
	point := func(spec string) string {
		return "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: bad}\nspec:\n" +
			"  containerSelector: {matchLabels: {" + agentenv.MarkKey + ": nobody}}\n  tracepoints:\n  - {subsystem: syscalls, event: sys_enter_openat}\n" + spec
	}
	return map[string]string{
		"":                "",
		"metadata.name: ": "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: Not_A_Name}\nspec: {}\n",
		"kind: ":          "apiVersion: cilium.io/v1alpha1\nkind: Policy\nmetadata: {name: bad}\nspec: {}\n",
		"spec.uprobes: ":  point("  uprobes: [{path: /bin/sh}]\n"),
		"spec.colour: ":   point("  colour: red\n"),
		"spec.tracepoints[1]: event syscalls/sys_enter_nothing":      point("  - {subsystem: syscalls, event: sys_enter_nothing}\n"),
		"spec.tracepoints[1].args[0].index":                          point("  - {subsystem: syscalls, event: sys_enter_openat, args: [{index: 99, type: string}]}\n"),
		"spec.tracepoints[1].args[0].type":                           point("  - {subsystem: syscalls, event: sys_enter_openat, args: [{index: 6, type: colour}]}\n"),
		"spec.tracepoints[1].selectors[0].matchArgs[0].operator":     point("  - {subsystem: syscalls, event: sys_enter_openat, args: [{index: 6, type: string}], selectors: [{matchArgs: [{args: [0], operator: Like, values: [x]}]}]}\n"),
		"spec.tracepoints[1].selectors[0].matchArgs[0].values[0]":    point("  - {subsystem: syscalls, event: sys_enter_openat, args: [{index: 7, type: int}], selectors: [{matchArgs: [{args: [0], operator: Equal, values: [x]}]}]}\n"),
		"spec.tracepoints[1].selectors[0].matchActions[0]":           point("  - {subsystem: syscalls, event: sys_enter_openat, selectors: [{matchActions: [{action: Signal}]}]}\n"),
		"spec.tracepoints[1].selectors[0].matchActions[0].action":    point("  - {subsystem: syscalls, event: sys_enter_openat, selectors: [{matchActions: [{action: Override, argError: -1}]}]}\n"),
		"spec.tracepoints[1].selectors[0].matchBinaries[0].operator": point("  - {subsystem: syscalls, event: sys_enter_openat, selectors: [{matchBinaries: [{operator: Sometimes, values: [/bin/sh]}]}]}\n"),
		"spec.podSelector.matchExpressions[0].operator":              point("  podSelector: {matchExpressions: [{key: a, operator: Near, values: [b]}]}\n"),
	}
}

// TestInvalidPoliciesAreRefusedWhole: a refused policy says where it is at fault
// and leaves nothing behind, and the policy that it would have replaced in force.
func TestInvalidPoliciesAreRefusedWhole(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	r := newRunning(t, agent)
	agent.Policy(t, agentenv.PolicyText("bad", r.mark, exitCode("int", "operator: Equal, values: [42]", "{action: Sigkill}")...))
	before := agent.Status(t)
	for path, text := range invalid() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := agent.Add(ctx, text)
		cancel()
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(status.Convert(err).Message(), path) {
			t.Errorf("%q: %v", path, err)
		}
		after := agent.Status(t)
		if fmt.Sprint(after.GetSites()) != fmt.Sprint(before.GetSites()) || after.GetPolicies() != 1 {
			t.Errorf("%q: sites %v and %d policies, were %v and 1", path, after.GetSites(), after.GetPolicies(), before.GetSites())
		}
	}
	r.tries(t, exits(killed, 42))
}
