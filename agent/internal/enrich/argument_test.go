// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// wire is a structure as the programs write it.
func wire(t testing.TB, structure any) string {
	t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, structure); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func word(text string) uint64 { return binary.LittleEndian.Uint64([]byte(text)) }

func TestArgumentsOfTypes(t *testing.T) {
	t.Parallel()
	inet := bpf.WireSockInfo{
		Source: [2]uint64{word("\x7f\x00\x00\x01\x00\x00\x00\x00")}, Target: [2]uint64{word("\x0a\x01\x02\x03\x00\x00\x00\x00")},
		SourcePort: 1024, TargetPort: 443, Family: 2, Type: 1, Protocol: 6, State: 1, Mark: 7, Priority: 8, Len: 60, Cookie: 9, Hash: 11,
	}
	inet6 := inet
	inet6.Family, inet6.Type, inet6.Protocol, inet6.State = 10, 2, 17, 7
	inet6.Source = [2]uint64{word("\xfd\x00\x00\x00\x00\x00\x00\x00"), word("\x00\x00\x00\x00\x00\x00\x00\x01")}
	unix := bpf.WireSockInfo{Family: 1, Type: 5}
	cred := bpf.WireCredInfo{
		Uid: 1, Gid: 2, Suid: 3, Sgid: 4, Euid: 5, Egid: 6, Fsuid: 7, Fsgid: 8, Securebits: 0x11, UserNs: 4026531837,
		Inheritable: 1, Permitted: 1<<21 | 1<<63, Effective: 2,
	}
	number, most := wrapperspb.UInt32, strings.Repeat("\x00", 4095)
	for _, c := range []struct {
		name string
		of   policy.ArgType
		in   event.String
		want *tetragon.KprobeArgument
	}{
		{"string", policy.ArgString, event.String{Value: "a\xff"}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_StringArg{StringArg: "a\ufffd"}}},
		{"bytes", policy.ArgCharBuf, event.String{Value: "a\x00\xff"}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_BytesArg{BytesArg: []byte("a\x00\xff")}}},
		{"bytes one short of those kept", policy.ArgCharBuf, event.String{Value: most[1:]}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_BytesArg{BytesArg: []byte(most[1:])}}},
		{"as many bytes as are kept", policy.ArgCharBuf, event.String{Value: most, Mode: 4095}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_BytesArg{BytesArg: []byte(most)}}},
		{"one byte more", policy.ArgCharBuf, event.String{Value: most, Mode: 4096}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_TruncatedBytesArg{TruncatedBytesArg: &tetragon.KprobeTruncatedBytes{BytesArg: []byte(most), OrigSize: 4096}}}},
		{"no bytes", policy.ArgCharBuf, event.String{Status: event.StringUnreadable}, &tetragon.KprobeArgument{}},
		{"no credentials", policy.ArgCred, event.String{Status: event.StringUnreadable}, &tetragon.KprobeArgument{}},
		{"unreadable file", policy.ArgFile, event.String{Status: event.StringUnreadable}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_FileArg{FileArg: &tetragon.KprobeFile{Flags: unresolved}}}},
		{"file", policy.ArgFile, event.String{Value: "/x", Mode: 0o104755}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_FileArg{FileArg: &tetragon.KprobeFile{Path: "/x", Permission: "-rwsr-xr-x"}}}},
		{"file of a descriptor", policy.ArgFD, event.String{Value: "/x", Mode: 0o020620}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_FileArg{FileArg: &tetragon.KprobeFile{Path: "/x", Permission: "crw--w----"}}}},
		{"path", policy.ArgPath, event.String{Value: "/d", Mode: 0o041777}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_PathArg{PathArg: &tetragon.KprobePath{Path: "/d", Permission: "drwxrwxrwt"}}}},
		{"dentry", policy.ArgDentry, event.String{Value: "/l", Mode: 0o120777}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_PathArg{PathArg: &tetragon.KprobePath{Path: "/l", Permission: "lrwxrwxrwx"}}}},
		{"path that is too deep", policy.ArgPath, event.String{Status: event.StringTruncated}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_PathArg{PathArg: &tetragon.KprobePath{Flags: unresolved}}}},
		{"executed file", policy.ArgBinprm, event.String{Value: "/b", Mode: 0o102644}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_LinuxBinprmArg{LinuxBinprmArg: &tetragon.KprobeLinuxBinprm{Path: "/b", Permission: "-rw-r-Sr--"}}}},
		{"sock", policy.ArgSock, event.String{Value: wire(t, inet)}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SockArg{SockArg: &tetragon.KprobeSock{
			Family: "AF_INET", Type: "SOCK_STREAM", Protocol: "IPPROTO_TCP", State: "TCP_ESTABLISHED", Saddr: "127.0.0.1", Daddr: "10.1.2.3",
			Sport: 1024, Dport: 443, Mark: 7, Priority: 8, Cookie: 9,
		}}}},
		{"socket", policy.ArgSocket, event.String{Value: wire(t, inet6)}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SockArg{SockArg: &tetragon.KprobeSock{
			Family: "AF_INET6", Type: "SOCK_DGRAM", Protocol: "IPPROTO_UDP", State: "TCP_CLOSE", Saddr: "fd00::1", Daddr: "a01:203::",
			Sport: 1024, Dport: 443, Mark: 7, Priority: 8, Cookie: 9,
		}}}},
		{"unix socket", policy.ArgSock, event.String{Value: wire(t, unix)}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SockArg{SockArg: &tetragon.KprobeSock{
			Family: "AF_UNIX", Type: "SOCK_SEQPACKET", Protocol: "IPPROTO_IP", State: "0",
		}}}},
		{"sockaddr", policy.ArgSockaddr, event.String{Value: wire(t, inet)}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SockaddrArg{SockaddrArg: &tetragon.KprobeSockaddr{Family: "AF_INET", Addr: "127.0.0.1", Port: 1024}}}},
		{"packet", policy.ArgSkb, event.String{Value: wire(t, inet)}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SkbArg{SkbArg: &tetragon.KprobeSkb{
			Family: "AF_INET", Protocol: "IPPROTO_TCP", Proto: 6, Saddr: "127.0.0.1", Daddr: "10.1.2.3", Sport: 1024, Dport: 443,
			Mark: 7, Priority: 8, Len: 60, Hash: 11,
		}}}},
		{"credentials", policy.ArgCred, event.String{Value: wire(t, cred)}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_ProcessCredentialsArg{ProcessCredentialsArg: &tetragon.ProcessCredentials{
			Uid: number(1), Gid: number(2), Suid: number(3), Sgid: number(4), Euid: number(5), Egid: number(6), Fsuid: number(7), Fsgid: number(8),
			Securebits: []tetragon.SecureBitsType{tetragon.SecureBitsType_SecBitNoRoot, tetragon.SecureBitsType_SecBitKeepCaps},
			Caps: &tetragon.Capabilities{
				Permitted:   []tetragon.CapabilitiesType{tetragon.CapabilitiesType_CAP_SYS_ADMIN},
				Effective:   []tetragon.CapabilitiesType{tetragon.CapabilitiesType_DAC_OVERRIDE},
				Inheritable: []tetragon.CapabilitiesType{tetragon.CapabilitiesType_CAP_CHOWN},
			},
			UserNs: &tetragon.UserNamespace{Ns: &tetragon.Namespace{Inum: 4026531837}},
		}}}},
		{"no socket", policy.ArgSock, event.String{Status: event.StringUnreadable}, &tetragon.KprobeArgument{}},
		{"half a socket", policy.ArgSock, event.String{Value: "x"}, &tetragon.KprobeArgument{}},
		{"half of credentials", policy.ArgCred, event.String{Value: strings.Repeat("x", 20)}, &tetragon.KprobeArgument{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			of := &event.Site{}
			of.Strings[2] = c.in
			got := newWorld(t).siteArgs(of, []Arg{{Type: c.of, String: 2, Reg: 0}})
			if diff := cmp.Diff([]*tetragon.KprobeArgument{c.want}, got, protocmp.Transform()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestArgumentsThatAreNumbersWithNames(t *testing.T) {
	t.Parallel()
	of := &event.Site{}
	of.Regs[3] = 21
	got := newWorld(t).siteArgs(of, []Arg{{Type: policy.ArgCapability, Reg: 3}, {Type: policy.ArgSyscall64, Reg: 3}})
	if c := got[0].GetCapabilityArg(); c.GetValue().GetValue() != 21 || c.GetName() != "CAP_SYS_ADMIN" {
		t.Errorf("capability %v", c)
	}
	native := got[1].GetSyscallId()
	of.Regs[3] |= uint64(bpf.WireSyscallAbiSYSCALL_COMPAT)
	other := newWorld(t).siteArgs(of, []Arg{{Type: policy.ArgSyscall64, Reg: 3}})[0].GetSyscallId()
	if native.GetId() != 21 || other.GetId() != 21 || native.GetAbi() == other.GetAbi() || native.GetAbi() == "" {
		t.Errorf("system calls %v and %v", native, other)
	}
}

// A rule's section decides which kind of event is told.
func TestSectionsMakeEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for bit, section := range []policy.Section{policy.Tracepoints, policy.Kprobes, policy.LSMHooks, policy.Fentries} {
		w.rules.known[ruleKey{3, 4, bit}] = Rule{Section: section, Function: "f", Event: "e", Override: true}
	}
	e := siteEvent([]int{0, 1, 2, 3}, nil)
	e.Overridden[0] = 1 << 1
	w.Handle(e)
	all := w.sink.take(t)
	if len(all) != 4 {
		t.Fatalf("%d events", len(all))
	}
	if all[0].GetProcessTracepoint().GetEvent() != "e" || all[1].GetProcessKprobe().GetFunctionName() != "f" ||
		all[2].GetProcessLsm().GetFunctionName() != "f" || all[3].GetProcessKprobe().GetFunctionName() != "f" {
		t.Errorf("events %v", all)
	}
	if a, b := all[1].GetProcessKprobe().GetAction(), all[2].GetProcessLsm().GetAction(); a != tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE ||
		b != tetragon.KprobeAction_KPROBE_ACTION_POST {
		t.Errorf("actions %v of what was denied, %v of what was not", a, b)
	}
}

// Items of data are told apart from arguments.
func TestDataIsToldApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.known[ruleKey{3, 4, 0}] = Rule{Section: policy.Kprobes, Function: "f", Data: 2, Args: []Arg{
		{Type: policy.ArgInt32, Label: "a"}, {Type: policy.ArgInt32, Label: "b"}, {Type: policy.ArgInt32, Label: "c"},
	}}
	w.Handle(siteEvent([]int{0}, nil))
	all := w.sink.take(t)
	if len(all) != 1 {
		t.Fatalf("%d events", len(all))
	}
	args, data := all[0].GetProcessKprobe().GetArgs(), all[0].GetProcessKprobe().GetData()
	if len(args) != 1 || args[0].GetLabel() != "a" || len(data) != 2 || data[0].GetLabel() != "b" || data[1].GetLabel() != "c" {
		t.Errorf("args %v, data %v", args, data)
	}
}

// FuzzArguments reads any bytes as any type: what a program writes can be wrong,
// and what it reads is chosen by whoever is watched.
func FuzzArguments(f *testing.F) {
	f.Add(wire(f, bpf.WireSockInfo{Family: 2, Type: 1, Protocol: 6, State: 1}), uint32(0), uint64(21))
	f.Add(wire(f, bpf.WireSockInfo{Family: 10, Type: 99, Protocol: 65535, State: 255}), uint32(0o104755), uint64(1<<31))
	f.Add(wire(f, bpf.WireCredInfo{Permitted: 1<<64 - 1, Securebits: 1<<32 - 1}), uint32(0o170000), uint64(1<<64-1))
	f.Add("/etc/\xff\x00passwd", uint32(0o007777), uint64(0))
	f.Fuzz(func(t *testing.T, bytes string, mode uint32, word uint64) {
		var args []Arg
		for kind := policy.ArgAuto; kind <= policy.ArgNop; kind++ {
			args = append(args, Arg{Type: kind})
		}
		of := &event.Site{}
		of.Strings[0], of.Regs[0] = event.String{Value: bytes, Mode: mode}, word
		got := newWorld(t).siteArgs(of, args)
		if len(got) != len(args) {
			t.Fatalf("%d arguments of %d", len(got), len(args))
		}
		for i, m := range got {
			// Text that is no UTF-8 would end a client's stream.
			if _, err := proto.Marshal(m); err != nil {
				t.Errorf("%v: %v", args[i].Type, err)
			}
		}
		if s := got[policy.ArgSock].GetSockArg(); (s != nil) != (len(bytes) >= binary.Size(bpf.WireSockInfo{})) {
			t.Errorf("%d bytes make the socket %v", len(bytes), s)
		}
		if c := got[policy.ArgCred].GetProcessCredentialsArg(); (c != nil) != (len(bytes) >= binary.Size(bpf.WireCredInfo{})) {
			t.Errorf("%d bytes make the credentials %v", len(bytes), c)
		}
	})
}
