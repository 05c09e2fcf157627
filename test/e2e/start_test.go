// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// forbidden is entrypoints that do nothing but read /etc/shadow, each in a way
// of its own. All say so on standard output if they get that far.
func forbidden() [][]string {
	return [][]string{
		{"/bin/cat", "/etc/shadow"},
		{testenv.ActorPath, "read", "/etc/shadow"},
		// The name is in memory that is not there at the entry of the call.
		{testenv.ActorPath, "coldpath", "/etc/shadow"},
		{"/bin/sh", "-c", "while read line; do echo $line; done < /etc/shadow"},
		{testenv.ActorPath, "threads", "4", "/etc/shadow"},
	}
}

// leaked tells whether an entrypoint of [forbidden] did what it is for.
func leaked(stdout string) bool {
	return strings.Contains(stdout, testenv.Secret) || strings.Contains(stdout, "LEAK:")
}

// outcome is what is known of a container that was started.
type outcome struct {
	*testenv.Container
	selected bool
	started  testenv.Result
	status   unix.WaitStatus
	waitErr  error
	cgroup   uint64
	pid      int
	known    *boltseal.Container
	deleted  testenv.Result
}

// String is everything that is known, for a container that did what it should not.
func (o *outcome) String() string {
	return fmt.Sprintf("%s %q, selected %t\n  start: %s\n  status %#x (%v)\n  stdout %q\n  stderr %q\n  agent: %s\n  delete: %s",
		o.ID, o.Spec.Process.Args, o.selected, o.started, uint32(o.status), o.waitErr, o.Stdout(), o.Stderr(), o.known, o.deleted)
}

func (o *outcome) killed() bool {
	return o.waitErr == nil && o.status.Signaled() && o.status.Signal() == unix.SIGKILL
}

// starter starts containers whose end this process sees itself: it stands in
// for the parent that runc leaves them without.
type starter struct {
	agent *agentenv.Agent
	hook  *agentenv.Hook
	runc  *testenv.Runc
	mark  string
}

func newStarter(t *testing.T, agent *agentenv.Agent) *starter {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil {
			t.Error(err)
		}
	})
	return &starter{agent: agent, hook: agent.Hook(t), runc: testenv.NewRunc(t), mark: agentenv.Mark()}
}

// spec is a container that the policies of the mark select, or a neighbour, and
// that the hook tells of.
func (s *starter) spec(selected bool, args ...string) testenv.Spec {
	mark := s.mark
	if !selected {
		mark = "not-" + mark
	}
	return testenv.Spec{Args: args, Annotations: agentenv.Marked(mark), Hooks: s.hook.OCI()}
}

// start starts one container, sees it end, asks the agent about it, deletes it.
func (s *starter) start(ctx context.Context, t *testing.T, spec testenv.Spec) *outcome {
	o := &outcome{selected: spec.Annotations[agentenv.MarkKey] == s.mark, Container: testenv.Bundle(t, spec)}
	if o.started = s.runc.RunDetached(ctx, o.Container); o.started.Code == 0 {
		o.pid, o.status, o.waitErr = s.end(ctx, o.ID)
	}
	o.known = s.agent.Container(t, o.ID)
	o.cgroup, _ = o.CgroupID() // none when it did not start
	o.deleted = s.runc.Delete(ctx, o.Container)
	return o
}

// end waits for the end of a container's first process.
func (s *starter) end(ctx context.Context, id string) (pid int, status unix.WaitStatus, err error) {
	text, err := os.ReadFile(filepath.Join(s.runc.Root, id, "state.json"))
	if err != nil {
		return 0, 0, err
	}
	if pid, err = initPID(text); err != nil {
		return 0, 0, err
	}
	for {
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		if got == pid || err != nil && err != unix.EINTR {
			return pid, status, err
		}
		select {
		case <-ctx.Done():
			return pid, 0, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// initPID reads the pid out of runc's state, without decoding all of it.
func initPID(state []byte) (int, error) {
	_, rest, found := strings.Cut(string(state), `"init_process_pid":`)
	if !found {
		return 0, fmt.Errorf("no init_process_pid in %q", state)
	}
	digits, _, _ := strings.Cut(rest, ",")
	return strconv.Atoi(digits)
}

// starts is a multiple of 50: make test-lab starts a thousand.
var starts = flag.Int("boltseal.starts", 300, "containers that do what is forbidden, besides a fifth of it that may")

// TestManyStarts is the promise that all others rest on: whatever the
// entrypoint does, and however many start at once, the container is sealed
// before its first instruction and its policy holds from there.
func TestManyStarts(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	agent := agentenv.Start(t, testenv.AgentOptions{})
	s := newStarter(t, agent)
	agent.Policy(t, agentenv.KillShadow("thousand", s.mark))
	before := agent.Status(t)
	events := agent.Events(t, execEvents())

	var all []*outcome
	for _, level := range []struct{ parallel, of10 int }{{1, 2}, {8, 3}, {64, 5}} {
		begin := time.Now()
		selected := *starts * level.of10 / 10
		made := s.many(ctx, t, level.parallel, selected, selected/5)
		sum := judge(t, made)
		testenv.Report(t, "%d at a time: %s, in %v", level.parallel, sum, time.Since(begin).Round(time.Second))
		all = append(all, made...)
		if t.Failed() {
			break
		}
	}
	sum := judge(t, all)
	testenv.Report(t, "%d starts of runc containers: %s", len(all), sum)
	if sum.selected != *starts || sum.neighbours != *starts/5 {
		t.Errorf("started %d selected ones and %d neighbours, want %d and %d", sum.selected, sum.neighbours, *starts, *starts/5)
	}
	s.checkAgent(t, before, all)
	s.checkEvents(t, events, all)
}

// execEvents asks for the events of programs that are executed.
func execEvents() *tetragon.GetEventsRequest {
	return &tetragon.GetEventsRequest{AllowList: []*tetragon.Filter{{EventSet: []tetragon.EventType{tetragon.EventType_PROCESS_EXEC}}}}
}

// checkEvents looks for the exec of every entrypoint among the events, which
// must say whose it is.
func (s *starter) checkEvents(t *testing.T, events *agentenv.Events, all []*outcome) {
	t.Helper()
	execs := map[string]*tetragon.Process{}
	events.Until(t, 10*time.Second, "an exec event of every entrypoint", func(got []*tetragon.GetEventsResponse) error {
		clear(execs)
		for _, e := range got {
			// Numbers of processes are used again: the id tells them apart.
			p := e.GetProcessExec().GetProcess()
			execs[fmt.Sprint(p.GetPid().GetValue(), p.GetPod().GetContainer().GetId())] = p
		}
		for _, o := range all {
			if execs[fmt.Sprint(o.pid, o.ID)] == nil {
				return fmt.Errorf("none of pid %d among %d events: %s", o.pid, len(got), o)
			}
		}
		return nil
	})
	unidentified := 0
	ours := map[uint32]bool{}
	for _, o := range all {
		ours[uint32(o.pid)] = true
	}
	for _, e := range events.All() {
		p := e.GetProcessExec().GetProcess()
		if ours[p.GetPid().GetValue()] && strings.Contains(p.GetArguments(), "/etc/shadow") && (p.GetDocker() == "" || !strings.HasPrefix(p.GetPod().GetContainer().GetId(), p.GetDocker())) {
			unidentified++
			t.Errorf("exec without identity: %s", p)
		}
	}
	testenv.Report(t, "%d exec events of %d entrypoints, %d without identity", len(execs), len(all), unidentified)
}

// checkAgent compares what the agent counted with what happened.
func (s *starter) checkAgent(t *testing.T, before *boltseal.GetStatusResponse, all []*outcome) {
	t.Helper()
	// Each open of each thread is a kill of its own.
	counters := s.agent.PolicyStatus(t, "thousand").GetStats().GetActionCounters()
	if n, made := counters.GetSignal(), uint64(*starts); n < made || n > 2*made {
		t.Errorf("the policy counted %d signals for %d containers", n, made)
	}
	after := s.agent.Status(t)
	for name, n := range after.GetKernelErrors() {
		// From Linux 7.0 the kernel skips programs at times, which the agent makes up for.
		if n != before.GetKernelErrors()[name] && name != "missed" && name != "probe_missed" && name != "exec_missed" {
			t.Errorf("kernel errors: %d of %s", n, name)
		}
	}
	testenv.Eventually(t, 10*time.Second, "the agent forgets the containers", func() error {
		known := s.agent.Containers(t)
		for _, o := range all {
			if c := known[o.ID]; c != nil {
				return fmt.Errorf("it lists %s", c)
			}
		}
		return nil
	})
}

// many starts containers, some at a time and neighbours evenly among them.
func (s *starter) many(ctx context.Context, t *testing.T, parallel, selected, neighbours int) []*outcome {
	t.Helper()
	total := selected + neighbours
	made := make([]*outcome, total)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= total {
					return
				}
				// One neighbour per total/neighbours, with every act in turn.
				neighbour := (i+1)*neighbours/total > i*neighbours/total
				act := forbidden()[i%len(forbidden())]
				made[i] = s.start(ctx, t, s.spec(!neighbour, act...))
			}
		})
	}
	workers.Wait()
	return made
}

// summary counts what became of containers.
type summary struct {
	selected, survived, unidentified, neighbours, unharmed int
}

func (s summary) String() string {
	return fmt.Sprintf("%d selected, %d survived, %d first execs without identity; %d neighbours, %d unharmed",
		s.selected, s.survived, s.unidentified, s.neighbours, s.unharmed)
}

// judge says of every container whether it is as promised.
func judge(t *testing.T, made []*outcome) summary {
	t.Helper()
	var s summary
	for _, o := range made {
		if o == nil {
			t.Error("a container could not be tried")
			continue
		}
		var faults []string
		if err := agentenv.SealedFirst(o.known); err != nil {
			s.unidentified++
			faults = append(faults, "identity: "+err.Error())
		}
		dead, leak := o.killed(), leaked(o.Stdout())
		switch {
		case o.selected:
			s.selected++
			if !dead || leak {
				s.survived++
				faults = append(faults, "survived")
			}
		default:
			s.neighbours++
			if leak && o.waitErr == nil && o.status == 0 {
				s.unharmed++
			} else {
				faults = append(faults, "neighbour harmed")
			}
		}
		if o.started.Code != 0 || o.deleted.Code != 0 {
			faults = append(faults, "runc")
		}
		if faults != nil {
			t.Errorf("%s: %s", strings.Join(faults, ", "), o)
		}
	}
	return s
}
