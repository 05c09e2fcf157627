// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// argKernelOf has a function with parameters that point to structures, in the
// order of names, and a system call.
func argKernelOf(names ...string) compiletest.Kernel {
	f := compile.Prototype{Known: true}
	for _, name := range names {
		f.Params = append(f.Params, compile.Param{Name: "it", Struct: name})
	}
	return compiletest.Kernel{Prototypes: map[string]compile.Prototype{"f": f, "__x64_sys_f": {}, "__arm64_sys_f": {}, "unknown": {}}}
}

// compileArgs compiles a kprobe on f, or on the system call of its name.
func compileArgs(k compile.Kernel, call string, args ...policy.Arg) (*compile.Hook, error) {
	h := policy.Hook{Section: policy.Kprobes, Calls: []string{call}, Syscall: strings.HasPrefix(call, "sys_"), Args: args}
	c, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{h}}, k)
	if err != nil {
		return nil, err
	}
	return &c.Hooks[0], nil
}

// Of every type: how it is read where a function is called, and where a system
// call is, or why it is not.
func TestTypesOfArguments(t *testing.T) {
	t.Parallel()
	const unknown = uint16(bpf.WireReadSizeSIZE_UNKNOWN)
	// Where arguments are of functions and of system calls, as the test's kernel has them.
	const fourth, fourthOfCall, second = 88, 56, 104
	for typ, want := range map[policy.ArgType]struct {
		function, call         bpf.WireReadKind
		size, callSize         uint16
		elements, sizeArg      uint32
		inCallInstead, refused string
	}{
		policy.ArgString:         {function: bpf.WireReadKindREAD_KERNEL_STRING, call: bpf.WireReadKindREAD_USER_STRING, size: 8},
		policy.ArgCharBuf:        {function: bpf.WireReadKindREAD_KERNEL_BYTES, call: bpf.WireReadKindREAD_USER_BYTES, size: second, sizeArg: 2},
		policy.ArgFD:             {function: bpf.WireReadKindREAD_FD, call: bpf.WireReadKindREAD_FD, size: 8},
		policy.ArgFile:           {function: bpf.WireReadKindREAD_FILE, size: 8},
		policy.ArgPath:           {function: bpf.WireReadKindREAD_PATH, size: 8},
		policy.ArgDentry:         {function: bpf.WireReadKindREAD_DENTRY, size: 8},
		policy.ArgBinprm:         {function: bpf.WireReadKindREAD_BINPRM, size: 8},
		policy.ArgSock:           {function: bpf.WireReadKindREAD_SOCK, size: 8},
		policy.ArgSocket:         {function: bpf.WireReadKindREAD_SOCKET, size: 8},
		policy.ArgSockaddr:       {function: bpf.WireReadKindREAD_SOCKADDR, call: bpf.WireReadKindREAD_USER_SOCKADDR, size: 8},
		policy.ArgSkb:            {function: bpf.WireReadKindREAD_SKB, size: 8},
		policy.ArgCred:           {function: bpf.WireReadKindREAD_CRED, size: 8},
		policy.ArgFilename:       {function: bpf.WireReadKindREAD_FILENAME, size: 8, inCallInstead: "use string"},
		policy.ArgKiocb:          {function: bpf.WireReadKindREAD_KIOCB, size: 8},
		policy.ArgNetDevice:      {function: bpf.WireReadKindREAD_NET_DEVICE, size: 8},
		policy.ArgSockaddrUn:     {function: bpf.WireReadKindREAD_SOCKADDR_UN, call: bpf.WireReadKindREAD_USER_SOCKADDR_UN, size: unknown},
		policy.ArgIovec:          {function: bpf.WireReadKindREAD_VECTORS, call: bpf.WireReadKindREAD_USER_VECTORS, size: fourth, callSize: fourthOfCall, sizeArg: 4},
		policy.ArgIovIter:        {function: bpf.WireReadKindREAD_ITERATOR, size: 8},
		policy.ArgInt32Array:     {function: bpf.WireReadKindREAD_ARRAY, call: bpf.WireReadKindREAD_USER_ARRAY, size: 12, elements: 3},
		policy.ArgUserNamespace:  {function: bpf.WireReadKindREAD_USER_NAMESPACE, size: 8},
		policy.ArgBPFAttr:        {function: bpf.WireReadKindREAD_BPF_ATTR, call: bpf.WireReadKindREAD_USER_BPF_ATTR, size: 8},
		policy.ArgBPFProg:        {function: bpf.WireReadKindREAD_BPF_PROG, size: 8},
		policy.ArgBPFMap:         {function: bpf.WireReadKindREAD_BPF_MAP, size: 8},
		policy.ArgPerfEvent:      {function: bpf.WireReadKindREAD_PERF_EVENT, size: 8},
		policy.ArgModule:         {function: bpf.WireReadKindREAD_MODULE, size: 8},
		policy.ArgLoadInfo:       {function: bpf.WireReadKindREAD_LOAD_INFO, size: 8},
		policy.ArgKernelCap:      {function: bpf.WireReadKindREAD_CAPABILITY_SET, size: 8},
		policy.ArgCapInheritable: {function: bpf.WireReadKindREAD_CAPABILITY_SET, size: 8},
		policy.ArgCapPermitted:   {function: bpf.WireReadKindREAD_CAPABILITY_SET, size: 8},
		policy.ArgCapEffective:   {function: bpf.WireReadKindREAD_CAPABILITY_SET, size: 8},
		policy.ArgBPFCmd:         {function: bpf.WireReadKindREAD_INT, call: bpf.WireReadKindREAD_INT, size: 4},
	} {
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			arg := policy.Arg{Index: 0, Type: typ, SizeArg: want.sizeArg, Elements: want.elements}
			k := argKernelOf("a", "b", "c", "d")
			hook, err := compileArgs(k, "f", arg)
			if err != nil {
				t.Fatal(err)
			}
			if got := hook.Reads[0]; got.Kind != want.function || got.Size != want.size || got.Offset != 112 || hook.Types[0] != typ {
				t.Errorf("of a function: %+v, want kind %d of size %d", got, want.function, want.size)
			}
			hook, err = compileArgs(k, "sys_f", arg)
			if want.call == 0 {
				if err == nil || !strings.Contains(err.Error(), typ.String()+" is a structure of the kernel, and a system call is given ") ||
					!strings.Contains(err.Error(), want.inCallInstead) {
					t.Errorf("of a system call: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want.callSize == 0 {
				want.callSize = want.size
			}
			if got := hook.Reads[0]; got.Kind != want.call || got.Size != want.callSize || !got.User() && typ != policy.ArgFD && typ != policy.ArgBPFCmd {
				t.Errorf("of a system call: %+v, want kind %d of size %d", got, want.call, want.callSize)
			}
		})
	}
}

// An address that comes with its length is read to no more than that.
func TestLengthOfAnAddress(t *testing.T) {
	t.Parallel()
	family := policy.ArgFilter{Op: policy.OpFamily, Ranges: []policy.Range{{Lo: 1, Hi: 1}}}
	h := policy.Hook{
		Section: policy.Kprobes, Calls: []string{"f"}, Args: []policy.Arg{{Type: policy.ArgSockaddrUn, SizeArg: 2}},
		Selectors: []policy.Selector{{Args: []policy.ArgFilter{family, {Op: policy.OpPrefix, Strings: []string{"/run"}}}}},
	}
	c, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{h}}, argKernelOf("sockaddr_un", ""))
	if err != nil {
		t.Fatal(err)
	}
	reads := c.Hooks[0].Reads
	whole := compile.Read{Kind: bpf.WireReadKindREAD_SOCKADDR_UN, Offset: 112, Size: 104}
	if len(reads) != 2 || reads[0] != whole || reads[1].Kind != bpf.WireReadKindREAD_UNIX_FAMILY || reads[1].Whole() != whole || reads[1].Buffer() {
		t.Errorf("reads %+v", reads)
	}
	if f := c.Hooks[0].Rules[0].Filters; len(f) != 2 || f[0].Kind != bpf.WireMatchKindMATCH_PREFIX || len(f[1].Numbers) != 1 {
		t.Errorf("filters %+v", f)
	}
}

// An argument that nobody looks at keeps its place and takes none at the site.
func TestNop(t *testing.T) {
	t.Parallel()
	k := argKernelOf("a", "b", "c")
	hook, err := compileArgs(k, "f", policy.Arg{Index: 0, Type: policy.ArgNop}, policy.Arg{Index: 2, Type: policy.ArgNop}, policy.Arg{Index: 1, Type: policy.ArgFile})
	if err != nil {
		t.Fatal(err)
	}
	if hook.Reads[0] != hook.Reads[1] || hook.Reads[0].Kind != bpf.WireReadKindREAD_NOTHING || hook.Reads[2].Kind != bpf.WireReadKindREAD_FILE ||
		hook.Reads[0].Buffer() || hook.Reads[0].Text() || hook.Types[1] != policy.ArgNop {
		t.Errorf("reads %+v of types %v", hook.Reads, hook.Types)
	}
	if _, err := compileArgs(k, "f", policy.Arg{Index: 3, Type: policy.ArgNop}); err == nil || !strings.Contains(err.Error(), "no such argument: 3") {
		t.Errorf("beyond the last argument: %v", err)
	}
}

// A function's own parameters say what auto stands for.
func TestAutoOfFunctions(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]policy.ArgType{
		"char": policy.ArgString, "file": policy.ArgFile, "sockaddr_un": policy.ArgSockaddrUn, "filename": policy.ArgFilename,
		"kiocb": policy.ArgKiocb, "net_device": policy.ArgNetDevice, "iov_iter": policy.ArgIovIter, "user_namespace": policy.ArgUserNamespace,
		"bpf_attr": policy.ArgBPFAttr, "bpf_prog": policy.ArgBPFProg, "bpf_map": policy.ArgBPFMap, "perf_event": policy.ArgPerfEvent,
		"module": policy.ArgModule, "load_info": policy.ArgLoadInfo, "kernel_cap_t": policy.ArgKernelCap, "kernel_cap_struct": policy.ArgKernelCap, "cred": policy.ArgCred,
	} {
		hook, err := compileArgs(argKernelOf(name), "f", policy.Arg{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if hook.Types[0] != want {
			t.Errorf("%s is of type %s, want %s", name, hook.Types[0], want)
		}
	}
	for call, want := range map[string]string{
		"f":       "points to task_struct, which has no type of its own: name one",
		"sys_f":   "does not tell the types of a system call's arguments here: name one",
		"unknown": "the kernel does not tell the type: name one",
	} {
		_, err := compileArgs(argKernelOf("task_struct"), call, policy.Arg{})
		faults := policy.Faults(err)
		if len(faults) != 1 || faults[0].Path != "spec.kprobes[0].args[0].type" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", call, err, want)
		}
	}
}

// Fields of a tracepoint as bytes and arrays, and with lengths in other fields.
func TestBytesOfFields(t *testing.T) {
	t.Parallel()
	fields := []compile.Field{
		{Name: "common", Type: "int", Offset: 4, Size: 4},
		{Name: "buf", Type: "const char *", Offset: 16, Size: 8},
		{Name: "count", Type: "size_t", Offset: 24, Size: 8},
		{Name: "raw", Type: "u8", Offset: 32, Size: 8, Array: 8},
		{Name: "loc", Type: "char", Offset: 40, Size: 4, DataLoc: true, Array: -1},
		{Name: "ints", Type: "int", Offset: 44, Size: 12, Array: 3},
		{Name: "small", Type: "int", Offset: 56, Size: 4},
		{Name: "cap", Type: "kernel_cap_t *", Offset: 64, Size: 8},
	}
	compiled := func(subsystem string, arg policy.Arg) (compile.Read, error) {
		h := policy.Hook{Section: policy.Tracepoints, Subsystem: subsystem, Event: "e", Args: []policy.Arg{arg}}
		c, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{h}}, compiletest.Kernel{Events: map[string][]compile.Field{subsystem + "/e": fields}})
		if err != nil {
			return compile.Read{}, err
		}
		return c.Hooks[0].Reads[0], nil
	}
	for _, c := range []struct {
		subsystem string
		arg       policy.Arg
		want      compile.Read
	}{
		{"syscalls", policy.Arg{Index: 1, Type: policy.ArgCharBuf, SizeArg: 3}, compile.Read{Kind: bpf.WireReadKindREAD_USER_BYTES, Offset: 16, Size: 24}},
		{"sched", policy.Arg{Index: 1, Type: policy.ArgCharBuf, SizeArg: 3}, compile.Read{Kind: bpf.WireReadKindREAD_KERNEL_BYTES, Offset: 16, Size: 24}},
		{"syscalls", policy.Arg{Index: 1, Type: policy.ArgCharBuf, SizeArg: 3, MaxData: true}, compile.Read{Kind: bpf.WireReadKindREAD_USER_BYTES, Offset: 16, Size: 24, Rest: true}},
		{"syscalls", policy.Arg{Index: 1, Type: policy.ArgIovec, SizeArg: 3}, compile.Read{Kind: bpf.WireReadKindREAD_USER_VECTORS, Offset: 16, Size: 24}},
		{"sched", policy.Arg{Index: 3, Type: policy.ArgConstBuf}, compile.Read{Kind: bpf.WireReadKindREAD_RECORD_BYTES, Offset: 32, Size: 8}},
		{"sched", policy.Arg{Index: 4, Type: policy.ArgDataLoc}, compile.Read{Kind: bpf.WireReadKindREAD_DATA_LOC, Offset: 40, Size: 4}},
		{"sched", policy.Arg{Index: 5, Type: policy.ArgInt32Array, Elements: 2}, compile.Read{Kind: bpf.WireReadKindREAD_RECORD_BYTES, Offset: 44, Size: 8}},
		{"syscalls", policy.Arg{Index: 1, Type: policy.ArgInt32Array, Elements: 2}, compile.Read{Kind: bpf.WireReadKindREAD_USER_ARRAY, Offset: 16, Size: 8}},
		{"sched", policy.Arg{Index: 7, Type: policy.ArgCapEffective}, compile.Read{Kind: bpf.WireReadKindREAD_CAPABILITY_SET, Offset: 64, Size: 8}},
		{"sched", policy.Arg{Index: 0, Type: policy.ArgNop}, compile.Read{Kind: bpf.WireReadKindREAD_NOTHING}},
		{"sched", policy.Arg{Index: 6, Type: policy.ArgBPFCmd}, compile.Read{Kind: bpf.WireReadKindREAD_INT, Offset: 56, Size: 4, Signed: true}},
	} {
		if got, err := compiled(c.subsystem, c.arg); err != nil || got != c.want {
			t.Errorf("%s of field %d: %+v, %v; want %+v", c.arg.Type, c.arg.Index, got, err, c.want)
		}
	}
	for _, c := range []struct {
		arg  policy.Arg
		want string
	}{
		{policy.Arg{Index: 1, Type: policy.ArgCharBuf, SizeArg: 7}, "field small (int, 4 bytes) is no length of 8 bytes"},
		{policy.Arg{Index: 1, Type: policy.ArgCharBuf, SizeArg: 1}, "field common"},
		{policy.Arg{Index: 1, Type: policy.ArgCharBuf, SizeArg: 9}, "the event has 8 fields"},
		{policy.Arg{Index: 1, Type: policy.ArgCharBuf}, "needs sizeArgIndex"},
		{policy.Arg{Index: 1, Type: policy.ArgConstBuf}, "is no const_buf, which is an array in the record"},
		{policy.Arg{Index: 4, Type: policy.ArgConstBuf}, "is no const_buf"},
		{policy.Arg{Index: 1, Type: policy.ArgDataLoc}, "use string"},
		{policy.Arg{Index: 5, Type: policy.ArgInt32Array, Elements: 4}, "is no array of 4 int32"},
		{policy.Arg{Index: 3, Type: policy.ArgInt32Array, Elements: 1}, "is no array of 1 int32"},
		{policy.Arg{Index: 3, Type: policy.ArgNetDevice}, "is no net_device"},
	} {
		if got, err := compiled("sched", c.arg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of field %d: %+v, %v; want %q", c.arg.Type, c.arg.Index, got, err, c.want)
		}
	}
}

// Sets of capabilities are compared as numbers, or by a part of them.
func TestFiltersOnCapabilitySets(t *testing.T) {
	t.Parallel()
	h := policy.Hook{
		Section: policy.Kprobes, Calls: []string{"f"}, Args: []policy.Arg{{Type: policy.ArgCapEffective}},
		Selectors: []policy.Selector{{Args: []policy.ArgFilter{
			{Op: policy.OpNotEqual, Ranges: []policy.Range{{Lo: 5, Hi: 5}}}, {Op: policy.OpMask, Masks: []uint64{1, 4}},
		}}},
	}
	c, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{h}}, argKernelOf("kernel_cap_t"))
	if err != nil {
		t.Fatal(err)
	}
	hook := &c.Hooks[0]
	for number, want := range map[uint64]bool{0: false, 1: true, 5: false, 4: true, 1 << 40: false, 1<<40 | 5: true} {
		if got := hook.Rules[0].Matches(hook, []compile.Value{{Number: number}}, false); got != want {
			t.Errorf("%#x matches: %v, want %v", number, got, want)
		}
	}
	if unreadable := (compile.Value{Unreadable: true}); hook.Rules[0].Matches(hook, []compile.Value{unreadable}, true) {
		t.Error("a rule that does not enforce matches what cannot be read")
	}
}
