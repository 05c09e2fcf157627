// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

func TestPolicies(t *testing.T) {
	t.Parallel()
	for goarch, hooks := range map[string]int{"amd64": 3, "arm64": 2} {
		p, err := policy.Parse([]byte(policyFor(goarch)))
		if err != nil {
			t.Errorf("%s: %v", goarch, err)
			continue
		}
		if p.Name != policyName || p.Mode != policy.Enforce || len(p.Hooks) != hooks || p.ContainerSelector == nil {
			t.Errorf("%s: %s, mode %s, %d hooks, selector %v", goarch, p.Name, p.Mode, len(p.Hooks), p.ContainerSelector)
		}
		for _, h := range p.Hooks {
			if !h.Enforces() {
				t.Errorf("%s: %s does not enforce", goarch, h.Event)
			}
		}
	}
}

func TestContainers(t *testing.T) {
	t.Parallel()
	r := &run{}
	for _, selected := range []bool{true, false} {
		c := r.container("neighbour", selected)
		if got := c.Annotations[policyKey] == policyName; got != selected {
			t.Errorf("selected %v: annotations %v", selected, c.Annotations)
		}
		// An event holds the first 31 bytes of an id.
		if id := "boltseal-demo-abcdef-" + c.Role; len(id) > 31 {
			t.Errorf("%s is %d bytes long", id, len(id))
		}
	}
}
