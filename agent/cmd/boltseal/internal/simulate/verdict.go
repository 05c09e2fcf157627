// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// verdict is what a rule that matches does.
func verdict(r *compile.Rule, mode policy.Mode) (v Verdict, detail string) {
	v = reports(r)
	did := beside(r)
	set := func(to Verdict, format string, args ...any) {
		if !v.Enforces() {
			v = to
		}
		did = append(did, fmt.Sprintf(format, args...))
	}
	if !r.Enforces() && len(did) == 0 {
		if r.Post && r.Rate.Interval != 0 {
			detail = fmt.Sprintf("unless a like one was within %s", r.Rate.Interval)
		}
		return v, detail
	}
	enforcement(r, set)
	detail = strings.Join(did, " and ")
	if mode == policy.Enforce {
		return v, detail
	}
	// What only reports does nothing to the process.
	return reports(r), "mode monitor; in mode enforce " + detail
}

// reports is what a rule does that does nothing to the process.
func reports(r *compile.Rule) Verdict {
	if r.Post {
		return Reported
	}
	return Ignored
}

// enforcement says what a rule does to the process, the strongest first.
func enforcement(r *compile.Rule, set func(to Verdict, format string, args ...any)) {
	const kill = uint8(unix.SIGKILL)
	if r.Signal == kill {
		set(Killed, "killed")
	}
	if r.ReturnSignal == kill && r.Signal != kill {
		set(Killed, "killed as it returned")
	}
	if r.Overrides {
		set(Denied, "denied with %s", result(r.Error))
	}
	if r.Signal != 0 && r.Signal != kill {
		set(Signaled, "sent %s", signal(r.Signal))
	}
	if r.ReturnSignal != 0 && r.ReturnSignal != kill {
		set(Signaled, "sent %s as it returned", signal(r.ReturnSignal))
	}
	if r.Notifies {
		set(Notified, "left to the enforcers (%s, %s)", result(r.NoticeError), signal(r.NoticeSignal))
	}
}

// beside is what is done after a match but to the process: by the agent only where
// its operator lets it.
func beside(r *compile.Rule) []string {
	var did []string
	if r.Unnotifies {
		did = append(did, "what was left to the enforcers is taken back")
	}
	for _, a := range r.Remote {
		switch a.Kind {
		case policy.GetURL:
			did = append(did, "the agent gets "+a.Target)
		case policy.DNSLookup:
			did = append(did, "the agent looks "+a.Target+" up")
		}
	}
	return did
}

func result(n int32) string {
	if n < 0 {
		if name := unix.ErrnoName(unix.Errno(-n)); name != "" {
			return name
		}
	}
	return fmt.Sprintf("result %d", n)
}

func signal(n uint8) string {
	if name := unix.SignalName(unix.Signal(n)); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}
