// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/bundle"
	"github.com/boltseal/boltseal/hook/settings"
)

// answerTime is the most time that an answer to the runtime takes: one that
// waits longer than its limit, 2 s unless it is configured, drops the plugin and
// starts containers without asking it.
const answerTime = 1500 * time.Millisecond

// What the library asks for by name and would leave out in silence.
var (
	_ stub.ConfigureInterface       = (*plugin)(nil)
	_ stub.SynchronizeInterface     = (*plugin)(nil)
	_ stub.CreateContainerInterface = (*plugin)(nil)
	_ stub.StartContainerInterface  = (*plugin)(nil)
)

// plugin answers what a runtime asks over NRI. Its methods may be called at the
// same time.
type plugin struct {
	settings settings.Settings
	log      *slog.Logger
	// hook is the path of boltseal-hook on the host and hookArgs its arguments:
	// it is what keeps a container from starting when this plugin is away. Empty:
	// no hook is added, and StartContainer alone decides.
	hook     string
	hookArgs []string
	// life is what taking containers in lasts for: nobody waits for it.
	life context.Context

	mu      sync.Mutex
	runtime string
	adopted sync.WaitGroup
}

// Configure is told which runtime it is.
func (p *plugin) Configure(_ context.Context, _, runtime, version string) (api.EventMask, error) {
	p.mu.Lock()
	p.runtime = runtime
	p.mu.Unlock()
	p.log.Info("connected", "runtime", runtime, "version", version)
	return 0, nil // everything that there is a method for
}

// Synchronize is told of what runs already. The runtime waits for the answer
// before it goes on, and containers are taken in meanwhile.
func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	byID := map[string]*api.PodSandbox{}
	for _, pod := range pods {
		byID[pod.GetId()] = pod
	}
	p.adopted.Go(func() {
		for _, c := range containers {
			if p.life.Err() == nil && c.GetPid() != 0 && c.GetState() != api.ContainerState_CONTAINER_STOPPED {
				p.adopt(byID[c.GetPodSandboxId()], c)
			}
		}
	})
	return nil, nil
}

// adopt tells the agent of a container that has run before the plugin did.
func (p *plugin) adopt(pod *api.PodSandbox, c *api.Container) {
	ctx, cancel := context.WithTimeout(p.life, p.settings.Deadline)
	defer cancel()
	request, outcome := p.ask(ctx, pod, c, true)
	p.tell(ctx, "adopt", c, outcome, agentclient.Decide(outcome, p.settings.FailPolicy, agentclient.SubjectOf(request)))
}

// CreateContainer announces a container whose cgroup is not made yet, and adds
// the hook that has the last word.
func (p *plugin) CreateContainer(ctx context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	ctx, cancel := context.WithTimeout(ctx, min(p.settings.Deadline, answerTime))
	defer cancel()
	request, outcome := p.ask(ctx, pod, c, false)
	decision := agentclient.Decide(outcome, p.settings.FailPolicy, agentclient.SubjectOf(request))
	p.tell(ctx, "create", c, outcome, decision)
	// An agent that is away now may be there when the container starts, and that
	// is when the fail policy speaks. What was refused will be refused again.
	if outcome.Cause == agentclient.Refused || outcome.Cause == agentclient.BadInput {
		return nil, nil, fmt.Errorf("boltseal: container %q not created: %s", c.GetId(), decision.Reason)
	}
	adjust := &api.ContainerAdjustment{}
	if p.hook != "" {
		adjust.AddHooks(&api.Hooks{CreateRuntime: []*api.Hook{{
			Path: p.hook, Args: append([]string{"boltseal-hook"}, p.hookArgs...), Timeout: api.Int(p.settings.HookTimeout()),
		}}})
	}
	return adjust, nil, nil
}

// StartContainer confirms that the container whose first process is there is
// sealed. An error keeps it from starting.
func (p *plugin) StartContainer(ctx context.Context, pod *api.PodSandbox, c *api.Container) error {
	ctx, cancel := context.WithTimeout(ctx, min(p.settings.Deadline, answerTime))
	defer cancel()
	request, outcome := p.ask(ctx, pod, c, false)
	decision := agentclient.Decide(outcome, p.settings.FailPolicy, agentclient.SubjectOf(request))
	if decision.Late {
		if err := p.spool(request); err != nil {
			p.log.Error("write container down for the agent", "container_id", c.GetId(), "error", err)
		}
	}
	p.tell(ctx, "start", c, outcome, decision)
	if !decision.Start {
		return fmt.Errorf("boltseal: container %q not started: %s", c.GetId(), decision.Reason)
	}
	return nil
}

// ask tells the agent of a container and returns what came of it. The request is
// never nil.
func (p *plugin) ask(ctx context.Context, pod *api.PodSandbox, c *api.Container, late bool) (*bundle.Request, agentclient.Outcome) {
	p.mu.Lock()
	runtime := p.runtime
	p.mu.Unlock()
	request, err := translate(runtime, pod, c)
	if err != nil {
		return &bundle.Request{}, agentclient.Outcome{Cause: agentclient.BadInput, Err: err}
	}
	request.Late = late
	raw, err := request.Marshal()
	if err != nil {
		return request, agentclient.Outcome{Cause: agentclient.BadInput, Err: err}
	}
	outcome := agentclient.OutcomeOf(agentclient.Client{Address: p.settings.Address}.RuntimeHook(ctx, raw))
	if outcome.Cause != agentclient.Acknowledged {
		outcome.NeverUp = p.settings.NeverUp()
	}
	return request, outcome
}

// spool writes down for the agent that a container was started without it.
func (p *plugin) spool(request *bundle.Request) error {
	late := *request
	late.Annotations = maps.Clone(request.Annotations)
	late.Late = true
	raw, err := late.Marshal()
	if err != nil {
		return err
	}
	return agentclient.Spool(p.settings.SpoolDir, late.ID, raw)
}

// tell logs what came of an event.
func (p *plugin) tell(ctx context.Context, event string, c *api.Container, o agentclient.Outcome, d agentclient.Decision) {
	level, word := slog.LevelInfo, "start"
	switch {
	case !d.Start:
		level, word = slog.LevelError, "block"
	case d.Late:
		level = slog.LevelWarn
	}
	var status *agentclient.StatusError
	code := ""
	if errors.As(o.Err, &status) {
		code = status.Code.String()
	}
	p.log.Log(ctx, level, "container", "event", event, "container_id", c.GetId(), "name", c.GetName(), "pid", c.GetPid(),
		"cause", o.Cause.String(), "grpc_code", code, "decision", word, "late", d.Late, "reason", d.Reason)
}
