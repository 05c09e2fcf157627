// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"errors"
	"fmt"
)

// Cause is the way an attempt to have a container sealed ended. The package
// comment has the table. The zero value is no cause and blocks.
type Cause uint8

// The causes.
const (
	Acknowledged Cause = iota + 1 // the agent sealed the container
	Refused                       // the agent judged the request and declined it
	BadInput                      // no request could be made
	BadConfig                     // the caller's own configuration is broken
	NotSealed                     // the agent could not seal it
	Unreachable                   // no agent to ask
	NoAnswer                      // an agent that did not answer
	BadBundle                     // the hook could not be added to the bundle
)

// String returns the cause as one lower-case word for logs.
func (c Cause) String() string {
	names := [...]string{"", "acknowledged", "refused", "bad-input", "bad-config", "not-sealed", "unreachable", "no-answer", "bad-bundle"}
	if c == 0 || int(c) >= len(names) {
		return "none"
	}
	return names[c]
}

// followsPolicy tells whether the fail policy has a say.
func (c Cause) followsPolicy() bool {
	return c == NotSealed || c == Unreachable || c == NoAnswer || c == BadBundle
}

// Outcome is how an attempt ended, with what the decision depends on.
type Outcome struct {
	Cause Cause
	// Err says what went wrong, nil when acknowledged.
	Err error
	// NeverUp is true when the agent has not been up since boot.
	NeverUp bool
}

// OutcomeOf turns the result of Client.RuntimeHook into an outcome.
func OutcomeOf(err error) Outcome {
	var status *StatusError
	switch {
	case err == nil:
		return Outcome{Cause: Acknowledged}
	case errors.As(err, &status) && status.Code.refusal():
		return Outcome{Cause: Refused, Err: err}
	case errors.As(err, &status) && status.Code != OK:
		return Outcome{Cause: NotSealed, Err: err}
	case errors.Is(err, ErrUnreachable):
		return Outcome{Cause: Unreachable, Err: err}
	case errors.Is(err, ErrNoAnswer):
		return Outcome{Cause: NoAnswer, Err: err}
	case errors.Is(err, ErrAddress):
		return Outcome{Cause: BadConfig, Err: err}
	}
	return Outcome{Err: err}
}

// Decision says whether a container may start, and why.
type Decision struct {
	// Start is true when the container may start.
	Start bool
	// Late is true when it starts without an acknowledgement, and is to be
	// spooled for the agent.
	Late bool
	// Policy is the fail policy's answer, empty when it had no say.
	Policy Answer
	// Reason is one line for people.
	Reason string
}

// Decide is the one place where it is decided whether a container starts. It is
// pure. A policy with a fault blocks, whatever the outcome was, unless the agent
// acknowledged.
func Decide(o Outcome, p FailPolicy, s Subject) Decision {
	switch {
	case o.Cause == Acknowledged && o.Err == nil:
		return Decision{Start: true, Reason: "sealed"}
	case !o.Cause.followsPolicy():
		return Decision{Reason: reason(o)}
	}
	if err := p.Validate(); err != nil {
		return Decision{Policy: Block, Reason: fmt.Sprintf("%s; %v", reason(o), err)}
	}
	answer, where := p.answer(s, o.NeverUp)
	d := Decision{Policy: answer, Reason: fmt.Sprintf("%s; fail policy %s (%s)", reason(o), answer, where)}
	switch answer {
	case Allow:
		d.Start, d.Late = true, true
	case Quarantine:
		d.Reason += " acts as block: nothing can hold the container while the agent is away"
	}
	return d
}

// reason names what went wrong; errors of this package say it themselves.
func reason(o Outcome) string {
	if o.Err == nil {
		return "no acknowledgement (" + o.Cause.String() + ")"
	}
	return o.Err.Error()
}
