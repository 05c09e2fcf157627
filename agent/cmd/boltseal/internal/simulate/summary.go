// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"fmt"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Summary counts what came of events. The names of its JSON form do not change.
type Summary struct {
	// Events are all, Hooked those at hooks of the policies.
	Events int `json:"events"`
	Hooked int `json:"hooked"`
	// Certain and Undecided count outcomes by verdict.
	Certain   map[Verdict]int `json:"certain"`
	Undecided map[Verdict]int `json:"undecided"`
	// Untouched are the hooks of which there was no event, so that nothing is known
	// of them.
	Untouched []string `json:"untouched"`
}

// Enforced tells whether something would certainly have been done to a process.
func (s *Summary) Enforced() bool { return enforces(s.Certain) }

// Open tells whether something could have been done to a process, but for what is
// not known.
func (s *Summary) Open() bool { return enforces(s.Undecided) }

func enforces(counts map[Verdict]int) bool {
	for v, n := range counts {
		if n > 0 && v.Enforces() {
			return true
		}
	}
	return false
}

// Tally makes the summary of a run. It is for one goroutine.
type Tally struct {
	Summary
	simulator *Simulator
	touched   map[string]bool
}

// NewTally begins the summary of what s simulates.
func NewTally(s *Simulator) *Tally {
	return &Tally{
		Summary:   Summary{Certain: map[Verdict]int{}, Undecided: map[Verdict]int{}, Untouched: []string{}},
		simulator: s, touched: map[string]bool{},
	}
}

// Event simulates an event and counts what came of it.
func (t *Tally) Event(e *tetragon.GetEventsResponse) []Outcome {
	outcomes, at := t.simulator.Event(e)
	t.Events++
	if !at {
		return nil
	}
	t.Hooked++
	r := recordOf(e)
	t.simulator.each(func(name string, h *compile.Hook) {
		t.touched[name] = t.touched[name] || r.at(h.Site)
	})
	for _, o := range outcomes {
		if o.Certain {
			t.Certain[o.Verdict]++
		} else {
			t.Undecided[o.Verdict]++
		}
	}
	return outcomes
}

// End is the summary of the events so far.
func (t *Tally) End() *Summary {
	t.Untouched = []string{}
	t.simulator.each(func(name string, _ *compile.Hook) {
		if !t.touched[name] && !slices.Contains(t.Untouched, name) {
			t.Untouched = append(t.Untouched, name)
		}
	})
	return &t.Summary
}

// each visits the hooks of all policies by their names.
func (s *Simulator) each(visit func(name string, h *compile.Hook)) {
	for _, p := range s.Policies {
		for i := range p.Hooks {
			if h := &p.Hooks[i]; h.Section != policy.Enforcers {
				visit(fmt.Sprintf("%s spec.%s[%d]", p.Key(), h.Section, h.Index), h)
			}
		}
	}
}
