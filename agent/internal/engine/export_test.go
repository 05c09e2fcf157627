// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// Elements is how many elements there are in maps that grow with policies.
type Elements struct{ Values, Sets int }

// Elements counts them.
func (e *Engine) Elements() (n Elements) {
	var key bpf.WireValueKey
	var class uint32
	for all := e.maps.coll.Maps[bpf.SiteMapMatchValues].Iterate(); all.Next(&key, &class); {
		n.Values++
	}
	var set bpf.WireSetKey
	var rules bpf.WireSetRules
	for all := e.maps.coll.Maps[bpf.SiteMapSetRules].Iterate(); all.Next(&set, &rules); {
		n.Sets++
	}
	return n
}

// SiteProgram is the program that a site has attached.
func (e *Engine) SiteProgram(name compile.Site) *ebpf.Program {
	return e.sites[name].program.coll.Programs[bpf.SiteProgTracepointEvent]
}
