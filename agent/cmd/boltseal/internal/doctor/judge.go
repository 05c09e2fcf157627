// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"strings"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/doctor/canary"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/settings"
)

// judgeSeal judges what the agent knew of a canary whose entrypoint ran.
func judgeSeal(c *boltseal.Container, name, mark, id string) finding {
	if c == nil {
		return fail("container %.12s runs, and the agent does not know it", id)
	}
	order := fmt.Sprintf("first task %s, first exec %s, entrypoint %s after the seal, which was %s",
		after(c, c.GetFirstTaskNs()), after(c, c.GetFirstExecNs()), after(c, c.GetArmedNs()), sealedBy(c.GetSealedBy()))
	sealed := c.GetSealedNs()
	switch {
	case c.GetState() == boltseal.ContainerState_CONTAINER_STATE_LATE:
		return fail("sealed late, when it ran already: %s", order)
	case c.GetState() != boltseal.ContainerState_CONTAINER_STATE_ARMED:
		state := strings.ToLower(strings.TrimPrefix(c.GetState().String(), "CONTAINER_STATE_"))
		return fail("its entrypoint runs, and the agent says that it is %s: %s", state, order)
	case sealed == 0 || sealed > c.GetArmedNs() || c.GetFirstExecNs() > c.GetArmedNs():
		return fail("not sealed before its entrypoint: %s", order)
	case c.GetName() != name:
		return fail("known by the name %q, which is %q: policies that select by name miss it; %s", c.GetName(), name, order)
	case c.GetLabels()[canary.MarkKey] != mark && c.GetAnnotations()[canary.MarkKey] != mark:
		return fail("known without its labels and annotations: policies that select by them miss it; %s", order)
	case sealed >= c.GetFirstTaskNs():
		return warn("sealed before its entrypoint, but not before the first task of its set-up: %s", order)
	}
	return ok("%s, known by its name", order)
}

// after is how long after the seal something was, by the kernel's clock.
func after(c *boltseal.Container, ns uint64) string {
	if ns == 0 {
		return "never"
	}
	return fmt.Sprintf("%+.3f ms", (float64(ns)-float64(c.GetSealedNs()))/1e6)
}

func sealedBy(by boltseal.SealedBy) string {
	switch by {
	case boltseal.SealedBy_SEALED_BY_EXPECTED_PATH:
		return "at birth by its announced path"
	case boltseal.SealedBy_SEALED_BY_RUNTIME_PATTERN:
		return "at birth by its runtime's pattern"
	case boltseal.SealedBy_SEALED_BY_HOOK:
		return "by the hook"
	case boltseal.SealedBy_SEALED_BY_ADOPTION:
		return "by adoption"
	}
	return "by nobody"
}

// notStarted judges a canary that the runtime did not start while the agent is there.
func notStarted(o canary.Outcome) finding {
	// The runtimes say which hook failed, and the hook why.
	if text := strings.ToLower(o.Said); strings.Contains(text, "hook") || strings.Contains(text, "boltseal") {
		return fail("the hook kept it from starting: %s", o.Said).but("see the hook's lines above, and the agent's log")
	}
	return notProven("the runtime did not start the canary: exit status %d: %s", o.Code, o.Said)
}

// judgeAway judges a canary whose hook found no agent. An empty refusal is none.
func judgeAway(o canary.Outcome, refusal string, s settings.Settings) finding {
	const proven = "shown with a hook that asks at a socket that does not exist; the agent was not stopped"
	d := agentclient.Decide(agentclient.Outcome{Cause: agentclient.Unreachable, NeverUp: s.NeverUp()}, s.FailPolicy, agentclient.Subject{})
	switch {
	case o.Ran && d.Start:
		return warn("it starts unsealed, as the fail policy says (%s)", proven).
			but("set fail_policy.default to block where that must not be")
	case o.Ran:
		return fail("it started, and the fail policy says that it must not (%s)", proven).
			but("see whether the runtime runs the hook at all")
	case refusal == "":
		return notProven("it did not start, but not for the hook's answer: exit status %d: %s", o.Code, o.Said)
	case d.Start:
		return fail("refused, though the fail policy lets it start: %s", refusal)
	}
	return ok("refused by the hook (%s)", proven)
}

// advice is what to do about a runtime whose containers are not sealed in time.
func advice(runtime string) string {
	switch runtime {
	case "podman":
		return "put boltseal-hook into podman's hooks directory, see README"
	case "containerd", "cri-o":
		return "enable NRI and see that boltseal-nri runs and is connected, see README"
	case "docker":
		return "make docker's runtime one that runs boltseal-hook, see README"
	}
	return "add boltseal-hook to the bundle's config.json, see README"
}
