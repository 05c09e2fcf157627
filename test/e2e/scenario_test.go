// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/lab/truth"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// library is a copy of the policy library in a directory of the test.
func library(t *testing.T) string {
	t.Helper()
	dir := testenv.Dir(t)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(sources, "policies"))); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "scenarios")
}

// TestScenarios proves the policies of the library. Those that need what this
// kernel lacks are skipped by the command itself, with the reason.
func TestScenarios(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	scenarios := library(t)
	d := newStage(t, "boltseal-test", "policy", "test", scenarios)
	before, err := d.traces()
	if err != nil {
		t.Fatal(err)
	}
	cmd, out := d.command(t)
	if err := cmd.Run(); err != nil {
		t.Fatalf("boltseal policy test: %v\n%s", err, out)
	}
	d.nothingLeft(t, before)
	t.Log(out)
	column, err := truth.Named(os.Getenv(truth.Variable))
	lsm := err == nil && column.BPF
	files, err := filepath.Glob(filepath.Join(scenarios, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		_, rest, found := strings.Cut("\n"+out.String(), "\n"+name+": policy "+name+"\n")
		switch {
		case !found:
			t.Errorf("%s was not run", name)
		case strings.HasPrefix(rest, "  skipped: ") && !strings.HasPrefix(name, "deny-"):
			t.Errorf("%s was skipped, and needs tracepoints alone", name)
		case strings.HasPrefix(rest, "  skipped: ") && lsm:
			t.Errorf("%s was skipped on a kernel that has what it needs", name)
		case !strings.HasPrefix(rest, "  skipped: ") && !strings.HasPrefix(rest, "  ok  "):
			t.Errorf("%s: nothing came of it", name)
		}
	}
}

// TestWrongScenario: a scenario that cannot fail proves nothing.
func TestWrongScenario(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	scenarios := library(t)
	file := filepath.Join(scenarios, "wrong.yaml")
	const text = `name: wrong
policy: ../no-shadow-read.yaml
container: {annotations: {boltseal.policy: no-shadow-read}}
files: {/etc/shadow: "secret"}
cases:
- {name: reads it and lives, command: [cat, /etc/shadow], expect: allowed}
- {name: reads another and dies, command: [cat, /proc/version], expect: killed}
- {name: cannot be done anyway, command: [cat, /none], expect: killed}
- {name: is killed, command: [cat, /etc/shadow], expect: killed}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newStage(t, "boltseal-test", "policy", "test", file)
	before, err := d.traces()
	if err != nil {
		t.Fatal(err)
	}
	cmd, out := d.command(t)
	err = cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("boltseal policy test: %v, want exit status 1", err)
	}
	d.nothingLeft(t, before)
	for _, want := range []string{
		"  NO  reads it and lives: with the policy allowed: ", "  NO  reads another and dies: with the policy killed: ",
		"  NO  cannot be done anyway: without it allowed: ", "  ok  is killed: with the policy killed: ",
		"1 of 1 scenario came out otherwise than expected",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// TestScenariosInterrupted looks for what interrupted scenarios leave behind.
func TestScenariosInterrupted(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	newStage(t, "boltseal-test", "policy", "test", filepath.Join(library(t), "no-tmp-exec.yaml")).interruptEverywhere(t, 6)
}

// TestExplainIsWhatTheAgentDoes: what is said without an agent of a policy on this
// kernel is what an agent here makes of it.
func TestExplainIsWhatTheAgentDoes(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	program := testenv.Binary(t, "./agent/cmd/boltseal")
	files, err := filepath.Glob(filepath.Join(sources, "policies", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		cmd := exec.CommandContext(t.Context(), program, "policy", "explain", "-o", "json", file)
		out, _ := cmd.Output() // its exit code says what the text says
		var said []struct {
			Loads bool
			Hooks []struct{ Guarantees []string }
			Notes []string
		}
		if err := json.Unmarshal(out, &said); err != nil || len(said) != 1 {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := agent.Add(t.Context(), string(text)); (err == nil) != said[0].Loads {
			t.Errorf("%s: explained as loading: %v, the agent says %v", name, said[0].Loads, err)
		}
		var want, got []string
		for _, h := range said[0].Hooks {
			want = append(want, h.Guarantees...)
		}
		response, err := agent.Tetragon.ListTracingPolicies(t.Context(), &tetragon.ListTracingPoliciesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range response.GetPolicies() {
			for _, h := range p.GetHookStatuses() {
				if p.GetName() == name {
					_, promise, _ := strings.Cut(h.GetHookDescription(), ": ")
					got = append(got, promise)
				}
			}
		}
		if said[0].Loads && !slices.Equal(got, want) {
			t.Errorf("%s: explained as %q, the agent says %q", name, want, got)
		}
	}
}
