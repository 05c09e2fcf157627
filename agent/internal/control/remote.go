// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// allowRemote refuses actions to other hosts that the operator has not allowed.
func (c *Controller) allowRemote(p *policy.Policy) error {
	flags := map[policy.ActionKind]string{policy.GetURL: "--allow-get-url", policy.DNSLookup: "--allow-dns-lookup"}
	return p.RefuseRemote(func(k policy.ActionKind) string {
		if slices.Contains(c.Remote, k) {
			return ""
		}
		return fmt.Sprintf("action %s is off: only an agent that was started with %s does it", k, flags[k])
	})
}

// Enforces tells whether the policy with a key is in force, and enforced.
func (c *Controller) Enforces(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.policies[key]
	return h != nil && h.enabled && h.enforce
}
