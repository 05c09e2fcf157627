// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// rig is an agent that is attacked, with what starts containers under it.
type rig struct {
	agent *agentenv.Agent
	hook  *agentenv.Hook
	runc  *testenv.Runc
	// mark is what the policy called policy selects.
	mark, policy string
}

func newRig(t *testing.T, options testenv.AgentOptions) *rig {
	t.Helper()
	agent := agentenv.Start(t, options)
	return &rig{agent: agent, hook: agent.Hook(t), runc: testenv.NewRunc(t), mark: agentenv.Mark(), policy: agentenv.Mark()}
}

// signals is how many signals the kernel counts for the policy.
func (r *rig) signals(t *testing.T) uint64 {
	t.Helper()
	return r.agent.PolicyStatus(t, r.policy).GetStats().GetActionCounters().GetSignal()
}

// noErrors compares what the kernel programs could not do with what it was
// before. Lost events are none of it: enforcement does not depend on them; nor is
// what the agent makes up for where the kernel skips programs, from Linux 7.0.
func (r *rig) noErrors(t *testing.T, before *boltseal.GetStatusResponse) {
	t.Helper()
	for name, n := range r.agent.Status(t).GetKernelErrors() {
		if n != before.GetKernelErrors()[name] && name != "ring_full" && name != "missed" && name != "probe_missed" && name != "exec_missed" {
			t.Errorf("kernel errors: %d of %s, were %d", n, name, before.GetKernelErrors()[name])
		}
	}
}

// settled waits until the agent knows nothing of this test's containers, and
// every slot that is used is that of a container which others run.
func (r *rig) settled(t *testing.T) {
	t.Helper()
	testenv.Eventually(t, 15*time.Second, "the agent has forgotten the containers", func() error {
		known := r.agent.Containers(t)
		for _, c := range known {
			if mine(c) {
				return fmt.Errorf("it lists %s", c)
			}
		}
		if used := r.agent.Status(t).GetSlotsUsed(); int(used) != len(known) {
			return fmt.Errorf("%d slots are used for %d containers", used, len(known))
		}
		return nil
	})
}

// mine tells whether a container is of this process's session: other tests may
// run on the machine.
func mine(c *boltseal.Container) bool {
	return strings.Contains(c.GetCgroupPath(), os.Getenv(testenv.SessionVariable))
}

// said returns a check whether a container has written text.
func said(box *testenv.Container, text string) func() error {
	return func() error {
		if out := box.Stdout(); !strings.Contains(out, text) {
			return fmt.Errorf("stdout %q, stderr %q", out, box.Stderr())
		}
		return nil
	}
}
