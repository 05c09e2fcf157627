// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/stage"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// seen is what came of a command.
type seen struct {
	status unix.WaitStatus
	output string
	// events are those of the policy; kills and denials those that say so.
	events, kills, denials int
}

// seenOf is what is known of a container at its end.
func seenOf(o *stage.Outcome, policy string) seen {
	s := seen{status: o.Status, output: o.Output}
	for _, e := range o.Events {
		r := stage.RuleOf(e)
		if r == nil || r.GetPolicyName() != policy {
			continue
		}
		s.events++
		switch r.GetAction() {
		case tetragon.KprobeAction_KPROBE_ACTION_SIGKILL:
			s.kills++
		case tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE:
			s.denials++
		}
	}
	return s
}

// String says how the command ended, and what the policy reported.
func (s seen) String() string {
	text := fmt.Sprintf("exit status %d", s.status.ExitStatus())
	if s.status.Signaled() {
		text = fmt.Sprintf("exit status %d (%s)", 128+int(s.status.Signal()), unix.SignalName(s.status.Signal()))
	}
	return fmt.Sprintf("%s; events of the policy: %d, of kills: %d, of denials: %d", text, s.events, s.kills, s.denials)
}

// killed: the command itself, or what a shell ran for it and tells of.
func (s seen) killed() bool {
	const byShell = 128 + int(unix.SIGKILL)
	return s.status.Signaled() && s.status.Signal() == unix.SIGKILL || s.status.Exited() && s.status.ExitStatus() == byShell
}

// control judges a command that ran without the policy.
func (c *Case) control(s seen) (reason string) {
	switch {
	case !s.status.Exited() || s.status.ExitStatus() != c.Exit:
		return fmt.Sprintf("it does not end with %d even without the policy", c.Exit)
	case s.events > 0:
		return "the policy that is not loaded has made events"
	}
	return ""
}

// judge says in which way what came of a case is not what it expects; empty when
// it is.
func (c *Case) judge(s seen) (reason string) {
	if c.Events >= 0 && s.events != c.Events {
		return fmt.Sprintf("want %d events", c.Events)
	}
	switch c.Expect {
	case Killed:
		return c.judgeKill(s)
	case Denied:
		return c.judgeDenial(s)
	}
	switch {
	case !s.status.Exited() || s.status.ExitStatus() != c.Exit:
		return fmt.Sprintf("want it to end with %d", c.Exit)
	case s.kills+s.denials > 0:
		return "an event says that the policy acted"
	}
	return ""
}

// told: what makes no event has only its ending to tell of it.
func (c *Case) told() bool { return c.Events != 0 }

func (c *Case) judgeKill(s seen) (reason string) {
	switch {
	case !s.killed():
		return "want it killed by SIGKILL"
	case c.told() && s.kills == 0:
		return "no event says that the policy killed it"
	}
	return ""
}

func (c *Case) judgeDenial(s seen) (reason string) {
	switch {
	case !s.status.Exited() || s.status.ExitStatus() == c.Exit:
		return "want it to fail and live"
	case c.told() && s.denials == 0:
		return "no event says that the policy denied it"
	case c.Errno != 0 && !strings.Contains(strings.ToLower(s.output), strings.ToLower(c.Errno.Error())):
		return fmt.Sprintf("want it to tell of %s (%s)", unix.ErrnoName(c.Errno), c.Errno.Error())
	}
	return ""
}
