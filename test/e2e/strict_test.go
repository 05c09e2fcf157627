// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
	"github.com/boltseal/boltseal/test/testenv/probe"
)

// kill is a selector without a filter.
const kill = "[{matchActions: [{action: Sigkill}]}]"

// killExecs is every way to see an exec, each deadly.
func killExecs(name, mark string) string {
	return agentenv.PolicyText(name, mark,
		agentenv.Tracepoint{Event: "sys_enter_execve", Selectors: kill},
		agentenv.Tracepoint{Event: "sys_enter_execveat", Selectors: kill},
		agentenv.Tracepoint{Event: "sched/sched_process_exec", Selectors: kill})
}

// killOpens makes every open of a file by name deadly.
func killOpens(name, mark string) string {
	return agentenv.PolicyText(name, mark, agentenv.Opens(kill)...)
}

// busyHook is an OCI hook, run by the busybox at that path, that opens files,
// forks and executes, and writes to a file that it has done so.
// With unshare it executes one of its programs in a namespace of its own.
func busyHook(busybox, say, unshare string) specs.Hook {
	script := "read line < /etc/passwd && (" + busybox + unshare + " cat /etc/passwd > /dev/null) && " +
		"test \"$(" + busybox + " echo x)\" = x && echo done > " + say
	return specs.Hook{Path: busybox, Args: []string{"busybox", "sh", "-c", script}}
}

// strictSpec is a container with hooks of its own, that write to dir.
func (s *starter) strictSpec(t *testing.T, dir string, args ...string) testenv.Spec {
	t.Helper()
	busybox, err := probe.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	spec := s.spec(true, args...)
	// These are started in the container's namespaces: the first before it has
	// its root and by a program of the host, the second by one of the image.
	spec.Hooks.CreateContainer = []specs.Hook{busyHook(busybox, filepath.Join(dir, "createContainer"), " unshare -i "+busybox)}
	spec.Hooks.StartContainer = []specs.Hook{busyHook("/bin/busybox", "/cg/startContainer", "")}
	spec.Mounts = []specs.Mount{{Destination: "/cg", Type: "bind", Source: dir, Options: []string{"bind", "rw"}}}
	return spec
}

// hooksRan checks that the hooks came to their end.
func hooksRan(t *testing.T, dir string) {
	t.Helper()
	for _, hook := range []string{"createContainer", "startContainer"} {
		if text, err := os.ReadFile(filepath.Join(dir, hook)); err != nil || string(text) != "done\n" {
			t.Errorf("hook %s did not come to its end: %q, %v", hook, text, err)
		}
	}
}

// TestStrictExec: a policy that kills at every exec lets runc and all hooks work,
// and the entrypoint does not run.
func TestStrictExec(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	s := newStarter(t, agent)
	agent.Policy(t, killExecs("execs", s.mark))
	for range 5 { // what a task is taken for depends on timing
		dir := testenv.Dir(t)
		o := s.start(t.Context(), t, s.strictSpec(t, dir, "/bin/echo", "the entrypoint ran"))
		if o.started.Code != 0 || !o.killed() || o.Stdout() != "" {
			t.Errorf("want a start that works, and a kill at the exec: %s", o)
		}
		hooksRan(t, dir)
	}
	if n := signals(t, agent, "execs"); n != 5 {
		t.Errorf("%d kills for 5 containers", n)
	}
}

// TestStrictExecBehindAnother: programs at one tracepoint run in the order in
// which they came. With another agent's before all of ours, the exec of the
// entrypoint is judged before set-up is known to end with it.
func TestStrictExecBehindAnother(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agentenv.Start(t, testenv.AgentOptions{}).Policy(t, killExecs("first", agentenv.Mark()))
	agent := agentenv.Start(t, testenv.AgentOptions{})
	s := newStarter(t, agent)
	agent.Policy(t, killExecs("execs", s.mark))
	for range 5 {
		dir := testenv.Dir(t)
		o := s.start(t.Context(), t, s.strictSpec(t, dir, "/bin/echo", "the entrypoint ran"))
		if o.started.Code != 0 || !o.killed() || o.Stdout() != "" {
			t.Errorf("want a start that works, and a kill at the exec: %s", o)
		}
		hooksRan(t, dir)
	}
	if n := signals(t, agent, "execs"); n != 5 {
		t.Errorf("%d kills for 5 containers", n)
	}
}

// signals returns how many signals a policy has sent.
func signals(t *testing.T, agent *agentenv.Agent, name string) uint64 {
	t.Helper()
	return agent.PolicyStatus(t, name).GetStats().GetActionCounters().GetSignal()
}

// TestStrictOpen: a policy that kills at every open of a file lets runc and all
// hooks work, and holds for the entrypoint.
func TestStrictOpen(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	s := newStarter(t, agent)
	agent.Policy(t, killOpens("opens", s.mark))
	for range 5 {
		dir := testenv.Dir(t)
		script := "echo up; read line < /etc/hostname; echo opened"
		o := s.start(t.Context(), t, s.strictSpec(t, dir, "/bin/sh", "-c", script))
		if o.started.Code != 0 || !o.killed() || o.Stdout() != "up\n" {
			t.Errorf("want a start that works, one line, and a kill at the open: %s", o)
		}
		hooksRan(t, dir)
	}
}

// TestStrictRuncExec: what runc does to execute a program in a container is not
// the container's doing; the program is.
func TestStrictRuncExec(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	s := newStarter(t, agent)
	c := testenv.Bundle(t, s.spec(true, "/bin/sleep", "1000"))
	if result := s.runc.RunDetached(t.Context(), c); result.Code != 0 {
		t.Fatal(result)
	}
	says := func(t *testing.T, rounds int, out string, want try) {
		t.Helper()
		for range rounds {
			got := s.runc.Exec(t.Context(), c, want.args...)
			if got.Code != want.status || got.Stdout != out || got.Stderr != "" {
				t.Errorf("exec %q: %s; want status %d, stdout %q and no word of runc", want.args, got, want.status, out)
			}
		}
	}
	hello := []string{"/bin/echo", "hello"}
	late := []string{"/bin/sh", "-c", "echo up; read line < /etc/hostname; echo opened"}
	says(t, 1, "boltseal-test\n", opens(0, "/etc/hostname"))
	agent.Policy(t, killOpens("opens", s.mark))
	says(t, 20, "hello\n", try{0, hello})
	says(t, 20, "", opens(killed, "/etc/hostname"))
	says(t, 20, "up\n", try{killed, late})
	if n := signals(t, agent, "opens"); n != 40 {
		t.Errorf("%d kills for 40 opens", n)
	}
	agent.Delete(t, "opens")
	agent.Policy(t, killExecs("execs", s.mark))
	says(t, 20, "", try{killed, hello})
	if n := signals(t, agent, "execs"); n != 20 {
		t.Errorf("%d kills for 20 programs", n)
	}
	s.hostProcess(t, c)
	if state, err := s.runc.State(t.Context(), c); err != nil || state.Status != specs.StateRunning {
		t.Errorf("the container is %s (%v)", state.Status, err)
	}
}

// hostProcess lets a process of the host into a container's cgroup, as runtimes
// and debuggers do: it is not the container's, nor are those that it starts.
func (s *starter) hostProcess(t *testing.T, c *testenv.Container) {
	t.Helper()
	s.agent.Policy(t, killOpens("opens", s.mark))
	busybox, err := probe.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	script := "echo 0 > " + testenv.Cgroup2Root(t) + c.CgroupPath + "/cgroup.procs && (read line < /etc/passwd; " +
		busybox + " cat /etc/passwd > /dev/null && echo fine)"
	out, err := exec.CommandContext(t.Context(), busybox, "sh", "-c", script).CombinedOutput()
	if err != nil || string(out) != "fine\n" {
		t.Errorf("a process of the host in the container's cgroup: %v, %q", err, out)
	}
}

// inMountNamespace writes a program that runs runc in a mount namespace of its
// own, which takes with it what a container without one leaves mounted.
func inMountNamespace(t *testing.T) string {
	t.Helper()
	path := filepath.Join(testenv.Dir(t), "runc")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec unshare --mount runc \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestContainerWithoutNamespaces: set-up and workload are told apart by
// namespaces; of a container that has none of its own only the init is known.
func TestContainerWithoutNamespaces(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	s := newStarter(t, agent)
	agent.Policy(t, agentenv.KillShadow("shadow", s.mark))
	s.runc.Path = inMountNamespace(t)
	none := func(spec testenv.Spec) testenv.Spec {
		spec.Namespaces = []specs.LinuxNamespace{}
		spec.Edit = func(c *specs.Spec) {
			c.Mounts, c.Hostname, c.Root.Readonly = c.Mounts[:1], "", false // runc itself needs /proc
		}
		return spec
	}
	for _, args := range [][]string{{"/bin/cat", "/etc/shadow"}, {"/bin/sh", "-c", "cat /etc/shadow"}} {
		o := s.start(t.Context(), t, none(s.spec(true, args...)))
		if err := agentenv.SealedFirst(o.known); err != nil || leaked(o.Stdout()) || o.started.Code != 0 {
			t.Errorf("%v: %s", err, o)
		}
		o = s.start(t.Context(), t, none(s.spec(false, args...)))
		if !strings.Contains(o.Stdout(), testenv.Secret) {
			t.Errorf("a neighbour: %s", o)
		}
	}
	agent.Policy(t, killExecs("execs", s.mark))
	o := s.start(t.Context(), t, none(s.spec(true, "/bin/echo", "ran")))
	if o.started.Code != 0 || !o.killed() || o.Stdout() != "" {
		t.Errorf("want a start that works, and a kill at the exec: %s", o)
	}
}
