// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package runtimes starts containers with every runtime that there is, each by
// its own way in, and holds that they are sealed before their first program.
package runtimes

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/lab/truth"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// TestSealedBeforeTheFirstExec starts containers with each runtime under one
// agent: under emulation that is what takes the longest to start.
func TestSealedBeforeTheFirstExec(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	for _, runtime := range []struct {
		name  string
		prove func(*testing.T, *agentenv.Agent)
	}{
		{"runc", runc},
		{"crun", crun},
		{"podman", podman},
		{"containerd", containerd}, // the last: it stops the agent
	} {
		t.Run(runtime.name, func(t *testing.T) { runtime.prove(t, agent) })
	}
}

// unified tells whether the host has cgroups of version 2 alone. Where it has
// others, engines make some in every hierarchy and leave them.
func unified() error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil {
		return fmt.Errorf("look at /sys/fs/cgroup: %w", err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return errors.New("/sys/fs/cgroup is not of version 2 alone")
	}
	return nil
}

// inLab makes a feature of a runtime that machines may lack, and that every
// guest of the lab has: there the test fails instead of being skipped.
func inLab(name string, check func() error) testenv.Feature {
	if os.Getenv(truth.Variable) != "" {
		return testenv.Needed(name, check)
	}
	return testenv.Optional(name, check)
}

// waitArmed waits until the container's entrypoint is executed, and returns what
// the agent knows of it.
func waitArmed(t *testing.T, agent *agentenv.Agent, id string) *boltseal.Container {
	t.Helper()
	var known *boltseal.Container
	testenv.Eventually(t, patience, "the container's entrypoint is executed", func() error {
		known = agent.Container(t, id)
		if known.GetState() != boltseal.ContainerState_CONTAINER_STATE_ARMED {
			return fmt.Errorf("the agent knows %v", known)
		}
		return nil
	})
	return known
}
