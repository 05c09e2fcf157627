// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// TestGeneratedList: a list of this kernel's system calls that a pattern matches
// forbids these and no others.
func TestGeneratedList(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	r := newRunning(t, agent)
	policy := func(pattern string) string {
		text := agentenv.PolicyText("generated", r.mark, agentenv.Tracepoint{
			Event: "raw_syscalls/sys_enter", Args: "[{index: 4, type: syscall64}]",
			Selectors: "[{matchArgs: [{index: 4, operator: InMap, values: ['list:calls']}], matchActions: [{action: Sigkill}]}]",
		})
		return strings.Replace(text, "spec:\n", "spec:\n  lists: [{name: calls, type: generated_syscalls, pattern: '"+pattern+"'}]\n", 1)
	}
	sync := try{killed, []string{"/bin/sync"}}
	agent.Policy(t, policy("^sys_(sync|syncfs)$"))
	r.tries(t, sync, exits(0, 0))
	agent.Policy(t, policy("^sys_syncfs$"))
	sync.status = 0
	r.tries(t, sync)
	err := agent.Add(t.Context(), policy("^do_"))
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "the kernel has nothing that its pattern matches") {
		t.Errorf("a list that stands for nothing: %v", err)
	}
}
