// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// lastPrivileged is the last port that only privileged processes may bind to.
const lastPrivileged = 1023

func (f *ArgFilter) resolveSocket(known *names, report func(int, string)) {
	var read func(ArgType, string) (uint64, string)
	t := ArgUint16
	switch f.Op.Positive() {
	case OpSAddr, OpDAddr:
		f.resolvePrefixes(report)
		return
	case OpSPortPriv, OpDPortPriv:
		f.Ranges = []Range{{Lo: 0, Hi: lastPrivileged}}
		return
	case OpProtocol:
		read = known.prefixed("IPPROTO_")
	case OpFamily:
		read = known.prefixed("AF_")
	case OpState:
		read = known.prefixed("TCP_")
	default:
		read = number
	}
	f.Ranges = make([]Range, 0, len(f.Values))
	for i, v := range f.Values {
		// OpInMap is the operator whose values are integers and ranges.
		r, _, reason := interval(OpInMap, t, v, read)
		if reason != "" {
			report(i, reason)
			continue
		}
		f.Ranges = append(f.Ranges, r)
	}
	f.orderRanges(t)
}

// prefixed reads numbers, and the names of numbers that begin with prefix.
func (n *names) prefixed(prefix string) func(ArgType, string) (uint64, string) {
	return func(t ArgType, s string) (uint64, string) {
		if strings.HasPrefix(s, prefix) {
			if i, ok := n.number(s); ok {
				return i, ""
			}
		}
		bits, reason := number(t, s)
		if strings.HasSuffix(reason, "is no integer") {
			reason += ", and no " + prefix + " name that is known"
		}
		return bits, reason
	}
}

func (f *ArgFilter) resolvePrefixes(report func(int, string)) {
	f.Prefixes = make([]netip.Prefix, 0, len(f.Values))
	for i, v := range f.Values {
		p, reason := network(v)
		if reason != "" {
			report(i, reason)
			continue
		}
		f.Prefixes = append(f.Prefixes, p)
	}
	slices.SortFunc(f.Prefixes, netip.Prefix.Compare)
	f.Prefixes = slices.Compact(f.Prefixes)
}

// network is an address or a CIDR, masked. One of IPv4 in the form of IPv6 is
// that of IPv4, as addresses are compared.
func network(s string) (p netip.Prefix, reason string) {
	var err error
	if strings.Contains(s, "/") {
		p, err = netip.ParsePrefix(s)
	} else {
		var a netip.Addr
		if a, err = netip.ParseAddr(s); err == nil && a.Zone() == "" {
			p, err = a.Prefix(a.BitLen())
		}
	}
	// A zone, which the kernel's addresses do not have, leaves p invalid.
	if err != nil || !p.IsValid() {
		return p, fmt.Sprintf("%s is neither an address nor a CIDR", quote(s))
	}
	const mapped = 96
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p.Masked(), ""
}
