// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"slices"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// AncestorsOf is a kind of messages that can have ancestors.
type AncestorsOf string

// The kinds by which settings name them; no message is made of the last three
// yet.
const (
	AncestorsOfBase       AncestorsOf = "base" // execs and exits
	AncestorsOfKprobe     AncestorsOf = "kprobe"
	AncestorsOfTracepoint AncestorsOf = "tracepoint"
	AncestorsOfLSM        AncestorsOf = "lsm"
	AncestorsOfLoader     AncestorsOf = "loader"
	AncestorsOfUprobe     AncestorsOf = "uprobe"
	AncestorsOfUSDT       AncestorsOf = "usdt"
)

// sectionKind is the kind of a section's messages.
func sectionKind(s policy.Section) AncestorsOf {
	switch s {
	case policy.LSMHooks:
		return AncestorsOfLSM
	case policy.Kprobes, policy.Fentries:
		return AncestorsOfKprobe
	}
	return AncestorsOfTracepoint
}

// family is the messages of a process, its parent and its ancestors beyond: nil
// when they are not known, and the last also when nobody wants them.
type family struct {
	process, parent *tetragon.Process
	ancestors       []*tetragon.Process
}

// family is that of the process that an event is about.
func (e *Enricher) family(p *process.Process, h *event.Header, kind AncestorsOf) family {
	with := slices.Contains(e.Ancestors, kind)
	e.line = e.Processes.Line(p, with, e.line[:0])
	f := family{process: e.message(processKey{p, e.container(h.Slot, h.CgroupID), h.Tid}, e.line[0].Refs)}
	if len(e.line) > 1 {
		f.parent = e.relative(e.line[1])
	}
	if len(e.line) > 2 {
		f.ancestors = make([]*tetragon.Process, 0, len(e.line)-2)
		for _, r := range e.line[2:] {
			f.ancestors = append(f.ancestors, e.relative(r))
		}
	}
	return f
}

func (e *Enricher) relative(r process.Relative) *tetragon.Process {
	return e.message(processKey{r.Process, e.container(r.Slot, r.CgroupID), r.Key.Tgid}, r.Refs)
}
