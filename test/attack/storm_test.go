// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// promise is what the agent had acknowledged between two of its answers.
type promise struct {
	from, to int64
	enforced bool
	after    string
}

// try is one line of the actor's loop.
type try struct {
	begin, end int64
	result     string
}

func tries(t *testing.T, out string) (all []try) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		var one try
		if n, _ := fmt.Sscanf(lines.Text(), "act %d %d %s", &one.begin, &one.end, &one.result); n == 3 {
			all = append(all, one)
		}
	}
	return all
}

// storm changes a policy in every way, again and again.
type storm struct {
	agent    *agentenv.Agent
	text     [2]string // the same policy, put in two ways
	promises []promise
}

// change makes a change and then lets the load run for a while under it.
func (s *storm) change(t *testing.T, what string, enforced bool, call func() error) {
	t.Helper()
	if n := len(s.promises); n > 0 {
		s.promises[n-1].to = clock(t)
	}
	if err := call(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	s.promises = append(s.promises, promise{from: clock(t), enforced: enforced, after: what})
	time.Sleep(20 * time.Millisecond) // the load that the promise is held against
}

func (s *storm) add(t *testing.T, text string) func() error {
	return func() error {
		_, err := s.agent.Tetragon.AddTracingPolicy(t.Context(), &tetragon.AddTracingPolicyRequest{Yaml: text})
		return err
	}
}

func (s *storm) configure(t *testing.T, enable *bool, mode *tetragon.TracingPolicyMode) func() error {
	return func() error {
		_, err := s.agent.Tetragon.ConfigureTracingPolicy(t.Context(),
			&tetragon.ConfigureTracingPolicyRequest{Name: "storm", Enable: enable, Mode: mode})
		return err
	}
}

func (s *storm) round(t *testing.T) {
	t.Helper()
	enforce, monitor := tetragon.TracingPolicyMode_TP_MODE_ENFORCE, tetragon.TracingPolicyMode_TP_MODE_MONITOR
	s.change(t, "add", true, s.add(t, s.text[0]))
	s.change(t, "monitor", false, s.configure(t, nil, &monitor))
	s.change(t, "enforce", true, s.configure(t, nil, &enforce))
	s.change(t, "replace", true, s.add(t, s.text[1]))
	s.change(t, "disable", false, s.configure(t, new(false), nil))
	s.change(t, "enable", true, s.configure(t, new(true), nil))
	s.change(t, "replace again", true, s.add(t, s.text[0]))
	s.change(t, "disable and monitor", false, s.configure(t, new(false), &monitor))
	s.change(t, "enable and enforce", true, s.configure(t, new(true), &enforce))
	s.change(t, "delete", false, func() error {
		_, err := s.agent.Tetragon.DeleteTracingPolicy(t.Context(), &tetragon.DeleteTracingPolicyRequest{Name: "storm"})
		return err
	})
}

// TestPolicyStorm: under a continuous load of the forbidden act no act gets
// through while the API has reported the policy as enforced, and none is killed
// after delete, disable or monitor was acknowledged.
func TestPolicyStorm(t *testing.T) {
	const rounds, containers = 30, 4
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	hook, runc, mark := agent.Hook(t), testenv.NewRunc(t), agentenv.Mark()
	load := func(mark string) *testenv.Container {
		box := testenv.Bundle(t, testenv.Spec{
			Args: []string{testenv.ActorPath, "loop", "/etc/shadow", "1ms"}, Annotations: agentenv.Marked(mark), Hooks: hook.OCI(),
		})
		if result := runc.RunDetached(t.Context(), box); result.Code != 0 {
			t.Fatal(result)
		}
		return box
	}
	neighbour := load("not-" + mark)
	var boxes []*testenv.Container
	for range containers {
		boxes = append(boxes, load(mark))
	}
	s := &storm{agent: agent, text: [2]string{
		agentenv.KillShadow("storm", mark),
		strings.ReplaceAll(agentenv.KillShadow("storm", mark), "operator: Postfix, values: [/etc/shadow]", "operator: Prefix, values: [/etc/sh]"),
	}}
	before := agent.Status(t)
	for range rounds {
		s.round(t)
	}
	s.promises[len(s.promises)-1].to = clock(t)
	for _, box := range append(boxes, neighbour) {
		if result := runc.Kill(t.Context(), box, "TERM"); result.Code != 0 {
			t.Error(result)
		}
		runc.Stopped(t.Context(), t, box, 10*time.Second)
	}
	killed, passed := 0, 0
	for _, box := range boxes {
		k, p := s.judge(t, tries(t, box.Stdout()))
		killed, passed = killed+k, passed+p
	}
	if killed < rounds || passed < rounds {
		t.Errorf("%d kills and %d passes in %d rounds: too few to show anything", killed, passed, rounds)
	}
	for _, one := range tries(t, neighbour.Stdout()) {
		if one.result != "leak" {
			t.Errorf("the neighbour's try ended with %s", one.result)
		}
	}
	after := agent.Status(t)
	if after.GetPolicies() != 0 || len(after.GetSites()) != len(before.GetSites()) {
		t.Errorf("after the storm %d policies and sites %v; before it sites %v", after.GetPolicies(), after.GetSites(), before.GetSites())
	}
	testenv.Report(t, "%d changes of a policy under load from %d containers: %d acts killed and %d let pass, each as promised",
		len(s.promises), containers, killed, passed)
}

// judge holds the tries that lie within one promise against it.
func (s *storm) judge(t *testing.T, all []try) (killed, passed int) {
	t.Helper()
	at := 0
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
			killed++
		case !p.enforced && one.result == "leak":
			passed++
		default:
			t.Errorf("try from %d to %d: %s, %.3f ms after %q was acknowledged", one.begin, one.end, one.result, float64(one.begin-p.from)/1e6, p.after)
		}
	}
	return killed, passed
}
