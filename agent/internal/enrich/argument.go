// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"net/netip"
	"runtime"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// siteArgs are a rule's arguments. One that could not be read keeps its place.
func (e *Enricher) siteArgs(of *event.Site, args []Arg) []*tetragon.KprobeArgument {
	messages := make([]*tetragon.KprobeArgument, len(args))
	memory := make([]tetragon.KprobeArgument, len(args)) // of all, at once
	for i, a := range args {
		messages[i] = &memory[i]
		messages[i].Label = a.Label
		switch {
		case a.Type == policy.ArgNop:
		case !a.Type.Word():
			if a.String >= 0 && a.String < len(of.Strings) {
				e.setBuffer(messages[i], a.Type, &of.Strings[a.String])
			}
		case a.Reg >= 0 && a.Reg < len(of.Regs) && of.Unreadable&(1<<a.Reg) == 0:
			setWord(messages[i], a.Type, of.Regs[a.Reg])
		}
	}
	return messages
}

// unresolved is what clients are told of a path that could not be walked whole.
const unresolved = "unresolvedPathComponents"

// setBuffer sets an argument that is text, bytes, or a structure of the kernel.
func (e *Enricher) setBuffer(m *tetragon.KprobeArgument, t policy.ArgType, s *event.String) {
	if t == policy.ArgKiocb || t >= policy.ArgFile && t <= policy.ArgBinprm {
		setFile(m, t, s)
		return
	}
	if s.Status != event.StringRead {
		return
	}
	switch t {
	case policy.ArgString, policy.ArgFilename, policy.ArgDataLoc:
		m.Arg = &tetragon.KprobeArgument_StringArg{StringArg: valid(s.Value)}
	case policy.ArgNetDevice:
		m.Arg = &tetragon.KprobeArgument_NetDevArg{NetDevArg: &tetragon.KprobeNetDev{Name: valid(s.Value)}}
	case policy.ArgSockaddrUn:
		m.Arg = &tetragon.KprobeArgument_SockaddrunArg{SockaddrunArg: &tetragon.KprobeSockaddrUn{
			Family: e.constants.Family(uint16(s.Mode)), Path: valid(s.Value),
		}}
	case policy.ArgCharBuf, policy.ArgConstBuf, policy.ArgIovec, policy.ArgIovIter:
		setBytes(m, s)
	case policy.ArgInt32Array:
		setInt32Array(m, s.Value)
	case policy.ArgCred:
		setCred(m, s.Value)
	case policy.ArgSock, policy.ArgSocket, policy.ArgSockaddr, policy.ArgSkb:
		e.setSocket(m, t, s.Value)
	default:
		setObject(m, t, s.Value)
	}
}

// setFile sets an argument that is a file of some kind.
func setFile(m *tetragon.KprobeArgument, t policy.ArgType, s *event.String) {
	flags := ""
	if s.Status != event.StringRead {
		flags = unresolved
	}
	path, permission := valid(s.Value), mode(s.Mode)
	switch t {
	case policy.ArgPath, policy.ArgDentry:
		m.Arg = &tetragon.KprobeArgument_PathArg{PathArg: &tetragon.KprobePath{Path: path, Flags: flags, Permission: permission}}
	case policy.ArgBinprm:
		m.Arg = &tetragon.KprobeArgument_LinuxBinprmArg{LinuxBinprmArg: &tetragon.KprobeLinuxBinprm{
			Path: path, Flags: flags, Permission: permission,
		}}
	default:
		m.Arg = &tetragon.KprobeArgument_FileArg{FileArg: &tetragon.KprobeFile{Path: path, Flags: flags, Permission: permission}}
	}
}

func (e *Enricher) setSocket(m *tetragon.KprobeArgument, t policy.ArgType, bytes string) {
	info, ok := decode[bpf.WireSockInfo](bytes)
	if !ok {
		return // not what the programs write
	}
	source, target := address(info.Family, info.Source), address(info.Family, info.Target)
	family := e.constants.Family(info.Family)
	switch t {
	case policy.ArgSockaddr:
		m.Arg = &tetragon.KprobeArgument_SockaddrArg{SockaddrArg: &tetragon.KprobeSockaddr{
			Family: family, Addr: source, Port: uint32(info.SourcePort),
		}}
	case policy.ArgSkb:
		m.Arg = &tetragon.KprobeArgument_SkbArg{SkbArg: &tetragon.KprobeSkb{
			Hash: info.Hash, Len: info.Len, Priority: info.Priority, Mark: info.Mark, Saddr: source, Daddr: target,
			Sport: uint32(info.SourcePort), Dport: uint32(info.TargetPort), Proto: uint32(info.Protocol),
			Protocol: e.constants.Protocol(info.Protocol), Family: family,
		}}
	default:
		m.Arg = &tetragon.KprobeArgument_SockArg{SockArg: &tetragon.KprobeSock{
			Family: family, Type: socketType(info.Type), Protocol: e.constants.Protocol(info.Protocol), Mark: info.Mark,
			Priority: info.Priority, Saddr: source, Daddr: target, Sport: uint32(info.SourcePort),
			Dport: uint32(info.TargetPort), Cookie: info.Cookie, State: e.constants.State(info.State),
		}}
	}
}

// address is the text of an address as the programs have it: in the order of the
// network, IPv4 in the first four bytes.
func address(family uint16, words [2]uint64) string {
	var raw [16]byte
	binary.LittleEndian.PutUint64(raw[:8], words[0])
	binary.LittleEndian.PutUint64(raw[8:], words[1])
	const inet, inet6 = 2, 10
	switch family {
	case inet:
		return netip.AddrFrom4([4]byte(raw[:4])).String()
	case inet6:
		return netip.AddrFrom16(raw).String()
	}
	return ""
}

// socketType is the name of a type of sockets, the numbers of include/linux/net.h.
func socketType(n uint16) string {
	names := [...]string{
		1: "SOCK_STREAM", 2: "SOCK_DGRAM", 3: "SOCK_RAW", 4: "SOCK_RDM", 5: "SOCK_SEQPACKET", 6: "SOCK_DCCP", 10: "SOCK_PACKET",
	}
	if int(n) < len(names) && names[n] != "" {
		return names[n]
	}
	return fmt.Sprint(n)
}

func setCred(m *tetragon.KprobeArgument, bytes string) {
	info, ok := decode[bpf.WireCredInfo](bytes)
	if !ok {
		return // not what the programs write
	}
	cred := &tetragon.ProcessCredentials{
		Uid: wrapperspb.UInt32(info.Uid), Gid: wrapperspb.UInt32(info.Gid), Euid: wrapperspb.UInt32(info.Euid),
		Egid: wrapperspb.UInt32(info.Egid), Suid: wrapperspb.UInt32(info.Suid), Sgid: wrapperspb.UInt32(info.Sgid),
		Fsuid: wrapperspb.UInt32(info.Fsuid), Fsgid: wrapperspb.UInt32(info.Fsgid), Securebits: secureBits(info.Securebits),
		Caps: &tetragon.Capabilities{
			Permitted: capabilities(info.Permitted), Effective: capabilities(info.Effective), Inheritable: capabilities(info.Inheritable),
		},
		UserNs: &tetragon.UserNamespace{Ns: &tetragon.Namespace{Inum: info.UserNs}},
	}
	m.Arg = &tetragon.KprobeArgument_ProcessCredentialsArg{ProcessCredentialsArg: cred}
}

func secureBits(mask uint32) (all []tetragon.SecureBitsType) {
	for bit := uint32(1); bit <= 1<<7; bit <<= 1 {
		if mask&bit != 0 {
			all = append(all, tetragon.SecureBitsType(bit))
		}
	}
	return all
}

func capabilities(mask uint64) []tetragon.CapabilitiesType {
	var all []tetragon.CapabilitiesType
	for n := range int32(64) {
		if _, known := tetragon.CapabilitiesType_name[n]; known && mask&(1<<n) != 0 {
			all = append(all, tetragon.CapabilitiesType(n))
		}
	}
	return all
}

func capability(n int32) *tetragon.KprobeCapability {
	return &tetragon.KprobeCapability{Value: wrapperspb.Int32(n), Name: policy.CapabilityName(int(n))}
}

// syscallID is the number of a system call and whose it is.
func syscallID(word uint32) *tetragon.SyscallId {
	native, compat := "x64", "i386"
	if runtime.GOARCH == "arm64" {
		native, compat = "arm64", "arm32"
	}
	const flag = uint32(bpf.WireSyscallAbiSYSCALL_COMPAT)
	if word&flag != 0 {
		return &tetragon.SyscallId{Id: word &^ flag, Abi: compat}
	}
	return &tetragon.SyscallId{Id: word, Abi: native}
}

// mode is an inode's mode as ls writes it; empty where there is no inode.
func mode(bits uint32) string {
	if bits == 0 {
		return ""
	}
	const format, permissions = 0o170000, 0o777
	// FileMode writes ten characters of which the first is that of a regular file.
	text := []byte(fs.FileMode(bits & permissions).String())
	letters := map[uint32]byte{
		0o040000: 'd', 0o120000: 'l', 0o060000: 'b', 0o020000: 'c', 0o010000: 'p', 0o140000: 's',
	}
	if letter, ok := letters[bits&format]; ok {
		text[0] = letter
	}
	for _, special := range []struct {
		bit         uint32
		at          int
		with, alone byte
	}{{0o4000, 3, 's', 'S'}, {0o2000, 6, 's', 'S'}, {0o1000, 9, 't', 'T'}} {
		switch {
		case bits&special.bit == 0:
		case text[special.at] == 'x':
			text[special.at] = special.with
		default:
			text[special.at] = special.alone
		}
	}
	return string(text)
}
