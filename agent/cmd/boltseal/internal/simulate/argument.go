// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// argument is the value that filters compare of an argument; ok is false when it
// is of another type, or does not tell the value.
func argument(a *tetragon.KprobeArgument, t policy.ArgType) (v compile.Value, ok bool) {
	switch {
	case a.GetArg() == nil:
		// What could not be read keeps its place, and has no value.
		return compile.Value{Unreadable: true}, t.Text() || t.Socket() || t == policy.ArgCred
	case t.Text():
		return text(a, t)
	case t.Integer():
		return integer(a, t)
	case t == policy.ArgCapability:
		c, isOne := a.GetArg().(*tetragon.KprobeArgument_CapabilityArg)
		if !isOne || c.CapabilityArg.GetValue() == nil {
			return v, false
		}
		return compile.Value{Number: uint64(int64(c.CapabilityArg.GetValue().GetValue()))}, true
	case t == policy.ArgSyscall64:
		s, isOne := a.GetArg().(*tetragon.KprobeArgument_SyscallId)
		if !isOne {
			return v, false
		}
		n := s.SyscallId.GetId()
		if abi := s.SyscallId.GetAbi(); abi == "i386" || abi == "arm32" {
			n |= uint32(bpf.WireSyscallAbiSYSCALL_COMPAT)
		}
		return compile.Value{Number: uint64(n)}, true
	case t == policy.ArgCred:
		_, isOne := a.GetArg().(*tetragon.KprobeArgument_ProcessCredentialsArg)
		return v, isOne
	case t.Socket():
		_, isOne := socketOf(a, t)
		return v, isOne
	}
	return v, false
}

// text is the value of an argument that is compared as text.
func text(a *tetragon.KprobeArgument, t policy.ArgType) (v compile.Value, ok bool) {
	flags, permission := "", ""
	switch arg := a.GetArg().(type) {
	case *tetragon.KprobeArgument_StringArg:
		v.String, ok = arg.StringArg, t == policy.ArgString
	case *tetragon.KprobeArgument_BytesArg:
		// Bytes are told as they are, whatever they are.
		return compile.Value{String: string(arg.BytesArg)}, t == policy.ArgCharBuf
	case *tetragon.KprobeArgument_FileArg:
		v.String, flags, permission = arg.FileArg.GetPath(), arg.FileArg.GetFlags(), arg.FileArg.GetPermission()
		ok = t == policy.ArgFile || t == policy.ArgFD
	case *tetragon.KprobeArgument_PathArg:
		v.String, flags, permission = arg.PathArg.GetPath(), arg.PathArg.GetFlags(), arg.PathArg.GetPermission()
		ok = t == policy.ArgPath || t == policy.ArgDentry
	case *tetragon.KprobeArgument_LinuxBinprmArg:
		v.String, flags, permission = arg.LinuxBinprmArg.GetPath(), arg.LinuxBinprmArg.GetFlags(), arg.LinuxBinprmArg.GetPermission()
		ok = t == policy.ArgBinprm
	}
	v.Mode = mode(permission, v.String)
	if flags != "" {
		v.String, v.Unreadable = "", true // the kernel compared no path either
	}
	return v, ok
}

// mode is that of a file by what ls writes of it, without the permissions; 0 where
// that does not tell it.
func mode(permission, path string) uint32 {
	const regular = "-"
	letter := permission[:min(len(permission), 1)]
	if letter == regular && (path == "/" || !strings.HasPrefix(path, "/")) {
		return 0 // the kernel's own, which can be of no type: that is written so too
	}
	return map[string]uint32{
		"p": unix.S_IFIFO, "c": unix.S_IFCHR, "d": unix.S_IFDIR, "b": unix.S_IFBLK, regular: unix.S_IFREG,
		"l": unix.S_IFLNK, "s": unix.S_IFSOCK,
	}[letter]
}

// exact tells whether text is what the kernel saw: what is no UTF-8 is replaced
// in events.
func exact(s string) bool { return !strings.ContainsRune(s, utf8.RuneError) }

func integer(a *tetragon.KprobeArgument, t policy.ArgType) (v compile.Value, ok bool) {
	switch arg := a.GetArg().(type) {
	case *tetragon.KprobeArgument_IntArg:
		return compile.Value{Number: uint64(int64(arg.IntArg))}, t.Signed() && t != policy.ArgInt64
	case *tetragon.KprobeArgument_LongArg:
		return compile.Value{Number: uint64(arg.LongArg)}, t == policy.ArgInt64
	case *tetragon.KprobeArgument_UintArg:
		return compile.Value{Number: uint64(arg.UintArg)}, !t.Signed() && t != policy.ArgUint64
	case *tetragon.KprobeArgument_SizeArg:
		return compile.Value{Number: arg.SizeArg}, t == policy.ArgUint64
	}
	return v, false
}

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
	if a.GetArg() == nil {
		return compile.Value{Unreadable: true}, true
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
