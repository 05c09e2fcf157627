// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"net/netip"
	"strconv"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// socket is what the message of a socket tells.
type socket struct {
	source, target         string
	sourcePort, targetPort uint32
	family, state          string
	protocol               string
	// partial: it is an address alone, with neither target, protocol nor state.
	partial bool
}

func socketOf(a *tetragon.KprobeArgument, t policy.ArgType) (s socket, ok bool) {
	switch arg := a.GetArg().(type) {
	case *tetragon.KprobeArgument_SockArg:
		m := arg.SockArg
		return socket{m.GetSaddr(), m.GetDaddr(), m.GetSport(), m.GetDport(), m.GetFamily(), m.GetState(), m.GetProtocol(), false},
			t == policy.ArgSock || t == policy.ArgSocket
	case *tetragon.KprobeArgument_SkbArg:
		m := arg.SkbArg
		return socket{m.GetSaddr(), m.GetDaddr(), m.GetSport(), m.GetDport(), m.GetFamily(), "", strconv.FormatUint(uint64(m.GetProto()), 10), false},
			t == policy.ArgSkb
	case *tetragon.KprobeArgument_SockaddrArg:
		m := arg.SockaddrArg
		return socket{source: m.GetAddr(), sourcePort: m.GetPort(), family: m.GetFamily(), partial: true}, t == policy.ArgSockaddr
	}
	return s, false
}

// part is the value of a part of a socket.
func (s *Simulator) part(a *tetragon.KprobeArgument, t policy.ArgType, kind bpf.WireReadKind) (v compile.Value, ok bool) {
	if un, isOne := a.GetArg().(*tetragon.KprobeArgument_SockaddrunArg); isOne && t == policy.ArgSockaddrUn {
		return numbered(s.families, un.SockaddrunArg.GetFamily())
	}
	of, ok := socketOf(a, t)
	if !ok {
		return v, false
	}
	switch kind {
	case bpf.WireReadKindREAD_SOURCE_ADDRESS:
		return address(of.source)
	case bpf.WireReadKindREAD_TARGET_ADDRESS:
		v, ok = address(of.target)
		return v, ok && !of.partial
	case bpf.WireReadKindREAD_SOURCE_PORT:
		return compile.Value{Number: uint64(of.sourcePort)}, true
	case bpf.WireReadKindREAD_TARGET_PORT:
		return compile.Value{Number: uint64(of.targetPort)}, !of.partial
	case bpf.WireReadKindREAD_FAMILY:
		return numbered(s.families, of.family)
	case bpf.WireReadKindREAD_PROTOCOL:
		return numbered(s.protocols, of.protocol)
	case bpf.WireReadKindREAD_STATE:
		return numbered(s.states, of.state)
	}
	return v, false
}

// address is invalid where the event has none, as the kernel's is.
func address(text string) (compile.Value, bool) {
	if text == "" {
		return compile.Value{}, true
	}
	a, err := netip.ParseAddr(text)
	return compile.Value{Address: a}, err == nil
}

// numbered is the number of a name, which may be the number itself.
func numbered(names map[string]uint64, name string) (compile.Value, bool) {
	if n, ok := names[name]; ok {
		return compile.Value{Number: n}, true
	}
	n, err := strconv.ParseUint(name, 10, 32)
	return compile.Value{Number: n}, err == nil
}
