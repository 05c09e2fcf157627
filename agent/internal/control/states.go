// SPDX-License-Identifier: Apache-2.0

package control

import "github.com/boltseal/boltseal/agent/internal/engine"

// PolicyState is what can be told of a policy at little cost.
type PolicyState struct {
	ID                    engine.PolicyID
	Namespace, Name, Mode string
	Enabled               bool
	// Containers is the number of containers that the policy is for.
	Containers int
}

// PolicyStates lists the policies, in no order. Unlike Policies it asks the kernel
// nothing, and holds up changes for as long as it takes to look at each container
// once.
func (c *Controller) PolicyStates() []PolicyState {
	c.mu.Lock()
	defer c.mu.Unlock()
	sharing := map[*keySet]int{} // containers with the same policies
	for _, s := range c.subjects {
		sharing[s.keys]++
	}
	containers := map[string]int{}
	for set, n := range sharing {
		for key := range set.keys {
			containers[key] += n
		}
	}
	list := make([]PolicyState, 0, len(c.policies))
	for key, h := range c.policies {
		p := h.compiled.Policy
		list = append(list, PolicyState{
			ID: h.id, Namespace: p.Namespace, Name: p.Name, Mode: p.Mode.String(), Enabled: h.enabled, Containers: containers[key],
		})
	}
	return list
}
