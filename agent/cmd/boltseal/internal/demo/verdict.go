// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/stage"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// outcome is all that is known of one container at its end.
type outcome struct {
	stage.Outcome
	selected bool
}

// finding is one line of the report. A finding that has to hold has a mark.
type finding struct {
	text   string
	judged bool
	holds  bool
}

func fact(format string, args ...any) finding { return finding{text: fmt.Sprintf(format, args...)} }

func claim(holds bool, format string, args ...any) finding {
	return finding{text: fmt.Sprintf(format, args...), judged: true, holds: holds}
}

// findings judges one container.
func (o outcome) findings() []finding {
	c := o.Ended
	return []finding{
		fact("cgroup       id %d, %s", c.GetCgroupId(), quote.Word(c.GetCgroupPath())),
		fact("sealed       %s s after boot, by %s", seconds(c.GetSealedNs()), sealedBy(c.GetSealedBy())),
		fact("first task   %s", after(c, c.GetFirstTaskNs())),
		fact("first exec   %s", after(c, c.GetFirstExecNs())),
		fact("entrypoint   %s", after(c, c.GetArmedNs())),
		claim(o.mappedInTime(), "sealed before its entrypoint ran, with %s in force", policies(o.Created)),
		claim(inOrder(c), "sealed < first task < first exec, by the kernel's clock"),
		claim(c.GetState() == boltseal.ContainerState_CONTAINER_STATE_ARMED, "the agent says: %s", state(c)),
		claim(strings.HasPrefix(o.Output, hostnameText), "read %s: %s", untouchedFile, done(strings.HasPrefix(o.Output, hostnameText))),
		o.forbidden(),
	}
}

// mappedInTime tells whether the seal with its policies was there before the
// entrypoint was allowed to run.
func (o outcome) mappedInTime() bool {
	return o.Created.GetState() == boltseal.ContainerState_CONTAINER_STATE_MAPPED &&
		o.Created.GetArmedNs() == 0 && o.Created.GetCgroupId() != 0 && o.Created.GetCgroupId() == o.Ended.GetCgroupId() &&
		slices.Contains(o.Created.GetPolicies(), policyName) == o.selected
}

// inOrder is the promise: the seal is there before any task, and every task
// before any program.
func inOrder(c *boltseal.Container) bool {
	return c.GetSealedNs() > 0 && c.GetSealedNs() < c.GetFirstTaskNs() &&
		c.GetFirstTaskNs() < c.GetFirstExecNs() && c.GetFirstExecNs() <= c.GetArmedNs()
}

// forbidden judges the act that the policy forbids.
func (o outcome) forbidden() finding {
	leaked := strings.Contains(o.Output, strings.TrimSpace(shadowText))
	acts := o.acts()
	signal := o.exitSignal()
	ending := exitStatus(o.Status)
	if !o.selected {
		holds := leaked && len(acts) == 0 && o.Status.Exited() && o.Status.ExitStatus() == 0 && signal == ""
		return claim(holds, "read %s: %s, %s", forbiddenFile, done(leaked), ending)
	}
	if len(acts) == 0 {
		return claim(false, "read %s: no event of policy %s, %s", forbiddenFile, policyName, ending)
	}
	act := acts[0]
	holds := !leaked && act.GetAction() == tetragon.KprobeAction_KPROBE_ACTION_SIGKILL && act.GetPolicyName() == policyName &&
		o.Status.Signaled() && o.Status.Signal() == unix.SIGKILL && signal == "SIGKILL"
	return claim(holds, "read %s: %s by policy %s at %s, %s", forbiddenFile, killed(holds),
		quote.Word(act.GetPolicyName()), quote.Word(act.GetSubsys()+"/"+act.GetEvent()), ending)
}

// acts is the events of the policy in the container.
func (o outcome) acts() []*tetragon.ProcessTracepoint {
	var acts []*tetragon.ProcessTracepoint
	for _, e := range o.Events {
		if t := e.GetProcessTracepoint(); t != nil {
			acts = append(acts, t)
		}
	}
	return acts
}

// exitSignal is the signal in the event of the end of the container's entrypoint.
func (o outcome) exitSignal() string {
	for _, e := range o.Events {
		if x := e.GetProcessExit(); x != nil && x.GetProcess().GetPid().GetValue() == o.Ended.GetInitPid() {
			return x.GetSignal()
		}
	}
	return "none"
}

func done(was bool) string {
	if was {
		return "done"
	}
	return "not done"
}

func killed(was bool) string {
	if was {
		return "killed"
	}
	return "not killed as it should have been,"
}

// exitStatus is how a process ended, as shells count it.
func exitStatus(s unix.WaitStatus) string {
	if s.Signaled() {
		return fmt.Sprintf("exit status %d (%s)", 128+int(s.Signal()), unix.SignalName(s.Signal()))
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

func policies(c *boltseal.Container) string {
	if len(c.GetPolicies()) == 0 {
		return "no policy"
	}
	return "policy " + quote.Text(strings.Join(c.GetPolicies(), ", "))
}

func state(c *boltseal.Container) string {
	if c.GetState() == boltseal.ContainerState_CONTAINER_STATE_ARMED {
		return "sealed before its first exec"
	}
	return strings.ToLower(strings.TrimPrefix(c.GetState().String(), "CONTAINER_STATE_"))
}

func sealedBy(by boltseal.SealedBy) string {
	switch by {
	case boltseal.SealedBy_SEALED_BY_EXPECTED_PATH:
		return "its path, at its birth"
	case boltseal.SealedBy_SEALED_BY_RUNTIME_PATTERN:
		return "its runtime's pattern, at its birth"
	case boltseal.SealedBy_SEALED_BY_HOOK:
		return "the hook"
	case boltseal.SealedBy_SEALED_BY_ADOPTION:
		return "adoption"
	}
	return "nobody"
}

func seconds(ns uint64) string { return fmt.Sprintf("%d.%09d", ns/1e9, ns%1e9) }

// after is a kernel time, and how long after the seal it was.
func after(c *boltseal.Container, ns uint64) string {
	if ns == 0 {
		return "never"
	}
	return fmt.Sprintf("%s s, %+.3f ms from the seal", seconds(ns), (float64(ns)-float64(c.GetSealedNs()))/1e6)
}
