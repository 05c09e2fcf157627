// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/bpf"
)

// MaxLineages is how many different lineages the policies that are loaded can ask
// for at once.
const MaxLineages = int(bpf.WireLimitsRULES_MAX)

// Lineage is what a process can descend from: programs that it or an ancestor has
// executed, or pids that it or an ancestor has. It is a bit in each task; equal
// lineages share one.
type Lineage struct {
	// Binaries are paths of programs, sorted and unique; or nil.
	Binaries []string
	// PIDs are process ids, sorted and unique; or nil. With NamespacePIDs they are
	// those of each process's own pid namespace.
	PIDs          []uint32
	NamespacePIDs bool
	// Ancestors: only those count, and not the process itself.
	Ancestors bool
}

// Key tells lineages apart whose bits are. Those that differ in Ancestors alone
// share a bit.
func (l Lineage) Key() string {
	if l.Binaries != nil {
		return "binaries\x00" + strings.Join(l.Binaries, "\x00")
	}
	return fmt.Sprintln("pids", l.NamespacePIDs, l.PIDs)
}

// LineageFilter is what a rule asks of a process's lineage.
type LineageFilter struct {
	Lineage
	// Negated: the process is not of it.
	Negated bool
}

// Lineages are those that the policy's rules ask for, each once by its key.
func (p *Policy) Lineages() []Lineage {
	var all []Lineage
	seen := map[string]bool{}
	for i := range p.Hooks {
		for j := range p.Hooks[i].Rules {
			for _, f := range p.Hooks[i].Rules[j].Lineages {
				if key := f.Key(); !seen[key] {
					seen[key] = true
					all = append(all, f.Lineage)
				}
			}
		}
	}
	return all
}

// WithLineages is the policy with a filter for each that asks for a lineage, whose
// bit, below MaxLineages, bits says by its key.
func (p *Policy) WithLineages(bits map[string]int) *Policy {
	filtered := &Policy{Policy: p.Policy, Hooks: slices.Clone(p.Hooks)}
	for i := range filtered.Hooks {
		h := &filtered.Hooks[i]
		h.Reads, h.Rules = slices.Clone(h.Reads), slices.Clone(h.Rules)
		for j := range h.Rules {
			r := &h.Rules[j]
			r.Filters = slices.Clone(r.Filters)
			for n, f := range r.Lineages {
				r.Filters = append(r.Filters, f.filter(h, bits[f.Key()], n))
			}
		}
	}
	return filtered
}

// filter is what asks for a bit: the nth of its rule, which has one mask for each
// value that is read.
func (f LineageFilter) filter(h *Hook, bit, n int) Filter {
	word := uint16(bit / 64)
	if f.Ancestors {
		word += uint16(bpf.WireLimitsRULE_WORDS)
	}
	filter := Filter{
		Read: h.filterRead(Read{Kind: bpf.WireReadKindREAD_LINEAGE, Offset: word, Copy: uint8(n)}),
		Kind: bpf.WireMatchKindMATCH_MASK,
		Mask: 1 << (bit % 64),
	}
	if f.Negated {
		filter.Kind = bpf.WireMatchKindMATCH_NOT_MASK
	}
	return filter
}

// LineageHook is what the kernel looks up to know the lineages that a task begins:
// the rule of each has its bit at bpf.WireLimitsLINEAGE_SITE.
func LineageHook() *Hook {
	return &Hook{Reads: []Read{
		bpf.WireLineageDimensionLINEAGE_BINARY:        {Kind: bpf.WireReadKindREAD_BINARY},
		bpf.WireLineageDimensionLINEAGE_PID:           {Kind: bpf.WireReadKindREAD_PID},
		bpf.WireLineageDimensionLINEAGE_NAMESPACE_PID: {Kind: bpf.WireReadKindREAD_NAMESPACE_PID},
	}}
}

// Begins is the rule, at [LineageHook], of who begins the lineage.
func (l Lineage) Begins() *Rule {
	f := Filter{Kind: bpf.WireMatchKindMATCH_EXACT}
	switch {
	case l.Binaries != nil:
		f.Read, f.Strings = int(bpf.WireLineageDimensionLINEAGE_BINARY), l.Binaries
	case l.NamespacePIDs:
		f.Read = int(bpf.WireLineageDimensionLINEAGE_NAMESPACE_PID)
	default:
		f.Read = int(bpf.WireLineageDimensionLINEAGE_PID)
	}
	for _, pid := range l.PIDs {
		f.Numbers = append(f.Numbers, uint64(pid))
	}
	return &Rule{Filters: []Filter{f}}
}
