// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// lastPrivileged is the last port that only privileged processes may bind to.
const lastPrivileged = 1023

func (f *ArgFilter) resolveSocket(report func(int, string)) {
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
		read = named("IPPROTO_", protocols())
	case OpFamily:
		read = named("AF_", families())
	case OpState:
		read = named("TCP_", states())
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

// named reads numbers and the names that some of them have.
func named(prefix string, numbers map[string]int) func(ArgType, string) (uint64, string) {
	return func(t ArgType, s string) (uint64, string) {
		if n, ok := numbers[strings.TrimPrefix(s, prefix)]; ok && strings.HasPrefix(s, prefix) {
			return uint64(n), ""
		}
		bits, reason := number(t, s)
		if strings.HasSuffix(reason, "is no integer") {
			reason += fmt.Sprintf(", and no %s name that is known", strings.TrimSuffix(prefix, "_"))
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

func protocols() map[string]int {
	return map[string]int{
		"IP": unix.IPPROTO_IP, "ICMP": unix.IPPROTO_ICMP, "IGMP": unix.IPPROTO_IGMP, "IPIP": unix.IPPROTO_IPIP,
		"TCP": unix.IPPROTO_TCP, "EGP": unix.IPPROTO_EGP, "PUP": unix.IPPROTO_PUP, "UDP": unix.IPPROTO_UDP,
		"IDP": unix.IPPROTO_IDP, "TP": unix.IPPROTO_TP, "DCCP": unix.IPPROTO_DCCP, "IPV6": unix.IPPROTO_IPV6,
		"RSVP": unix.IPPROTO_RSVP, "GRE": unix.IPPROTO_GRE, "ESP": unix.IPPROTO_ESP, "AH": unix.IPPROTO_AH,
		"ICMPV6": unix.IPPROTO_ICMPV6, "MTP": unix.IPPROTO_MTP, "BEETPH": unix.IPPROTO_BEETPH,
		"ENCAP": unix.IPPROTO_ENCAP, "PIM": unix.IPPROTO_PIM, "COMP": unix.IPPROTO_COMP, "L2TP": unix.IPPROTO_L2TP,
		"SCTP": unix.IPPROTO_SCTP, "UDPLITE": unix.IPPROTO_UDPLITE, "MPLS": unix.IPPROTO_MPLS,
		"ETHERNET": unix.IPPROTO_ETHERNET, "RAW": unix.IPPROTO_RAW, "MPTCP": unix.IPPROTO_MPTCP,
	}
}

func families() map[string]int {
	return map[string]int{
		"UNSPEC": unix.AF_UNSPEC, "UNIX": unix.AF_UNIX, "LOCAL": unix.AF_LOCAL, "INET": unix.AF_INET, "AX25": unix.AF_AX25,
		"IPX": unix.AF_IPX, "APPLETALK": unix.AF_APPLETALK, "NETROM": unix.AF_NETROM, "BRIDGE": unix.AF_BRIDGE,
		"ATMPVC": unix.AF_ATMPVC, "X25": unix.AF_X25, "INET6": unix.AF_INET6, "ROSE": unix.AF_ROSE,
		"DECnet": unix.AF_DECnet, "NETBEUI": unix.AF_NETBEUI, "SECURITY": unix.AF_SECURITY, "KEY": unix.AF_KEY,
		"NETLINK": unix.AF_NETLINK, "ROUTE": unix.AF_ROUTE, "PACKET": unix.AF_PACKET, "ASH": unix.AF_ASH,
		"ECONET": unix.AF_ECONET, "ATMSVC": unix.AF_ATMSVC, "RDS": unix.AF_RDS, "SNA": unix.AF_SNA, "IRDA": unix.AF_IRDA,
		"PPPOX": unix.AF_PPPOX, "WANPIPE": unix.AF_WANPIPE, "LLC": unix.AF_LLC, "IB": unix.AF_IB, "MPLS": unix.AF_MPLS,
		"CAN": unix.AF_CAN, "TIPC": unix.AF_TIPC, "BLUETOOTH": unix.AF_BLUETOOTH, "IUCV": unix.AF_IUCV,
		"RXRPC": unix.AF_RXRPC, "ISDN": unix.AF_ISDN, "PHONET": unix.AF_PHONET, "IEEE802154": unix.AF_IEEE802154,
		"CAIF": unix.AF_CAIF, "ALG": unix.AF_ALG, "NFC": unix.AF_NFC, "VSOCK": unix.AF_VSOCK, "KCM": unix.AF_KCM,
		"QIPCRTR": unix.AF_QIPCRTR, "SMC": unix.AF_SMC, "XDP": unix.AF_XDP,
	}
}

// states are those of struct sock, which all protocols share with TCP.
func states() map[string]int {
	return map[string]int{
		"ESTABLISHED": unix.BPF_TCP_ESTABLISHED, "SYN_SENT": unix.BPF_TCP_SYN_SENT, "SYN_RECV": unix.BPF_TCP_SYN_RECV,
		"FIN_WAIT1": unix.BPF_TCP_FIN_WAIT1, "FIN_WAIT2": unix.BPF_TCP_FIN_WAIT2, "TIME_WAIT": unix.BPF_TCP_TIME_WAIT,
		"CLOSE": unix.BPF_TCP_CLOSE, "CLOSE_WAIT": unix.BPF_TCP_CLOSE_WAIT, "LAST_ACK": unix.BPF_TCP_LAST_ACK,
		"LISTEN": unix.BPF_TCP_LISTEN, "CLOSING": unix.BPF_TCP_CLOSING, "NEW_SYN_RECV": unix.BPF_TCP_NEW_SYN_RECV,
	}
}
