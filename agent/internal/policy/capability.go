// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"

	"github.com/boltseal/boltseal/api/capability"
)

// capabilityNumber reads a number or a name.
func capabilityNumber(t ArgType, s string) (bits uint64, reason string) {
	if n, ok := capability.Number(s); ok {
		return uint64(n), ""
	}
	bits, reason = number(t, s)
	if strings.HasSuffix(reason, "is no integer") {
		reason += " and no CAP_ name"
	}
	return bits, reason
}

// resolveGained takes the capabilities that count; without values all of them do.
func (f *ArgFilter) resolveGained(report func(int, string)) {
	mask := uint64(0)
	for i, v := range f.Values {
		n, reason := capabilityNumber(ArgUint8, v)
		switch {
		case reason != "":
			report(i, reason)
		case n >= 64:
			report(i, clip(v)+" is no capability: there is room for 64")
		default:
			mask |= 1 << n
		}
	}
	if len(f.Values) == 0 {
		mask = ^uint64(0)
	}
	f.Masks = []uint64{mask}
}

// resolveCapabilitySets types values that are sets of capabilities: a number, or
// names with commas between them.
func (f *ArgFilter) resolveCapabilitySets(report func(int, string)) {
	var sets []uint64
	for i, v := range f.Values {
		set, reason := capabilitySet(v)
		if reason != "" {
			report(i, reason)
			continue
		}
		sets = append(sets, set)
	}
	slices.Sort(sets)
	sets = slices.Compact(sets)
	if f.Op == OpMask {
		f.Masks = append([]uint64{}, sets...)
		return
	}
	f.Ranges = make([]Range, 0, len(sets))
	for _, set := range sets {
		f.Ranges = append(f.Ranges, Range{Lo: set, Hi: set})
	}
}

// capabilitySet reads a mask.
func capabilitySet(s string) (set uint64, reason string) {
	set, reason = number(ArgUint64, s)
	if !strings.HasSuffix(reason, "is no integer") {
		return set, reason
	}
	for name := range strings.SplitSeq(s, ",") {
		n, ok := capability.Number(strings.TrimSpace(name))
		if !ok {
			return 0, quote(name) + " is neither a mask nor a CAP_ name"
		}
		set |= 1 << n
	}
	return set, ""
}
