// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// SiteProgram is the program that a site has attached.
func (e *Engine) SiteProgram(name compile.Site) *ebpf.Program {
	return e.sites[name].program.coll.Programs[bpf.SiteProgTracepointEvent]
}
