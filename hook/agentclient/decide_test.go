// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	refused := map[Code]bool{
		InvalidArgument: true, NotFound: true, AlreadyExists: true, PermissionDenied: true,
		FailedPrecondition: true, OutOfRange: true, Unauthenticated: true,
	}
	for code := Code(1); code < 20; code++ {
		want := NotSealed
		if refused[code] {
			want = Refused
		}
		if got := OutcomeOf(fmt.Errorf("call: %w", &StatusError{Code: code})); got.Cause != want {
			t.Errorf("%s: cause %s, want %s", code, got.Cause, want)
		}
	}
	for _, c := range []struct {
		err  error
		want Cause
	}{
		{nil, Acknowledged},
		{fmt.Errorf("%w: x", ErrUnreachable), Unreachable},
		{fmt.Errorf("%w: %w", ErrNoAnswer, context.DeadlineExceeded), NoAnswer},
		{fmt.Errorf("%w: x", ErrAddress), BadConfig},
		{errors.New("something else"), 0},
		{&StatusError{Code: OK}, 0},
	} {
		if got := OutcomeOf(c.err); got.Cause != c.want {
			t.Errorf("%v: cause %s, want %s", c.err, got.Cause, c.want)
		}
	}
}

// TestDecide is the table of the package comment, against every default.
func TestDecide(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cause                    Cause
		block, allow, quarantine bool // does it start under this default?
	}{
		{Acknowledged, true, true, true},
		{Refused, false, false, false},
		{BadInput, false, false, false},
		{BadConfig, false, false, false},
		{NotSealed, false, true, false},
		{Unreachable, false, true, false},
		{NoAnswer, false, true, false},
		{BadBundle, false, true, false},
		{0, false, false, false},
		{BadBundle + 1, false, false, false},
	} {
		for answer, want := range map[Answer]bool{"": c.block, Block: c.block, Allow: c.allow, Quarantine: c.quarantine} {
			o := Outcome{Cause: c.cause}
			if c.cause != Acknowledged {
				o.Err = errors.New("what went wrong")
			}
			d := Decide(o, FailPolicy{Default: answer}, Subject{})
			if d.Start != want {
				t.Errorf("%s, default %q: start %v, want %v", c.cause, answer, d.Start, want)
			}
			if late := want && c.cause != Acknowledged; d.Late != late {
				t.Errorf("%s, default %q: late %v, want %v", c.cause, answer, d.Late, late)
			}
			if o.Err != nil && !strings.Contains(d.Reason, "what went wrong") {
				t.Errorf("%s, default %q: reason %q hides the error", c.cause, answer, d.Reason)
			}
		}
	}
}

func TestDecideErrWithAcknowledgementBlocks(t *testing.T) {
	t.Parallel()
	if d := Decide(Outcome{Cause: Acknowledged, Err: errors.New("x")}, FailPolicy{Default: Allow}, Subject{}); d.Start {
		t.Errorf("started: %+v", d)
	}
}

func TestDecideByRule(t *testing.T) {
	t.Parallel()
	policy := FailPolicy{
		Default:      Block,
		NotSinceBoot: Allow,
		Rules: []Rule{
			{Match{Namespace: []Glob{"prod"}}, Block},
			{Match{Image: []Glob{"registry.example/boltseal/*"}}, Allow},
			{Match{Labels: map[string]Glob{"tier": "node-*"}, Annotations: map[string]Glob{"owner": "*"}}, Allow},
			{Match{Name: []Glob{"q"}}, Quarantine},
			{Match{Name: []Glob{"q", "other"}}, Allow},
			{Match{Annotations: map[string]Glob{"empty": ""}}, Allow},
		},
	}
	for _, c := range []struct {
		name    string
		subject Subject
		neverUp bool
		start   bool
		where   string
	}{
		{"default", Subject{Image: "x"}, false, false, "fail policy block (default)"},
		{"never up since boot", Subject{Image: "x"}, true, true, "fail policy allow (not_since_boot)"},
		{"rule before not_since_boot", Subject{Namespace: "prod"}, true, false, "fail policy block (rules[0])"},
		{"first rule wins", Subject{Namespace: "prod", Image: "registry.example/boltseal/agent:1"}, false, false, "rules[0]"},
		{"image with slashes", Subject{Image: "registry.example/boltseal/x/agent:1"}, false, true, "rules[1]"},
		{"image that only holds it", Subject{Image: "evil/registry.example/boltseal/agent"}, false, false, "default"},
		{"all parts match", Subject{Labels: map[string]string{"tier": "node-1"}, Annotations: map[string]string{"owner": "me"}}, false, true, "rules[2]"},
		{"one part missing", Subject{Labels: map[string]string{"tier": "node-1"}}, false, false, "default"},
		{"quarantine acts as block", Subject{Name: "q"}, false, false, "fail policy quarantine (rules[3]) acts as block"},
		{"empty pattern and value", Subject{Annotations: map[string]string{"empty": ""}}, false, true, "rules[5]"},
		{"empty pattern, no key", Subject{Annotations: map[string]string{"other": ""}}, false, false, "default"},
		{"one of a list", Subject{Name: "other"}, false, true, "rules[4]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := Decide(Outcome{Cause: Unreachable, Err: errors.New("x"), NeverUp: c.neverUp}, policy, c.subject)
			if d.Start != c.start || !strings.Contains(d.Reason, c.where) {
				t.Errorf("start %v (%q), want %v (%q)", d.Start, d.Reason, c.start, c.where)
			}
		})
	}
}

func TestDecideWithBrokenPolicyBlocks(t *testing.T) {
	t.Parallel()
	// The fault stands behind a rule that would allow.
	policy := FailPolicy{Default: Allow, Rules: []Rule{{Match{Name: []Glob{"*"}}, Allow}, {Match{}, Allow}}}
	d := Decide(Outcome{Cause: Unreachable, Err: errors.New("x")}, policy, Subject{Name: "n"})
	if d.Start || !strings.Contains(d.Reason, "rules[1]") {
		t.Errorf("%+v, want a block that names rules[1]", d)
	}
	if d := Decide(Outcome{Cause: Acknowledged}, policy, Subject{}); !d.Start {
		t.Errorf("%+v, want a start: the agent acknowledged", d)
	}
}
