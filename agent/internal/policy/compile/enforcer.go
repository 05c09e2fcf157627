// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// MaxNotices is how many policies with enforcers can be loaded at once.
const MaxNotices = int(bpf.WireLimitsNOTICES_MAX)

// compileEnforcers is the hooks at which what NotifyEnforcer actions of the policy
// ask for is done, one for each call.
func compileEnforcers(p *policy.Policy, k Kernel) ([]Hook, error) {
	asked := notified(p)
	if len(asked) == 0 {
		return nil, nil
	}
	var hooks []Hook
	var faults faults
	for i, call := range p.Enforcers {
		path := "spec.enforcers[0].calls"
		at, err := enforcerPlace(p, call, asked, k)
		if err != nil {
			faults.add(path, fmt.Errorf("%s: %w", call, err))
			continue
		}
		hooks = append(hooks, Hook{
			Site: at.Site, Indirect: at.Indirect, RegsOffset: at.RegsOffset, ResultOffset: at.ResultOffset,
			Frame:  at.Frame,
			Missed: k.Misses(at.Kind, at.Syscall), Section: policy.Enforcers, Index: i, Call: call,
			Reads: []Read{{Kind: bpf.WireReadKindREAD_NOTICES}},
			Rules: []Rule{{Noticed: true, Filters: []Filter{{Kind: bpf.WireMatchKindMATCH_MASK, Mask: 1}}}},
		})
	}
	return hooks, faults.join()
}

// notified is what the policy's NotifyEnforcer actions ask for, as the actions
// that they would be at the enforcers' calls.
func notified(p *policy.Policy) []policy.Action {
	var asked []policy.Action
	for _, h := range p.Hooks {
		for _, s := range h.Selectors {
			for _, a := range s.Actions {
				if a.Kind != policy.NotifyEnforcer {
					continue
				}
				if a.Error != 0 {
					asked = append(asked, policy.Action{Kind: policy.Override, Error: a.Error})
				}
				if a.Signal != 0 {
					asked = append(asked, policy.Action{Kind: policy.Signal, Signal: a.Signal})
				}
			}
		}
	}
	return asked
}

// enforcerPlace is where actions are done at a call.
func enforcerPlace(p *policy.Policy, call string, asked []policy.Action, k Kernel) (*place, error) {
	h := policy.Hook{
		Section: policy.Kprobes, Calls: []string{call}, Syscall: !strings.HasPrefix(call, "security_"),
		Selectors: []policy.Selector{{Actions: asked}},
	}
	if signals(h) {
		if err := k.Can(CanSignal); err != nil {
			return nil, err
		}
	}
	return functionPlace(p, h, k)
}

// Notices tells whether the policy has enforcers, so that it needs a number for
// [Policy.WithNotice].
func (p *Policy) Notices() bool {
	return slices.ContainsFunc(p.Hooks, func(h Hook) bool {
		return h.Section == policy.Enforcers || slices.ContainsFunc(h.Rules, func(r Rule) bool { return r.Unnotifies })
	})
}

// WithNotice is the policy with a number, below MaxNotices, by which its
// enforcers know what was left for them: no two policies that are loaded at once
// may have the same.
func (p *Policy) WithNotice(number int) *Policy {
	numbered := &Policy{Policy: p.Policy, Hooks: slices.Clone(p.Hooks)}
	for i := range numbered.Hooks {
		h := &numbered.Hooks[i]
		h.Rules = slices.Clone(h.Rules)
		for j := range h.Rules {
			r := &h.Rules[j]
			r.Notice = uint8(number)
			if r.Noticed {
				r.Filters = []Filter{{Kind: bpf.WireMatchKindMATCH_MASK, Mask: 1 << number}}
			}
		}
	}
	return numbered
}
