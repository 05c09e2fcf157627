// SPDX-License-Identifier: Apache-2.0

package compact

import (
	"strings"
	"testing"
	"unicode"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func TestArgument(t *testing.T) {
	t.Parallel()
	number := wrapperspb.UInt32
	for _, test := range []struct {
		arg  *tetragon.KprobeArgument
		want string
	}{
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_FileArg{FileArg: &tetragon.KprobeFile{Path: "/etc/a b", Permission: "-rw-r--r--"}}}, `"/etc/a b"`},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_FileArg{FileArg: &tetragon.KprobeFile{Path: hostile}}}, `"` + quoted + `"`},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_PathArg{PathArg: &tetragon.KprobePath{Flags: "unresolvedPathComponents"}}}, `""(unresolvedPathComponents)`},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_LinuxBinprmArg{LinuxBinprmArg: &tetragon.KprobeLinuxBinprm{Path: "/bin/sh"}}}, `"/bin/sh"`},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SockArg{SockArg: &tetragon.KprobeSock{
			Family: "AF_INET", Protocol: "IPPROTO_TCP", Saddr: "127.0.0.1", Sport: 1024, Daddr: "10.1.2.3", Dport: 443,
		}}}, "IPPROTO_TCP/127.0.0.1:1024->10.1.2.3:443"},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SkbArg{SkbArg: &tetragon.KprobeSkb{
			Family: "AF_INET6", Protocol: "IPPROTO_UDP", Saddr: "fd00::1", Sport: 53, Daddr: "::1", Dport: 5353,
		}}}, "IPPROTO_UDP/[fd00::1]:53->[::1]:5353"},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SockArg{SockArg: &tetragon.KprobeSock{Family: "AF_UNIX", Protocol: "IPPROTO_IP"}}}, "AF_UNIX"},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SockArg{SockArg: &tetragon.KprobeSock{Family: hostile}}}, `"` + quoted + `"`},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SockaddrArg{SockaddrArg: &tetragon.KprobeSockaddr{Family: "AF_INET6", Addr: "::1", Port: 80}}}, "[::1]:80"},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SockaddrArg{SockaddrArg: &tetragon.KprobeSockaddr{Family: "AF_NETLINK"}}}, "AF_NETLINK"},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_ProcessCredentialsArg{ProcessCredentialsArg: &tetragon.ProcessCredentials{
			Uid: number(1), Gid: number(2), Euid: number(3), Egid: number(4),
		}}}, "uid:1,gid:2,euid:3,egid:4"},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_CapabilityArg{CapabilityArg: &tetragon.KprobeCapability{Name: "CAP_SYS_ADMIN"}}}, "CAP_SYS_ADMIN"},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SyscallId{SyscallId: &tetragon.SyscallId{Id: 59, Abi: "x64"}}}, "59/x64"},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_TruncatedBytesArg{TruncatedBytesArg: &tetragon.KprobeTruncatedBytes{BytesArg: []byte{1}}}}, "0x01...(1 bytes or more)"},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_TruncatedBytesArg{TruncatedBytesArg: &tetragon.KprobeTruncatedBytes{BytesArg: make([]byte, 4095)}}},
			"0x" + strings.Repeat("00", 128) + "...(4095 bytes or more)"},
		// A oneof that names a message and holds none.
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_FileArg{}}, `""`},
		{&tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_ModuleArg{}}, "(module_arg)"},
	} {
		got := argument(test.arg)
		if got != test.want {
			t.Errorf("%v:\ngot  %s\nwant %s", test.arg, got, test.want)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%v: the word has what terminals act on: %q", test.arg, got)
		}
	}
}
