// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// TestPolicyStates: they are those of Policies.
func TestPolicyStates(t *testing.T) {
	c, w := start(t)
	add(t, c, policyText("some", "containerSelector: {matchLabels: {name: web}}"))
	add(t, c, policyText("all", "containerSelector: {}"))
	for i, name := range []string{"web", "db", "web2"} {
		w.run("/"+name, uint64(100+i), 10+i)
		admit(t, c, name, uint32(10+i))
	}
	off, monitor := false, policy.Monitor
	if err := c.ConfigurePolicy("", "some", &off, &monitor); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		full, err := c.Policies()
		if err != nil {
			t.Fatal(err)
		}
		var want []PolicyState
		for _, p := range full {
			want = append(want, PolicyState{
				Name: p.Policy.Name, Mode: p.Policy.Mode.String(), Enabled: p.Enabled, Containers: p.Containers,
			})
		}
		got := c.PolicyStates()
		slices.SortFunc(got, func(a, b PolicyState) int { return cmp.Compare(a.Name, b.Name) })
		for i := range got {
			if want[i].ID = got[i].ID; uint64(got[i].ID) != full[i].ID {
				t.Errorf("id %d, want %d", got[i].ID, full[i].ID)
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
	}
	check()
	if n := c.PolicyStates(); n[0].Containers+n[1].Containers != 3 {
		t.Errorf("states %+v, want one policy for 3 containers", n)
	}
	on := true
	if err := c.ConfigurePolicy("", "some", &on, nil); err != nil {
		t.Fatal(err)
	}
	check()
	if n := c.PolicyStates(); n[0].Containers+n[1].Containers != 4 {
		t.Errorf("states %+v, want policies for 3 containers and for 1", n)
	}
}
