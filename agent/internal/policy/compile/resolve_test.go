// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// structures is a kernel with two functions and with members of each kind.
func structures() compiletest.Kernel {
	param := func(name string, size int, signed bool) compile.Param {
		return compile.Param{Name: name, Size: size, Signed: signed}
	}
	pointer := func(name string, begins []string, offsets ...uint32) compile.Member {
		return compile.Member{Param: compile.Param{Name: name, Struct: begins[0]}, Bytes: 8, Begins: begins, Offsets: offsets}
	}
	inline := func(name, of string, bytes int, begins []string, offsets ...uint32) compile.Member {
		return compile.Member{Param: compile.Param{Name: name, Struct: of}, Inline: true, Bytes: bytes, Begins: begins, Offsets: offsets}
	}
	function := compile.Prototype{Known: true, Params: []compile.Param{{Name: "file", Struct: "file"}, {Name: "n", Size: 8}}}
	far := make([]uint32, compile.MaxSteps+1)
	return compiletest.Kernel{
		Prototypes: map[string]compile.Prototype{
			"f": function, "g": function, "lsm/file_open": function, "raw/exec": function, "security_x": function,
			"__x64_sys_open": {}, "odd": {},
		},
		Members: map[string]compile.Member{
			"task_struct comm":   inline("comm", "char", 16, nil, 0x700),
			"task_struct tgid":   {Param: param("tgid", 4, true), Bytes: 4, Offsets: []uint32{0x500}},
			"task_struct uid":    inline("uid", "kuid_t", 4, []string{"kuid_t"}, 0x600, 4),
			"task_struct flag":   {Param: param("flag", 4, false), Bytes: 4, Offsets: []uint32{0x40}, Shift: 3, Bits: 2},
			"task_struct nine":   {Param: param("nine", 4, true), Bytes: 4, Offsets: []uint32{0x40}, Shift: 5, Bits: 9},
			"task_struct file":   pointer("file", []string{"file"}, 0x600, 8),
			"task_struct path":   inline("path", "path", 16, []string{"path"}, 0x600, 16),
			"task_struct tcp":    pointer("tcp", []string{"tcp_sock", "inet_connection_sock", "inet_sock", "sock"}, 1, 2, 3),
			"task_struct inode":  pointer("inode", []string{"inode"}, 0x600),
			"task_struct void":   {Param: param("void", 8, false), Bytes: 8, Offsets: []uint32{24}},
			"task_struct text":   {Param: compile.Param{Name: "text", Struct: "char"}, Bytes: 8, Offsets: []uint32{32}},
			"task_struct array":  inline("array", "", 8, nil, 32),
			"task_struct cap":    inline("cap", "kernel_cap_t", 8, []string{"kernel_cap_t"}, 0x600, 40),
			"task_struct oldcap": inline("oldcap", "kernel_cap_struct", 8, []string{"kernel_cap_struct"}, 0x600, 40),
			"task_struct ns":     pointer("ns", []string{"user_namespace"}, 0x600, 48),
			"task_struct addr":   pointer("addr", []string{"sockaddr"}, 56),
			"task_struct iter":   inline("iter", "iov_iter", 40, []string{"iov_iter"}, 64),
			"task_struct iov":    pointer("iov", []string{"iovec"}, 72),
			"task_struct far":    {Param: param("far", 8, false), Bytes: 8, Offsets: append(far, 0)},
			"task_struct full":   {Param: param("full", 8, false), Bytes: 8, Offsets: far},
			"f:0 f_path":         inline("f_path", "path", 16, []string{"path"}, 64),
			"g:0 f_path":         inline("f_path", "path", 16, []string{"path"}, 64),
			"file_open:0 f_path": inline("f_path", "path", 16, []string{"path"}, 64),
			"exec:0 f_path":      inline("f_path", "path", 16, []string{"path"}, 64),
			"f:0 here":           {Param: param("here", 8, false), Bytes: 8, Offsets: []uint32{1}},
			"g:0 here":           {Param: param("here", 8, false), Bytes: 8, Offsets: []uint32{2}},
			"m/thing x":          {Param: param("x", 8, false), Bytes: 8, Offsets: []uint32{7}},
		},
		Events: map[string][]compile.Field{"a/b": {
			{Name: "thing", Type: "void *", Offset: 16, Size: 8}, {Name: "n", Type: "int", Offset: 24, Size: 4}, {Name: "common", Type: "void *", Size: 8},
			{Name: "size", Type: "size_t", Offset: 32, Size: 8},
		}},
	}
}

func compileHookOf(h policy.Hook) (*compile.Policy, error) {
	for i := range h.Selectors {
		h.Selectors[i].Actions = []policy.Action{{Kind: policy.Post}}
	}
	return compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{h}}, structures())
}

func kprobe(args ...policy.Arg) policy.Hook {
	return policy.Hook{Section: policy.Kprobes, Calls: []string{"f"}, Args: args}
}

func task(t policy.ArgType, path string) policy.Arg {
	return policy.Arg{Type: t, Source: policy.SourceTask, Resolve: path}
}

const (
	fromTask, fromWord = bpf.WireChainStartCHAIN_TASK, bpf.WireChainStartCHAIN_WORD
	readInt            = bpf.WireReadKindREAD_INT
)

func offsets(all ...uint32) (fixed [compile.MaxSteps + 1]uint32) {
	copy(fixed[:], all)
	return fixed
}

func TestChains(t *testing.T) {
	t.Parallel()
	chain := func(from bpf.WireChainStart, load uint8, all ...uint32) compile.Chain {
		return compile.Chain{From: from, Load: load, Steps: uint8(len(all) - 1), Offsets: offsets(all...)}
	}
	bits := func(load, shift, bits uint8, all ...uint32) compile.Chain {
		c := chain(fromTask, load, all...)
		c.Shift, c.Bits = shift, bits
		return c
	}
	arg := func(index uint32, t policy.ArgType, path string) policy.Arg {
		return policy.Arg{Index: index, Type: t, Resolve: path}
	}
	register := func(name string, t policy.ArgType) policy.Arg {
		return policy.Arg{Type: t, Source: policy.SourceRegister, Resolve: name}
	}
	thing := policy.Arg{Index: 1, Type: policy.ArgUint64, Resolve: "x", BTFType: "thing", BTFModule: "m"}
	field := thing
	field.Index = 0
	event := func(a policy.Arg) policy.Hook {
		return policy.Hook{Section: policy.Tracepoints, Subsystem: "a", Event: "b", Args: []policy.Arg{a}}
	}
	bytes := task(policy.ArgCharBuf, "text")
	bytes.SizeArg = 2
	rest, vectors, integers := bytes, task(policy.ArgIovec, "iov"), task(policy.ArgInt32Array, "array")
	rest.MaxData, vectors.SizeArg, integers.Elements = true, 2, 2
	fieldBytes := policy.Arg{Type: policy.ArgCharBuf, SizeArg: 4, Resolve: "text", BTFType: policy.TaskStruct}
	for _, c := range []struct {
		name string
		hook policy.Hook
		want compile.Read
		is   policy.ArgType
	}{
		{"characters", kprobe(task(policy.ArgString, "comm")), compile.Read{Kind: bpf.WireReadKindREAD_INLINE_STRING, Size: 16, Chain: chain(fromTask, 0, 0x700)}, policy.ArgString},
		{"characters by themselves", kprobe(task(policy.ArgAuto, "comm")), compile.Read{Kind: bpf.WireReadKindREAD_INLINE_STRING, Size: 16, Chain: chain(fromTask, 0, 0x700)}, policy.ArgString},
		{"text", kprobe(task(policy.ArgAuto, "text")), compile.Read{Kind: bpf.WireReadKindREAD_KERNEL_STRING, Size: 8, Chain: chain(fromTask, 8, 32)}, policy.ArgString},
		{"int", kprobe(task(policy.ArgAuto, "tgid")), compile.Read{Kind: readInt, Size: 4, Signed: true, Chain: chain(fromTask, 4, 0x500)}, policy.ArgInt32},
		{"a part of an int", kprobe(task(policy.ArgUint8, "tgid")), compile.Read{Kind: readInt, Size: 1, Chain: chain(fromTask, 1, 0x500)}, policy.ArgUint8},
		{"more than an int", kprobe(task(policy.ArgInt64, "tgid")), compile.Read{Kind: readInt, Size: 4, Signed: true, Chain: chain(fromTask, 4, 0x500)}, policy.ArgInt64},
		{"structure of one integer", kprobe(task(policy.ArgUint32, "uid")), compile.Read{Kind: readInt, Size: 4, Chain: chain(fromTask, 4, 0x600, 4)}, policy.ArgUint32},
		{"bit field", kprobe(task(policy.ArgAuto, "flag")), compile.Read{Kind: readInt, Size: 1, Chain: bits(4, 3, 2, 0x40)}, policy.ArgUint8},
		{"signed bit field", kprobe(task(policy.ArgAuto, "nine")), compile.Read{Kind: readInt, Size: 2, Signed: true, Chain: bits(4, 5, 9, 0x40)}, policy.ArgInt16},
		{"part of a bit field", kprobe(task(policy.ArgInt8, "nine")), compile.Read{Kind: readInt, Size: 1, Signed: true, Chain: bits(4, 5, 8, 0x40)}, policy.ArgInt8},
		{"file", kprobe(task(policy.ArgAuto, "file")), compile.Read{Kind: bpf.WireReadKindREAD_FILE, Size: 8, Chain: chain(fromTask, 8, 0x600, 8)}, policy.ArgFile},
		{"path inside", kprobe(task(policy.ArgAuto, "path")), compile.Read{Kind: bpf.WireReadKindREAD_PATH, Size: 8, Chain: chain(fromTask, 0, 0x600, 16)}, policy.ArgPath},
		{"what begins with a sock", kprobe(task(policy.ArgAuto, "tcp")), compile.Read{Kind: bpf.WireReadKindREAD_SOCK, Size: 8, Chain: chain(fromTask, 8, 1, 2, 3)}, policy.ArgSock},
		{"void as a dentry", kprobe(task(policy.ArgDentry, "void")), compile.Read{Kind: bpf.WireReadKindREAD_DENTRY, Size: 8, Chain: chain(fromTask, 8, 24)}, policy.ArgDentry},
		{"descriptor", kprobe(task(policy.ArgFD, "tgid")), compile.Read{Kind: bpf.WireReadKindREAD_FD, Size: 8, Chain: chain(fromTask, 4, 0x500)}, policy.ArgFD},
		{"bytes", kprobe(bytes), compile.Read{Kind: bpf.WireReadKindREAD_KERNEL_BYTES, Size: 104, Chain: chain(fromTask, 8, 32)}, policy.ArgCharBuf},
		{"bytes with their rest", kprobe(rest), compile.Read{Kind: bpf.WireReadKindREAD_KERNEL_BYTES, Size: 104, Rest: true, Chain: chain(fromTask, 8, 32)}, policy.ArgCharBuf},
		{"set of capabilities", kprobe(task(policy.ArgAuto, "cap")), compile.Read{Kind: bpf.WireReadKindREAD_CAPABILITY_SET, Size: 8, Chain: chain(fromTask, 0, 0x600, 40)}, policy.ArgKernelCap},
		{"set of capabilities before Linux 6.3", kprobe(task(policy.ArgAuto, "oldcap")), compile.Read{Kind: bpf.WireReadKindREAD_CAPABILITY_SET, Size: 8, Chain: chain(fromTask, 0, 0x600, 40)}, policy.ArgKernelCap},
		{"set of capabilities by another name", kprobe(task(policy.ArgCapEffective, "cap")), compile.Read{Kind: bpf.WireReadKindREAD_CAPABILITY_SET, Size: 8, Chain: chain(fromTask, 0, 0x600, 40)}, policy.ArgCapEffective},
		{"set of capabilities at a pointer", kprobe(task(policy.ArgCapEffective, "void")), compile.Read{Kind: bpf.WireReadKindREAD_CAPABILITY_SET, Size: 8, Chain: chain(fromTask, 8, 24)}, policy.ArgCapEffective},
		{"structure", kprobe(task(policy.ArgAuto, "ns")), compile.Read{Kind: bpf.WireReadKindREAD_USER_NAMESPACE, Size: 8, Chain: chain(fromTask, 8, 0x600, 48)}, policy.ArgUserNamespace},
		{"unix address", kprobe(task(policy.ArgSockaddrUn, "addr")), compile.Read{Kind: bpf.WireReadKindREAD_SOCKADDR_UN, Size: uint16(bpf.WireReadSizeSIZE_UNKNOWN), Chain: chain(fromTask, 8, 56)}, policy.ArgSockaddrUn},
		{"iterator", kprobe(task(policy.ArgAuto, "iter")), compile.Read{Kind: bpf.WireReadKindREAD_ITERATOR, Size: 8, Chain: chain(fromTask, 0, 64)}, policy.ArgIovIter},
		{"vectors", kprobe(vectors), compile.Read{Kind: bpf.WireReadKindREAD_VECTORS, Size: 104, Chain: chain(fromTask, 8, 72)}, policy.ArgIovec},
		{"array", kprobe(integers), compile.Read{Kind: bpf.WireReadKindREAD_ARRAY, Size: 8, Chain: chain(fromTask, 0, 32)}, policy.ArgInt32Array},
		{"command", kprobe(task(policy.ArgBPFCmd, "tgid")), compile.Read{Kind: readInt, Size: 4, Signed: true, Chain: chain(fromTask, 4, 0x500)}, policy.ArgBPFCmd},
		{"nothing", kprobe(task(policy.ArgNop, "path")), compile.Read{Kind: bpf.WireReadKindREAD_NOTHING}, policy.ArgNop},
		{"register of a set of capabilities", kprobe(register("rdi", policy.ArgCapPermitted)), compile.Read{Kind: bpf.WireReadKindREAD_CAPABILITY_SET, Offset: 112, Size: 8, Chain: compile.Chain{From: bpf.WireChainStartCHAIN_REGISTER, Bits: 64}}, policy.ArgCapPermitted},
		{"field that leads to bytes", event(fieldBytes), compile.Read{Kind: bpf.WireReadKindREAD_KERNEL_BYTES, Offset: 16, Size: 32, Chain: chain(fromWord, 8, 32)}, policy.ArgCharBuf},
		{"as many pointers as there may be", kprobe(task(policy.ArgAuto, "full")), compile.Read{Kind: readInt, Size: 8, Chain: chain(fromTask, 8, make([]uint32, compile.MaxSteps+1)...)}, policy.ArgUint64},
		{"argument", kprobe(arg(0, policy.ArgAuto, "f_path")), compile.Read{Kind: bpf.WireReadKindREAD_PATH, Offset: 112, Size: 8, Chain: chain(fromWord, 0, 64)}, policy.ArgPath},
		{"argument of a module's type", kprobe(thing), compile.Read{Kind: readInt, Offset: 104, Size: 8, Chain: chain(fromWord, 8, 7)}, policy.ArgUint64},
		{"argument that nobody knows", policy.Hook{Section: policy.Kprobes, Calls: []string{"odd"}, Args: []policy.Arg{thing}}, compile.Read{Kind: readInt, Offset: 104, Size: 8, Chain: chain(fromWord, 8, 7)}, policy.ArgUint64},
		{"two functions", policy.Hook{Section: policy.Kprobes, Calls: []string{"f", "g"}, Args: []policy.Arg{arg(0, policy.ArgAuto, "f_path")}}, compile.Read{Kind: bpf.WireReadKindREAD_PATH, Offset: 112, Size: 8, Chain: chain(fromWord, 0, 64)}, policy.ArgPath},
		{"security hook", policy.Hook{Section: policy.LSMHooks, Calls: []string{"file_open"}, Args: []policy.Arg{arg(0, policy.ArgAuto, "f_path")}}, compile.Read{Kind: bpf.WireReadKindREAD_PATH, Size: 8, Chain: chain(fromWord, 0, 64)}, policy.ArgPath},
		{"raw tracepoint", policy.Hook{Section: policy.Tracepoints, Raw: true, Event: "exec", Args: []policy.Arg{arg(0, policy.ArgAuto, "f_path")}}, compile.Read{Kind: bpf.WireReadKindREAD_PATH, Size: 8, Chain: chain(fromWord, 0, 64)}, policy.ArgPath},
		{"field", event(field), compile.Read{Kind: readInt, Offset: 16, Size: 8, Chain: chain(fromWord, 8, 7)}, policy.ArgUint64},
		{"task at a system call", policy.Hook{Section: policy.Kprobes, Calls: []string{"sys_open"}, Syscall: true, Args: []policy.Arg{task(policy.ArgAuto, "tgid")}}, compile.Read{Kind: readInt, Size: 4, Signed: true, Chain: chain(fromTask, 4, 0x500)}, policy.ArgInt32},
		{"register", kprobe(register("rdi", policy.ArgAuto)), compile.Read{Kind: readInt, Offset: 112, Size: 8, Chain: compile.Chain{From: bpf.WireChainStartCHAIN_REGISTER, Bits: 64}}, policy.ArgUint64},
		{"half a register", kprobe(register("edi", policy.ArgInt64)), compile.Read{Kind: readInt, Offset: 112, Size: 4, Signed: true, Chain: compile.Chain{From: bpf.WireChainStartCHAIN_REGISTER, Bits: 32}}, policy.ArgInt64},
		{"register of a file", kprobe(register("rdi", policy.ArgFile)), compile.Read{Kind: bpf.WireReadKindREAD_FILE, Offset: 112, Size: 8, Chain: compile.Chain{From: bpf.WireChainStartCHAIN_REGISTER, Bits: 64}}, policy.ArgFile},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			compiled, err := compileHookOf(c.hook)
			if err != nil {
				t.Fatal(err)
			}
			got := compiled.Hooks[0]
			if diff := cmp.Diff([]compile.Read{c.want}, got.Reads); diff != "" || got.Types[0] != c.is {
				t.Errorf("type %s, want %s; reads (-want +got)\n%s", got.Types[0], c.is, diff)
			}
			if data := got.Data == 1; data != (c.hook.Args[0].Source != policy.SourceArg) {
				t.Errorf("%d items of data", got.Data)
			}
		})
	}
}

func TestChainFaults(t *testing.T) {
	t.Parallel()
	lsm := policy.Hook{Section: policy.LSMHooks, Calls: []string{"file_open"}}
	override := kprobe(policy.Arg{Type: policy.ArgUint64, Source: policy.SourceRegister, Resolve: "rdi"})
	override.Calls = []string{"security_x"}
	override.Selectors = []policy.Selector{{}}
	with := func(h policy.Hook, a policy.Arg) policy.Hook { h.Args = []policy.Arg{a}; return h }
	event := policy.Hook{Section: policy.Tracepoints, Subsystem: "a", Event: "b"}
	thing := func(i uint32) policy.Arg {
		return policy.Arg{Index: i, Type: policy.ArgUint64, Resolve: "x", BTFType: "thing", BTFModule: "m"}
	}
	const path = "spec.kprobes[0].data[0].resolve"
	tooLong, notArray := task(policy.ArgInt32Array, "array"), task(policy.ArgInt32Array, "file")
	tooLong.Elements, notArray.Elements = 3, 2
	for _, c := range []struct {
		name         string
		hook         policy.Hook
		path, reason string
	}{
		{"no such member", kprobe(task(policy.ArgInt32, "x")), path, `task_struct has no "x"`},
		{"too many pointers", kprobe(task(policy.ArgUint64, "far")), path, "follows 11 pointers, more than 10"},
		{"file as a path", kprobe(task(policy.ArgPath, "file")), path, "file (pointer to struct file) is no path"},
		{"path as text", kprobe(task(policy.ArgString, "path")), path, "path (struct path, 16 bytes) is no string"},
		{"path as an integer", kprobe(task(policy.ArgUint64, "path")), path, "path (struct path, 16 bytes) is no uint64"},
		{"text as an integer", kprobe(task(policy.ArgUint64, "comm")), path, "comm (char, 16 bytes) is no uint64"},
		{"text as a file", kprobe(task(policy.ArgFile, "text")), path, "text (pointer to char) is no file"},
		{"array as an integer", kprobe(task(policy.ArgUint64, "array")), path, "array (8 bytes) is no uint64"},
		{"array as a file", kprobe(task(policy.ArgFile, "array")), path, "array (8 bytes) is no file"},
		{"int as a file", kprobe(task(policy.ArgFile, "tgid")), path, "tgid (4 bytes) is no file"},
		{"bit field as a descriptor", kprobe(task(policy.ArgFD, "flag")), path, "flag (2 bits) is no fd"},
		{"pointer as a descriptor", kprobe(task(policy.ArgFD, "void")), path, "void (8 bytes) is no fd"},
		{"sock as a socket", kprobe(task(policy.ArgSocket, "tcp")), path, "tcp (pointer to struct tcp_sock) is no socket"},
		{"inode by itself", kprobe(task(policy.ArgAuto, "inode")), path, "inode (pointer to struct inode) has no type of its own: name one"},
		{"functions that differ", policy.Hook{Section: policy.Kprobes, Calls: []string{"f", "g"}, Args: []policy.Arg{{Type: policy.ArgAuto, Resolve: "here"}}}, "spec.kprobes[0].args[0].resolve", "leads elsewhere at g than at f"},
		{"array that is too short", kprobe(tooLong), path, "array (8 bytes) is no int32_arr"},
		{"structure as an array", kprobe(notArray), path, "file (pointer to struct file) is no int32_arr"},
		{"file as a set of capabilities", kprobe(task(policy.ArgCapEffective, "file")), path, "file (pointer to struct file) is no cap_effective"},
		{"bytes without a length", kprobe(task(policy.ArgCharBuf, "text")), path, "char_buf needs sizeArgIndex"},
		{"no such argument", with(lsm, policy.Arg{Index: 2, Type: policy.ArgUint64, Resolve: "x", BTFType: "thing", BTFModule: "m"}), "spec.lsmhooks[0].args[0].index", "no such argument: 2"},
		{"no such field", with(event, thing(4)), "spec.tracepoints[0].args[0].index", "no such argument: 4"},
		{"field of four bytes", with(event, thing(1)), "spec.tracepoints[0].args[0].resolve", "field n (int, 4 bytes) is no pointer"},
		{"common field", with(event, thing(2)), "spec.tracepoints[0].args[0].resolve", "field common (void *, 8 bytes) is no pointer"},
		{"no such register", kprobe(policy.Arg{Type: policy.ArgUint64, Source: policy.SourceRegister, Resolve: "rdx"}), path, `no register "rdx"; nearest: rdi, edi`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := compileHookOf(c.hook)
			faults := policy.Faults(err)
			if len(faults) != 1 || faults[0].Path != c.path || !strings.Contains(faults[0].Reason, c.reason) {
				t.Errorf("%v, want one at %s with %q", err, c.path, c.reason)
			}
		})
	}
	override.Selectors[0].Actions = []policy.Action{{Kind: policy.Override, Error: -1}}
	_, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{override}}, structures())
	if faults := policy.Faults(err); len(faults) != 1 || !strings.Contains(faults[0].Reason, "has no registers") {
		t.Errorf("registers of fmod_ret: %v", err)
	}
}

// Filters on data compare what the paths lead to, and parts of a socket keep the way.
func TestFiltersOnData(t *testing.T) {
	t.Parallel()
	h := kprobe(policy.Arg{Type: policy.ArgFile}, task(policy.ArgAuto, "tcp"), task(policy.ArgAuto, "comm"))
	h.Selectors = []policy.Selector{{
		Data: []policy.ArgFilter{
			{Arg: 1, Op: policy.OpDPort, Values: []string{"443"}},
			{Arg: 2, Op: policy.OpEqual, Values: []string{"sh"}},
		},
	}}
	compiled, err := compileHookOf(h)
	if err != nil {
		t.Fatal(err)
	}
	hook := compiled.Hooks[0]
	if len(hook.Reads) != 4 || hook.Data != 2 {
		t.Fatalf("reads %+v, %d items of data", hook.Reads, hook.Data)
	}
	if port := hook.Reads[3]; port.Kind != bpf.WireReadKindREAD_TARGET_PORT || port.Whole() != hook.Reads[1] {
		t.Errorf("port %+v of %+v", port, hook.Reads[1])
	}
	values := []compile.Value{{}, {}, {String: "sh"}, {Number: 443}}
	if hook.First(values, true) != 0 {
		t.Error("the rule does not match")
	}
	values[2] = compile.Value{Unreadable: true}
	if hook.First(values, true) != -1 {
		t.Error("a rule that reports matches what cannot be read")
	}
	h.Selectors[0].Data[0] = policy.ArgFilter{Arg: 1, Op: policy.OpPrefix, Values: []string{"a"}}
	if _, err := compileHookOf(h); len(policy.Faults(err)) != 1 || errors.Is(err, policy.ErrUnsupported) {
		t.Errorf("prefix of a socket: %v", err)
	}
}
