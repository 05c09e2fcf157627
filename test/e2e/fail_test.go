// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

const (
	// failDeadline is the hook's deadline in these tests.
	failDeadline = 2 * time.Second
	// margin is what runc itself may take beyond it on a busy machine.
	margin = 4 * time.Second
)

// absence is one way for the agent not to be there.
type absence struct {
	name string
	// leave takes an agent that runs away from dir, nil when none ever ran, and
	// returns how to get one back.
	leave func(t *testing.T, dir, policy string) (back func() *agentenv.Agent)
	never bool
}

func absences() []absence {
	// anew starts an agent where the last one was.
	anew := func(t *testing.T, dir, policy string) func() *agentenv.Agent {
		return func() *agentenv.Agent {
			return agentenv.Start(t, testenv.AgentOptions{Dir: dir, Args: []string{"--policy-file", policy}})
		}
	}
	leave := func(how func(*agentenv.Agent) error) func(t *testing.T, dir, policy string) func() *agentenv.Agent {
		return func(t *testing.T, dir, policy string) func() *agentenv.Agent {
			if err := how(anew(t, dir, policy)()); err != nil {
				t.Fatal(err)
			}
			return anew(t, dir, policy)
		}
	}
	return []absence{
		{name: "never started", leave: anew, never: true},
		{name: "stopped", leave: leave(func(a *agentenv.Agent) error { return a.Stop() })},
		{name: "killed", leave: leave(func(a *agentenv.Agent) error { return a.Kill() })},
		{name: "hung", leave: func(t *testing.T, dir, policy string) func() *agentenv.Agent {
			a := anew(t, dir, policy)()
			if err := a.Hang(); err != nil {
				t.Fatal(err)
			}
			return func() *agentenv.Agent {
				if err := a.Resume(); err != nil {
					t.Fatal(err)
				}
				return a
			}
		}},
		{name: "hung and killed", leave: leave(func(a *agentenv.Agent) error { return errors.Join(a.Hang(), a.Kill()) })},
	}
}

// TestFailPolicy: what becomes of containers while the agent is away.
func TestFailPolicy(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	t.Run("each", func(t *testing.T) {
		for _, away := range absences() {
			for _, answer := range []string{"", "block", "quarantine", "allow"} {
				t.Run(away.name+", "+answer, func(t *testing.T) {
					t.Parallel()
					f := newFailing(t)
					back := away.leave(t, f.dir, f.policy)
					hook := agentenv.NewHook(t, agentenv.HookOptions{Dir: f.dir, Deadline: failDeadline, FailPolicy: answer})
					if answer == "allow" {
						f.startsLate(t, hook, back)
						return
					}
					c := f.blocked(t, hook)
					if away.name == "hung" {
						unheard(t, back(), c)
					}
				})
			}
		}
	})
}

// TestFailPolicySinceBoot: the answer may be another one until the agent has
// been up.
func TestFailPolicySinceBoot(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	f := newFailing(t)
	hook := agentenv.NewHook(t, agentenv.HookOptions{
		Dir: f.dir, Deadline: failDeadline, FailPolicy: "block", NotSinceBoot: "allow",
	})
	f.startsLate(t, hook, func() *agentenv.Agent {
		return agentenv.Start(t, testenv.AgentOptions{Dir: f.dir, Args: []string{"--policy-file", f.policy}})
	})
	a := agentenv.Start(t, testenv.AgentOptions{Dir: filepath.Join(testenv.Dir(t))})
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	hook = agentenv.NewHook(t, agentenv.HookOptions{
		Dir: a.Dir, Deadline: failDeadline, FailPolicy: "block", NotSinceBoot: "allow",
	})
	f.blocked(t, hook)
}

// failing is what the tests of one absence share.
type failing struct {
	dir, policy, mark string
	runc              *testenv.Runc
}

func newFailing(t *testing.T) *failing {
	t.Helper()
	f := &failing{dir: testenv.Dir(t), mark: agentenv.Mark(), runc: testenv.NewRunc(t)}
	f.policy = filepath.Join(testenv.Dir(t), "policy.yaml")
	if err := os.WriteFile(f.policy, []byte(agentenv.KillShadow("fail", f.mark)), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// blocked starts a container and expects that it does not start.
func (f *failing) blocked(t *testing.T, hook *agentenv.Hook) *testenv.Container {
	t.Helper()
	c := testenv.Bundle(t, testenv.Spec{
		Args: []string{"/bin/echo", "the entrypoint ran"}, Annotations: agentenv.Marked(f.mark), Hooks: hook.OCI(),
	})
	begin := time.Now()
	result := f.runc.Run(t.Context(), c)
	if spent := time.Since(begin); spent > failDeadline+margin {
		t.Errorf("runc took %v, the hook has %v", spent, failDeadline)
	}
	if result.Code <= 0 || result.Stdout != "" {
		t.Errorf("not blocked: %s", result)
	}
	if line := hook.Lines(t); strings.Count(line, "\n") != 1 || !strings.Contains(line, c.ID) {
		t.Errorf("the hook's log: %q", line)
	}
	if state, err := f.runc.State(t.Context(), c); err == nil {
		t.Errorf("runc knows the container: %v", state)
	}
	if _, err := os.Stat(testenv.Cgroup2Root(t) + c.CgroupPath); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its cgroup is left: %v", err)
	}
	if spooled, _ := filepath.Glob(filepath.Join(f.dir, "spool", "*")); len(spooled) > 0 {
		t.Errorf("a container that did not start is spooled: %q", spooled)
	}
	return c
}

// unheard checks that an agent which was asked and hung does not take in the
// container, which is gone, when it goes on and finds the request.
func unheard(t *testing.T, agent *agentenv.Agent, c *testenv.Container) {
	t.Helper()
	for end := time.Now().Add(time.Second); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if known := agent.Container(t, c.ID); known != nil && known.GetState() != boltseal.ContainerState_CONTAINER_STATE_UNSEALED {
			t.Fatalf("the agent has heard late of a container that is gone: %s", known)
		}
	}
}

// startsLate starts a container and expects that it starts, and that the agent,
// once it is back, reports it as late and enforces from then on.
func (f *failing) startsLate(t *testing.T, hook *agentenv.Hook, back func() *agentenv.Agent) {
	t.Helper()
	dir := testenv.Dir(t)
	c := testenv.Bundle(t, testenv.Spec{
		Args:        []string{"/bin/sh", "-c", "echo up; cat /etc/shadow; while [ ! -e /cg/go ]; do sleep 0.02; done; cat /etc/shadow && echo after"},
		Annotations: agentenv.Marked(f.mark), Hooks: hook.OCI(),
		Mounts: []specs.Mount{{Destination: "/cg", Type: "bind", Source: dir, Options: []string{"bind", "rw"}}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begin := time.Now()
	if result := f.runc.RunDetached(ctx, c); result.Code != 0 {
		t.Fatalf("not started: %s\n%s", result, hook.Lines(t))
	}
	if spent := time.Since(begin); spent > failDeadline+margin {
		t.Errorf("runc took %v, the hook has %v", spent, failDeadline)
	}
	testenv.Eventually(t, 10*time.Second, "it does as it likes", func() error {
		if !strings.Contains(c.Stdout(), testenv.Secret) {
			return errors.New(c.Stdout())
		}
		return nil
	})
	agent := back()
	testenv.Eventually(t, 10*time.Second, "it is reported as late, with its policy", func() error {
		known := agent.Container(t, c.ID)
		if known.GetState() != boltseal.ContainerState_CONTAINER_STATE_LATE || len(known.GetPolicies()) != 1 {
			return fmt.Errorf("listed as %s", known)
		}
		return nil
	})
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.runc.Stopped(ctx, t, c, 10*time.Second)
	if out := c.Stdout(); strings.Count(out, testenv.Secret) != 1 || strings.Contains(out, "after") {
		t.Errorf("the late container printed %q", out)
	}
	if n := signals(t, agent, "fail"); n != 1 {
		t.Errorf("%d kills for one act", n)
	}
	testenv.Eventually(t, 10*time.Second, "its spooled request is done with", func() error {
		if left, _ := filepath.Glob(filepath.Join(f.dir, "spool", "*")); len(left) > 0 {
			return fmt.Errorf("left: %q", left)
		}
		return nil
	})
}

// TestSlowAgent: one that answers within the deadline is as good as a fast one.
func TestSlowAgent(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	s := newStarter(t, agent)
	agent.Policy(t, agentenv.KillShadow("slow", s.mark))
	if err := agent.Hang(); err != nil {
		t.Fatal(err)
	}
	const pause = time.Second
	resumed := make(chan error, 1)
	timer := time.AfterFunc(pause, func() { resumed <- agent.Resume() })
	defer timer.Stop()
	begin := time.Now()
	o := s.start(t.Context(), t, s.spec(true, "/bin/cat", "/etc/shadow"))
	if err := <-resumed; err != nil {
		t.Fatal(err)
	}
	if spent := time.Since(begin); spent < pause {
		t.Errorf("started after %v, before the agent could answer", spent)
	}
	if err := agentenv.SealedFirst(o.known); err != nil || !o.killed() || leaked(o.Stdout()) {
		t.Errorf("%v: %s", err, o)
	}
}

// below moves a container's first process into a cgroup below the container's,
// as a container that manages cgroups does.
func below(t *testing.T, runc *testenv.Runc, c *testenv.Container) {
	t.Helper()
	state, err := runc.State(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(testenv.Cgroup2Root(t), c.CgroupPath, "a", "b")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(state.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAdoption: containers that ran before the agent did, and that no hook told
// of, are found by the names of their cgroups.
func TestAdoption(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	runc := testenv.NewRunc(t)
	type found struct {
		*testenv.Container
		dir string
	}
	var all []found
	for _, form := range []string{"/docker/%s", "/machine.slice/libpod-%s.scope", "/P%[1]s/cri-containerd-%[1]s.scope"} {
		id, dir := hexID(), testenv.Dir(t)
		c := testenv.Bundle(t, testenv.Spec{
			ID: id, CgroupsPath: fmt.Sprintf(form, id),
			Args:   []string{"/bin/sh", "-c", "while [ ! -e /cg/go ]; do sleep 0.02; done; cat /etc/shadow; echo after"},
			Mounts: []specs.Mount{{Destination: "/cg", Type: "bind", Source: dir, Options: []string{"bind", "rw"}}},
		})
		if result := runc.RunDetached(t.Context(), c); result.Code != 0 {
			t.Fatal(result)
		}
		all = append(all, found{c, dir})
	}
	below(t, runc, all[0].Container)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	for i, c := range all {
		known := agent.Container(t, c.ID)
		id, err := c.CgroupID()
		if known.GetState() != boltseal.ContainerState_CONTAINER_STATE_LATE || known.GetSealedBy() != boltseal.SealedBy_SEALED_BY_ADOPTION ||
			known.GetCgroupId() != id || err != nil || known.GetTasks() == 0 {
			t.Errorf("%s: cgroup %d (%v), listed as %s", c.CgroupPath, id, err, known)
		}
		// Nothing but its id is known of it, as its name.
		name := fmt.Sprintf("adopted-%d", i)
		agent.Policy(t, agentenv.PolicyFor(name, fmt.Sprintf("containerSelector: {matchLabels: {name: %q}}", c.ID),
			agentenv.Opens("[{matchArgs: [{args: [0], operator: Equal, values: [/etc/shadow]}], matchActions: [{action: Sigkill}]}]")...))
		if err := os.WriteFile(filepath.Join(c.dir, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		runc.Stopped(t.Context(), t, c.Container, 10*time.Second)
		if n := signals(t, agent, name); n != 1 || leaked(c.Stdout()) || c.Stdout() != "after\n" {
			t.Errorf("%d kills; it printed %q", n, c.Stdout())
		}
	}
}
