// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// clock is what the actor stamps its tries with.
func clock(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano()
}

// promise is what the agent has acknowledged and what has not been taken back:
// from the answer to one call until the next is sent that changes it.
type promise struct {
	from, to int64
	enforced bool
	after    string
}

// act is one line of the actor's loop.
type act struct {
	begin, end int64
	result     string
}

func actsOf(box *testenv.Container) (all []act) {
	for line := range strings.Lines(box.Stdout()) {
		var one act
		if n, _ := fmt.Sscanf(line, "act %d %d %s", &one.begin, &one.end, &one.result); n == 3 {
			all = append(all, one)
		}
	}
	return all
}

// storm changes a policy in every way, again and again.
type storm struct {
	*rig
	random *rand.Rand
	texts  []string // the same policy, put in several ways

	// What the policy is now.
	there, enabled, enforcing bool

	promises []promise
	done     map[string]int
}

// change makes a change that leads to a new state and lets the load run under it.
func (s *storm) change(t *testing.T, what string, there, enabled, enforcing bool, call func() error) {
	t.Helper()
	last := &s.promises[len(s.promises)-1]
	enforced := there && enabled && enforcing
	// One that is enforced before and after is so during the change too.
	kept := last.enforced == enforced
	if !kept {
		last.to = clock(t)
	}
	if err := call(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if kept {
		last.after += ", " + what
	} else {
		s.promises = append(s.promises, promise{from: clock(t), enforced: enforced, after: what})
	}
	s.there, s.enabled, s.enforcing = there, enabled, enforcing
	s.done[what]++
	// The load that the promise is held against.
	select {
	case <-time.After(time.Duration(5+s.random.IntN(20)) * time.Millisecond):
	case <-t.Context().Done():
	}
}

func (s *storm) configure(t *testing.T, enable *bool, mode *tetragon.TracingPolicyMode) func() error {
	return func() error {
		_, err := s.agent.Tetragon.ConfigureTracingPolicy(t.Context(),
			&tetragon.ConfigureTracingPolicyRequest{Name: s.policy, Enable: enable, Mode: mode})
		return err
	}
}

// step makes a change that is possible now, chosen at random.
func (s *storm) step(t *testing.T) {
	t.Helper()
	put := func() error { return s.agent.Add(t.Context(), s.texts[s.random.IntN(len(s.texts))]) }
	if !s.there {
		s.change(t, "add", true, true, true, put)
		return
	}
	enforce, monitor := tetragon.TracingPolicyMode_TP_MODE_ENFORCE, tetragon.TracingPolicyMode_TP_MODE_MONITOR
	switch s.random.IntN(9) {
	case 0, 1:
		s.change(t, "replace", true, true, true, put)
	case 2:
		s.change(t, "disable", true, false, s.enforcing, func() error {
			_, err := s.agent.Tetragon.DisableTracingPolicy(t.Context(), &tetragon.DisableTracingPolicyRequest{Name: s.policy})
			return err
		})
	case 3:
		s.change(t, "enable", true, true, s.enforcing, func() error {
			_, err := s.agent.Tetragon.EnableTracingPolicy(t.Context(), &tetragon.EnableTracingPolicyRequest{Name: s.policy})
			return err
		})
	case 4:
		s.change(t, "monitor", true, s.enabled, false, s.configure(t, nil, &monitor))
	case 5:
		s.change(t, "enforce", true, s.enabled, true, s.configure(t, nil, &enforce))
	case 6:
		s.change(t, "disable and monitor", true, false, false, s.configure(t, new(false), &monitor))
	case 7:
		s.change(t, "enable and enforce", true, true, true, s.configure(t, new(true), &enforce))
	case 8:
		s.change(t, "delete", false, false, false, func() error {
			_, err := s.agent.Tetragon.DeleteTracingPolicy(t.Context(), &tetragon.DeleteTracingPolicyRequest{Name: s.policy})
			return err
		})
	}
}

// killOpen kills containers with the mark that open files by such names.
func killOpen(name, mark, names string) string {
	return agentenv.PolicyText(name, mark, agentenv.Tracepoint{
		Event: "sys_enter_openat", Args: "[{index: 6, type: string}]",
		Selectors: "[{matchArgs: [{args: [0], " + names + "}], matchActions: [{action: Sigkill}]}]",
	})
}

// load starts a container that does the forbidden act without end.
func (r *rig) load(t *testing.T, mark string) *testenv.Container {
	t.Helper()
	box := testenv.Bundle(t, testenv.Spec{
		Args: []string{testenv.ActorPath, "loop", secretFile, "3ms"}, Annotations: agentenv.Marked(mark), Hooks: r.hook.OCI(),
	})
	if result := r.runc.RunDetached(t.Context(), box); result.Code != 0 {
		t.Fatal(result)
	}
	// runc returns before the entrypoint has been executed.
	testenv.Eventually(t, 10*time.Second, "the load runs", func() error {
		if state := r.agent.Container(t, box.ID).GetState(); state != boltseal.ContainerState_CONTAINER_STATE_ARMED {
			return fmt.Errorf("container %s is %s", box.ID, state)
		}
		return nil
	})
	return box
}

// TestPolicyStorm: under a continuous load of the forbidden act none gets
// through while the API has reported the policy as enforced, also while one form
// of it takes another's place, and none is killed after delete, disable or
// monitor was acknowledged.
func TestPolicyStorm(t *testing.T) {
	const changes, containers = 300, 4
	testenv.LeakCheck(t)
	agentenv.Require(t)
	seed := rand.Uint64() //nolint:gosec // it chooses among changes
	t.Logf("seed %d", seed)
	r := newRig(t, testenv.AgentOptions{})
	s := &storm{rig: r, random: rand.New(rand.NewPCG(seed, 0)), done: map[string]int{}} //nolint:gosec // see above
	s.texts = []string{
		killOpen(r.policy, r.mark, "operator: Postfix, values: [/etc/shadow]"),
		killOpen(r.policy, r.mark, "operator: Prefix, values: [/etc/sh]"),
		killOpen(r.policy, r.mark, "operator: Equal, values: [/etc/group, /etc/shadow]"),
	}
	neighbour := r.load(t, "not-"+r.mark)
	var boxes []*testenv.Container
	for range containers {
		boxes = append(boxes, r.load(t, r.mark))
	}
	status, held := r.agent.Status(t), objectsOf(t, r.agent.Pid)
	elements := held.elements(t)

	s.promises = []promise{{from: clock(t), after: "nothing"}}
	for range changes / 10 { // programs are attached by the first policy and detached with the last
		s.step(t)
	}
	anchor := agentenv.Mark()
	r.agent.Policy(t, killOpen(anchor, anchor, "operator: Postfix, values: [shadow]"))
	for range changes - changes/10 { // and only maps change beside another policy
		s.step(t)
	}
	r.agent.Delete(t, anchor)
	s.promises[len(s.promises)-1].to = clock(t)
	if s.there {
		r.agent.Delete(t, r.policy)
	}
	after := r.agent.Status(t)
	if after.GetPolicies() != 0 || len(after.GetSites()) != 0 {
		t.Errorf("after the storm: %d policies, sites %v", after.GetPolicies(), after.GetSites())
	}
	r.noErrors(t, status)
	now := objectsOf(t, r.agent.Pid)
	if err := sameObjects(held, now); err != nil {
		t.Error(err)
	}
	if left := now.elements(t); !maps.Equal(left, elements) {
		t.Errorf("elements in the maps of policies: %v, were %v", left, elements)
	}
	for _, box := range append(boxes, neighbour) {
		if result := r.runc.Delete(t.Context(), box); result.Code != 0 {
			t.Error(result)
		}
	}
	s.verdict(t, boxes, neighbour)
	r.settled(t)
}

// verdict holds what the containers did against the promises.
func (s *storm) verdict(t *testing.T, boxes []*testenv.Container, neighbour *testenv.Container) {
	t.Helper()
	died, passed := 0, 0
	for i, box := range boxes {
		d, p := s.judge(t, actsOf(box))
		if d < 100 || p < 100 {
			t.Errorf("container %d: %d kills and %d passes are too few to show anything", i, d, p)
		}
		died, passed = died+d, passed+p
	}
	others := actsOf(neighbour)
	for _, one := range others {
		if one.result != "leak" {
			t.Errorf("the neighbour's act ended with %s", one.result)
		}
	}
	if len(others) < 100 {
		t.Errorf("the neighbour acted %d times only: %q", len(others), neighbour.Stderr())
	}
	total := 0
	for _, n := range s.done {
		total += n
	}
	testenv.Report(t, "%d changes of a policy %v under load from %d containers: of the acts under a promise %d were to be killed and were, "+
		"%d were to pass and did; %d of a neighbour passed", total, s.done, len(boxes), died, passed, len(others))
}

// judge holds the acts that lie within one promise against it.
func (s *storm) judge(t *testing.T, all []act) (died, passed int) {
	t.Helper()
	at, faults := 0, 0
	for _, one := range all {
		for at < len(s.promises) && s.promises[at].to < one.begin {
			at++
		}
		if at == len(s.promises) {
			break
		}
		p := s.promises[at]
		if one.begin <= p.from || one.end >= p.to {
			continue // a change was under way
		}
		switch {
		case p.enforced && one.result == "killed:SIGKILL":
			died++
		case !p.enforced && one.result == "leak":
			passed++
		default:
			if faults++; faults <= 5 {
				t.Errorf("act from %d to %d: %s, %.3f ms after %q was acknowledged",
					one.begin, one.end, one.result, float64(one.begin-p.from)/1e6, p.after)
			}
		}
	}
	return died, passed
}
