// SPDX-License-Identifier: Apache-2.0

package compiletest

import (
	"encoding/binary"
	"net/netip"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// Process is what filters ask of the process.
type Process struct {
	PID, NamespacePID uint32
	// Namespaces are inode numbers, in the order of policy.Namespace.
	Namespaces [policy.NamespaceUser + 1]uint32
	// Capabilities are masks, in the order of policy.CapabilitySet.
	Capabilities [policy.CapabilityPermitted + 1]uint64
	// Lineage is a word of the process's lineage, as a read's offset counts them.
	Lineage func(word uint16) uint64
	// NamespaceChanges has a bit for each namespace that the process has changed since
	// its exec, CapabilityChanges one for each capability, in the order of
	// policy.CapabilitySet.
	NamespaceChanges  uint64
	CapabilityChanges [policy.CapabilityPermitted + 1]uint64
}

func (p *Process) value(read compile.Read) (compile.Value, bool) {
	switch read.Kind {
	case bpf.WireReadKindREAD_PID:
		return compile.Value{Number: uint64(p.PID)}, true
	case bpf.WireReadKindREAD_NAMESPACE_PID:
		return compile.Value{Number: uint64(p.NamespacePID)}, true
	case bpf.WireReadKindREAD_NAMESPACE:
		return compile.Value{Number: uint64(p.Namespaces[read.Offset])}, true
	case bpf.WireReadKindREAD_CAPABILITIES:
		return compile.Value{Number: p.Capabilities[read.Offset]}, true
	case bpf.WireReadKindREAD_LINEAGE:
		return compile.Value{Number: p.Lineage(read.Offset)}, true
	case bpf.WireReadKindREAD_NAMESPACE_CHANGES:
		return compile.Value{Number: p.NamespaceChanges}, true
	case bpf.WireReadKindREAD_CAPABILITY_CHANGES:
		return compile.Value{Number: p.CapabilityChanges[read.Offset]}, true
	}
	return compile.Value{}, false
}

// processRead is something that filters can ask of the process.
type processRead struct {
	compile.Read
	draw func(*Source, *policy.Selector)
}

// processReads are all that there are.
func processReads() []processRead {
	kind := func(k bpf.WireReadKind, offset int) compile.Read {
		return compile.Read{Kind: k, Offset: uint16(offset)}
	}
	reads := []processRead{
		{kind(bpf.WireReadKindREAD_PID, 0), func(s *Source, sel *policy.Selector) {
			sel.PIDs = append(sel.PIDs, policy.PIDFilter{Negated: s.IntN(2) == 0, Values: []uint32{s.Process.PID, 3}})
		}},
		{kind(bpf.WireReadKindREAD_NAMESPACE_PID, 0), func(s *Source, sel *policy.Selector) {
			f := policy.PIDFilter{Negated: s.IntN(2) == 0, FollowForks: s.IntN(2) == 0, NamespacePID: true, Values: []uint32{s.Process.NamespacePID, 3}}
			sel.PIDs = append(sel.PIDs, f)
		}},
		{kind(bpf.WireReadKindREAD_NAMESPACE, int(policy.NamespaceMnt)), func(s *Source, sel *policy.Selector) {
			n := policy.NamespaceMnt
			f := policy.NamespaceFilter{Namespace: n, Negated: s.IntN(2) == 0, Values: []uint32{17, s.Process.Namespaces[n]}}
			if s.IntN(3) == 0 {
				f.Values = f.Values[:1]
			}
			sel.Namespaces = append(sel.Namespaces, f)
		}},
		{kind(bpf.WireReadKindREAD_NAMESPACE_CHANGES, 0), func(s *Source, sel *policy.Selector) {
			f := policy.NamespaceChangeFilter{Negated: s.IntN(2) == 0}
			for n := policy.NamespaceUts; n <= policy.NamespaceUser; n++ {
				if s.IntN(4) == 0 || n == policy.NamespaceUser && len(f.Namespaces) == 0 {
					f.Namespaces = append(f.Namespaces, n)
				}
			}
			sel.NamespaceChanges = append(sel.NamespaceChanges, f)
		}},
	}
	for _, set := range []policy.CapabilitySet{policy.CapabilityEffective, policy.CapabilityPermitted} {
		reads = append(reads,
			processRead{kind(bpf.WireReadKindREAD_CAPABILITIES, int(set)), func(s *Source, sel *policy.Selector) {
				sel.Capabilities = append(sel.Capabilities, s.capabilities(set))
			}},
			processRead{kind(bpf.WireReadKindREAD_CAPABILITY_CHANGES, int(set)), func(s *Source, sel *policy.Selector) {
				sel.CapabilityChanges = append(sel.CapabilityChanges, s.capabilities(set))
			}})
	}
	return reads
}

func (s *Source) capabilities(set policy.CapabilitySet) policy.CapabilityFilter {
	return policy.CapabilityFilter{
		Set: set, Negated: s.IntN(2) == 0, Mask: uint64(1)<<s.IntN(64) | uint64(3)<<s.IntN(62),
	}
}

// askedOfProcess is of how many of them a source draws filters: a site has no place
// for all.
const askedOfProcess = 5

// drawProcess draws what filters ask of the process.
func (s *Source) drawProcess() {
	all := processReads()
	for _, i := range s.Perm(len(all))[:askedOfProcess] {
		s.process = append(s.process, all[i])
	}
}

// processFilters draws filters on the process, rarely: each holds for all events
// or for none.
func (s *Source) processFilters(sel *policy.Selector) {
	for _, r := range s.process {
		if s.IntN(15) == 0 {
			r.draw(s, sel)
		}
	}
}

// Reads is everything but arguments that hooks of a source can read.
func (s *Source) Reads(args []compile.Read) []compile.Read {
	if s.Data != nil {
		return nil
	}
	reads := []compile.Read{
		{Kind: bpf.WireReadKindREAD_BINARY}, {Kind: bpf.WireReadKindREAD_BINARY_PATH, Size: 8},
		{Kind: bpf.WireReadKindREAD_LINEAGE}, {Kind: bpf.WireReadKindREAD_LINEAGE, Copy: 1},
	}
	for _, r := range s.process {
		reads = append(reads, r.Read)
	}
	for _, whole := range args {
		if whole.Kind == bpf.WireReadKindREAD_USER_SOCKADDR_UN {
			reads = append(reads, compile.Read{Kind: bpf.WireReadKindREAD_USER_UNIX_FAMILY, Offset: whole.Offset, Size: whole.Size})
		}
		if whole.Kind != bpf.WireReadKindREAD_USER_SOCKADDR {
			continue
		}
		for _, part := range []bpf.WireReadKind{
			bpf.WireReadKindREAD_SOURCE_ADDRESS, bpf.WireReadKindREAD_SOURCE_PORT, bpf.WireReadKindREAD_FAMILY,
		} {
			reads = append(reads, compile.Read{Kind: part, Offset: whole.Offset, Size: uint16(whole.Kind)})
		}
	}
	return reads
}

// addresses are those that events and filters have in common.
func addresses() []netip.Addr {
	var all []netip.Addr
	for _, text := range []string{
		"0.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.128.2", "11.0.0.1", "255.255.255.255", "127.0.0.1",
		"::", "::1", "fd00::1", "fd00::2", "fd00:0:0:1::2", "fe80::1:2:3:4", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"::a00:1", "a00:1::",
	} {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func (s *Source) address() netip.Addr {
	all := addresses()
	return all[s.IntN(len(all))]
}

func (s *Source) port() uint16 { return []uint16{0, 22, 53, 1023, 1024, 8080, 65535}[s.IntN(7)] }

// Families of addresses, the kernel's numbers.
const (
	afUnix  = 1
	afInet  = 2
	afInet6 = 10
)

func (s *Source) addressFilter(arg int) policy.ArgFilter {
	f := policy.ArgFilter{Arg: arg}
	switch s.IntN(4) {
	case 0:
		f.Op = []policy.Operator{policy.OpSPort, policy.OpNotSPort}[s.IntN(2)]
		lo := uint64(s.port())
		f.Ranges = []policy.Range{{Lo: lo, Hi: max(lo, uint64(s.port()))}}
	case 1:
		return s.familyFilter(arg)
	default:
		f.Op = []policy.Operator{policy.OpSAddr, policy.OpNotSAddr}[s.IntN(2)]
		for range 1 + s.IntN(3) {
			a := s.address()
			f.Prefixes = append(f.Prefixes, netip.PrefixFrom(a, s.IntN(a.BitLen()+1)).Masked())
		}
	}
	return f
}

func (s *Source) familyFilter(arg int) policy.ArgFilter {
	family := []uint64{afUnix, afInet, afInet6}[s.IntN(3)]
	return policy.ArgFilter{Arg: arg, Op: policy.OpFamily, Ranges: []policy.Range{{Lo: family, Hi: family}}}
}

// sockaddr draws a struct sockaddr; those of unix sockets have paths and names of
// the strings that filters compare with.
func (s *Source) sockaddr() Text {
	if s.IntN(10) == 0 {
		return Text{Unreadable: true, Most: 1}
	}
	if s.IntN(2) == 0 {
		path := s.short(unixNameMax)
		if s.IntN(3) == 0 {
			path = "\x00" + path[:min(len(path), unixNameMax-1)]
		}
		return Text{String: "\x01\x00" + path + "\x00\x00\x00\x00\x00\x00\x00\x00"}
	}
	a := s.address()
	b := make([]byte, 28)
	binary.LittleEndian.PutUint16(b, afInet)
	binary.BigEndian.PutUint16(b[2:], s.port())
	if a.Is4() {
		return Text{String: string(append(b[:4], a.AsSlice()...)) + "12345678"}
	}
	binary.LittleEndian.PutUint16(b, afInet6)
	copy(b[8:], a.AsSlice())
	return Text{String: string(b)}
}

// unixNameMax is how long a path in a struct sockaddr_un can be.
const unixNameMax = 108

// unixPath is what a program sees of a struct sockaddr_un without its length.
func (t Text) unixPath() compile.Value {
	if t.Unreadable {
		return compile.Value{Unreadable: true}
	}
	if family := binary.LittleEndian.Uint16([]byte(t.String)); family != afUnix {
		return compile.Value{}
	}
	path := []byte(t.String[2:])
	if name := toNUL(path[1:]); path[0] == 0 && name != "" {
		return compile.Value{String: "@" + name}
	}
	return compile.Value{String: toNUL(path)}
}

// part is what a program sees of a part of a struct sockaddr.
func (t Text) part(read compile.Read) compile.Value {
	if t.Unreadable {
		return compile.Value{Unreadable: true}
	}
	b := []byte(t.String)
	family := binary.LittleEndian.Uint16(b)
	v := compile.Value{}
	switch read.Kind {
	case bpf.WireReadKindREAD_FAMILY, bpf.WireReadKindREAD_USER_UNIX_FAMILY:
		v.Number = uint64(family)
	case bpf.WireReadKindREAD_SOURCE_PORT:
		if family != afUnix {
			v.Number = uint64(binary.BigEndian.Uint16(b[2:]))
		}
	case bpf.WireReadKindREAD_SOURCE_ADDRESS:
		switch family {
		case afInet:
			v.Address, _ = netip.AddrFromSlice(b[4:8])
		case afInet6:
			v.Address, _ = netip.AddrFromSlice(b[8:24])
		}
	}
	return v
}
