// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// demoTime bounds the whole.
const demoTime = 2 * time.Minute

// Errors that callers tell apart.
var (
	// ErrNotHeld says that the demo ran and did not show what it should.
	ErrNotHeld = errors.New("not everything held: see the lines with NO")
	// ErrLeft says that something of the demo could not be removed.
	ErrLeft = errors.New("left behind")
)

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
	tools
	scene
	undo

	runc  runc
	agent *agent
	watch *watch
	err   error // the first that writing to Out had
}

// Run runs the demo. The error is nil only when everything held and everything
// was removed. It wraps ErrNotHeld when something did not hold, and ErrLeft when
// something could not be removed. When the context has ended the error is its
// cause, or ErrLeft.
func Run(ctx context.Context, o Options) error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("run the demo: this is user %d, and containers and kernel programs need root: run it as root", uid)
	}
	t, err := findTools(o.BinDir)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, demoTime, fmt.Errorf("the demo took longer than %s", demoTime))
	defer cancel()
	r := &run{Options: o, tools: t}
	err = r.play(bounded)
	if err != nil && bounded.Err() != nil {
		err = context.Cause(bounded)
	}
	if err != nil && !errors.Is(err, ErrNotHeld) && ctx.Err() == nil && r.agent != nil {
		err = fmt.Errorf("%w\nlog of the agent:\n%s", err, logTail(r.scene))
	}
	if left := r.undo.run(); left != nil {
		err = errors.Join(err, fmt.Errorf("%w: %w", ErrLeft, left))
	}
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
	if err := r.prepare(); err != nil {
		return err
	}
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

// prepare makes the directory and what is in it.
func (r *run) prepare() error {
	if err := usable(os.TempDir()); err != nil {
		return err
	}
	var suffix [3]byte
	_, _ = rand.Read(suffix[:]) // never fails
	r.name = "boltseal-demo-" + hex.EncodeToString(suffix[:])
	r.dir = filepath.Join(os.TempDir(), r.name)
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return err
	}
	r.later("remove "+r.dir, func(context.Context) error { return os.RemoveAll(r.dir) })
	r.later("remove cgroups", func(ctx context.Context) error { return removeCgroups(ctx, r.name) })
	r.runc = runc{path: r.tools.runc, scene: r.scene}
	return errors.Join(adoptOrphans(), r.build(r.tools))
}

// startAgent starts the agent with the policy in force.
func (r *run) startAgent(ctx context.Context) (err error) {
	r.say("boltseal demo: two runc containers, and a policy for one of them")
	if r.agent, err = startAgent(ctx, r.tools, r.scene, &r.undo); err != nil {
		return err
	}
	status, err := r.agent.GetStatus(ctx, &boltseal.GetStatusRequest{})
	if err != nil {
		return fmt.Errorf("ask the agent for its status: %w", said(err))
	}
	request := &tetragon.AddTracingPolicyRequest{Yaml: policyFor(runtime.GOARCH)}
	if _, err := r.agent.AddTracingPolicy(ctx, request); err != nil {
		return fmt.Errorf("add policy %s: %w", policyName, said(err))
	}
	if r.watch, err = startWatch(ctx, r.agent, r.name, &r.undo); err != nil {
		return err
	}
	r.say("\n      agent        boltseald %s on Linux %s", status.GetVersion(), status.GetKernelRelease())
	r.say("      policy       %s: kills what opens %s,", policyName, forbiddenFile)
	r.say("                   in containers with the annotation %s=%s", policyKey, policyName)
	return r.err
}

func (r *run) container(role string, selected bool) *container {
	id := r.name + "-" + role
	return &container{role: role, selected: selected, id: id, cgroup: "/" + r.name + "/" + id}
}

func (c *container) title() string {
	if c.selected {
		return "container " + c.role + ", which the policy is for"
	}
	return "container " + c.role + ", which no policy is for"
}

// contain takes one container through its life.
func (r *run) contain(ctx context.Context, c *container) (o outcome, err error) {
	if err := r.buildBundle(c, r.hook); err != nil {
		return o, err
	}
	if err := r.runc.create(ctx, c, &r.undo); err != nil {
		return o, err
	}
	if o.created, err = r.listed(ctx, c); err != nil {
		return o, err
	}
	pid := c.init
	if err := r.runc.start(ctx, c); err != nil {
		return o, err
	}
	if o.status, err = r.runc.wait(ctx, c); err != nil {
		return o, err
	}
	if err := r.watch.exited(ctx, c, pid); err != nil {
		return o, err
	}
	if o.ended, err = r.listed(ctx, c); err != nil {
		return o, err
	}
	output, err := os.ReadFile(r.runc.output(c))
	o.container, o.output, o.events = *c, string(output), r.watch.of(c)
	return o, err
}

// listed is what the agent says of a container, whose cgroup is there until it
// is deleted.
func (r *run) listed(ctx context.Context, c *container) (*boltseal.Container, error) {
	response, err := r.agent.ListContainers(ctx, &boltseal.ListContainersRequest{IdPrefix: c.id})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", said(err))
	}
	if n := len(response.GetContainers()); n != 1 {
		return nil, fmt.Errorf("list containers: the agent knows %d with the id %s", n, c.id)
	}
	return response.GetContainers()[0], nil
}

// onHost does the same act outside of containers, to the very same file.
func (r *run) onHost(ctx context.Context) (held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.busybox, "cat", filepath.Join(r.rootfs(), forbiddenFile))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output, err := cmd.Output()
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, fmt.Errorf("run %s: %w", r.busybox, err)
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
	outside := r.watch.elsewhere(all)
	response, err := r.agent.ListTracingPolicies(ctx, &tetragon.ListTracingPoliciesRequest{})
	if err != nil {
		return []finding{claim(false, "counters of the policy: %v", said(err))}
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
