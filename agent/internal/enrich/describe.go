// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Describe is the message of a process that so many use, apart from any event. Like Handle it is for
// one goroutine at a time: who wants it elsewhere makes an enricher for it. The
// message is shared and must not be modified.
func (e *Enricher) Describe(p *process.Process, refs uint32) *tetragon.Process {
	return e.message(processKey{p, e.container(p.Slot, p.CgroupID), p.Key.Tgid}, refs)
}
