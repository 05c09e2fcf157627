// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agentenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// MarkKey is the annotation that the policies of tests select containers by.
const MarkKey = "boltseal.test/mark"

// Mark returns a value of [MarkKey], or a name, that nobody else on this
// machine has.
func Mark() string { return "m" + strings.ToLower(rand.Text()[:16]) }

// Marked is annotations that hold a mark.
func Marked(mark string) map[string]string { return map[string]string{MarkKey: mark} }

// Tracepoint is one entry of a policy's tracepoints: a system call's entry.
type Tracepoint struct {
	// Event is the event in subsystem syscalls, or "subsystem/event".
	Event string
	// Args is the argument list in YAML's flow style, as in
	// "[{index: 6, type: string}]"; empty for none.
	Args string
	// Selectors is the list of selectors, in flow style.
	Selectors string
}

// PolicyText writes a policy for the containers with the mark.
func PolicyText(name, mark string, points ...Tracepoint) string {
	return PolicyFor(name, fmt.Sprintf("containerSelector: {matchLabels: {%s: %s}}", MarkKey, mark), points...)
}

// PolicyFor writes a policy with a selector of its own: lines of the spec,
// which may also hold options.
func PolicyFor(name, spec string, points ...Tracepoint) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: %s\nspec:\n", name)
	for line := range strings.Lines(spec) {
		fmt.Fprintf(&b, "  %s", line)
	}
	b.WriteString("\n  tracepoints:\n")
	for _, p := range points {
		subsystem, event, found := strings.Cut(p.Event, "/")
		if !found {
			subsystem, event = "syscalls", p.Event
		}
		fmt.Fprintf(&b, "  - subsystem: %s\n    event: %s\n", subsystem, event)
		if p.Args != "" {
			fmt.Fprintf(&b, "    args: %s\n", p.Args)
		}
		if p.Selectors != "" {
			fmt.Fprintf(&b, "    selectors: %s\n", p.Selectors)
		}
	}
	return b.String()
}

// Opens returns a tracepoint for every system call that opens a file by name.
// Their first argument is the name; selectors are as in [Tracepoint].
func Opens(selectors string) []Tracepoint {
	points := []Tracepoint{
		{Event: "sys_enter_openat", Args: "[{index: 6, type: string}]", Selectors: selectors},
		{Event: "sys_enter_openat2", Args: "[{index: 6, type: string}]", Selectors: selectors},
	}
	if runtime.GOARCH == "amd64" { // others have no open(2)
		points = append(points, Tracepoint{Event: "sys_enter_open", Args: "[{index: 5, type: string}]", Selectors: selectors})
	}
	return points
}

// KillShadow writes the policy that most tests use: containers with the mark
// are killed when they open /etc/shadow.
func KillShadow(name, mark string) string {
	return PolicyText(name, mark,
		Opens("[{matchArgs: [{args: [0], operator: Postfix, values: [/etc/shadow]}], matchActions: [{action: Sigkill}]}]")...)
}

// Waiting is the entrypoint of a container that reads /etc/shadow once it is released;
// it has a directory of the host at /tmp.
func Waiting() []string {
	return []string{"/bin/sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done; exec cat /etc/shadow"}
}

// Release releases containers that wait and have the directory.
func Release(tb testing.TB, shared string) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(shared, "go"), nil, 0o644); err != nil {
		tb.Fatalf("agentenv: release a container: %v", err)
	}
}

// Add adds a policy; it is in force when this returns nil.
func (a *Agent) Add(ctx context.Context, yaml string) error {
	_, err := a.Tetragon.AddTracingPolicy(ctx, &tetragon.AddTracingPolicyRequest{Yaml: yaml})
	return err
}

// Policy adds a policy that must be accepted.
func (a *Agent) Policy(tb testing.TB, yaml string) {
	tb.Helper()
	ctx, cancel := call()
	defer cancel()
	if err := a.Add(ctx, yaml); err != nil {
		tb.Fatalf("agentenv: add policy: %v\n%s", err, yaml)
	}
}

// Delete deletes a policy of no namespace that must be there.
func (a *Agent) Delete(tb testing.TB, name string) {
	tb.Helper()
	ctx, cancel := call()
	defer cancel()
	if _, err := a.Tetragon.DeleteTracingPolicy(ctx, &tetragon.DeleteTracingPolicyRequest{Name: name}); err != nil {
		tb.Fatalf("agentenv: delete policy %s: %v", name, err)
	}
}

// Mode changes a policy's mode.
func (a *Agent) Mode(tb testing.TB, name string, mode tetragon.TracingPolicyMode) {
	tb.Helper()
	ctx, cancel := call()
	defer cancel()
	request := &tetragon.ConfigureTracingPolicyRequest{Name: name, Mode: &mode}
	if _, err := a.Tetragon.ConfigureTracingPolicy(ctx, request); err != nil {
		tb.Fatalf("agentenv: change policy %s to %s: %v", name, mode, err)
	}
}

// PolicyStatus returns what the agent lists of a policy, nil if nothing.
func (a *Agent) PolicyStatus(tb testing.TB, name string) *tetragon.TracingPolicyStatus {
	tb.Helper()
	ctx, cancel := call()
	defer cancel()
	list, err := a.Tetragon.ListTracingPolicies(ctx, &tetragon.ListTracingPoliciesRequest{})
	if err != nil {
		tb.Fatalf("agentenv: list policies: %v", err)
	}
	for _, p := range list.GetPolicies() {
		if p.GetName() == name {
			return p
		}
	}
	return nil
}
