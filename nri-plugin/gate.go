// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/boltseal/boltseal/hook/agentclient"
)

// What the library asks for by name and would leave out in silence.
var (
	_ stub.ConfigureInterface       = (*gate)(nil)
	_ stub.SynchronizeInterface     = (*gate)(nil)
	_ stub.CreateContainerInterface = (*gate)(nil)
	_ stub.StartContainerInterface  = (*gate)(nil)
)

// gate is the part of the plugin that containers have to get past. It is asked for
// nothing else: where the runtime knows of failure policies, a request that it does
// not answer fails, and pods and containers have to stop and go whatever it does.
// Its methods may be called at the same time.
type gate struct{ *session }

// Configure is told which runtime it is.
func (g *gate) Configure(_ context.Context, _, runtime, version string) (api.EventMask, error) {
	of := g.configure(runtime, version)
	g.log.Info("connected", "runtime", runtime, "version", version)
	if !of.hooks && g.hook != "" {
		g.log.Warn("the runtime adds no hooks: add boltseal-hook to it another way", "runtime", runtime, "version", version)
	}
	if !of.paths {
		g.log.Warn("the runtime does not say where containers will be: they are not announced", "runtime", runtime, "version", version)
	}
	return 0, nil // everything that there is a method for
}

// Synchronize is told of what runs already. The runtime waits for the answer
// before it goes on, and containers are taken in meanwhile.
func (g *gate) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	g.adopt(pods, containers)
	return nil, nil
}

// CreateContainer announces a container whose cgroup is not made yet, and adds
// the hook that has the last word.
func (g *gate) CreateContainer(ctx context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	_, of, limit := g.kind()
	now, adjust := g.terms(), &api.ContainerAdjustment{}
	if of.paths {
		ctx, cancel := context.WithTimeout(ctx, min(limit, now.Deadline))
		defer cancel()
		request, err := g.request(pod, c)
		request, outcome := g.ask(ctx, now, request, err)
		decision := now.decide(request, outcome)
		g.tellOf(ctx, "create", c, outcome, decision)
		// An agent that is away now may be there when the container starts, and that
		// is when the fail policy speaks. What was refused will be refused again.
		switch outcome.Cause {
		case agentclient.Refused, agentclient.BadInput, agentclient.BadConfig:
			return nil, nil, fmt.Errorf("boltseal: container %q not created: %s", c.GetId(), decision.Reason)
		}
	}
	if of.hooks && g.hook != "" {
		adjust.AddHooks(&api.Hooks{CreateRuntime: []*api.Hook{{
			Path: g.hook, Args: append([]string{"boltseal-hook"}, g.hookArgs...), Timeout: api.Int(now.HookTimeout()),
		}}})
	}
	return adjust, nil, nil
}

// StartContainer confirms that the container whose first process is there is
// sealed. An error keeps it from starting.
func (g *gate) StartContainer(ctx context.Context, pod *api.PodSandbox, c *api.Container) error {
	_, _, limit := g.kind()
	now := g.terms()
	ctx, cancel := context.WithTimeout(ctx, min(limit, now.Deadline))
	defer cancel()
	request, err := g.request(pod, c)
	request, outcome := g.ask(ctx, now, request, err)
	decision := now.decide(request, outcome)
	if decision.Late {
		g.leave(now, request)
	}
	g.tellOf(ctx, "start", c, outcome, decision)
	if !decision.Start {
		return fmt.Errorf("boltseal: container %q not started: %s", c.GetId(), decision.Reason)
	}
	return nil
}
