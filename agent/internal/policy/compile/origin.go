// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// addChanges adds the filters on what the process has changed.
func (c *conjunction) addChanges(path string, s policy.Selector, k Kernel, faults *faults) {
	for _, f := range s.NamespaceChanges {
		mask := uint64(0)
		for _, n := range f.Namespaces {
			mask |= 1 << n
		}
		c.addBits(Read{Kind: bpf.WireReadKindREAD_NAMESPACE_CHANGES}, mask, f.Negated)
	}
	for i, f := range s.CapabilityChanges {
		if err := c.addCapabilities(bpf.WireReadKindREAD_CAPABILITY_CHANGES, f, k); err != nil {
			faults.add(fmt.Sprintf("%s.matchCapabilityChanges[%d]", path, i), err)
		}
	}
}
