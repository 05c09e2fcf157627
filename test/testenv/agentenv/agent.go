// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agentenv

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
)

// callTime is how long an agent may take for a call on a busy machine.
const callTime = 60 * time.Second

// Agent is a running agent and its API. Its methods may be called at the same
// time, but for those of the process.
type Agent struct {
	*testenv.AgentProcess
	// Tetragon and Boltseal are clients of the two services.
	Tetragon tetragon.FineGuidanceSensorsClient
	Boltseal boltseal.BoltsealClient
}

// Require skips or fails a test on a machine that cannot run the agent and
// containers under it.
func Require(tb testing.TB) {
	tb.Helper()
	testenv.Require(tb, testenv.BPF(), testenv.BTF(), testenv.Containers())
}

// Start starts an agent, with what testenv.Agent promises about its end, and
// connects to it.
func Start(tb testing.TB, options testenv.AgentOptions) *Agent {
	tb.Helper()
	a := &Agent{AgentProcess: testenv.Agent(tb, options)}
	conn := a.Connect(tb)
	a.Tetragon = tetragon.NewFineGuidanceSensorsClient(conn)
	a.Boltseal = boltseal.NewBoltsealClient(conn)
	return a
}

// call is the context of one call; it outlives the test, for cleanups.
func call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), callTime)
}

// Status returns what the agent says of itself and the kernel.
func (a *Agent) Status(tb testing.TB) *boltseal.GetStatusResponse {
	tb.Helper()
	ctx, cancel := call()
	defer cancel()
	status, err := a.Boltseal.GetStatus(ctx, &boltseal.GetStatusRequest{})
	if err != nil {
		tb.Fatalf("agentenv: get status: %v", err)
	}
	return status
}

// Containers returns the containers that the agent knows, by id. There may be
// some of other tests among them.
func (a *Agent) Containers(tb testing.TB) map[string]*boltseal.Container {
	tb.Helper()
	ctx, cancel := call()
	defer cancel()
	list, err := a.Boltseal.ListContainers(ctx, &boltseal.ListContainersRequest{})
	if err != nil {
		tb.Fatalf("agentenv: list containers: %v", err)
	}
	byID := map[string]*boltseal.Container{}
	for _, c := range list.GetContainers() {
		byID[c.GetId()] = c
	}
	return byID
}

// Container returns what the agent knows of a container, nil if nothing.
func (a *Agent) Container(tb testing.TB, id string) *boltseal.Container {
	tb.Helper()
	ctx, cancel := call()
	defer cancel()
	list, err := a.Boltseal.ListContainers(ctx, &boltseal.ListContainersRequest{IdPrefix: id})
	if err != nil {
		tb.Fatalf("agentenv: list container %s: %v", id, err)
	}
	for _, c := range list.GetContainers() {
		if c.GetId() == id {
			return c
		}
	}
	return nil
}

// Announce calls RuntimeHook, as a hook does.
func (a *Agent) Announce(ctx context.Context, c *tetragon.CreateContainer) error {
	_, err := a.Tetragon.RuntimeHook(ctx, &tetragon.RuntimeHookRequest{
		Event: &tetragon.RuntimeHookRequest_CreateContainer{CreateContainer: c},
	})
	return err
}

// SealedFirst checks, by the kernel's own times, that a container was sealed
// before any task was in its cgroup, and so before its first exec.
func SealedFirst(c *boltseal.Container) error {
	switch {
	case c == nil:
		return errors.New("the agent does not know it")
	case c.GetState() != boltseal.ContainerState_CONTAINER_STATE_ARMED:
		return fmt.Errorf("state %s", c.GetState())
	case c.GetSealedNs() == 0 || c.GetSealedNs() >= c.GetFirstTaskNs():
		return fmt.Errorf("sealed at %d, first task at %d", c.GetSealedNs(), c.GetFirstTaskNs())
	case c.GetFirstTaskNs() > c.GetFirstExecNs() || c.GetFirstExecNs() > c.GetArmedNs():
		return fmt.Errorf("first task at %d, first exec at %d, armed at %d", c.GetFirstTaskNs(), c.GetFirstExecNs(), c.GetArmedNs())
	}
	return nil
}
