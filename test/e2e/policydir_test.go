// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// takenIn is how long a change of the policy directory may take on a busy machine.
const takenIn = 20 * time.Second

// TestPolicyDirectory: what is in the files of the directory is in force for a
// running container, and nothing takes it out but the removal of its file.
func TestPolicyDirectory(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	dir := t.TempDir()
	agent := agentenv.Start(t, testenv.AgentOptions{Args: []string{"--policy-dir", dir}})
	r := newRunning(t, agent)
	policy := func(value int) string {
		return agentenv.PolicyText("life", r.mark, exitCode("int", fmt.Sprintf("operator: Equal, values: [%d]", value), "{action: Sigkill}")...)
	}
	file := filepath.Join(dir, "life.yaml")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	until := func(what string, reached func(p *tetragon.TracingPolicyStatus) bool) {
		t.Helper()
		testenv.Eventually(t, takenIn, what, func() error {
			if p := agent.PolicyStatus(t, "life"); !reached(p) {
				return fmt.Errorf("listed %v", p)
			}
			return nil
		})
	}
	r.tries(t, exits(42, 42))
	put(policy(42))
	until("a new file", func(p *tetragon.TracingPolicyStatus) bool { return p.GetInfo() == "file "+file })
	r.tries(t, exits(killed, 42), exits(43, 43))
	id := agent.PolicyStatus(t, "life").GetId()
	put(policy(43))
	until("a changed file", func(p *tetragon.TracingPolicyStatus) bool { return p.GetId() != id && p.GetId() != 0 })
	r.tries(t, exits(42, 42), exits(killed, 43))

	put(strings.Replace(policy(44), "tracepoints", "tracepoinds", 1))
	until("a faulty file", func(p *tetragon.TracingPolicyStatus) bool { return strings.Contains(p.GetError(), "spec.tracepoinds") })
	if p := agent.PolicyStatus(t, "life"); p.GetState() != tetragon.TracingPolicyState_TP_STATE_ENABLED || !strings.Contains(p.GetError(), "line ") {
		t.Errorf("a faulty file: listed %v", p)
	}
	r.tries(t, exits(44, 44), exits(killed, 43))
	for what, err := range map[string]error{
		"add": agent.Add(t.Context(), policy(45)), "delete": deletes(t.Context(), agent, "life"),
	} {
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), file) {
			t.Errorf("%s of a policy that is a file's: %v", what, err)
		}
	}
	r.tries(t, exits(45, 45), exits(killed, 43))

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	until("no file", func(p *tetragon.TracingPolicyStatus) bool { return p == nil })
	r.tries(t, exits(43, 43))
	if s := agent.Status(t); s.GetPolicies() != 0 || len(s.GetSites()) != 0 {
		t.Errorf("left: %d policies, sites %v", s.GetPolicies(), s.GetSites())
	}
}
