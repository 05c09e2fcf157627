// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/stage"
	"github.com/boltseal/boltseal/agent/internal/match"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// runTime bounds one scenario.
const runTime = 5 * time.Minute

// maxOutput is how much of a command's output is told.
const maxOutput = 512

// Test is a scenario with its policy.
type Test struct {
	*Scenario
	Policy *policy.Policy
	// Refused is why the kernel cannot have the policy; nil when it can.
	Refused error
}

// errNotContained says that a policy would act outside of the scenario's containers.
var errNotContained = errors.New("would act on the host or in every container of this machine: give it a selector that only the scenario's container has")

// NewTest joins a scenario with its policy. A policy that is for others than a
// scenario's containers is an error.
func NewTest(s *Scenario, p *policy.Policy) (Test, error) {
	if match.SelectsHost(p) || match.SelectsAll(p) {
		return Test{}, fmt.Errorf("policy %s %w", p.Key(), errNotContained)
	}
	return Test{Scenario: s, Policy: p}, nil
}

// On is the test on a kernel, which may refuse the policy.
func (t Test) On(k compile.Kernel) Test {
	_, t.Refused = compile.Compile(t.Policy, k)
	return t
}

// Result is what came of a scenario. The names of its JSON form do not change.
type Result struct {
	Scenario string `json:"scenario"`
	Policy   string `json:"policy"`
	// Skipped is the kernel's reason; empty when the scenario ran.
	Skipped string       `json:"skipped"`
	Cases   []CaseResult `json:"cases"`
}

// CaseResult is what came of a case.
type CaseResult struct {
	Name string `json:"name"`
	// Control: the run without the policy.
	Control bool   `json:"control"`
	OK      bool   `json:"ok"`
	Want    string `json:"want"`
	// Got is how the command ended, Reason what is wrong about it.
	Got    string `json:"got"`
	Reason string `json:"reason"`
	// Output is the end of what the command wrote, when something is wrong.
	Output string `json:"output"`
}

// OK tells whether all cases came out as they should.
func (r *Result) OK() bool {
	for _, c := range r.Cases {
		if !c.OK {
			return false
		}
	}
	return true
}

// Runner runs scenarios with one agent.
type Runner struct {
	stage   *stage.Stage
	agent   *stage.Agent
	applets []string
	roots   int
	names   int
}

// Start starts the agent on a stage, which the caller closes.
func Start(ctx context.Context, s *stage.Stage) (*Runner, error) {
	// With no other argument it lists what else it is.
	list, err := exec.CommandContext(ctx, s.Busybox(), "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the applets of %s: %w", s.Busybox(), err)
	}
	r := &Runner{stage: s, applets: applets(string(list))}
	if r.agent, err = s.Start(ctx); err != nil {
		return nil, err
	}
	_, err = s.StartWatch(ctx)
	return r, err
}

func applets(list string) []string {
	var names []string
	for name := range strings.FieldsSeq(list) {
		if name != "busybox" && path.Base(name) == name {
			names = append(names, name)
		}
	}
	return names
}

// Skipped is the result of a scenario whose policy the kernel cannot have.
func Skipped(t Test) Result {
	return Result{Scenario: t.Name, Policy: t.Policy.Key(), Skipped: t.Refused.Error(), Cases: []CaseResult{}}
}

// Run runs a scenario: all its commands without the policy, then with it. The
// error is one of the stage, not of the scenario.
func (r *Runner) Run(ctx context.Context, t Test) (result Result, err error) {
	result = Result{Scenario: t.Name, Policy: t.Policy.Key(), Cases: []CaseResult{}}
	ctx, cancel := context.WithTimeoutCause(ctx, runTime, fmt.Errorf("scenario %s took longer than %s", t.Name, runTime))
	defer cancel()
	r.roots++
	root, err := r.stage.BuildRoot(fmt.Sprint(r.roots), r.applets, t.Files)
	if err != nil {
		return result, err
	}
	try := func(c *Case, control bool) error {
		o, err := r.contain(ctx, t, c, root)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
		result.Cases = append(result.Cases, judged(c, seenOf(o, t.Policy.Name), control))
		return nil
	}
	for i := range t.Cases {
		if err := try(&t.Cases[i], true); err != nil {
			return result, err
		}
	}
	if _, err := r.agent.AddTracingPolicy(ctx, &tetragon.AddTracingPolicyRequest{Yaml: t.Policy.Text}); err != nil {
		return result, fmt.Errorf("add policy %s: %w", t.Policy.Key(), stage.Said(err))
	}
	for i := range t.Cases {
		if err := try(&t.Cases[i], false); err != nil {
			return result, err
		}
	}
	request := &tetragon.DeleteTracingPolicyRequest{Name: t.Policy.Name, Namespace: t.Policy.Namespace}
	if _, err := r.agent.DeleteTracingPolicy(ctx, request); err != nil {
		return result, fmt.Errorf("delete policy %s: %w", t.Policy.Key(), stage.Said(err))
	}
	return result, nil
}

func judged(c *Case, s seen, control bool) CaseResult {
	r := CaseResult{Name: c.Name, Control: control, Want: string(c.Expect), Got: s.String()}
	if control {
		r.Want, r.Reason = string(Allowed), c.control(s)
	} else {
		r.Reason = c.judge(s)
	}
	if r.OK = r.Reason == ""; !r.OK {
		r.Output = s.output[max(0, len(s.output)-maxOutput):]
	}
	return r
}

// contain runs a command in a container of its own.
func (r *Runner) contain(ctx context.Context, t Test, c *Case, root string) (*stage.Outcome, error) {
	annotations, err := t.Container.annotations()
	if err != nil {
		return nil, err
	}
	args := append([]string{}, c.Command...)
	if !strings.Contains(args[0], "/") {
		args[0] = "/bin/" + args[0]
	}
	r.names++
	of := &stage.Container{
		Role: fmt.Sprintf("c%d", r.names), Root: root, Args: args, Annotations: annotations, Capabilities: t.Container.Capabilities,
	}
	o, err := r.stage.Contain(ctx, of)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return &o, errors.Join(err, r.stage.Remove(of))
}

// annotations tell all that a scenario says of a container, in the way in which
// an engine tells it through a runtime.
func (c *Container) annotations() (map[string]string, error) {
	all := map[string]string{}
	for key, value := range c.Annotations {
		all[key] = value
	}
	for key, value := range map[string]string{
		"io.kubernetes.container.name": c.Name, "io.kubernetes.cri-o.ImageName": c.Image,
		"io.kubernetes.pod.name": c.PodName, "io.kubernetes.pod.namespace": c.PodNamespace,
	} {
		if value != "" {
			all[key] = value
		}
	}
	if len(c.Labels) > 0 {
		labels, err := json.Marshal(c.Labels)
		if err != nil {
			return nil, err
		}
		all["io.kubernetes.cri-o.Labels"] = string(labels)
	}
	return all, nil
}
