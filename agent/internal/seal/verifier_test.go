// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/kernel/kerneltest"
)

// What the base programs cost the verifier is known.
func TestVerifierBudget(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.verifier = ebpf.LogLevelStats
		o.Environment, o.ForkState = true, true // what is not told is not walked
	})
	for _, coll := range []*ebpf.Collection{r.programs.cgroup, r.programs.process} {
		for name, prog := range coll.Programs {
			kerneltest.CheckBudget(t, name, prog)
		}
	}
}
