// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// TestSeveralEngines: one agent has the containers of all engines of a host, which run at
// the same time, each called as its own engine calls it.
func TestSeveralEngines(t *testing.T) {
	here := release(t)
	// In this order Docker finds containerd, and has it run its containers.
	order := []string{"containerd by NRI", "docker by wrapper", "podman by hooks directory", "runc by hook in the bundle"}
	if here == "bookworm" {
		order[0] = "containerd by wrapper"
	}
	all := ways()
	var first *rig
	var subjects []*subject
	for _, name := range order {
		i := slices.IndexFunc(all, func(w way) bool { return w.String() == name })
		r := first
		if first == nil {
			first = newRig(t, all[i])
			r = first
		} else {
			beside := *first
			beside.way, beside.engine = all[i], all[i].open(t)
			r = &beside
		}
		for _, mark := range []string{first.selected, agentenv.Mark()} {
			s, known := r.started(t, mark)
			if err := agentenv.SealedFirst(known); err != nil || known.GetRuntime() != r.way.engine || known.GetName() != s.name {
				t.Errorf("%s: %v: known as %v", name, err, known)
			}
			subjects = append(subjects, s)
		}
	}
	for _, s := range subjects {
		if known := s.agent.Container(t, s.id); known.GetName() != s.name {
			t.Errorf("%s: known as %v", s.way, known)
		}
		s.release(t)
	}
	for _, s := range subjects {
		s.judged(t, s.way.String(), s.wait(t, s.id))
	}
	if n := first.agent.PolicyStatus(t, first.selected).GetStats().GetActionCounters().GetSignal(); n != uint64(len(order)) {
		t.Errorf("the policy counts %d kills", n)
	}
	if !t.Failed() {
		testenv.Report(t, "%s at the same time: sealed, and each held to its own policies", strings.Join(order, ", "))
	}
}
