// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"path"
	"testing"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// TestFirstEventsAreComplete: all that a container's hook tells is in every event
// of it, from the first on, with what the agent finds of each process. The first
// are exits of runc's own, before it calls the hook.
func TestFirstEventsAreComplete(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{Args: []string{"--enable-ancestors=base", "--username-metadata=unix"}})
	events := agent.Events(t, &tetragon.GetEventsRequest{
		AllowList: []*tetragon.Filter{{EventSet: []tetragon.EventType{tetragon.EventType_PROCESS_EXEC, tetragon.EventType_PROCESS_EXIT}}},
	})
	runc := testenv.NewRunc(t)
	c := testenv.Bundle(t, testenv.Spec{
		ID: hexID(), Args: []string{"/bin/sleep", "1000"}, Hooks: agent.Hook(t).OCI(),
		Annotations: map[string]string{
			"io.kubernetes.cri.container-name": "web", "io.kubernetes.cri.image-name": "registry/web:1",
			"io.kubernetes.cri.sandbox-name": "web-0", "io.kubernetes.cri.sandbox-namespace": "prod", "io.kubernetes.cri.sandbox-uid": "u-1",
		},
	})
	if result := runc.RunDetached(t.Context(), c); result.Code != 0 {
		t.Fatal(result)
	}
	if result := runc.Exec(t.Context(), c, "/bin/echo", "probe"); result.Code != 0 {
		t.Fatal(result)
	}
	var own []*tetragon.ProcessExec
	var exits []*tetragon.ProcessExit
	events.Until(t, waitForEvent, "the exec of the probe", func(all []*tetragon.GetEventsResponse) error {
		own, exits = nil, nil
		for _, e := range all {
			if e.GetProcessExit().GetProcess().GetDocker() == c.ID[:31] {
				exits = append(exits, e.GetProcessExit())
			}
			if e.GetProcessExec().GetProcess().GetDocker() == c.ID[:31] {
				own = append(own, e.GetProcessExec())
			}
		}
		if len(own) == 0 || own[len(own)-1].GetProcess().GetArguments() != "probe" {
			return fmt.Errorf("%d execs of the container", len(own))
		}
		return nil
	})
	var entrypoint *tetragon.Process
	for n, e := range own {
		if err := complete(e.GetProcess(), c.ID); err != nil {
			t.Errorf("exec %d of %d: %v: %v", n, len(own), err, e)
		}
		if e.GetProcess().GetArguments() == "1000" {
			entrypoint = e.GetProcess()
		}
	}
	for n, e := range exits {
		if err := complete(e.GetProcess(), c.ID); err != nil {
			t.Errorf("exit %d of %d: %v: %v", n, len(exits), err, e)
		}
	}
	of, probe := entrypoint.GetPod().GetContainer(), own[len(own)-1]
	if of.GetPid().GetValue() != 1 || of.GetMaybeExecProbe() {
		t.Errorf("entrypoint: %v", entrypoint)
	}
	if put := probe.GetProcess().GetPod().GetContainer(); put.GetPid().GetValue() <= 1 || !put.GetMaybeExecProbe() ||
		!put.GetStartTime().AsTime().Equal(of.GetStartTime().AsTime()) {
		t.Errorf("probe: %v", probe)
	}
	if n := len(probe.GetAncestors()); n < 2 || probe.GetAncestors()[n-1].GetBinary() != "<kernel>" || probe.GetAncestors()[0].GetUser().GetName() == "" {
		t.Errorf("ancestors of the probe: %v", probe.GetAncestors())
	}
}

// complete tells what is missing of a process of the container.
func complete(p *tetragon.Process, id string) error {
	pod, of := p.GetPod(), p.GetPod().GetContainer()
	switch {
	case of.GetId() != id || of.GetName() != "web" || of.GetImage().GetName() != "registry/web:1":
		return errors.New("container")
	case pod.GetName() != "web-0" || pod.GetNamespace() != "prod" || pod.GetUid() != "u-1" || len(pod.GetPodLabels()) != 0:
		return errors.New("pod")
	case of.GetStartTime() == nil || of.GetPid().GetValue() == 0 || of.GetSecurityContext() == nil || of.GetSecurityContext().GetPrivileged():
		return errors.New("start, pid or security context")
	case p.GetUser() != nil || path.Base(p.GetBinary()) == "":
		return errors.New("binary or user")
	}
	return nil
}
