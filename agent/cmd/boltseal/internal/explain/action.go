// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// actions are what is done when a selector matches.
func actions(s policy.Selector, mode policy.Mode) []string {
	all := actionsWords(s.Actions, mode)
	if s.Posts() && !slices.ContainsFunc(s.Actions, func(a policy.Action) bool { return a.Kind == policy.Post }) {
		all = append(all, "report it")
	}
	return all
}

func actionsWords(actions []policy.Action, mode policy.Mode) (all []string) {
	for _, a := range actions {
		text := actionWords(a)
		if a.Kind.Enforces() && mode == policy.Monitor {
			text += " (in mode enforce; only reported now)"
		}
		all = append(all, text)
	}
	return all
}

func actionWords(a policy.Action) string {
	switch a.Kind {
	case policy.Post:
		return postWords(a)
	case policy.NoPost:
		return "do not report it"
	case policy.Sigkill:
		return "kill the process"
	case policy.Signal:
		return "send the process " + signalWords(a.Signal)
	case policy.Override:
		return "make it " + resultWords(a.Error)
	case policy.NotifyEnforcer:
		var asked []string
		if a.Error != 0 {
			asked = append(asked, "make the call "+resultWords(a.Error))
		}
		if a.Signal != 0 {
			asked = append(asked, "send "+signalWords(a.Signal))
		}
		return "have the policy's enforcers " + join(asked, "and")
	case policy.CleanupEnforcerNotification:
		return "take back what the policy's enforcers were asked for and have not done"
	case policy.GetURL:
		return "have the agent get the URL " + strconv.Quote(a.Target)
	case policy.DNSLookup:
		return "have the agent look the name " + strconv.Quote(a.Target) + " up"
	case policy.TrackSock:
		return "take what happens to " + sockWords(a.Sock) + " from now on for the process's doing"
	case policy.UntrackSock:
		return "take what happens to " + sockWords(a.Sock) + " for nobody's doing again"
	}
	return a.Kind.String()
}

// postWords are what a Post says of its events.
func postWords(a policy.Action) string {
	text := "report it"
	var with []string
	if a.KernelStack {
		with = append(with, "the kernel's stack")
	}
	if a.UserStack {
		with = append(with, "the process' stack")
	}
	if a.Hash {
		with = append(with, "the file's hash")
	}
	if len(with) > 0 {
		text += " with " + join(with, "and")
	}
	if a.RateLimit == 0 {
		return text
	}
	whom := map[policy.RateScope]string{
		policy.RateThread: "each thread", policy.RateProcess: "each process", policy.RateGlobal: "everybody together",
	}[a.RateScope]
	return fmt.Sprintf("%s (of like arguments once in %s for %s)", text, durationWords(a.RateLimit), whom)
}

// durationWords is whole seconds in the largest unit that they are whole in.
func durationWords(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

func signalWords(n uint8) string {
	if name := unix.SignalName(unix.Signal(n)); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}

// resultWords is what a call does that returns a number.
func resultWords(n int32) string {
	if n < 0 {
		if name := unix.ErrnoName(unix.Errno(-n)); name != "" {
			return fmt.Sprintf("fail with %s", name)
		}
	}
	return fmt.Sprintf("return %d without being done", n)
}
