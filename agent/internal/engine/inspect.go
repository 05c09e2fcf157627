// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// owner is who has or had a bit, for versions from..to.
type owner struct {
	from, to uint32 // to 0: still
	Rule
}

// ownersKept is how many past owners of a bit are remembered: events that were
// queued while the bit changed hands are still told apart.
const ownersKept = 8

func (s *site) own(bit int, o owner) {
	owners := append(s.owners[bit], o)
	s.owners[bit] = owners[max(0, len(owners)-ownersKept):]
}

func (s *site) disown(bit int, last uint32) {
	if n := len(s.owners[bit]); n > 0 {
		s.owners[bit][n-1].to = max(last, 1)
	}
}

// Rule is what an event's rule bit stands for.
type Rule struct {
	Policy *compile.Policy
	Hook   *compile.Hook
	Rule   *compile.Rule
	// Dimensions is, for each argument of the hook, the word of the event's
	// record that holds it.
	Dimensions []int
	// Strings is, for each argument of the hook that takes a buffer, the number of
	// its string in the record, and -1 for others.
	Strings []int
	// Result and ResultString are the same for what the hook's function returns.
	Result, ResultString int
}

// Resolve says which rule a bit of an event was, at the version that judged it.
func (e *Engine) Resolve(siteID, version uint32, bit int) (Rule, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if siteID >= uint32(len(e.byID)) || e.byID[siteID] == nil || bit < 0 || bit >= compile.MaxRules {
		return Rule{}, false
	}
	s := e.byID[siteID]
	for i := len(s.owners[bit]) - 1; i >= 0; i-- {
		o := s.owners[bit][i]
		if version >= o.from && (o.to == 0 || version <= o.to) {
			return o.Rule, true
		}
	}
	return Rule{}, false
}

// rule says where the events of a rule will have its hook's arguments.
func (s *site) rule(p *compile.Policy, h *compile.Hook, rule *compile.Rule) Rule {
	r := Rule{Policy: p, Hook: h, Rule: rule, Result: -1, ResultString: -1}
	for arg := range h.Types {
		dim, number := s.place(h, arg)
		r.Dimensions = append(r.Dimensions, dim)
		r.Strings = append(r.Strings, number)
	}
	if h.Result != nil {
		r.Result, r.ResultString = s.place(h, h.Result.Read)
	}
	return r
}

// place is where events will have what a hook reads: its word, and the number of
// its string or -1.
func (s *site) place(h *compile.Hook, read int) (dim, number int) {
	reads := s.table.Reads()
	dim = s.table.Dimension(h, read)
	if !reads[dim].Buffer() {
		return dim, -1
	}
	for _, before := range reads[:dim] {
		if before.Buffer() {
			number++
		}
	}
	return dim, number
}

// Sizes of hash elements: the element's header, key and value, rounded to the
// allocator's sizes (kernel/bpf/hashtab.c, memalloc.c).
const (
	valueBytes = 96
	setBytes   = 256
	ruleBytes  = 8
)

// KernelMemory is what a policy takes in the kernel, in bytes: its values, its
// actions and its part of the sets. Computed from the sizes of elements, not
// measured; sites and fixed maps are shared and not in it.
func (e *Engine) KernelMemory(id PolicyID) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.policies[id]
	if l == nil {
		return 0
	}
	rules := 0
	for _, h := range l.hooks {
		rules += len(h.hook.Rules)
	}
	return uint64(l.values*valueBytes + rules*ruleBytes + len(l.hooks)*setBytes)
}

// SiteInfo is one attached site.
type SiteInfo struct {
	Name  string
	Rules int
	// Programs is the number of programs that are attached for it.
	Programs int
	// Missed is how many calls its probes have missed, as far as the kernel tells:
	// since Linux 6.7. Of a return that is missed there is no event.
	Missed uint64
}

// Sites lists the attached sites by name.
func (e *Engine) Sites() []SiteInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	infos := make([]SiteInfo, 0, len(e.sites))
	for _, s := range e.sites {
		info := SiteInfo{Name: s.name.String()}
		if s.program != nil {
			info.Programs = len(s.program.closers)
			info.Missed = s.missed + s.program.missed()
		}
		for bit := range compile.MaxRules {
			if h, _ := s.table.Rule(bit); h != nil {
				info.Rules++
			}
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b SiteInfo) int { return cmp.Compare(a.Name, b.Name) })
	return infos
}
