// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"time"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// posting is what a site's programs have to do for events beside telling them.
type posting struct {
	// limits: events have a rate.
	limits bool
	// stacks are those that events have, as bits of bpf.WireActionFlags.
	stacks uint8
	// hashes: events have the hash of the file that the hook is about.
	hashes bool
}

// add is what there has to be done for one more rule.
func (p posting) add(r *compile.Rule) posting {
	p.limits = p.limits || r.Rate.Interval != 0
	p.stacks |= uint8(stackFlags(r))
	p.hashes = p.hashes || r.FileHash
	return p
}

func stackFlags(r *compile.Rule) (flags bpf.WireActionFlags) {
	if r.KernelStack {
		flags |= bpf.WireActionFlagsACTION_KERNEL_STACK
	}
	if r.UserStack {
		flags |= bpf.WireActionFlagsACTION_USER_STACK
	}
	return flags
}

// configure tells the programs.
func (p posting) configure(c *bpf.WireSiteConfig, site compile.Site) {
	c.Limits, c.Stacks = byteOf(p.limits), p.stacks
	if p.hashes {
		c.Hashes = uint8(site.HashSource())
	}
}

// post says in a rule's act what is done for its events.
func (e *Engine) post(act *bpf.WireAct, s *site, h *compile.Hook, rule *compile.Rule) {
	act.Flags |= uint16(stackFlags(rule))
	if rule.FileHash {
		act.Flags |= uint16(bpf.WireActionFlagsACTION_FILE_HASH)
	}
	if rule.Unnotifies {
		act.Flags |= uint16(bpf.WireActionFlagsACTION_UNNOTIFY)
		act.Notice = rule.Notice
	}
	if rule.Rate.Interval == 0 {
		return
	}
	// Bits are used again, and what one rule has made says nothing of another's.
	e.rates++
	act.Rate, act.RateScope, act.RateSeconds = e.rates, uint8(rule.Rate.Scope), uint32(rule.Rate.Interval/time.Second)
	for arg := range h.Types {
		act.RateReads |= 1 << s.table.Dimension(h, arg)
	}
}
