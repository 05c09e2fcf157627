// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// hooked is a line of the hook's log.
type hooked struct {
	ID       string    `json:"container_id"`
	Time     time.Time `json:"time"`
	Decision string    `json:"decision"`
	Cause    string    `json:"cause"`
	Code     string    `json:"grpc_code"`
	Took     float64   `json:"duration_ms"`
}

// began is when the hook started.
func (h hooked) began() time.Time {
	return h.Time.Add(-time.Duration(h.Took * float64(time.Millisecond)))
}

func hookedByID(t *testing.T, hook *agentenv.Hook) map[string]hooked {
	t.Helper()
	all := map[string]hooked{}
	for line := range strings.Lines(hook.Lines(t)) {
		var one hooked
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if _, twice := all[one.ID]; twice {
			t.Errorf("the hook ran twice for %s", one.ID)
		}
		all[one.ID] = one
	}
	return all
}

// death is a burst of container starts in the middle of which the agent dies.
type death struct {
	*rig
	boxes   []*testenv.Container
	results []testenv.Result
	// The agent was alive before the one and answered nobody after the other.
	alive, dead time.Time
	// The same in the actor's clock, and when all of the agent was gone.
	aliveClock, goneClock int64
}

// burst starts containers, several at a time, and kills the agent when some have
// ended and a random while has passed.
func (d *death) burst(t *testing.T, containers, parallel int) {
	t.Helper()
	first := int64(1 + rand.IntN(containers/2))              //nolint:gosec // any moment will do
	delay := time.Duration(rand.IntN(60)) * time.Millisecond //nolint:gosec // as above
	for range containers {
		d.boxes = append(d.boxes, testenv.Bundle(t, testenv.Spec{
			Args:        []string{testenv.ActorPath, "loop", "-count", "10", secretFile, "3ms"},
			Annotations: agentenv.Marked(d.mark), Hooks: d.hook.OCI(),
		}))
	}
	d.results = make([]testenv.Result, containers)
	var next, ended atomic.Int64
	reached := make(chan struct{})
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < containers; i = int(next.Add(1)) - 1 {
				d.results[i] = d.runc.Run(t.Context(), d.boxes[i])
				if ended.Add(1) == first {
					close(reached)
				}
			}
		})
	}
	<-reached
	select {
	case <-time.After(delay):
	case <-t.Context().Done():
	}
	d.kill(t)
	workers.Wait()
}

// kill kills the agent and takes down when it stopped to answer: all of it is
// gone only later, when its programs have been detached.
func (d *death) kill(t *testing.T) {
	t.Helper()
	d.alive, d.aliveClock = time.Now(), clock(t)
	if err := unix.Kill(d.agent.Pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	testenv.Eventually(t, 10*time.Second, "nobody listens at the socket", func() error {
		conn, err := net.Dial("unix", d.agent.Socket)
		if err == nil {
			conn.Close()
			return errors.New("somebody does")
		}
		return nil
	})
	d.dead = time.Now()
	if err := d.agent.Kill(); err != nil {
		t.Error(err)
	}
	d.goneClock = clock(t)
}

// sum counts what became of the containers of several deaths.
type sum struct{ before, after, refused, killed, freed int }

// judge holds each container against its hook's line: the entrypoint ran only
// where the agent had acknowledged, and that it did only while it was alive.
func (d *death) judge(t *testing.T, s *sum) {
	t.Helper()
	lines := hookedByID(t, d.hook)
	for i, box := range d.boxes {
		line, ran := lines[box.ID], strings.Contains(box.Stdout(), "READY")
		fault := func(what string) {
			t.Errorf("%s: alive until %v, dead at %v; hook %+v; %s", what, d.alive, d.dead, line, d.results[i])
		}
		acknowledged := line.Code == "OK"
		switch {
		case line.ID == "":
			fault("the hook did not run")
		case acknowledged && line.began().After(d.dead):
			fault("acknowledged by a dead agent")
		case acknowledged != (line.Decision == "start"):
			fault("the hook lets start what nobody acknowledged")
		case ran != acknowledged:
			fault(fmt.Sprintf("the entrypoint ran: %t", ran))
		case !ran && d.results[i].Code == 0:
			fault("runc reports a start")
		case !ran && line.Time.Before(d.alive):
			fault("refused by an agent that was alive")
		case !ran:
			s.refused++
		}
		if line.began().After(d.dead) {
			s.after++
		} else {
			s.before++
		}
		for _, one := range actsOf(box) {
			switch {
			case one.result == "killed:SIGKILL":
				s.killed++
			case one.end < d.aliveClock:
				fault(fmt.Sprintf("an act passed %v before the death", time.Duration(d.aliveClock-one.end)))
			default:
				s.freed++ // enforcement ends with the agent, in this version
			}
			// The kernel lets go of the programs a little later than of the process.
			if one.result == "killed:SIGKILL" && one.begin > d.goneClock+int64(5*time.Second) {
				fault("killed long after the death")
			}
		}
	}
}

// TestAgentDies kills the agent at random moments of bursts of container starts
// with the fail policy block: none starts that was not sealed, and the next agent
// finds nothing of the dead one in the kernel.
func TestAgentDies(t *testing.T) {
	const deaths, containers, parallel = 5, 20, 8
	testenv.LeakCheck(t)
	agentenv.Require(t)
	dir := testenv.Dir(t)
	hook := agentenv.NewHook(t, agentenv.HookOptions{Dir: dir, FailPolicy: "block"})
	var s sum
	for range deaths {
		agent := agentenv.Start(t, testenv.AgentOptions{Dir: dir})
		d := &death{rig: &rig{agent: agent, hook: hook, runc: testenv.NewRunc(t), mark: agentenv.Mark(), policy: agentenv.Mark()}}
		agent.Policy(t, agentenv.KillShadow(d.policy, d.mark))
		held := objectsOf(t, agent.Pid)
		if len(held.programs) < 10 || len(held.links) < 10 {
			t.Fatalf("a running agent holds %s: too few to be all", held)
		}
		d.burst(t, containers, parallel)
		d.judge(t, &s)
		testenv.Eventually(t, 10*time.Second, "the kernel has let go of the dead agent's objects", held.gone)
	}
	if s.refused == 0 || s.after == 0 || s.killed == 0 {
		t.Errorf("%+v: this shows nothing", s)
	}
	last := agentenv.Start(t, testenv.AgentOptions{Dir: dir})
	r := &rig{agent: last, hook: hook, runc: testenv.NewRunc(t), mark: agentenv.Mark(), policy: agentenv.Mark()}
	last.Policy(t, agentenv.KillShadow(r.policy, r.mark))
	r.works(t)
	r.settled(t)
	testenv.Report(t, "%d starts around %d deaths of the agent: %d hooks began before and %d after it; %d were refused, none started unsealed; "+
		"%d acts were killed, %d passed after a death", deaths*containers, deaths, s.before, s.after, s.refused, s.killed, s.freed)
}
