// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// Structures that no tracepoint is given are made up in the memory of a BPF map,
// laid out as the running kernel says, and shown to the programs by test runs.

// kernelMemory is content where the kernel can read it, and its address.
func kernelMemory(t *testing.T, content []byte) uint64 {
	t.Helper()
	array := func(size int) *ebpf.Map {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	memory, out := array(len(content)), array(8)
	if err := memory.Put(uint32(0), content); err != nil {
		t.Fatal(err)
	}
	find := func(m *ebpf.Map) asm.Instructions {
		return asm.Instructions{
			asm.StoreImm(asm.RFP, -4, 0, asm.Word), asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, "end"),
		}
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: slices.Concat(
		find(memory), asm.Instructions{asm.Mov.Reg(asm.R6, asm.R0)},
		find(out), asm.Instructions{asm.StoreMem(asm.R0, 0, asm.R6, asm.DWord), asm.Mov.Imm(asm.R0, 0).WithSymbol("end"), asm.Return()},
	)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
		t.Fatal(err)
	}
	var address uint64
	if err := out.Lookup(uint32(0), &address); err != nil || address == 0 {
		t.Fatalf("address %#x: %v", address, err)
	}
	return address
}

// layout makes up structures of the running kernel.
type layout struct {
	t     *testing.T
	types *btf.Spec
}

// of is a structure of that name whose members have the values: numbers, or bytes.
// A member that the kernel does not have is left out.
func (l layout) of(name string, values map[string]any) []byte {
	l.t.Helper()
	var s *btf.Struct
	if err := l.types.TypeByName(name, &s); err != nil {
		l.t.Skipf("this kernel has no structure %s: %v", name, err)
	}
	b := make([]byte, s.Size)
	for member, value := range values {
		at, size, ok := find(s.Members, member)
		if !ok {
			continue
		}
		var word [8]byte
		switch v := value.(type) {
		case uint64:
			binary.LittleEndian.PutUint64(word[:], v)
			copy(b[at:at+min(size, 8)], word[:])
		case string:
			copy(b[at:at+size], v)
		case []byte:
			copy(b[at:at+size], v)
		}
	}
	return b
}

// find finds a member, also of structures and unions without a name.
func find(members []btf.Member, name string) (at, size int, ok bool) {
	for _, m := range members {
		if m.Name == name {
			n, err := btf.Sizeof(m.Type)
			return int(m.Offset.Bytes()), n, err == nil
		}
		if m.Name != "" {
			continue
		}
		var inner []btf.Member
		switch t := btf.UnderlyingType(m.Type).(type) {
		case *btf.Struct:
			inner = t.Members
		case *btf.Union:
			inner = t.Members
		}
		if at, size, ok := find(inner, name); ok {
			return int(m.Offset.Bytes()) + at, size, true
		}
	}
	return 0, 0, false
}

// enum is a number of the running kernel.
func (l layout) enum(of, name string) (uint64, bool) {
	l.t.Helper()
	var e *btf.Enum
	if err := l.types.TypeByName(of, &e); err != nil {
		l.t.Fatal(err)
	}
	for _, v := range e.Values {
		if v.Name == name {
			return v.Value, true
		}
	}
	return 0, false
}

// show evaluates a hook whose arguments have these words, and gives its event.
func show(t *testing.T, args []policy.Arg, words ...uint64) *siteEvent {
	t.Helper()
	return showMembers(t, nil, args, words...)
}

// showMembers is show where paths lead from the arguments, to these members.
func showMembers(t *testing.T, members map[string]compile.Member, args []policy.Arg, words ...uint64) *siteEvent {
	t.Helper()
	e := openBare(t, unattached{})
	e.maps.entry = func(compile.SiteKind) string { return bpf.SiteProgRawEvent }
	ring, err := ringbuf.NewReader(e.maps.coll.Maps[bpf.SiteMapEvents])
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	compiled, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{{
		Section: policy.Tracepoints, Raw: true, Event: "it", Args: args, Selectors: []policy.Selector{{Actions: []policy.Action{{Kind: policy.Post}}}},
	}}}, compiletest.Kernel{Prototypes: map[string]compile.Prototype{"raw/it": {}}, Members: members})
	if err != nil {
		t.Fatal(err)
	}
	id, err := e.Load(compiled)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply([]Assignment{{Slots: []uint32{0}, Set: []Member{{id, false}}}}, true); err != nil {
		t.Fatal(err)
	}
	context := make([]uint64, 5)
	copy(context, words)
	if _, err := e.sites[compiled.Hooks[0].Site].program.coll.Programs[bpf.SiteProgRawEvent].Run(&ebpf.RunOptions{Context: context}); err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(context)
	got := (&rig{t: t, ring: ring}).event()
	if got == nil {
		t.Fatal("no event")
	}
	return got
}

func newLayout(t *testing.T) layout {
	t.Helper()
	openBare(t, unattached{}) // says what the test needs
	types, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	return layout{t, types}
}

func TestStructuresInMemory(t *testing.T) {
	l := newLayout(t)
	is := func(t *testing.T, typ policy.ArgType, structure []byte, wrong func(*siteEvent) string) {
		t.Helper()
		if got := wrong(show(t, []policy.Arg{{Type: typ}}, kernelMemory(t, structure))); got != "" {
			t.Errorf("%s: %s", typ, got)
		}
	}
	named := func(name string) (c [16]int8) {
		for i := range len(name) {
			c[i] = int8(name[i])
		}
		return c
	}
	t.Run("bpf_map", func(t *testing.T) {
		is(t, policy.ArgBPFMap, l.of("bpf_map", map[string]any{
			"map_type": uint64(27), "key_size": uint64(3), "value_size": uint64(4), "max_entries": uint64(5), "name": "sixteen bytes..",
		}), structureIs(bpf.WireMapInfo{Type: 27, KeySize: 3, ValueSize: 4, MaxEntries: 5, Name: named("sixteen bytes..")}))
	})
	t.Run("bpf_prog", func(t *testing.T) {
		aux := kernelMemory(t, l.of("bpf_prog_aux", map[string]any{"name": "of_aux"}))
		is(t, policy.ArgBPFProg, l.of("bpf_prog", map[string]any{"type": uint64(29), "len": uint64(7), "aux": aux}),
			structureIs(bpf.WireProgramInfo{Type: 29, Instructions: 7, Name: named("of_aux")}))
	})
	t.Run("perf_event", func(t *testing.T) {
		function, _ := unix.BytePtrFromString("do_exit")
		attr := l.of("perf_event_attr", map[string]any{
			"type": uint64(8), "config": uint64(1), "config1": uint64(uintptr(unsafe.Pointer(function))), "config2": uint64(6),
		})
		want := bpf.WirePerfInfo{Type: 8, Config: 1, Offset: 6}
		copy(want.Function[:], []int8{'d', 'o', '_', 'e', 'x', 'i', 't'})
		is(t, policy.ArgPerfEvent, l.of("perf_event", map[string]any{"attr": attr}), structureIs(want))
		runtime.KeepAlive(function)
		// Of other types config1 is no pointer.
		binary.LittleEndian.PutUint32(attr, unix.PERF_TYPE_RAW)
		is(t, policy.ArgPerfEvent, l.of("perf_event", map[string]any{"attr": attr}), structureIs(bpf.WirePerfInfo{Type: unix.PERF_TYPE_RAW, Config: 1}))
	})
	t.Run("module", func(t *testing.T) {
		l := layout{t, l.types}
		module := map[string]any{"name": "bolt", "taints": uint64(1 << 13), "sig_ok": uint64(1)}
		want := bpf.WireModuleInfo{Taints: 1 << 13}
		copy(want.Name[:], []int8{'b', 'o', 'l', 't'})
		var s *btf.Struct
		if err := l.types.TypeByName("module", &s); err == nil {
			if _, _, signed := find(s.Members, "sig_ok"); signed {
				want.HasSignature, want.SignatureOk = 1, 1
			}
		}
		is(t, policy.ArgModule, l.of("module", module), structureIs(want))
	})
	t.Run("load_info", func(t *testing.T) {
		l := layout{t, l.types}
		name := kernelMemory(t, []byte("loading\x00"))
		is(t, policy.ArgLoadInfo, l.of("load_info", map[string]any{"name": name}), func(e *siteEvent) string {
			if len(e.strings[0]) < 24 || !strings.HasPrefix(e.strings[0][16:], "loading\x00") {
				return fmt.Sprintf("%q", e.strings[0])
			}
			return ""
		})
	})
	t.Run("user_namespace", func(t *testing.T) {
		is(t, policy.ArgUserNamespace, l.of("user_namespace", map[string]any{"level": uint64(2), "owner": uint64(1000), "group": uint64(1001)}),
			structureIs(bpf.WireUserNsInfo{Level: 2, Owner: 1000, Group: 1001}))
	})
	t.Run("filename", func(t *testing.T) {
		name := kernelMemory(t, []byte("/a/name\x00"))
		is(t, policy.ArgFilename, l.of("filename", map[string]any{"name": name}), textIs("/a/name", 0))
	})
	t.Run("bpf_attr", func(t *testing.T) {
		attr := make([]byte, 64)
		attr[0], attr[4] = 5, 9
		copy(attr[48:], "attr")
		is(t, policy.ArgBPFAttr, attr, structureIs(bpf.WireProgramInfo{Type: 5, Instructions: 9, Name: named("attr")}))
	})
	t.Run("sets of capabilities", func(t *testing.T) {
		set := kernelMemory(t, []byte{1, 2, 3, 4, 5, 6, 7, 8})
		args := []policy.Arg{{Index: 0, Type: policy.ArgCapEffective}, {Index: 1, Type: policy.ArgCapPermitted}, {Index: 2, Type: policy.ArgKernelCap}}
		e := show(t, args, set, uint64(uintptr(unsafe.Pointer(&args[0]))), 0)
		if e.Regs[0] != 0x0807060504030201 || e.Unreadable != 6 || e.Regs[1] != 0 {
			t.Errorf("words %#x, of which %b are unreadable", e.Regs[:3], e.Unreadable)
		}
	})
}

// Iterators of each kind that has addresses are followed.
func TestIteratorsInMemory(t *testing.T) {
	l := newLayout(t)
	kinds := func(t *testing.T, name string, flag uint64) map[string]any {
		t.Helper()
		number, ok := l.enum("iter_type", name)
		if !ok {
			t.Skipf("this kernel has no %s", name)
		}
		// The older field has the direction beside the kind.
		return map[string]any{"iter_type": number, "type": number | flag}
	}
	texts := []string{"abcdef", "", strings.Repeat("g", 5000)}
	joined := strings.Join(texts, "")
	vectors := func(address func(text string) uint64) []byte {
		var b []byte
		for _, s := range texts {
			b = binary.LittleEndian.AppendUint64(b, address(s))
			b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
		}
		return b
	}
	user := func(s string) uint64 {
		if s == "" {
			return 0
		}
		return uint64(uintptr(unsafe.Pointer(unsafe.StringData(s))))
	}
	kernel := func(s string) uint64 { return kernelMemory(t, []byte(s+"\x00")) }
	check := func(t *testing.T, iterator map[string]any, want string, size uint32) {
		t.Helper()
		e := show(t, []policy.Arg{{Type: policy.ArgIovIter}}, kernelMemory(t, l.of("iov_iter", iterator)))
		if wrong := textIs(want, size)(e); wrong != "" {
			t.Error(wrong)
		}
	}
	t.Run("vectors", func(t *testing.T) {
		array := kernelMemory(t, vectors(user))
		for _, skip := range []int{0, 2} {
			iterator := kinds(t, "ITER_IOVEC", 1)
			iterator["__iov"], iterator["iov"], iterator["nr_segs"] = array, array, uint64(3)
			iterator["iov_offset"], iterator["count"] = uint64(skip), uint64(len(joined)-skip)
			check(t, iterator, joined[skip:][:4095], uint32(len(joined)-skip))
			iterator["count"] = uint64(3)
			check(t, iterator, joined[skip:][:3], 3)
		}
	})
	t.Run("vectors of the kernel", func(t *testing.T) {
		array := kernelMemory(t, vectors(kernel))
		iterator := kinds(t, "ITER_KVEC", 0)
		iterator["kvec"], iterator["nr_segs"], iterator["count"] = array, uint64(3), uint64(len(joined))
		check(t, iterator, joined[:4095], uint32(len(joined)))
	})
	t.Run("one buffer", func(t *testing.T) {
		iterator := kinds(t, "ITER_UBUF", 0)
		iterator["ubuf"], iterator["iov_offset"], iterator["count"] = user(texts[0]), uint64(1), uint64(4)
		check(t, iterator, "bcde", 4)
	})
	t.Run("pages", func(t *testing.T) {
		iterator := kinds(t, "ITER_BVEC", 0)
		iterator["count"], iterator["nr_segs"] = uint64(4), uint64(1)
		e := show(t, []policy.Arg{{Type: policy.ArgIovIter}}, kernelMemory(t, l.of("iov_iter", iterator)))
		if e.StringLen[0] != uint32(bpf.WireStringStatusSTRING_UNREADABLE) {
			t.Errorf("%q was read", e.strings[0])
		}
	})
	t.Run("an array of the process that points to the kernel", func(t *testing.T) {
		array := vectors(kernel)
		e := show(t, []policy.Arg{{Type: policy.ArgIovec, SizeArg: 2}}, uint64(uintptr(unsafe.Pointer(&array[0]))), 3)
		if e.StringLen[0] != uint32(bpf.WireStringStatusSTRING_UNREADABLE) {
			t.Errorf("%.20q was read from the kernel's memory", e.strings[0])
		}
		runtime.KeepAlive(array)
	})
	runtime.KeepAlive(texts)
}
