// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// wrappedRunc is runc through boltseal-hook, as a program that takes runc's arguments.
func wrappedRunc(t *testing.T, hook *agentenv.Hook) *testenv.Runc {
	t.Helper()
	runc := testenv.NewRunc(t)
	path, err := exec.LookPath(runc.Path)
	if err != nil {
		t.Fatal(err)
	}
	runc.Path = filepath.Join(testenv.Dir(t), "wrapped-runc")
	script := fmt.Sprintf("#!/bin/sh\nexec %q runtime --config %q --exec %q \"$@\"\n", hook.Binary, hook.Config, path)
	if err := os.WriteFile(runc.Path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return runc
}

// TestWrappedRuntime: containers whose bundles have no hook are sealed all the same when
// the wrapper stands in runc's place, each way of starting one. With a hook of its own
// as well a bundle is sealed twice, which is as good.
func TestWrappedRuntime(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	s := newStarter(t, agent)
	s.runc = wrappedRunc(t, s.hook)
	agent.Policy(t, agentenv.KillShadow("wrapped", s.mark))
	for _, entrypoint := range forbidden() {
		spec := s.spec(true, entrypoint...)
		spec.Hooks = nil
		o := s.start(t.Context(), t, spec)
		if err := agentenv.SealedFirst(o.known); err != nil || !o.killed() || leaked(o.Stdout()) {
			t.Errorf("%v: %s", err, o)
		}
	}
	if o := s.start(t.Context(), t, s.spec(true, "/bin/cat", "/etc/shadow")); !o.killed() || leaked(o.Stdout()) {
		t.Errorf("with a hook of its own: %s", o)
	}
	neighbour := s.spec(false, "/bin/cat", "/etc/shadow")
	neighbour.Hooks = nil
	if o := s.start(t.Context(), t, neighbour); o.killed() || !leaked(o.Stdout()) {
		t.Errorf("a neighbour: %s", o)
	}
}

// steps takes a container through a life, and returns the exit statuses.
func steps(ctx context.Context, t *testing.T, runc *testenv.Runc, program ...string) (codes []int, c *testenv.Container) {
	t.Helper()
	c = testenv.Bundle(t, testenv.Spec{Args: []string{"/bin/sh", "-c", "while :; do sleep 0.1; done"}})
	add := func(r testenv.Result) { codes = append(codes, r.Code) }
	add(runc.Start(ctx, c)) // not there
	add(runc.Create(ctx, c))
	add(runc.Create(ctx, c)) // already there
	add(runc.Exec(ctx, c, "/bin/true"))
	add(runc.Start(ctx, c))
	add(runc.Start(ctx, c)) // already running
	add(runc.Exec(ctx, c, program...))
	add(runc.Exec(ctx, c, "/bin/sh", "-c", "exit 42"))
	add(runc.Exec(ctx, c, "/nonexistent"))
	add(runc.Kill(ctx, c, "nonsense"))
	return codes, c
}

// TestWrappedRuntimeAnswersAsRuncDoes: exit statuses are runc's own, the agent hears of
// each exec, and a container that ends by itself gives its own status.
func TestWrappedRuntimeAnswersAsRuncDoes(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	plain, wrapped := testenv.NewRunc(t), wrappedRunc(t, agent.Hook(t))
	want, first := steps(t.Context(), t, plain, "/bin/echo", "secret")
	got, c := steps(t.Context(), t, wrapped, "/bin/echo", "secret")
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("exit statuses %v, runc's own are %v", got, want)
	}
	// A notice that came too late on a busy machine is not an error; one is enough.
	var programs []string
	testenv.Eventually(t, 20*time.Second, "the agent is told of an exec", func() error {
		if r := wrapped.Exec(t.Context(), c, "/bin/echo", "secret"); r.Code != 0 || r.Stdout != "secret\n" {
			return fmt.Errorf("exec: %s", r)
		}
		known := agent.Container(t, c.ID)
		programs = nil
		for _, x := range known.GetRecentExecs() {
			programs = append(programs, x.GetProgram())
		}
		if !strings.Contains(fmt.Sprint(programs), "/bin/echo") || known.GetExecs() < uint64(len(programs)) {
			return fmt.Errorf("%d execs, of which %q", known.GetExecs(), programs)
		}
		return nil
	})
	for _, end := range []struct {
		runc *testenv.Runc
		c    *testenv.Container
	}{{plain, first}, {wrapped, c}} {
		if r := end.runc.Delete(t.Context(), end.c); r.Code != 0 {
			t.Errorf("delete: %s", r)
		}
	}
	ends := testenv.Bundle(t, testenv.Spec{Args: []string{"/bin/sh", "-c", "exit 7"}})
	if r := wrapped.Run(t.Context(), ends); r.Code != 7 {
		t.Errorf("run: %s", r)
	}
}

// TestWrappedRuntimeWithoutAgent: with the agent away a container does not start, but for
// a fail policy that lets it.
func TestWrappedRuntimeWithoutAgent(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	for _, answer := range []string{"block", "allow"} {
		hook := agentenv.NewHook(t, agentenv.HookOptions{Dir: testenv.Dir(t), Deadline: failDeadline, FailPolicy: answer})
		runc := wrappedRunc(t, hook)
		c := testenv.Bundle(t, testenv.Spec{Args: []string{"/bin/echo", "it ran"}})
		r := runc.Run(t.Context(), c)
		ran := strings.Contains(r.Stdout, "it ran")
		if ran != (answer == "allow") || (r.Code == 0) != ran {
			t.Errorf("%s: %s\n%s", answer, r, hook.Lines(t))
		}
		if !ran && !strings.Contains(r.Stderr, "agent not reached") {
			t.Errorf("%s: standard error does not say why: %s", answer, r)
		}
		broken := testenv.Bundle(t, testenv.Spec{Args: []string{"/bin/echo", "it ran"}})
		if err := os.WriteFile(filepath.Join(broken.Dir, "config.json"), []byte(`{"hooks":[]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		// runc itself refuses it.
		if r := runc.Run(t.Context(), broken); r.Code == 0 || strings.Contains(r.Stderr, "boltseal-hook: ") != (answer == "block") {
			t.Errorf("%s, a bundle that cannot be changed: %s", answer, r)
		}
	}
}
