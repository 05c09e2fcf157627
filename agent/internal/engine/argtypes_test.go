// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// valueTest puts one hook in force, does something, and looks for an event of it.
type valueTest struct {
	name string
	hook policy.Hook
	// only are filters of the test besides the one on the process.
	only []policy.ArgFilter
	// other: another process does the act.
	other bool
	act   func(t *testing.T)
	// wrong says what is wrong with an event, nothing where it is the one.
	wrong func(e *siteEvent) string
}

func (c valueTest) run(t *testing.T, b *bench) {
	t.Helper()
	s := policy.Selector{Args: c.only, Actions: []policy.Action{{Kind: policy.Post}}}
	if !c.other {
		s.PIDs = []policy.PIDFilter{{Values: []uint32{uint32(os.Getpid())}}}
	}
	c.hook.Selectors = []policy.Selector{s}
	compiled, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{c.hook}}, b.points)
	if err != nil {
		t.Fatal(err)
	}
	id := b.load(compiled)
	b.apply(Member{id, false})
	runtime.LockOSThread()
	c.act(t)
	runtime.UnlockOSThread()
	b.apply()
	last := "there was no event"
	for e := b.event(); e != nil; e = b.event() {
		if last = c.wrong(e); last == "" {
			return
		}
	}
	t.Error(last)
}

// callOf is a hook on the entry of a system call, whose arguments are counted from 0.
func callOf(name string, args ...policy.Arg) policy.Hook {
	const first = 5 // after the four common fields and the number of the call
	for i := range args {
		args[i].Index += first
		if args[i].SizeArg > 0 {
			args[i].SizeArg += first
		}
	}
	return policy.Hook{Section: policy.Tracepoints, Subsystem: "syscalls", Event: "sys_enter_" + name, Args: args}
}

// textIs looks for a text or bytes with the number that comes with it.
func textIs(want string, mode uint32) func(*siteEvent) string {
	return func(e *siteEvent) string {
		if e.strings[0] == want && e.Mode[0] == mode {
			return ""
		}
		return fmt.Sprintf("%.50q of %d bytes (status %d) with %d, want %.50q of %d bytes with %d",
			e.strings[0], len(e.strings[0]), int32(e.StringLen[0]), e.Mode[0], want, len(want), mode)
	}
}

// structureIs looks for a structure.
func structureIs[T comparable](want T) func(*siteEvent) string {
	return func(e *siteEvent) string {
		var got T
		if _, err := binary.Decode([]byte(e.strings[0]), binary.LittleEndian, &got); err != nil {
			return fmt.Sprintf("%d bytes (status %d): %v", len(e.strings[0]), int32(e.StringLen[0]), err)
		}
		if got != want {
			return fmt.Sprintf("%+v, want %+v", got, want)
		}
		return ""
	}
}

func devNull(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// Bytes in the memory of the process are shown up to those that there is room for,
// with how many there were.
func TestBytesOfCalls(t *testing.T) {
	const room = 4095
	long := strings.Repeat("0123456789", 500)
	lines := func(n int) (all [][]byte, text string) {
		for i := range n {
			all = append(all, fmt.Appendf(nil, "%d,", i))
			text += string(all[i])
		}
		return all, text
	}
	many, manyText := lines(64)
	more, _ := lines(70)
	buf := policy.Arg{Index: 1, Type: policy.ArgCharBuf, SizeArg: 3}
	vectors := policy.Arg{Index: 1, Type: policy.ArgIovec, SizeArg: 3}
	write := func(s string) func(*testing.T) {
		return func(t *testing.T) {
			if _, err := devNull(t).WriteString(s); err != nil {
				t.Error(err)
			}
		}
	}
	writev := func(parts [][]byte) func(*testing.T) {
		return func(t *testing.T) {
			if _, err := unix.Writev(int(devNull(t).Fd()), parts); err != nil {
				t.Error(err)
			}
		}
	}
	for _, c := range []valueTest{
		{name: "char_buf", hook: callOf("write", buf), act: write("abc"), wrong: textIs("abc", 3)},
		{name: "char_buf that fits", hook: callOf("write", buf), act: write(long[:room]), wrong: textIs(long[:room], room)},
		{name: "char_buf that is cut", hook: callOf("write", buf), act: write(long), wrong: textIs(long[:room], 5000)},
		{
			name: "char_buf by its prefix", hook: callOf("write", buf), only: []policy.ArgFilter{strings1(policy.OpPrefix, "01234")},
			act: write(long), wrong: textIs(long[:room], 5000),
		},
		{name: "char_buf that is there at exit", hook: callOf("write", buf), act: writeMapped, wrong: func(e *siteEvent) string {
			if e.AtExit == 0 {
				return "the bytes were there at entry"
			}
			return textIs(strings.Repeat("m", room), 6000)(e)
		}},
		{name: "char_iovec", hook: callOf("writev", vectors), act: writev([][]byte{[]byte("ab"), {}, []byte("c\x00d")}), wrong: textIs("abc\x00d", 5)},
		{
			name: "char_iovec that is cut", hook: callOf("writev", vectors), act: writev([][]byte{[]byte(long[:3000]), []byte(long[3000:4000]), []byte(long[4000:])}),
			wrong: textIs(long[:room], 5000),
		},
		{
			name: "char_iovec that is cut in its last", hook: callOf("writev", vectors), act: writev([][]byte{[]byte(long[:room]), []byte("x"), []byte("y")}),
			wrong: textIs(long[:room], room+2),
		},
		{name: "char_iovec of 64", hook: callOf("writev", vectors), act: writev(many), wrong: textIs(manyText, uint32(len(manyText)))},
		{name: "char_iovec of more", hook: callOf("writev", vectors), act: writev(more), wrong: textIs(manyText, uint32(len(manyText)+1))},
		{name: "int32_arr", hook: callOf("socketpair", policy.Arg{Index: 3, Type: policy.ArgInt32Array, Elements: 2}), act: func(*testing.T) {
			pair := [2]int32{7, -9}
			_, _, _ = unix.RawSyscall6(unix.SYS_SOCKETPAIR, 9999, 0, 0, uintptr(unsafe.Pointer(&pair)), 0, 0)
		}, wrong: textIs("\x07\x00\x00\x00\xf7\xff\xff\xff", 0)},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newBench(t)) })
	}
}

// With maxData the rest of the bytes comes before the event, up to a limit.
func TestRestOfBytes(t *testing.T) {
	pattern := func(n int) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, "%d,", i)
		}
		return b.String()[:n]
	}
	all := policy.Arg{Index: 1, Type: policy.ArgCharBuf, SizeArg: 3, MaxData: true}
	some := policy.Arg{Index: 1, Type: policy.ArgCharBuf, SizeArg: 3}
	for _, size := range []int{0, 4095, 4096, 4095 + 16384, 4096 + 16384, 100_000, policy.MaxDataBytes, policy.MaxDataBytes + 1, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			text := pattern(size)
			valueTest{
				hook: callOf("write", all, some), act: func(t *testing.T) {
					if _, err := unix.Write(int(devNull(t).Fd()), []byte(text)); err != nil {
						t.Error(err)
					}
				}, wrong: func(e *siteEvent) string {
					shown := text[:min(size, policy.MaxDataBytes)]
					if e.strings[1] != text[:min(size, 4095)] {
						return fmt.Sprintf("%d bytes without maxData", len(e.strings[1]))
					}
					if got := e.strings[0] + e.rest; got != shown || e.Mode[0] != uint32(size) {
						return fmt.Sprintf("%d bytes of %d, want %d of %d", len(got), e.Mode[0], len(shown), size)
					}
					return ""
				},
			}.run(t, newBench(t))
		})
	}
}

// writeMapped writes bytes that are in no memory yet.
func writeMapped(t *testing.T) {
	t.Helper()
	const size = 6000
	path := filepath.Join(testenv.Dir(t), "mapped")
	if err := os.WriteFile(path, []byte(strings.Repeat("m", size)), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(memory) }()
	pipe := make([]int, 2)
	if err := unix.Pipe(pipe); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(pipe[0]), unix.Close(pipe[1]) }()
	if _, err := unix.Write(pipe[1], memory); err != nil {
		t.Error(err)
	}
}

// unixAddress is the bytes of a struct sockaddr_un, and more behind it that is none
// of it.
func unixAddress(path string) []byte {
	b := make([]byte, 128)
	binary.LittleEndian.PutUint16(b, unix.AF_UNIX)
	copy(b[2:], path)
	return b
}

// Addresses of unix sockets end where their length says.
func TestUnixAddresses(t *testing.T) {
	with, without := policy.Arg{Index: 1, Type: policy.ArgSockaddrUn, SizeArg: 3}, policy.Arg{Index: 1, Type: policy.ArgSockaddrUn}
	connect := func(address []byte, length int) func(*testing.T) {
		return func(t *testing.T) {
			_, _, err := unix.RawSyscall(unix.SYS_CONNECT, ^uintptr(0), uintptr(unsafe.Pointer(&address[0])), uintptr(length))
			if err != unix.EBADF { //nolint:errorlint // it is a number
				t.Errorf("connect of no socket: %v", err)
			}
		}
	}
	inet := make([]byte, 128)
	binary.LittleEndian.PutUint16(inet, unix.AF_INET)
	longest := "/" + strings.Repeat("p", 107)
	family := policy.ArgFilter{Op: policy.OpFamily, Ranges: []policy.Range{{Lo: unix.AF_UNIX, Hi: unix.AF_UNIX}}}
	for _, c := range []valueTest{
		{name: "path", hook: callOf("connect", without), only: []policy.ArgFilter{family, strings1(policy.OpEqual, "/run/it")}, act: connect(unixAddress("/run/it"), 10), wrong: textIs("/run/it", 1)},
		{name: "path with its length", hook: callOf("connect", with), act: connect(unixAddress("/run/it"), 10), wrong: textIs("/run/it", 1)},
		{
			name: "path that ends before its NUL", hook: callOf("connect", with), only: []policy.ArgFilter{strings1(policy.OpEqual, "/run/it")},
			act: connect(unixAddress("/run/it-not"), 2+len("/run/it")), wrong: textIs("/run/it", 1),
		},
		{name: "longest path", hook: callOf("connect", with), act: connect(unixAddress(longest+"more"), 110), wrong: textIs(longest, 1)},
		{name: "longest path without its length", hook: callOf("connect", without), act: connect(unixAddress(longest+"more"), 110), wrong: textIs(longest, 1)},
		{name: "abstract", hook: callOf("connect", without), act: connect(unixAddress("\x00name"), 7), wrong: textIs("@name", 1)},
		{name: "abstract with its length", hook: callOf("connect", with), act: connect(unixAddress("\x00na\x00me"), 2+6), wrong: textIs("@na\x00me", 1)},
		{name: "longest abstract", hook: callOf("connect", with), act: connect(unixAddress("\x00"+longest), 110), wrong: textIs("@"+longest[:107], 1)},
		{name: "without a name", hook: callOf("connect", with), act: connect(unixAddress("/x"), 2), wrong: textIs("", 1)},
		{name: "one byte of a name", hook: callOf("connect", with), act: connect(unixAddress("\x00x"), 3), wrong: textIs("", 1)},
		{name: "another family", hook: callOf("connect", with), act: connect(inet, 16), wrong: textIs("", unix.AF_INET)},
		{name: "half of a family", hook: callOf("connect", with), act: connect(unixAddress("/x"), 1), wrong: func(e *siteEvent) string {
			if e.StringLen[0] != uint32(bpf.WireStringStatusSTRING_UNREADABLE) {
				return fmt.Sprintf("%q was read", e.strings[0])
			}
			return ""
		}},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newBench(t)) })
	}
}

// loadProgram loads a BPF program of a name, and gives it back to be closed.
func loadProgram(t *testing.T, name string) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
}

// programInfo is what is to be told of it.
func programInfo(name string) (info bpf.WireProgramInfo) {
	info.Type, info.Instructions = uint32(ebpf.SocketFilter), 3
	for i := range len(name) {
		info.Name[i] = int8(name[i])
	}
	return info
}

// What a BPF program is loaded with, as the call is given it.
func TestProgramsOfCalls(t *testing.T) {
	const name = "fifteen_letters"
	load := policy.ArgFilter{Arg: 1, Op: policy.OpEqual, Ranges: []policy.Range{{Lo: unix.BPF_PROG_LOAD, Hi: unix.BPF_PROG_LOAD}}}
	valueTest{
		hook: callOf("bpf", policy.Arg{Index: 1, Type: policy.ArgBPFAttr}, policy.Arg{Index: 0, Type: policy.ArgBPFCmd}),
		only: []policy.ArgFilter{load}, act: func(t *testing.T) { loadProgram(t, name) }, wrong: structureIs(programInfo(name)),
	}.run(t, newBench(t))
}

// fieldNamed is the position of an event's field.
func fieldNamed(t *testing.T, b *bench, subsystem, event, name string) uint32 {
	t.Helper()
	fields, err := b.points.Tracepoint(subsystem, event)
	if err != nil {
		testenv.Require(t, testenv.Optional(event, func() error { return err }))
	}
	for i, f := range fields {
		if f.Name == name {
			return uint32(i)
		}
	}
	t.Fatalf("%s has no field %s", event, name)
	return 0
}

// Bytes and text in the record itself.
func TestFieldsOfRecords(t *testing.T) {
	t.Run("const_buf", func(t *testing.T) {
		b := newBench(t)
		h := policy.Hook{Section: policy.Tracepoints, Subsystem: "task", Event: "task_rename"}
		h.Args = []policy.Arg{{Index: fieldNamed(t, b, "task", "task_rename", "newcomm"), Type: policy.ArgConstBuf}, {Index: 0, Type: policy.ArgNop}}
		valueTest{hook: h, act: func(t *testing.T) {
			before, err := os.ReadFile("/proc/thread-self/comm")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"bolt", strings.TrimSpace(string(before))} {
				text, _ := unix.BytePtrFromString(name)
				if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(text)), 0, 0, 0); err != nil {
					t.Fatal(err)
				}
			}
		}, wrong: func(e *siteEvent) string {
			if name, _, _ := strings.Cut(e.strings[0], "\x00"); name != "bolt" || len(e.strings[0]) != 16 || e.Mode[0] != 16 {
				return fmt.Sprintf("%q with %d", e.strings[0], e.Mode[0])
			}
			return ""
		}}.run(t, b)
	})
	t.Run("data_loc", func(t *testing.T) {
		b := newBench(t)
		path := filepath.Join(testenv.Dir(t), "program")
		program, err := exec.LookPath("true")
		if err == nil {
			err = os.Symlink(program, path)
		}
		if err != nil {
			t.Fatal(err)
		}
		h := policy.Hook{Section: policy.Tracepoints, Subsystem: "sched", Event: "sched_process_exec"}
		h.Args = []policy.Arg{{Index: fieldNamed(t, b, "sched", "sched_process_exec", "filename"), Type: policy.ArgDataLoc}}
		valueTest{hook: h, other: true, only: []policy.ArgFilter{strings1(policy.OpEqual, path)}, act: func(t *testing.T) {
			if out, err := exec.CommandContext(t.Context(), path).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}, wrong: textIs(path, 0)}.run(t, b)
	})
}

// Structures that raw tracepoints are given.
func TestStructuresOfRawTracepoints(t *testing.T) {
	t.Run("net_device", func(t *testing.T) {
		h := raw("net_dev_start_xmit", []policy.Arg{{Index: 1}, {Index: 0, Type: policy.ArgNop}})
		valueTest{hook: h, other: true, only: []policy.ArgFilter{{Op: policy.OpEqual, Values: []string{"lo"}}}, act: func(t *testing.T) {
			conn, err := net.Dial("udp4", "127.0.0.77:9")
			if err == nil {
				_, err = conn.Write([]byte("x"))
			}
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}, wrong: textIs("lo", 0)}.run(t, newBench(t))
	})
	t.Run("user_namespace", func(t *testing.T) {
		b := newBench(t)
		testenv.Require(t, testenv.Optional("cap_capable", func() error { _, err := b.points.RawTracepoint("cap_capable"); return err }))
		h := raw("cap_capable", []policy.Arg{{Index: 1}, {Index: 3, Type: policy.ArgCapability}})
		valueTest{hook: h, only: []policy.ArgFilter{number(1, policy.OpEqual, unix.CAP_SYS_ADMIN, unix.CAP_SYS_ADMIN)}, act: func(*testing.T) {
			swapoff(b.marker)
		}, wrong: structureIs(ownUserNamespace(t))}.run(t, b)
	})
}

// swapoff asks for a capability, and then for what does not exist.
func swapoff(path string) {
	name, _ := unix.BytePtrFromString(path)
	_, _, _ = unix.RawSyscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(name)), 0, 0)
}

// ownUserNamespace is that of this process, which is taken for the host's.
func ownUserNamespace(t *testing.T) bpf.WireUserNsInfo {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &st); err != nil {
		t.Fatal(err)
	}
	return bpf.WireUserNsInfo{Inum: uint32(st.Ino)}
}
