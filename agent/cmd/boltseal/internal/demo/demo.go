// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/stage"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const (
	// demoTime bounds the whole.
	demoTime = 2 * time.Minute
	// hostTime bounds the act on the host.
	hostTime = 20 * time.Second
)

// ErrNotHeld says that the demo ran and did not show what it should.
var ErrNotHeld = errors.New("not everything held: see the lines with NO")

// Options says what to run, and where to tell of it.
type Options struct {
	// BinDir holds boltseald and boltseal-hook.
	BinDir string
	// Out gets the report.
	Out io.Writer
}

// run is one run of the demo.
type run struct {
	Options
	*stage.Stage

	agent *stage.Agent
	watch *stage.Watch
	root  string
	err   error // the first that writing to Out had
}

// container is one container of the demo.
type container struct {
	stage.Container
	selected bool
}

// Run runs the demo. The error is nil only when everything held and everything
// was removed. It wraps ErrNotHeld when something did not hold, and stage.ErrLeft
// when something could not be removed. When the context has ended the error is its
// cause, or stage.ErrLeft.
func Run(ctx context.Context, o Options) error {
	s, err := stage.New(stage.Options{BinDir: o.BinDir, Name: "boltseal-demo"})
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, demoTime, fmt.Errorf("the demo took longer than %s", demoTime))
	defer cancel()
	r := &run{Options: o, Stage: s}
	err = r.play(bounded)
	if err != nil && bounded.Err() != nil {
		err = context.Cause(bounded)
	}
	if err != nil && !errors.Is(err, ErrNotHeld) && ctx.Err() == nil && r.Started() {
		err = fmt.Errorf("%w\nlog of the agent:\n%s", err, r.LogTail())
	}
	err = errors.Join(err, s.Close())
	if err == nil {
		r.say("\nEverything held, and everything was removed again.")
	}
	return errors.Join(err, r.err)
}

// say writes a line of the report.
func (r *run) say(format string, args ...any) {
	if _, err := fmt.Fprintf(r.Out, format+"\n", args...); err != nil && r.err == nil {
		r.err = err
	}
}

// play does everything but clean up.
func (r *run) play(ctx context.Context) error {
	root, err := r.BuildRoot("demo", []string{"cat"}, map[string]string{untouchedFile: hostnameText, forbiddenFile: shadowText})
	if err != nil {
		return err
	}
	r.root = root
	if err := r.startAgent(ctx); err != nil {
		return err
	}
	held, err := r.onHost(ctx)
	if err != nil {
		return err
	}
	all := []*container{r.container("neighbour", false), r.container("selected", true)}
	for _, c := range all {
		o, err := r.contain(ctx, c)
		if err != nil {
			return err
		}
		held = r.report(c.title(), o.findings()) && held
	}
	held = r.report("everywhere else", r.elsewhere(ctx, all)) && held
	if !held {
		return ErrNotHeld
	}
	return r.err
}

// startAgent starts the agent with the policy in force.
func (r *run) startAgent(ctx context.Context) (err error) {
	r.say("boltseal demo: two runc containers, and a policy for one of them")
	if r.agent, err = r.Start(ctx); err != nil {
		return err
	}
	status, err := r.agent.GetStatus(ctx, &boltseal.GetStatusRequest{})
	if err != nil {
		return fmt.Errorf("ask the agent for its status: %w", stage.Said(err))
	}
	request := &tetragon.AddTracingPolicyRequest{Yaml: policyFor(runtime.GOARCH)}
	if _, err := r.agent.AddTracingPolicy(ctx, request); err != nil {
		return fmt.Errorf("add policy %s: %w", policyName, stage.Said(err))
	}
	if r.watch, err = r.StartWatch(ctx, policyName); err != nil {
		return err
	}
	r.say("\n      agent        boltseald %s on Linux %s", status.GetVersion(), status.GetKernelRelease())
	r.say("      policy       %s: kills what opens %s,", policyName, forbiddenFile)
	r.say("                   in containers with the annotation %s=%s", policyKey, policyName)
	return r.err
}

// container is one whose entrypoint does both acts itself, the one that nothing
// forbids first.
func (r *run) container(role string, selected bool) *container {
	c := &container{selected: selected, Container: stage.Container{
		Role: role, Root: r.root, Args: []string{"/bin/cat", untouchedFile, forbiddenFile},
	}}
	if selected {
		c.Annotations = map[string]string{policyKey: policyName}
	}
	return c
}

func (c *container) title() string {
	if c.selected {
		return "container " + c.Role + ", which the policy is for"
	}
	return "container " + c.Role + ", which no policy is for"
}

// contain takes one container through its life.
func (r *run) contain(ctx context.Context, c *container) (outcome, error) {
	o, err := r.Contain(ctx, &c.Container)
	return outcome{o, c.selected}, err
}

// onHost does the same act outside of containers, to the very same file.
func (r *run) onHost(ctx context.Context) (held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, hostTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.Busybox(), "cat", filepath.Join(r.root, forbiddenFile))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output, err := cmd.Output()
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, fmt.Errorf("run %s: %w", r.Busybox(), err)
	}
	status := unix.WaitStatus(0)
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		status = unix.WaitStatus(s)
	}
	read := string(output) == shadowText
	return r.report("host", []finding{
		claim(read && err == nil, "read the containers' %s: %s, %s", forbiddenFile, done(read), exitStatus(status)),
	}), nil
}

// elsewhere judges what the policy did outside of the container that it is for.
func (r *run) elsewhere(ctx context.Context, all []*container) []finding {
	containers := make([]*stage.Container, 0, len(all))
	for _, c := range all {
		containers = append(containers, &c.Container)
	}
	outside := r.watch.Elsewhere(containers)
	response, err := r.agent.ListTracingPolicies(ctx, &tetragon.ListTracingPoliciesRequest{})
	if err != nil {
		return []finding{claim(false, "counters of the policy: %v", stage.Said(err))}
	}
	signals := uint64(0)
	for _, p := range response.GetPolicies() {
		signals += p.GetStats().GetActionCounters().GetSignal()
	}
	return []finding{
		claim(len(outside) == 0, "events of the policy: %d", len(outside)),
		claim(signals == 1, "signals sent in all, by the kernel's count: %d", signals),
	}
}

// report writes what was found and tells whether all of it holds.
func (r *run) report(title string, findings []finding) bool {
	held := true
	r.say("\n%s", title)
	for _, f := range findings {
		mark := "  "
		switch {
		case f.judged && f.holds:
			mark = "ok"
		case f.judged:
			mark, held = "NO", false
		}
		r.say("%s", strings.TrimRight("  "+mark+"  "+f.text, " "))
	}
	return held
}
