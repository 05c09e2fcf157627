// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// hexID returns an id as container engines give them: 64 hexadecimal digits.
func hexID() string {
	var id strings.Builder
	for id.Len() < 64 {
		fmt.Fprintf(&id, "%x", agentenv.Mark())
	}
	return id.String()[:64]
}

// order is one way for a container's cgroup to come into being.
type order struct {
	name string
	// cgroupsPath is that of config.json; %s is the container's id.
	cgroupsPath string
	// announced: the agent is told before runc creates the container.
	announced bool
	// hooked: config.json has the hook.
	hooked bool
	want   boltseal.SealedBy
	// odd: the runtime is called by a name that the agent does not know.
	odd bool
}

func orders() []order {
	const (
		byPath    = boltseal.SealedBy_SEALED_BY_EXPECTED_PATH
		byPattern = boltseal.SealedBy_SEALED_BY_RUNTIME_PATTERN
	)
	return []order{
		{name: "announced", announced: true, want: byPath},
		{name: "announced and hooked", announced: true, hooked: true, want: byPath},
		{name: "hooked", hooked: true, want: byPattern},
		{name: "announced, in a parent that is not there", cgroupsPath: "/P/%s", announced: true, hooked: true, want: byPath},
		{name: "hooked, in a parent that is not there", cgroupsPath: "/P/%s", hooked: true, want: byPattern},
		{name: "announced, three parents that are not there", cgroupsPath: "/P/b/c/%s", announced: true, hooked: true, want: byPath},
		{name: "hooked, three parents that are not there", cgroupsPath: "/P/b/c/%s", hooked: true, want: byPattern},
		{name: "announced, a relative path", cgroupsPath: "P/%s", announced: true, hooked: true, want: byPath},
		{name: "announced, a path with steps to nowhere", cgroupsPath: "/P/./b//%s", announced: true, hooked: true, want: byPath},
		{name: "hooked, a path with steps to nowhere", cgroupsPath: "/P/./b//%s", hooked: true, want: byPattern},
		{name: "announced, called as Docker does", cgroupsPath: "/docker/%s", announced: true, hooked: true, want: byPath},
		{name: "hooked, called as Docker does", cgroupsPath: "/docker/%s", hooked: true, want: byPattern},
		{name: "announced, a systemd form that the runtime takes for a path", cgroupsPath: "system.slice:docker:%s",
			announced: true, hooked: true, want: byPath},
		{name: "hooked, a systemd form that the runtime takes for a path", cgroupsPath: "system.slice:docker:%s",
			hooked: true, want: byPattern},
		{name: "hooked, the scope of an engine", cgroupsPath: "/machine.slice/libpod-%s.scope", hooked: true, want: byPattern},
		{name: "announced, an unknown runtime", cgroupsPath: "/P/c-%s", announced: true, hooked: true, odd: true, want: byPath},
		{name: "hooked, an unknown runtime, called as Docker does", cgroupsPath: "/docker/%s", hooked: true, odd: true, want: byPattern},
		// Nothing tells the kernel what it is: the hook is the first to say so.
		{name: "hooked, an unknown runtime", cgroupsPath: "/P/c-%s", hooked: true, odd: true, want: boltseal.SealedBy_SEALED_BY_HOOK},
	}
}

// TestSealOrder takes containers through every way in which their cgroups come
// into being: the seal is first, the identity is the container's, and nothing
// of it is left at its end.
func TestSealOrder(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	s := newStarter(t, agent)
	agent.Policy(t, agentenv.KillShadow("order", s.mark))
	t.Run("ways", func(t *testing.T) {
		for _, way := range orders() {
			t.Run(way.name, func(t *testing.T) {
				t.Parallel()
				s := *s
				if way.odd {
					s.runc = oddRunc(t)
				}
				s.inOrder(t, way)
			})
		}
	})
	// Containers of other tests on this machine have slots as well.
	testenv.Eventually(t, 20*time.Second, "slots are given back", func() error {
		listed, used := len(agent.Containers(t)), int(agent.Status(t).GetSlotsUsed())
		if used != listed {
			return fmt.Errorf("%d slots are used, and %d containers listed: %v", used, listed, agent.Containers(t))
		}
		return nil
	})
}

// oddRunc is runc by another name, which its processes have too.
func oddRunc(t *testing.T) *testenv.Runc {
	t.Helper()
	runc := testenv.NewRunc(t)
	real, err := exec.LookPath(runc.Path)
	if err != nil {
		t.Fatal(err)
	}
	runc.Path = filepath.Join(testenv.Dir(t), "oddrun")
	if err := os.Symlink(real, runc.Path); err != nil {
		t.Fatal(err)
	}
	return runc
}

// inOrder starts the same container twice, id and path being the same.
func (s *starter) inOrder(t *testing.T, way order) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := hexID()
	spec := s.spec(true, "/bin/cat", "/etc/shadow")
	spec.ID = id
	if !way.hooked {
		spec.Hooks = nil
	}
	if way.cgroupsPath != "" {
		// P is a directory of this test alone.
		spec.CgroupsPath = strings.Replace(fmt.Sprintf(way.cgroupsPath, id), "P/", "P"+id[:16]+"/", 1)
	}
	var last uint64
	for range 2 {
		if way.announced {
			s.announce(ctx, t, spec)
		}
		o := s.start(ctx, t, spec)
		if !o.killed() || leaked(o.Stdout()) || o.deleted.Code != 0 {
			t.Errorf("not killed: %s", o)
		}
		if err := agentenv.SealedFirst(o.known); err != nil {
			t.Fatalf("%v: %s", err, o)
		}
		c := o.known
		if c.GetSealedBy() != way.want || c.GetCgroupPath() != path.Join("/", o.CgroupPath) {
			t.Errorf("sealed by %s at %q, want %s at %q", c.GetSealedBy(), c.GetCgroupPath(), way.want, path.Join("/", o.CgroupPath))
		}
		if c.GetCgroupId() == last || c.GetCgroupId() != o.cgroup {
			t.Errorf("cgroup id %d, want %d and another than %d", c.GetCgroupId(), o.cgroup, last)
		}
		if c.GetAnnotations()[agentenv.MarkKey] != s.mark || len(c.GetPolicies()) != 1 || c.GetPolicies()[0] != "order" {
			t.Errorf("annotations %v, policies %v", c.GetAnnotations(), c.GetPolicies())
		}
		last = c.GetCgroupId()
		testenv.Eventually(t, 10*time.Second, "it is forgotten when it is gone", func() error {
			if c := s.agent.Container(t, id); c != nil {
				return fmt.Errorf("still listed: %s", c)
			}
			return nil
		})
	}
}

// announce tells the agent of a container that is not there yet, which it must
// list as such.
func (s *starter) announce(ctx context.Context, t *testing.T, spec testenv.Spec) {
	t.Helper()
	err := s.agent.Announce(ctx, &tetragon.CreateContainer{
		ContainerID: spec.ID, ContainerName: "name-" + spec.ID, CgroupsPath: spec.CgroupsPath, Annotations: spec.Annotations,
	})
	if err != nil {
		t.Fatalf("announce: %v", err)
	}
	c := s.agent.Container(t, spec.ID)
	if c.GetState() != boltseal.ContainerState_CONTAINER_STATE_EXPECTED || c.GetSealedNs() != 0 || c.GetName() != "name-"+spec.ID {
		t.Errorf("announced, and listed as %s", c)
	}
}

// TestSealFollowsTheContainerIntoItsCgroups looks at cgroups that are made
// below a running container's, from outside and from inside.
func TestSealFollowsTheContainerIntoItsCgroups(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	s := newStarter(t, agent)
	agent.Policy(t, agentenv.KillShadow("children", s.mark))
	runc := s.runc
	spec := s.spec(true, testenv.ActorPath, "sleep")
	spec.CgroupFS = true
	c := testenv.Bundle(t, spec)
	if result := runc.RunDetached(t.Context(), c); result.Code != 0 {
		t.Fatal(result)
	}
	// A cgroup of the container's own, three levels below it, made by the host.
	deep := path.Join(testenv.Cgroup2Root(t), c.CgroupPath, "a", "b", "c")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	slots := agent.Status(t).GetSlotsUsed()
	move := fmt.Sprintf("echo 0 > /cg%s/a/b/c/cgroup.procs && cat /etc/shadow", c.CgroupPath)
	for _, args := range [][]string{
		{"/bin/sh", "-c", move},
		{testenv.ActorPath, "escape", "subclone", "/etc/shadow"},
		{testenv.ActorPath, "escape", "submove", "/etc/shadow"},
	} {
		result := runc.Exec(t.Context(), c, args...)
		if result.Code == 0 || leaked(result.Stdout) || strings.Contains(result.Stdout+result.Stderr, "FAILED") {
			t.Errorf("%q: %s", args, result)
		}
	}
	// They are the container's, and no containers of their own.
	if known := agent.Container(t, c.ID); known.GetState() != boltseal.ContainerState_CONTAINER_STATE_ARMED || agent.Status(t).GetSlotsUsed() > slots {
		t.Errorf("%d slots used, were %d; container %s", agent.Status(t).GetSlotsUsed(), slots, known)
	}
	if n := agent.PolicyStatus(t, "children").GetStats().GetActionCounters().GetSignal(); n != 3 {
		t.Errorf("%d kills for three acts", n)
	}
}
