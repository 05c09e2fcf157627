// SPDX-License-Identifier: Apache-2.0

package policy

import "fmt"

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
	}
	return fmt.Sprintf("ActionKind(%d)", uint8(k))
}

// Enforces tells whether the action acts on the process, so that the mode
// monitor holds it back.
func (k ActionKind) Enforces() bool { return k >= Sigkill && k <= NotifyEnforcer }

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
}
