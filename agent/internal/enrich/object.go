// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// setWord sets an argument that is one number.
func setWord(m *tetragon.KprobeArgument, t policy.ArgType, word uint64) {
	// As the files of processes have them.
	set := fmt.Sprintf("%016x", word)
	switch t {
	case policy.ArgCapability:
		m.Arg = &tetragon.KprobeArgument_CapabilityArg{CapabilityArg: capability(int32(word))}
	case policy.ArgSyscall64:
		m.Arg = &tetragon.KprobeArgument_SyscallId{SyscallId: syscallID(uint32(word))}
	case policy.ArgBPFCmd:
		m.Arg = &tetragon.KprobeArgument_BpfCmdArg{BpfCmdArg: tetragon.BpfCmd(int32(word))}
	case policy.ArgKernelCap:
		m.Arg = &tetragon.KprobeArgument_KernelCapTArg{KernelCapTArg: set}
	case policy.ArgCapInheritable:
		m.Arg = &tetragon.KprobeArgument_CapInheritableArg{CapInheritableArg: set}
	case policy.ArgCapPermitted:
		m.Arg = &tetragon.KprobeArgument_CapPermittedArg{CapPermittedArg: set}
	case policy.ArgCapEffective:
		m.Arg = &tetragon.KprobeArgument_CapEffectiveArg{CapEffectiveArg: set}
	default:
		setInteger(m, t, word)
	}
}

// setBytes sets an argument that is bytes, of which the programs keep the first
// 4095 and tell how many there were.
func setBytes(m *tetragon.KprobeArgument, s *event.String) {
	if uint64(s.Mode) <= uint64(len(s.Value)) {
		m.Arg = &tetragon.KprobeArgument_BytesArg{BytesArg: []byte(s.Value)}
		return
	}
	m.Arg = &tetragon.KprobeArgument_TruncatedBytesArg{TruncatedBytesArg: &tetragon.KprobeTruncatedBytes{
		BytesArg: []byte(s.Value), OrigSize: uint64(s.Mode),
	}}
}

func setInt32Array(m *tetragon.KprobeArgument, bytes string) {
	list := &tetragon.KprobeInt32List{}
	for ; len(bytes) >= 4; bytes = bytes[4:] {
		list.Values = append(list.Values, int32(binary.LittleEndian.Uint32([]byte(bytes[:4]))))
	}
	m.Arg = &tetragon.KprobeArgument_Int32ListArg{Int32ListArg: list}
}

// setObject sets an argument that is one of the structures of the kernel that
// filters do not look into. One that is not what the programs write is left out.
func setObject(m *tetragon.KprobeArgument, t policy.ArgType, raw string) {
	switch t {
	case policy.ArgUserNamespace:
		if info, ok := decode[bpf.WireUserNsInfo](raw); ok {
			m.Arg = &tetragon.KprobeArgument_UserNsArg{UserNsArg: &tetragon.UserNamespace{
				Level: wrapperspb.Int32(info.Level), Uid: wrapperspb.UInt32(info.Owner), Gid: wrapperspb.UInt32(info.Group),
				Ns: &tetragon.Namespace{Inum: info.Inum, IsHost: info.Level == 0},
			}}
		}
	case policy.ArgBPFAttr:
		if info, ok := decode[bpf.WireProgramInfo](raw); ok {
			m.Arg = &tetragon.KprobeArgument_BpfAttrArg{BpfAttrArg: &tetragon.KprobeBpfAttr{
				ProgType: programType(info.Type), InsnCnt: info.Instructions, ProgName: text(info.Name[:]),
			}}
		}
	case policy.ArgBPFProg:
		if info, ok := decode[bpf.WireProgramInfo](raw); ok {
			m.Arg = &tetragon.KprobeArgument_BpfProgArg{BpfProgArg: &tetragon.KprobeBpfProg{
				ProgType: programType(info.Type), InsnCnt: info.Instructions, ProgName: text(info.Name[:]),
			}}
		}
	case policy.ArgBPFMap:
		if info, ok := decode[bpf.WireMapInfo](raw); ok {
			m.Arg = &tetragon.KprobeArgument_BpfMapArg{BpfMapArg: &tetragon.KprobeBpfMap{
				MapType: mapType(info.Type), KeySize: info.KeySize, ValueSize: info.ValueSize, MaxEntries: info.MaxEntries,
				MapName: text(info.Name[:]),
			}}
		}
	case policy.ArgPerfEvent:
		if info, ok := decode[bpf.WirePerfInfo](raw); ok {
			m.Arg = &tetragon.KprobeArgument_PerfEventArg{PerfEventArg: &tetragon.KprobePerfEvent{
				KprobeFunc: text(info.Function[:]), Type: perfType(info.Type), Config: info.Config, ProbeOffset: info.Offset,
			}}
		}
	case policy.ArgModule, policy.ArgLoadInfo:
		if info, ok := decode[bpf.WireModuleInfo](raw); ok {
			m.Arg = &tetragon.KprobeArgument_ModuleArg{ModuleArg: module(&info)}
		}
	}
}

// decode reads a structure as the programs write it.
func decode[T any](raw string) (info T, ok bool) {
	_, err := binary.Decode([]byte(raw), binary.LittleEndian, &info)
	return info, err == nil
}

// text is characters of the kernel up to their NUL.
func text(characters []int8) string {
	b := make([]byte, len(characters))
	for i, c := range characters {
		b[i] = byte(c)
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	return valid(string(b))
}

func module(info *bpf.WireModuleInfo) *tetragon.KernelModule {
	m := &tetragon.KernelModule{Name: text(info.Name[:])}
	if info.HasSignature != 0 {
		m.SignatureOk = wrapperspb.Bool(info.SignatureOk != 0)
	}
	// The kernel's numbers of bits (include/linux/panic.h): of one of them the API
	// has another.
	for bit, taint := range []tetragon.TaintedBitsType{
		0: tetragon.TaintedBitsType_TAINT_PROPRIETARY_MODULE, 1: tetragon.TaintedBitsType_TAINT_FORCED_MODULE,
		3: tetragon.TaintedBitsType_TAINT_FORCED_UNLOAD_MODULE, 10: tetragon.TaintedBitsType_TAINT_STAGED_MODULE,
		12: tetragon.TaintedBitsType_TAINT_OUT_OF_TREE_MODULE, 13: tetragon.TaintedBitsType_TAINT_UNSIGNED_MODULE,
		15: tetragon.TaintedBitsType_TAINT_KERNEL_LIVE_PATCH_MODULE, 18: tetragon.TaintedBitsType_TAINT_TEST_MODULE,
	} {
		if taint != tetragon.TaintedBitsType_TAINT_UNSET && info.Taints&(1<<bit) != 0 {
			m.Tainted = append(m.Tainted, taint)
		}
	}
	return m
}

// programType is the kernel's name of a type of BPF programs; a number that has
// none stays one.
func programType(n uint32) string {
	if name, ok := tetragon.BpfProgramType_name[int32(n)]; ok {
		return name
	}
	return fmt.Sprint(n)
}

// mapType is the same for BPF maps, the numbers of enum bpf_map_type of
// include/uapi/linux/bpf.h.
func mapType(n uint32) string {
	names := [...]string{
		"UNSPEC", "HASH", "ARRAY", "PROG_ARRAY", "PERF_EVENT_ARRAY", "PERCPU_HASH", "PERCPU_ARRAY", "STACK_TRACE",
		"CGROUP_ARRAY", "LRU_HASH", "LRU_PERCPU_HASH", "LPM_TRIE", "ARRAY_OF_MAPS", "HASH_OF_MAPS", "DEVMAP", "SOCKMAP",
		"CPUMAP", "XSKMAP", "SOCKHASH", "CGROUP_STORAGE", "REUSEPORT_SOCKARRAY", "PERCPU_CGROUP_STORAGE", "QUEUE", "STACK",
		"SK_STORAGE", "DEVMAP_HASH", "STRUCT_OPS", "RINGBUF", "INODE_STORAGE", "TASK_STORAGE", "BLOOM_FILTER",
		"USER_RINGBUF", "CGRP_STORAGE", "ARENA",
	}
	if n < uint32(len(names)) {
		return "BPF_MAP_TYPE_" + names[n]
	}
	return fmt.Sprint(n)
}

// perfType is the same for perf events, the numbers of enum perf_type_id of
// include/uapi/linux/perf_event.h. Drivers, as that of kprobes, have numbers above
// those, which differ from boot to boot.
func perfType(n uint32) string {
	names := [...]string{"HARDWARE", "SOFTWARE", "TRACEPOINT", "HW_CACHE", "RAW", "BREAKPOINT"}
	if n < uint32(len(names)) {
		return "PERF_TYPE_" + names[n]
	}
	return fmt.Sprint(n)
}
