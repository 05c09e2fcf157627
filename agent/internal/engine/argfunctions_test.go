// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// functionOf is a hook on the first of functions that the kernel has.
func functionOf(t *testing.T, b *bench, args []policy.Arg, names ...string) policy.Hook {
	t.Helper()
	for _, name := range names {
		if _, err := b.points.Function(name); err == nil {
			return policy.Hook{Section: policy.Kprobes, Calls: []string{name}, Args: args}
		} else if !errors.Is(err, compile.ErrNoCall) {
			t.Fatal(err)
		}
	}
	testenv.Require(t, testenv.Optional(strings.Join(names, " or "), func() error { return compile.ErrNoCall }))
	return policy.Hook{}
}

// functionTest is a valueTest of a function of the kernel.
type functionTest struct {
	name      string
	functions []string
	args      []policy.Arg
	// kind is how the first argument is read, where its type is left to the kernel.
	kind bpf.WireReadKind
	only []policy.ArgFilter
	// prepare makes what the act needs; its result is what to look for.
	prepare func(t *testing.T) (act func(t *testing.T), wrong func(*siteEvent) string)
}

func (c functionTest) run(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanKprobe, b))
	h := functionOf(t, b, c.args, c.functions...)
	if c.kind != 0 {
		compiled, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{h}}, b.points)
		if err != nil {
			t.Fatal(err)
		}
		if got := compiled.Hooks[0].Reads[0].Kind; got != c.kind {
			t.Fatalf("%s: auto is read as %d, want %d", h.Calls[0], got, c.kind)
		}
	}
	act, wrong := c.prepare(t)
	valueTest{hook: h, only: c.only, act: act, wrong: wrong}.run(t, b)
}

func auto(index uint32) []policy.Arg { return []policy.Arg{{Index: index}} }

// Structures are read where the kernel's functions are given them.
func TestStructuresOfFunctions(t *testing.T) {
	for _, c := range []functionTest{
		{
			name: "bpf_attr", functions: []string{"security_bpf"}, args: []policy.Arg{{Index: 1}, {Index: 0, Type: policy.ArgBPFCmd}},
			kind: bpf.WireReadKindREAD_BPF_ATTR, only: []policy.ArgFilter{number(1, policy.OpEqual, unix.BPF_PROG_LOAD, unix.BPF_PROG_LOAD)},
			prepare: func(*testing.T) (func(*testing.T), func(*siteEvent) string) {
				return func(t *testing.T) { loadProgram(t, "of_a_function") }, structureIs(programInfo("of_a_function"))
			},
		},
		{
			name: "bpf_prog", functions: []string{"security_bpf_prog"}, args: auto(0), kind: bpf.WireReadKindREAD_BPF_PROG,
			prepare: func(*testing.T) (func(*testing.T), func(*siteEvent) string) {
				return func(t *testing.T) { loadProgram(t, "of_a_structure") }, programNamed("of_a_structure")
			},
		},
		{
			name: "bpf_map", functions: []string{"security_bpf_map"}, args: auto(0), kind: bpf.WireReadKindREAD_BPF_MAP, prepare: makesMap,
		},
		{
			name: "perf_event", functions: []string{"security_perf_event_alloc"}, args: auto(0), kind: bpf.WireReadKindREAD_PERF_EVENT,
			prepare: func(t *testing.T) (func(*testing.T), func(*siteEvent) string) {
				attr := &unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY, Size: unix.PERF_ATTR_SIZE_VER0}
				return opensEvent(attr), structureIs(bpf.WirePerfInfo{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY})
			},
		},
		{
			name: "perf_event of a probe", functions: []string{"security_perf_event_alloc"}, args: auto(0), prepare: opensProbe,
		},
		{
			name: "user_namespace", functions: []string{"cap_capable"}, args: []policy.Arg{{Index: 1}, {Index: 2, Type: policy.ArgCapability}},
			kind: bpf.WireReadKindREAD_USER_NAMESPACE, only: []policy.ArgFilter{number(1, policy.OpEqual, unix.CAP_SYS_ADMIN, unix.CAP_SYS_ADMIN)},
			prepare: func(t *testing.T) (func(*testing.T), func(*siteEvent) string) {
				return func(*testing.T) { swapoff("/no/such/device") }, structureIs(ownUserNamespace(t))
			},
		},
		{
			name: "load_info", functions: []string{"load_module"}, args: auto(0), kind: bpf.WireReadKindREAD_LOAD_INFO,
			prepare: func(t *testing.T) (func(*testing.T), func(*siteEvent) string) {
				f, err := os.Open("/proc/self/exe")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = f.Close() })
				// The kernel looks for no name of what is no module, and not for its signature.
				return func(t *testing.T) {
						if err := unix.FinitModule(int(f.Fd()), "", 0); err == nil {
							t.Error("the test was loaded as a module")
						}
					}, func(e *siteEvent) string {
						if got, want := len(e.strings[0]), binary.Size(bpf.WireModuleInfo{}); got != want {
							return fmt.Sprintf("%d bytes (status %d), want %d", got, int32(e.StringLen[0]), want)
						}
						return ""
					}
			},
		},
	} {
		t.Run(c.name, c.run)
	}
}

// programNamed looks for a program that the kernel has worked on: it has more
// instructions then.
func programNamed(name string) func(*siteEvent) string {
	return func(e *siteEvent) string {
		var got bpf.WireProgramInfo
		if _, err := binary.Decode([]byte(e.strings[0]), binary.LittleEndian, &got); err != nil {
			return err.Error()
		}
		want := programInfo(name)
		if want.Instructions = got.Instructions; got != want || got.Instructions == 0 {
			return fmt.Sprintf("%+v, want %+v", got, want)
		}
		return ""
	}
}

func makesMap(*testing.T) (func(*testing.T), func(*siteEvent) string) {
	const name = "of_a_test"
	want := bpf.WireMapInfo{Type: uint32(ebpf.Hash), KeySize: 5, ValueSize: 7, MaxEntries: 9}
	for i := range len(name) {
		want.Name[i] = int8(name[i])
	}
	return func(t *testing.T) {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.Hash, KeySize: 5, ValueSize: 7, MaxEntries: 9})
		if err != nil {
			t.Fatal(err)
		}
		_ = m.Close()
	}, structureIs(want)
}

func opensEvent(attr *unix.PerfEventAttr) func(*testing.T) {
	return func(t *testing.T) {
		fd, err := unix.PerfEventOpen(attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
	}
}

func opensProbe(t *testing.T) (func(*testing.T), func(*siteEvent) string) {
	text, err := os.ReadFile("/sys/bus/event_source/devices/kprobe/type")
	testenv.Require(t, testenv.Optional("events of kprobes", func() error { return err }))
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	const function = "security_file_open"
	name, _ := unix.BytePtrFromString(function)
	attr := &unix.PerfEventAttr{
		Type: uint32(n), Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Ext1: uint64(uintptr(unsafe.Pointer(name))),
	}
	want := bpf.WirePerfInfo{Type: uint32(n)}
	for i := range len(function) {
		want.Function[i] = int8(function[i])
	}
	open := opensEvent(attr)
	return func(t *testing.T) { open(t); _ = *name }, structureIs(want)
}

// Files and addresses by the structures that functions are given.
func TestTextOfFunctions(t *testing.T) {
	dir := testenv.Dir(t)
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []functionTest{
		{
			name: "filename", functions: []string{"do_filp_open"}, args: auto(1), kind: bpf.WireReadKindREAD_FILENAME,
			only: []policy.ArgFilter{{Op: policy.OpPostfix, Values: []string{filepath.Base(dir) + "/./file"}}},
			prepare: func(*testing.T) (func(*testing.T), func(*siteEvent) string) {
				return func(t *testing.T) {
					f, err := os.Open(dir + "/./file")
					if err != nil {
						t.Fatal(err)
					}
					_ = f.Close()
				}, textIs(dir+"/./file", 0)
			},
		},
		{
			name: "sockaddr_un", functions: []string{"security_socket_connect"}, args: []policy.Arg{{Index: 1, Type: policy.ArgSockaddrUn, SizeArg: 3}},
			only: []policy.ArgFilter{strings1(policy.OpEqual, "/no/such")},
			prepare: func(*testing.T) (func(*testing.T), func(*siteEvent) string) {
				address := unixAddress("/no/such-path")
				return func(t *testing.T) {
					fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
					if err != nil {
						t.Fatal(err)
					}
					_, _, _ = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&address[0])), 2+8)
					_ = unix.Close(fd)
				}, textIs("/no/such", unix.AF_UNIX)
			},
		},
		{
			name: "net_device", functions: []string{"dev_set_alias", "dev_get_flags"}, args: auto(0), kind: bpf.WireReadKindREAD_NET_DEVICE,
			prepare: func(*testing.T) (func(*testing.T), func(*siteEvent) string) {
				return func(t *testing.T) {
					if err := os.WriteFile("/sys/class/net/lo/ifalias", []byte("x"), 0o600); err != nil {
						t.Fatal(err)
					}
					_ = os.WriteFile("/sys/class/net/lo/ifalias", []byte("\n"), 0o600)
				}, textIs("lo", 0)
			},
		},
	} {
		t.Run(c.name, c.run)
	}
}

// writers are functions that write to a file by its request and an iterator, on the
// file systems that a test's directory can be on.
func writers() []string {
	return []string{"shmem_file_write_iter", "generic_file_write_iter", "ext4_file_write_iter", "xfs_file_write_iter"}
}

// What a file is written with, by the kernel's iterator over it: of one buffer, of
// several, and of the kernel's own memory.
func TestIterators(t *testing.T) {
	const room = 4095
	long := strings.Repeat("0123456789", 500)
	for name, c := range map[string]struct {
		write func(t *testing.T, f *os.File)
		want  string
		size  uint32
	}{
		"one buffer": {func(t *testing.T, f *os.File) {
			if _, err := f.WriteString(long); err != nil {
				t.Error(err)
			}
		}, long[:room], 5000},
		"vectors": {func(t *testing.T, f *os.File) {
			if _, err := unix.Writev(int(f.Fd()), [][]byte{[]byte("ab"), {}, []byte("cde")}); err != nil {
				t.Error(err)
			}
		}, "abcde", 5},
	} {
		t.Run(name, func(t *testing.T) {
			b := newProbedBench(t)
			testenv.Require(t, able(compile.CanKprobe, b))
			path := filepath.Join(testenv.Dir(t), "file")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var wrote []string
			for _, function := range writers() {
				if _, err := b.points.Function(function); err != nil {
					continue
				}
				args := []policy.Arg{{Index: 1}, {Index: 0}}
				h := policy.Hook{Section: policy.Kprobes, Calls: []string{function}, Args: args}
				h.Selectors = []policy.Selector{{
					Args:    []policy.ArgFilter{{Arg: 1, Op: policy.OpEqual, Values: []string{path}}},
					Actions: []policy.Action{{Kind: policy.Post}},
				}}
				compiled, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{h}}, b.points)
				if err != nil {
					t.Fatal(err)
				}
				b.apply(Member{b.load(compiled), false})
				c.write(t, f)
				for e := b.event(); e != nil; e = b.event() {
					wrote = append(wrote, function)
					if e.strings[0] != c.want || e.Mode[0] != c.size || e.strings[1] != path || e.Mode[1] != unix.S_IFREG|0o644 {
						t.Errorf("%s: %.50q of %d bytes, written to %q of mode %o; want %d bytes of %d to %s",
							function, e.strings[0], e.Mode[0], e.strings[1], e.Mode[1], len(c.want), c.size, path)
					}
				}
			}
			if len(wrote) == 0 {
				t.Errorf("none of %v has written", writers())
			}
		})
	}
}

// Vectors and arrays that functions are given in the memory of the process.
func TestVectorsOfFunctions(t *testing.T) {
	for _, c := range []functionTest{
		{
			name: "char_iovec", functions: []string{"vfs_writev"}, args: []policy.Arg{{Index: 1, Type: policy.ArgIovec, SizeArg: 3}},
			prepare: func(t *testing.T) (func(*testing.T), func(*siteEvent) string) {
				return func(t *testing.T) {
					if _, err := unix.Writev(int(devNull(t).Fd()), [][]byte{[]byte("ab"), []byte("cd")}); err != nil {
						t.Error(err)
					}
				}, textIs("abcd", 4)
			},
		},
		{
			name: "int32_arr", functions: []string{"__sys_socketpair"}, args: []policy.Arg{{Index: 3, Type: policy.ArgInt32Array, Elements: 2}},
			prepare: func(*testing.T) (func(*testing.T), func(*siteEvent) string) {
				return func(*testing.T) {
					pair := [2]int32{7, -9}
					_, _, _ = unix.RawSyscall6(unix.SYS_SOCKETPAIR, 9999, 0, 0, uintptr(unsafe.Pointer(&pair)), 0, 0)
				}, textIs("\x07\x00\x00\x00\xf7\xff\xff\xff", 0)
			},
		},
	} {
		t.Run(c.name, c.run)
	}
}

// capabilityHeader and capabilityData are what the system calls about capabilities
// are given.
func ownCapabilities(t *testing.T) (unix.CapUserHeader, [2]unix.CapUserData) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	return header, data
}

// Sets of capabilities are numbers behind pointers: they are compared and shown.
func TestCapabilitySets(t *testing.T) {
	header, data := ownCapabilities(t)
	effective := uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
	same := func(t *testing.T) {
		if err := unix.Capset(&header, &data[0]); err != nil {
			t.Fatal(err)
		}
	}
	const arg = 2 // security_capset(new, old, effective, inheritable, permitted)
	for _, c := range []struct {
		typ    policy.ArgType
		index  uint32
		filter policy.ArgFilter
		want   bool
	}{
		{policy.ArgAuto, arg, policy.ArgFilter{Op: policy.OpEqual, Values: []string{fmt.Sprint(effective)}}, true},
		{policy.ArgCapEffective, arg, policy.ArgFilter{Op: policy.OpEqual, Ranges: []policy.Range{{Lo: effective, Hi: effective}}}, true},
		{policy.ArgCapEffective, arg, policy.ArgFilter{Op: policy.OpEqual, Ranges: []policy.Range{{Lo: effective ^ 1, Hi: effective ^ 1}}}, false},
		{policy.ArgCapEffective, arg, policy.ArgFilter{Op: policy.OpNotEqual, Ranges: []policy.Range{{Lo: effective, Hi: effective}}}, false},
		{policy.ArgCapPermitted, arg + 2, policy.ArgFilter{Op: policy.OpMask, Masks: []uint64{1 << unix.CAP_SYS_ADMIN}}, true},
		{policy.ArgCapInheritable, arg + 1, policy.ArgFilter{Op: policy.OpMask, Masks: []uint64{1 << 63}}, false},
		// What is no pointer of the kernel cannot be read, and no rule that only tells of it holds.
		{policy.ArgKernelCap, 5, policy.ArgFilter{Op: policy.OpNotEqual, Ranges: []policy.Range{{Lo: 1, Hi: 1}}}, false},
	} {
		t.Run(fmt.Sprint(c.typ, " ", c.filter.Op, " ", c.want), func(t *testing.T) {
			b := newProbedBench(t)
			testenv.Require(t, able(compile.CanKprobe, b))
			function := "security_capset"
			if c.index == 5 {
				function, c.index = "security_bpf", 0 // a command
			}
			h := policy.Hook{Section: policy.Kprobes, Calls: []string{function}, Args: []policy.Arg{{Index: c.index, Type: c.typ}}}
			h.Selectors = []policy.Selector{{
				PIDs: []policy.PIDFilter{{Values: []uint32{uint32(os.Getpid())}}},
				Args: []policy.ArgFilter{c.filter}, Actions: []policy.Action{{Kind: policy.Post}},
			}}
			compiled, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{h}}, b.points)
			if err != nil {
				t.Fatal(err)
			}
			id := b.load(compiled)
			b.apply(Member{id, false})
			same(t)
			loadProgram(t, "x")
			if got := b.counters(id).Post > 0; got != c.want {
				t.Errorf("matched: %v", got)
			}
			e := b.event()
			if c.want && (e == nil || e.Regs[0] != effective && c.typ != policy.ArgCapPermitted || e.Unreadable != 0) {
				t.Errorf("event %+v, want one of %#x", e, effective)
			}
		})
	}
}
