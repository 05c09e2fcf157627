// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/seal"
)

// byWorkload is a policy with a selector for all, one for containers called web, one
// for those with a label, and one for the host.
const byWorkload = `
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: p}
spec:
  %s
  tracepoints:
  - subsystem: syscalls
    event: sys_enter_x
    args: [{index: 1, type: int32}]
    selectors:
    - {matchArgs: [{index: 1, operator: Equal, values: [7]}]}
    - {matchWorkloads: {containerSelector: {matchLabels: {name: web}}}}
    - {matchWorkloads: {containerSelector: {matchLabels: {tier: front}}}}
    - {matchWorkloads: {hostSelector: {}}}
`

// rules is the selectors of the one policy that are in force for a slot.
func (w *world) rules(slot uint32) string {
	out := ""
	for _, m := range w.inForce[slot] {
		for _, r := range w.loaded[m.Policy].Hooks[0].Rules {
			if w.workloads[slot][m.Policy].Has(r.Workload) {
				out += fmt.Sprint(r.Selector)
			}
		}
	}
	return out
}

func wantRules(t *testing.T, w *world, slot uint32, want string) {
	t.Helper()
	if got := w.rules(slot); got != want {
		t.Errorf("slot %d: selectors %q are in force, want %q", slot, got, want)
	}
}

func TestSelectorsAreForTheirWorkloads(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	w.run("/b", 11, 101)
	web := admit(t, c, "web", 100)
	add(t, c, fmt.Appendf(nil, byWorkload, ""))
	wantRules(t, w, web.Slot, "01")
	db := admit(t, c, "db", 101)
	wantRules(t, w, db.Slot, "0")
	wantRules(t, w, seal.Host, "03")
	wantRules(t, w, w.free[0], "0")

	// A hook tells of labels: at once other rules are in force.
	relabel := func(labels map[string]string) error {
		_, err := c.Admit(Admission{Container: container.Container{ID: "db-id", Name: "db", InitPID: 101, Labels: labels}})
		return err
	}
	if err := relabel(map[string]string{"tier": "front"}); err != nil {
		t.Fatal(err)
	}
	wantRules(t, w, db.Slot, "02")
	wantRules(t, w, web.Slot, "01")
	w.refuse = errors.New("kernel says no")
	if err := relabel(map[string]string{"tier": "back"}); err == nil {
		t.Error("labels that the kernel refused are taken")
	}
	wantRules(t, w, db.Slot, "02")
	if err := relabel(map[string]string{"tier": "back"}); err != nil {
		t.Fatal(err)
	}
	wantRules(t, w, db.Slot, "0")

	// The policy's own selectors come first.
	add(t, c, fmt.Appendf(nil, byWorkload, "containerSelector: {matchLabels: {tier: back}}"))
	wantRules(t, w, web.Slot, "")
	wantRules(t, w, db.Slot, "0")
	wantRules(t, w, seal.Host, "")
	if err := c.DeletePolicy("", "p"); err != nil {
		t.Fatal(err)
	}
	wantRules(t, w, db.Slot, "")
	for slot, of := range w.workloads {
		if len(of) > 0 {
			t.Errorf("slot %d is of workloads %v without a policy", slot, of)
		}
	}
}

// A policy that is replaced by one with other workloads changes what is in force
// for containers that both are for.
func TestWorkloadsOfAReplacedPolicy(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	web := admit(t, c, "web", 100)
	add(t, c, policyText("p", "containerSelector: {}"))
	wantRules(t, w, web.Slot, "0")
	add(t, c, fmt.Appendf(nil, byWorkload, ""))
	wantRules(t, w, web.Slot, "01")
	add(t, c, policyText("p", "containerSelector: {}"))
	wantRules(t, w, web.Slot, "0")
	if keys := c.subjects[web.Slot].keys.keys; len(keys) != 1 || keys["p"] != (policy.WorkloadSet{}) {
		t.Errorf("policies of the container: %v", keys)
	}
}
