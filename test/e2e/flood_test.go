// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// told is a container of a shell that does something each time it is told to; it
// waits without making events.
type told struct {
	*testenv.Container
	fifo *os.File
	n    int
}

// startTold starts one that does act each time.
func startTold(t *testing.T, runc *testenv.Runc, hook *agentenv.Hook, mark, act string) *told {
	t.Helper()
	dir := testenv.Dir(t)
	path := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// Open for reading too, so that neither side waits for the other.
	fifo, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fifo.Close() })
	c := testenv.Bundle(t, testenv.Spec{
		Args:        []string{"/bin/sh", "-c", "exec < /cg/fifo; while read x; do " + act + "; echo done; done"},
		Annotations: agentenv.Marked(mark), Hooks: hook.OCI(),
		Mounts: []specs.Mount{{Destination: "/cg", Type: "bind", Source: dir, Options: []string{"bind", "rw"}}},
	})
	if result := runc.RunDetached(t.Context(), c); result.Code != 0 {
		t.Fatalf("not started: %s\n%s", result, hook.Lines(t))
	}
	return &told{Container: c, fifo: fifo}
}

// do tells it to act and waits until it has.
func (c *told) do(t *testing.T) {
	t.Helper()
	c.n++
	if _, err := fmt.Fprintln(c.fifo); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, "the container has acted", func() error {
		if n := strings.Count(c.Stdout(), "done\n"); n < c.n {
			return fmt.Errorf("%d times, want %d: it printed %.200q", n, c.n, c.Stdout())
		}
		return nil
	})
}

// opensAndForbidden opens a file that a policy reports so many times, and a
// forbidden one each time it has done a part of them.
func opensAndForbidden(parts, opens int) string {
	return fmt.Sprintf("p=0; while [ $p -lt %d ]; do i=0; while [ $i -lt %d ]; do : < /etc/hostname; i=$((i+1)); done; "+
		"cat /etc/shadow; echo status $?; p=$((p+1)); done", parts, opens)
}

// posted counts a container's events of a policy.
func posted(all []*tetragon.GetEventsResponse, id, policy string) (n int) {
	for _, e := range all {
		p := e.GetProcessTracepoint()
		if p.GetPolicyName() == policy && p.GetProcess().GetDocker() != "" && strings.HasPrefix(id, p.GetProcess().GetDocker()) {
			n++
		}
	}
	return n
}

// TestFlood: one container makes events by the thousand while the agent hangs, and
// another one makes a few. What the first has made too many of is its own loss;
// what is forbidden is stopped in both.
func TestFlood(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{Args: []string{"--ring-bytes=1048576", "--event-queue=100000"}})
	mark, runc, hook := agentenv.Mark(), testenv.NewRunc(t), agent.Hook(t)
	agent.Policy(t, agentenv.KillShadow("forbidden", mark))
	agent.Policy(t, agentenv.PolicyText("opens", mark, agentenv.Opens("[{matchArgs: [{args: [0], operator: Equal, values: [/etc/hostname]}]}]")...))
	const floods, few, parts = 6000, 10, 3
	flooder := startTold(t, runc, hook, mark, opensAndForbidden(parts, floods))
	quiet := startTold(t, runc, hook, mark, opensAndForbidden(parts, few))
	events := agent.Events(t, &tetragon.GetEventsRequest{})
	if err := agent.Hang(); err != nil {
		t.Fatal(err)
	}
	flooder.do(t)
	quiet.do(t)
	if err := agent.Resume(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*told{flooder, quiet} {
		if want := strings.Repeat("status 137\n", parts) + "done\n"; c.Stdout() != want {
			t.Errorf("the container printed %q, want %q", c.Stdout(), want)
		}
	}
	events.Until(t, time.Minute, "the quiet container's events have come", func(all []*tetragon.GetEventsResponse) error {
		if opens, kills := posted(all, quiet.ID, "opens"), posted(all, quiet.ID, "forbidden"); opens != parts*few || kills != parts {
			return fmt.Errorf("%d opens and %d kills of %d and %d", opens, kills, parts*few, parts)
		}
		return nil
	})
	if lost := agent.Container(t, quiet.ID).GetEventsLost(); lost != 0 {
		t.Errorf("%d events of the quiet container are lost", lost)
	}
	lost := int(agent.Container(t, flooder.ID).GetEventsLost())
	// Kills, births, execs and ends of what it has started can be lost, too.
	const made, others = parts * floods, parts * 4
	events.Until(t, time.Minute, "each event of the flooder has come or is lost", func(all []*tetragon.GetEventsResponse) error {
		if n := posted(all, flooder.ID, "opens"); lost == 0 || n+lost < made || n+lost > made+others {
			return fmt.Errorf("%d came and %d are lost of %d", n, lost, made)
		}
		return nil
	})
	if n := signals(t, agent, "forbidden"); n != 2*parts {
		t.Errorf("%d kills are counted, want %d", n, 2*parts)
	}
}

// TestCgroupRate: of a container that executes too much, execs and exits are left
// out for a while, and nothing else.
func TestCgroupRate(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{Args: []string{"--cgroup-rate=60,1s", "--event-queue=100000"}})
	mark, runc, hook := agentenv.Mark(), testenv.NewRunc(t), agent.Hook(t)
	agent.Policy(t, agentenv.KillShadow("forbidden", mark))
	const execs = 300
	c := startTold(t, runc, hook, mark, fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/true; i=$((i+1)); done; cat /etc/shadow", execs))
	events := agent.Events(t, &tetragon.GetEventsRequest{})
	// As many as it takes to be above the rate on a slow machine.
	changes := func(all []*tetragon.GetEventsResponse, kind tetragon.ThrottleType) (n int) {
		for _, e := range all {
			if p := e.GetProcessThrottle(); p.GetType() == kind && p.GetCgroup() == c.CgroupPath {
				n++
			}
		}
		return n
	}
	c.do(t)
	events.Until(t, time.Minute, "throttling begins, and ends", func(all []*tetragon.GetEventsResponse) error {
		if changes(all, tetragon.ThrottleType_THROTTLE_START) != 1 || changes(all, tetragon.ThrottleType_THROTTLE_STOP) != 1 {
			return errors.New("not once each")
		}
		return nil
	})
	all := events.All()
	told, kills := 0, 0
	known := agent.Container(t, c.ID)
	for _, e := range all {
		// That of the shell can come after it was subscribed to events.
		if p := e.GetProcessExec().GetProcess(); p.GetDocker() != "" && strings.HasPrefix(c.ID, p.GetDocker()) && p.GetPid().GetValue() != known.GetInitPid() {
			told++
		}
		if p := e.GetProcessExit().GetProcess(); p.GetDocker() != "" && strings.HasPrefix(c.ID, p.GetDocker()) {
			told++
		}
		if p := e.GetProcessTracepoint(); p.GetPolicyName() == "forbidden" {
			kills++
			if args := p.GetProcess().GetArguments(); args != "/etc/shadow" || p.GetProcess().GetBinary() != "/bin/busybox" {
				t.Errorf("the process of a kill is not known: %v", p.GetProcess())
			}
		}
	}
	if kills != 1 || known.GetState() != boltseal.ContainerState_CONTAINER_STATE_ARMED {
		t.Errorf("%d kills, container %v", kills, known)
	}
	// An exec and an exit each.
	if left := int(known.GetEventsThrottled()); left == 0 || known.GetEventsLost() != 0 || told+left != 2*(execs+1) {
		t.Errorf("%d events are told and %d are not, %d lost, of %d", told, left, known.GetEventsLost(), 2*(execs+1))
	}
}
