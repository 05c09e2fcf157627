// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math"
	"strings"
	"time"
)

const (
	maxSignal = 64
	// maxErrno is the largest errno that a hook may return negated.
	maxErrno = 4095
)

// ActionKind is what an action does.
type ActionKind uint8

// The actions.
const (
	// Post makes an event.
	Post ActionKind = iota + 1
	// NoPost makes none; the other actions of the selector still run.
	NoPost
	// Sigkill kills the process.
	Sigkill
	// Signal sends the process Action.Signal.
	Signal
	// Override makes the hooked function, or what the hook decides about, return
	// Action.Error without being done.
	Override
	// NotifyEnforcer asks the policy's enforcers for Action.Error and
	// Action.Signal.
	NotifyEnforcer
	// GetURL makes the agent get the URL Action.Target.
	GetURL
	// DNSLookup makes the agent look the name Action.Target up.
	DNSLookup
	// CleanupEnforcerNotification takes back what the policy's NotifyEnforcer has
	// asked for and its enforcers have not done yet.
	CleanupEnforcerNotification
	// TrackSock notes that the socket Action.Sock is the process's: what is done to
	// it on nobody's behalf, in an interrupt or by the kernel, is told of as that
	// process's.
	TrackSock
	// UntrackSock ends that.
	UntrackSock
)

// String is the action as the language spells it.
func (k ActionKind) String() string {
	switch k {
	case Post:
		return "Post"
	case NoPost:
		return "NoPost"
	case Sigkill:
		return "Sigkill"
	case Signal:
		return "Signal"
	case Override:
		return "Override"
	case NotifyEnforcer:
		return "NotifyEnforcer"
	case GetURL:
		return "GetUrl"
	case DNSLookup:
		return "DnsLookup"
	case CleanupEnforcerNotification:
		return "CleanupEnforcerNotification"
	case TrackSock:
		return "TrackSock"
	case UntrackSock:
		return "UntrackSock"
	}
	return fmt.Sprintf("ActionKind(%d)", uint8(k))
}

// Enforces tells whether the action acts on the process or on other hosts, so that
// the mode monitor holds it back.
func (k ActionKind) Enforces() bool { return k >= Sigkill && k <= NotifyEnforcer || k.Remote() }

// notices tells whether the action is about what is left for enforcers.
func (k ActionKind) notices() bool { return k == NotifyEnforcer || k == CleanupEnforcerNotification }

// Action is one item of matchActions.
type Action struct {
	// Kind is what is done.
	Kind ActionKind
	// Signal is the signal of a Signal action, 1 to 64, and of NotifyEnforcer,
	// where 0 is none; 0 with any other kind.
	Signal uint8
	// Error is what Override and NotifyEnforcer make the call return: -errno. 0 is
	// none for NotifyEnforcer.
	Error int32
	// Target is what GetURL gets and DNSLookup looks up; empty with any other kind.
	Target string
	// RateLimit is for how long a Post that has made an event makes no other one of
	// the same arguments for the same RateScope; 0: it makes all. Whole seconds, at
	// most 2^32-1.
	RateLimit time.Duration
	// RateScope is who shares RateLimit.
	RateScope RateScope
	// KernelStack and UserStack: the event of a Post has the stack of the kernel,
	// and of the process.
	KernelStack, UserStack bool
	// Hash: the event of a Post has the hash of the file that the hook is about.
	Hash bool
	// Sock is the position in Hook.Args of the socket of TrackSock and UntrackSock, or
	// ReturnValue.
	Sock int
}

func (h hook) action(v value) Action {
	var a Action
	var kind, sig, errno, url, fqdn, sock value
	var posting postArgs
	h.object(v, shape{
		known: h.elsewhere(posting.keys(map[string]func(value){
			"action":   func(v value) { kind = v; a.Kind = h.actionKind(v) },
			"argSig":   func(v value) { sig = v },
			"argError": func(v value) { errno = v },
			"argUrl":   func(v value) { url = v },
			"argFqdn":  func(v value) { fqdn = v },
			"argSock":  func(v value) { sock = v },
		})),
		required: []string{"action"},
	})
	if a.Kind == 0 || !h.hasPlace(kind, a.Kind) {
		return a
	}
	a.Signal = h.actionSignal(v, sig, a.Kind)
	a.Error = h.actionError(v, errno, a.Kind)
	h.post(&a, posting)
	a.Sock = h.actionSock(v, sock, a.Kind)
	if a.Kind == NotifyEnforcer && !given(sig) && !given(errno) {
		h.fault(v, "%s needs argError, argSig or both", a.Kind)
	}
	h.remote(v, url, fqdn, &a)
	return a
}

// given tells whether a field says anything but its default.
func given(v value) bool { return v.node != nil && !isDefault(v.node) }

func (h hook) actionSignal(action, v value, kind ActionKind) uint8 {
	switch {
	case kind == Signal && v.node == nil:
		h.fault(action, "%s needs argSig, 1 to %d", kind, maxSignal)
	case kind == Signal:
		n, _ := h.integer(v, 1, maxSignal)
		return uint8(n)
	case kind == NotifyEnforcer && v.node != nil:
		n, _ := h.integer(v, 0, maxSignal)
		return uint8(n)
	case given(v):
		h.fault(v, "%s takes no signal; %s does", kind, Signal)
	}
	return 0
}

func (h hook) actionError(action, v value, kind ActionKind) int32 {
	switch {
	case kind == Override && v.node == nil:
		h.fault(action, "%s needs argError, what the call returns: -1 is EPERM", kind)
	case kind == Override && h.section == LSMHooks:
		// What the kernel takes from a hook. With 0 the act would go on as it does
		// without the action, which nobody can mean who writes one.
		n, _ := h.integer(v, -maxErrno, -1)
		return int32(n)
	case (kind == Override || kind == NotifyEnforcer) && v.node != nil:
		n, _ := h.integer(v, math.MinInt32, math.MaxInt32)
		return int32(n)
	case given(v):
		h.fault(v, "%s takes no error; %s does", kind, Override)
	}
	return 0
}

// tooLate tells whether an action would be done when there is nothing left to stop.
func (h hook) tooLate(kind ActionKind) bool {
	return h.returning && (kind == Override || kind.notices())
}

// hasPlace tells whether an action can be done where the hook is, and says why not.
func (h hook) hasPlace(v value, kind ActionKind) bool {
	switch {
	case h.tooLate(kind):
		h.fault(v, "%s: the function has returned; in matchActions it comes in time", kind)
	case kind == Override && h.section == Tracepoints:
		h.fault(v, "%s: a tracepoint only tells of an act and cannot stop it; %s and %s can", kind, LSMHooks, Kprobes)
	case kind == Override && h.section == Fentries:
		h.fault(v, "%s: fentries watch functions and leave their results alone; %s and %s can change them", kind, LSMHooks, Kprobes)
	case kind == NotifyEnforcer && h.section == LSMHooks:
		h.fault(v, "%s is for %s and %s; in a hook %s denies by itself", kind, Tracepoints, Kprobes, Override)
	case kind.notices() && h.section != Tracepoints && h.section != Kprobes:
		h.fault(v, "%s is for %s and %s", kind, Tracepoints, Kprobes)
	case kind.notices() && !h.enforcers:
		h.fault(v, "%s needs spec.enforcers, the calls at which it is done", kind)
	default:
		return true
	}
	return false
}

// actionKind knows the actions in any case, as the reference's agent does.
func (h hook) actionKind(v value) ActionKind {
	name, ok := h.text(v)
	if !ok {
		return 0
	}
	for k := Post; k <= UntrackSock; k++ {
		if strings.EqualFold(name, k.String()) {
			return k
		}
	}
	for _, gone := range []string{"FollowFD", "UnfollowFD", "CopyFD"} {
		if strings.EqualFold(name, gone) {
			h.fault(v, "action %s was withdrawn from the language", gone)
			return 0
		}
	}
	if strings.EqualFold(name, "Set") {
		h.fault(v, "action Set is for usdts: it changes the argument of a probe there")
		return 0
	}
	h.fault(v, "unknown action %s", quote(name))
	return 0
}
