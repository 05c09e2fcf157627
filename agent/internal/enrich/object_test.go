// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// characters are those of a name in a structure.
func characters[T [16]int8 | [64]int8](name string) (c T) {
	for i := range len(name) {
		c[i] = int8(name[i])
	}
	return c
}

type argCase struct {
	name string
	of   policy.ArgType
	in   event.String
	want *tetragon.KprobeArgument
}

func (c argCase) run(t *testing.T) {
	t.Parallel()
	of := &event.Site{}
	of.Strings[2] = c.in
	got := newWorld(t).siteArgs(of, []Arg{{Type: c.of, String: 2, Reg: 0}})
	if diff := cmp.Diff([]*tetragon.KprobeArgument{c.want}, got, protocmp.Transform()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func argText(s string) *tetragon.KprobeArgument {
	return &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_StringArg{StringArg: s}}
}

func argBytes(s string) *tetragon.KprobeArgument {
	return &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_BytesArg{BytesArg: []byte(s)}}
}

func argCut(s string, size uint64) *tetragon.KprobeArgument {
	return &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_TruncatedBytesArg{
		TruncatedBytesArg: &tetragon.KprobeTruncatedBytes{BytesArg: []byte(s), OrigSize: size},
	}}
}

func argUnix(family, path string) *tetragon.KprobeArgument {
	return &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SockaddrunArg{
		SockaddrunArg: &tetragon.KprobeSockaddrUn{Family: family, Path: path},
	}}
}

// Each type comes to its field of the message, and what could not be read to none.
func TestTextAndBytesOfTypes(t *testing.T) {
	t.Parallel()
	none, unreadable := &tetragon.KprobeArgument{}, event.String{Status: event.StringUnreadable}
	for _, c := range []argCase{
		{"filename", policy.ArgFilename, event.String{Value: "/a\xff"}, argText("/a\ufffd")},
		{"no filename", policy.ArgFilename, unreadable, none},
		{"data_loc", policy.ArgDataLoc, event.String{Value: "x"}, argText("x")},
		{"kiocb", policy.ArgKiocb, event.String{Value: "/x", Mode: 0o100600}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_FileArg{
			FileArg: &tetragon.KprobeFile{Path: "/x", Permission: "-rw-------"},
		}}},
		{"no kiocb", policy.ArgKiocb, unreadable, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_FileArg{
			FileArg: &tetragon.KprobeFile{Flags: unresolved},
		}}},
		{"net_device", policy.ArgNetDevice, event.String{Value: "eth0"}, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_NetDevArg{
			NetDevArg: &tetragon.KprobeNetDev{Name: "eth0"},
		}}},
		{"unix address", policy.ArgSockaddrUn, event.String{Value: "/run/\xff", Mode: 1}, argUnix("AF_UNIX", "/run/\ufffd")},
		{"address of another family", policy.ArgSockaddrUn, event.String{Mode: 10}, argUnix("AF_INET6", "")},
		{"no address", policy.ArgSockaddrUn, unreadable, none},
		{"const_buf", policy.ArgConstBuf, event.String{Value: "a\x00", Mode: 2}, argBytes("a\x00")},
		{"long const_buf", policy.ArgConstBuf, event.String{Value: "a", Mode: 5000}, argCut("a", 5000)},
		{"char_iovec", policy.ArgIovec, event.String{Value: "ab", Mode: 2}, argBytes("ab")},
		{"char_iovec of more", policy.ArgIovec, event.String{Value: "ab", Mode: 3}, argCut("ab", 3)},
		{"iov_iter", policy.ArgIovIter, event.String{Value: "", Mode: 0}, argBytes("")},
		{"no iov_iter", policy.ArgIovIter, unreadable, none},
		{"int32_arr", policy.ArgInt32Array, event.String{Value: "\x01\x00\x00\x00\xff\xff\xff\xff"}, &tetragon.KprobeArgument{
			Arg: &tetragon.KprobeArgument_Int32ListArg{Int32ListArg: &tetragon.KprobeInt32List{Values: []int32{1, -1}}},
		}},
		{"no int32_arr", policy.ArgInt32Array, unreadable, none},
		{"nop", policy.ArgNop, event.String{Value: "x"}, none},
	} {
		t.Run(c.name, c.run)
	}
}

func TestObjectsOfTypes(t *testing.T) {
	t.Parallel()
	number, half := wrapperspb.UInt32, event.String{Value: "xx"}
	program := bpf.WireProgramInfo{Type: 2, Instructions: 7, Name: characters[[16]int8]("sixteen bytes...")}
	of := func(structure any) event.String { return event.String{Value: wire(t, structure)} }
	var cases []argCase
	for typ := policy.ArgUserNamespace; typ <= policy.ArgLoadInfo; typ++ {
		cases = append(cases,
			argCase{"no " + typ.String(), typ, event.String{Status: event.StringUnreadable}, &tetragon.KprobeArgument{}},
			argCase{"half of " + typ.String(), typ, half, &tetragon.KprobeArgument{}})
	}
	for _, c := range append(cases, []argCase{
		{"user_namespace", policy.ArgUserNamespace, of(bpf.WireUserNsInfo{Level: 1, Owner: 2, Group: 3, Inum: 4}), &tetragon.KprobeArgument{
			Arg: &tetragon.KprobeArgument_UserNsArg{UserNsArg: &tetragon.UserNamespace{
				Level: wrapperspb.Int32(1), Uid: number(2), Gid: number(3), Ns: &tetragon.Namespace{Inum: 4},
			}},
		}},
		{"host's user_namespace", policy.ArgUserNamespace, of(bpf.WireUserNsInfo{Inum: 4}), &tetragon.KprobeArgument{
			Arg: &tetragon.KprobeArgument_UserNsArg{UserNsArg: &tetragon.UserNamespace{
				Level: wrapperspb.Int32(0), Uid: number(0), Gid: number(0), Ns: &tetragon.Namespace{Inum: 4, IsHost: true},
			}},
		}},
		{"bpf_attr", policy.ArgBPFAttr, of(program), &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_BpfAttrArg{
			BpfAttrArg: &tetragon.KprobeBpfAttr{ProgType: "BPF_PROG_TYPE_KPROBE", InsnCnt: 7, ProgName: "sixteen bytes..."},
		}}},
		{"bpf_prog", policy.ArgBPFProg, of(bpf.WireProgramInfo{Type: 999}), &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_BpfProgArg{
			BpfProgArg: &tetragon.KprobeBpfProg{ProgType: "999"},
		}}},
		{"bpf_map", policy.ArgBPFMap, of(bpf.WireMapInfo{Type: 27, KeySize: 1, ValueSize: 2, MaxEntries: 3, Name: characters[[16]int8]("m")}), &tetragon.KprobeArgument{
			Arg: &tetragon.KprobeArgument_BpfMapArg{BpfMapArg: &tetragon.KprobeBpfMap{
				MapType: "BPF_MAP_TYPE_RINGBUF", KeySize: 1, ValueSize: 2, MaxEntries: 3, MapName: "m",
			}},
		}},
		{"perf_event", policy.ArgPerfEvent, of(bpf.WirePerfInfo{Type: 1, Config: 5}), &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_PerfEventArg{
			PerfEventArg: &tetragon.KprobePerfEvent{Type: "PERF_TYPE_SOFTWARE", Config: 5},
		}}},
		{"perf_event of a probe", policy.ArgPerfEvent, of(bpf.WirePerfInfo{Type: 8, Offset: 6, Function: characters[[64]int8]("do_exit")}), &tetragon.KprobeArgument{
			Arg: &tetragon.KprobeArgument_PerfEventArg{PerfEventArg: &tetragon.KprobePerfEvent{Type: "8", KprobeFunc: "do_exit", ProbeOffset: 6}},
		}},
		{"module", policy.ArgModule, of(bpf.WireModuleInfo{Taints: 1<<12 | 1<<13 | 1<<3 | 1<<60, HasSignature: 1, Name: characters[[64]int8](strings.Repeat("m", 55))}), &tetragon.KprobeArgument{
			Arg: &tetragon.KprobeArgument_ModuleArg{ModuleArg: &tetragon.KernelModule{
				Name: strings.Repeat("m", 55), SignatureOk: wrapperspb.Bool(false), Tainted: []tetragon.TaintedBitsType{
					tetragon.TaintedBitsType_TAINT_FORCED_UNLOAD_MODULE, tetragon.TaintedBitsType_TAINT_OUT_OF_TREE_MODULE,
					tetragon.TaintedBitsType_TAINT_UNSIGNED_MODULE,
				},
			}},
		}},
		{"load_info", policy.ArgLoadInfo, of(bpf.WireModuleInfo{HasSignature: 1, SignatureOk: 1}), &tetragon.KprobeArgument{
			Arg: &tetragon.KprobeArgument_ModuleArg{ModuleArg: &tetragon.KernelModule{SignatureOk: wrapperspb.Bool(true)}},
		}},
		{"module of a kernel without signatures", policy.ArgModule, of(bpf.WireModuleInfo{}), &tetragon.KprobeArgument{
			Arg: &tetragon.KprobeArgument_ModuleArg{ModuleArg: &tetragon.KernelModule{}},
		}},
	}...) {
		t.Run(c.name, c.run)
	}
}

// Numbers that stand behind pointers have no value where those could not be read.
func TestWordsOfTypes(t *testing.T) {
	t.Parallel()
	of := &event.Site{Unreadable: 1 << 4}
	of.Regs[3], of.Regs[4] = 1<<21|1, 5
	types := []policy.ArgType{
		policy.ArgKernelCap, policy.ArgCapInheritable, policy.ArgCapPermitted, policy.ArgCapEffective, policy.ArgKernelCap, policy.ArgBPFCmd,
	}
	var args []Arg
	for i, typ := range types {
		args = append(args, Arg{Type: typ, String: -1, Reg: 3})
		if i == 4 {
			args[i].Reg = 4
		}
	}
	of.Regs[5] = 1<<40 | 5
	args[5].Reg = 5
	const set = "0000000000200001"
	want := []*tetragon.KprobeArgument{
		{Arg: &tetragon.KprobeArgument_KernelCapTArg{KernelCapTArg: set}}, {Arg: &tetragon.KprobeArgument_CapInheritableArg{CapInheritableArg: set}},
		{Arg: &tetragon.KprobeArgument_CapPermittedArg{CapPermittedArg: set}}, {Arg: &tetragon.KprobeArgument_CapEffectiveArg{CapEffectiveArg: set}},
		{}, {Arg: &tetragon.KprobeArgument_BpfCmdArg{BpfCmdArg: tetragon.BpfCmd_BPF_PROG_LOAD}},
	}
	if diff := cmp.Diff(want, newWorld(t).siteArgs(of, args), protocmp.Transform()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// TestMapTypes: the last name has the number that the kernel gives it.
func TestMapTypes(t *testing.T) {
	t.Parallel()
	for n, want := range map[uint32]string{0: "BPF_MAP_TYPE_UNSPEC", 9: "BPF_MAP_TYPE_LRU_HASH", 33: "BPF_MAP_TYPE_ARENA", 34: "34"} {
		if got := mapType(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
