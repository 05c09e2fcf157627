// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/stage"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const killedStatus, exitedStatus = unix.WaitStatus(unix.SIGKILL), unix.WaitStatus(0)

// good is an outcome of which everything holds.
func good(selected bool) outcome {
	c := stage.Container{Role: "neighbour", ID: "n"}
	created := &boltseal.Container{
		Id: "n", CgroupId: 8, InitPid: 9, State: boltseal.ContainerState_CONTAINER_STATE_MAPPED, SealedNs: 1e9, FirstTaskNs: 1e9 + 10,
	}
	ended := &boltseal.Container{
		Id: "n", CgroupId: 8, InitPid: 9, State: boltseal.ContainerState_CONTAINER_STATE_ARMED, CgroupPath: "/n",
		SealedBy: boltseal.SealedBy_SEALED_BY_RUNTIME_PATTERN,
		SealedNs: 1e9, FirstTaskNs: 1e9 + 10, FirstExecNs: 1e9 + 20, ArmedNs: 1e9 + 20,
	}
	p := &tetragon.Process{Pid: wrapperspb.UInt32(9), Docker: "n"}
	exit := &tetragon.ProcessExit{Process: p}
	o := outcome{Outcome: stage.Outcome{
		Container: c, Created: created, Ended: ended, Status: exitedStatus, Output: hostnameText + shadowText,
	}}
	if selected {
		o.selected, o.Status, o.Output = true, killedStatus, hostnameText
		created.Policies = []string{policyName}
		exit.Signal = "SIGKILL"
		o.Events = append(o.Events, act(p))
	}
	o.Events = append(o.Events, &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExit{ProcessExit: exit}})
	return o
}

func act(p *tetragon.Process) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessTracepoint{
		ProcessTracepoint: &tetragon.ProcessTracepoint{
			Process: p, Subsys: "syscalls", Event: "sys_enter_openat", PolicyName: policyName,
			Action: tetragon.KprobeAction_KPROBE_ACTION_SIGKILL,
		},
	}}
}

func fails(o outcome) bool {
	return slices.ContainsFunc(o.findings(), func(f finding) bool { return f.judged && !f.holds })
}

func TestGoodOutcomes(t *testing.T) {
	t.Parallel()
	for _, selected := range []bool{true, false} {
		for _, f := range good(selected).findings() {
			if f.judged && !f.holds {
				t.Errorf("selected %v: does not hold: %s", selected, f.text)
			}
		}
	}
	last := good(true).findings()
	want := "read /etc/shadow: killed by policy demo-no-shadow-read at syscalls/sys_enter_openat, exit status 137 (SIGKILL)"
	if got := last[len(last)-1].text; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestEachFlawIsSeen: a demo that cannot fail shows nothing.
func TestEachFlawIsSeen(t *testing.T) {
	t.Parallel()
	for name, flaw := range map[string]struct {
		selected bool
		change   func(*outcome)
	}{
		"never sealed":                  {false, func(o *outcome) { o.Ended.SealedNs = 0 }},
		"sealed with the first task":    {false, func(o *outcome) { o.Ended.FirstTaskNs = o.Ended.SealedNs }},
		"sealed after the first task":   {true, func(o *outcome) { o.Ended.SealedNs = o.Ended.FirstTaskNs + 1 }},
		"no first task":                 {false, func(o *outcome) { o.Ended.FirstTaskNs = 0 }},
		"exec with the first task":      {false, func(o *outcome) { o.Ended.FirstExecNs = o.Ended.FirstTaskNs }},
		"no exec":                       {false, func(o *outcome) { o.Ended.FirstExecNs = 0 }},
		"no entrypoint":                 {false, func(o *outcome) { o.Ended.ArmedNs = 0 }},
		"entrypoint before all execs":   {false, func(o *outcome) { o.Ended.ArmedNs = o.Ended.FirstExecNs - 1 }},
		"late":                          {false, func(o *outcome) { o.Ended.State = boltseal.ContainerState_CONTAINER_STATE_LATE }},
		"unsealed":                      {true, func(o *outcome) { o.Ended.State = boltseal.ContainerState_CONTAINER_STATE_UNSEALED }},
		"not mapped when created":       {true, func(o *outcome) { o.Created.State = boltseal.ContainerState_CONTAINER_STATE_EXPECTED }},
		"armed when created":            {false, func(o *outcome) { o.Created.ArmedNs = 5 }},
		"no cgroup when created":        {false, func(o *outcome) { o.Created.CgroupId = 0 }},
		"another cgroup when created":   {false, func(o *outcome) { o.Created.CgroupId++ }},
		"selected without policy":       {true, func(o *outcome) { o.Created.Policies = nil }},
		"neighbour with the policy":     {false, func(o *outcome) { o.Created.Policies = []string{policyName} }},
		"first act not done":            {false, func(o *outcome) { o.Output = shadowText }},
		"killed before the first act":   {true, func(o *outcome) { o.Output = "" }},
		"secret read all the same":      {true, func(o *outcome) { o.Output += shadowText }},
		"selected lives":                {true, func(o *outcome) { o.Status = exitedStatus }},
		"selected exits with 137":       {true, func(o *outcome) { o.Status = unix.WaitStatus(137 << 8) }},
		"another signal":                {true, func(o *outcome) { o.Status = unix.WaitStatus(unix.SIGTERM) }},
		"no event of the act":           {true, func(o *outcome) { o.Events = o.Events[1:] }},
		"no event of the end":           {true, func(o *outcome) { o.Events = o.Events[:1] }},
		"end of another process":        {true, func(o *outcome) { o.Ended.InitPid++ }},
		"event without the action":      {true, func(o *outcome) { o.acts()[0].Action = tetragon.KprobeAction_KPROBE_ACTION_POST }},
		"event of another policy":       {true, func(o *outcome) { o.acts()[0].PolicyName = "other" }},
		"neighbour killed":              {false, func(o *outcome) { o.Status = killedStatus }},
		"neighbour fails":               {false, func(o *outcome) { o.Status = unix.WaitStatus(1 << 8) }},
		"neighbour cannot read":         {false, func(o *outcome) { o.Output = hostnameText }},
		"policy acts in the neighbour":  {false, func(o *outcome) { o.Events = append(o.Events, act(nil)) }},
		"neighbour's end is not told":   {false, func(o *outcome) { o.Events = nil }},
		"neighbour's end by a signal":   {false, func(o *outcome) { o.Events[0].GetProcessExit().Signal = "SIGKILL" }},
		"the agent knows nothing of it": {true, func(o *outcome) { o.Ended = nil }},
	} {
		o := good(flaw.selected)
		flaw.change(&o)
		if !fails(o) {
			t.Errorf("%s: everything holds", name)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := &run{Options: Options{Out: &out}}
	if !r.report("fine", []finding{fact("a fact"), claim(true, "a %s", "claim")}) || r.report("not fine", []finding{claim(false, "false"), claim(true, "true")}) {
		t.Errorf("the verdict is wrong")
	}
	want := "\nfine\n      a fact\n  ok  a claim\n\nnot fine\n  NO  false\n  ok  true\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
