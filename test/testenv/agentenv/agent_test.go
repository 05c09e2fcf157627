// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agentenv

import (
	"strings"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// TestKillShadowKillsInMarkedContainersOnly proves what tests build on.
func TestKillShadowKillsInMarkedContainersOnly(t *testing.T) {
	testenv.LeakCheck(t)
	Require(t)
	a := Start(t, testenv.AgentOptions{})
	mark := Mark()
	a.Policy(t, KillShadow("shadow", mark))
	hook, runc := a.Hook(t), testenv.NewRunc(t)
	for _, test := range []struct {
		mark   string
		status int
	}{{mark, 137}, {Mark(), 0}} {
		c := testenv.Bundle(t, testenv.Spec{
			Args: []string{"/bin/cat", "/etc/shadow"}, Annotations: Marked(test.mark), Hooks: hook.OCI(),
		})
		result := runc.Run(t.Context(), c)
		if leaked := strings.Contains(result.Stdout, testenv.Secret); result.Code != test.status || leaked != (test.status == 0) {
			t.Errorf("mark %s: %s", test.mark, result)
		}
	}
	if n := strings.Count(hook.Lines(t), "\n"); n != 2 {
		t.Errorf("the hook logged %d lines, want 2:\n%s", n, hook.Lines(t))
	}
	if p := a.PolicyStatus(t, "shadow"); p.GetStats().GetActionCounters().GetSignal() != 1 {
		t.Errorf("status of the policy: %v", p)
	}
	a.Delete(t, "shadow")
	if p := a.PolicyStatus(t, "shadow"); p != nil {
		t.Errorf("deleted, and still listed: %v", p)
	}
	if len(a.Status(t).GetSites()) != 0 {
		t.Errorf("sites without policies: %v", a.Status(t).GetSites())
	}
}
