// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// spec compiles the spec of a policy; $M is the test's word.
func (b *bench) spec(spec string) (*compile.Policy, error) {
	b.t.Helper()
	text := "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n" + spec
	p, err := policy.Parse([]byte(strings.ReplaceAll(text, "$M", b.marker)))
	if err != nil {
		b.t.Fatal(err)
	}
	return compile.Compile(p, b.points)
}

// loadSpec puts a spec in force.
func (b *bench) loadSpec(spec string) PolicyID {
	b.t.Helper()
	compiled, err := b.spec(spec)
	if err != nil {
		b.t.Fatal(err)
	}
	id := b.load(compiled)
	b.apply(Member{id, true})
	return id
}

// returned is the next event, of a call that has returned.
func (b *bench) returned(id PolicyID) (e *siteEvent, rule Rule) {
	b.t.Helper()
	if e = b.event(); e == nil {
		b.t.Fatal("no event")
	}
	rule, ok := b.Resolve(e.Site, e.Version, b.policies[id].hooks[0].first)
	if !ok || e.Returned != 1 {
		b.t.Fatalf("event %+v, want one of a call that has returned", e)
	}
	return e, rule
}

// The return of a system call is seen at the tracepoint of its exit, by hooks whose
// entry is a tracepoint's: on any kernel.
func TestSystemCallsReturn(t *testing.T) {
	b := newBench(t)
	returning := func(filters ...compile.Filter) PolicyID {
		compiled := b.chroots(post)
		h := &compiled.Hooks[0]
		h.Reads = append(h.Reads, compile.Read{
			Kind: bpf.WireReadKindREAD_INT, Size: 4, Signed: true, When: bpf.WireReadWhenREAD_RESULT,
		})
		h.Returns, h.Result = true, &compile.Result{Read: len(h.Reads) - 1, Type: policy.ArgInt32}
		for i := range filters {
			filters[i].Read = h.Result.Read
		}
		h.Rules[0].Returns, h.Rules[0].Filters = true, append(h.Rules[0].Filters, filters...)
		id := b.load(compiled)
		b.apply(Member{id, true})
		return id
	}
	const notThere = -int64(unix.ENOENT)
	returning(compile.Filter{Kind: bpf.WireMatchKindMATCH_EXACT, Numbers: []uint64{0}})
	b.chroot()
	if e := b.event(); e != nil {
		t.Errorf("an event of what the call did not return: %+v", e)
	}
	result := notThere
	id := returning(compile.Filter{Kind: bpf.WireMatchKindMATCH_EXACT, Numbers: []uint64{uint64(result)}})
	for _, atExit := range []uint16{0, 1} {
		if atExit == 0 {
			b.chroot()
		} else if _, _, errno := unix.Syscall(unix.SYS_CHROOT, uintptr(faultIn(t, b.marker)), 0, 0); errno != unix.ENOENT {
			t.Fatalf("chroot: %v", errno)
		}
		e, rule := b.returned(id)
		if got := int64(e.Regs[rule.Result]); got != notThere || e.AtExit != atExit || e.strings[rule.Strings[0]] != b.marker {
			t.Errorf("event %+v of a call that returned %d, want one of %q, read at exit %d", e, got, b.marker, atExit)
		}
	}
	if e := b.event(); e != nil {
		t.Errorf("an event too many: %+v", e)
	}
	if calls, texts := b.remembered(t); calls+texts != 0 {
		t.Errorf("%d calls and %d texts are remembered", calls, texts)
	}
	if n := b.errors(t, bpf.WireKernelErrorKERR_RETURN_MISSED); n != 0 {
		t.Errorf("%d returns were missed", n)
	}
}

// The event of a call that has returned has the stacks of its entry, and its rate is
// that of calls with such arguments whose result a filter takes.
func TestStacksAndRatesOfReturns(t *testing.T) {
	b := newBench(t)
	there := b.kernelStackAtCalls()
	returning := stacks(b.begins(limited("1h", "global")), true, true)
	h := &returning.Hooks[0]
	h.Reads = append(h.Reads, compile.Read{Kind: bpf.WireReadKindREAD_INT, Size: 4, Signed: true, When: bpf.WireReadWhenREAD_RESULT})
	h.Returns, h.Result, h.Rules[0].Returns = true, &compile.Result{Read: len(h.Reads) - 1, Type: policy.ArgInt32}, true
	result := -int64(unix.ENOENT)
	h.Rules[0].Filters = append(h.Rules[0].Filters, compile.Filter{
		Read: h.Result.Read, Kind: bpf.WireMatchKindMATCH_EXACT, Numbers: []uint64{uint64(result)},
	})
	id := b.load(returning)
	b.apply(Member{id, true})
	// The stacks stand behind the text, of which some is too long to be kept in its call.
	for _, path := range []string{"", "/" + strings.Repeat("x/", 1500)} {
		for i := range 2 {
			b.chrootOf(path)
			e := b.event()
			if made := e != nil; made != (i == 0) {
				t.Fatalf("event %d of a path of %d bytes: %+v", i, len(path), e)
			}
			if e == nil {
				continue
			}
			kernel, user := symbolsOf(e.kernel), functionsOf(e.user)
			if e.Returned == 0 || e.strings[0] != b.marker+path || strings.Contains(kernel, systemCall()) != there || !strings.Contains(user, "engine.(*bench).chrootOf < ") {
				t.Errorf("returned %d, path %.80q, kernel's stack %s, stack of the process %s", e.Returned, e.strings[0], kernel, user)
			}
		}
	}
	if got, want := b.counters(id), (Counters{Post: 2, Limited: 2}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
	if calls, texts := b.remembered(t); calls+texts != 0 {
		t.Errorf("%d calls and %d texts are remembered", calls, texts)
	}
}

// chrootOf is the test's act of a path that begins with its word.
func (b *bench) chrootOf(path string) {
	b.t.Helper()
	if err := unix.Chroot(b.marker + path); !errors.Is(err, unix.ENOENT) {
		b.t.Errorf("chroot of what does not exist: %v", err)
	}
}

// Functions report what they return, with what they were called with, by kprobes
// and trampolines: those whose result a filter takes, and no others.
func TestFunctionsReturn(t *testing.T) {
	const file = `{index: 0, type: file}], selectors: [{matchArgs: [{index: 0, operator: Equal, values: ["$M"]}], matchReturnArgs: [$F]}]}`
	for _, c := range []struct {
		name   string
		needs  compile.Mechanism
		hook   string // $F is the filter on what is returned
		holds  string
		fails  string
		result int64
	}{
		{
			"kprobe", compile.CanKprobe, `  kprobes:
  - {call: security_file_open, syscall: false, return: true, returnArg: {index: 0, type: int}, args: [` + file,
			`{index: 0, operator: Equal, values: [0]}`, `{index: 0, operator: LessThan, values: [0]}`, 0,
		},
		{
			"fentry", compile.CanFentry, `  fentries:
  - {call: security_file_open, syscall: false, return: true, returnArg: {index: 0}, args: [` + file,
			`{index: 0, operator: Equal, values: [0]}`, `{index: 0, operator: NotEqual, values: [0]}`, 0,
		},
		{
			"functions", compile.CanKprobe, `  lists: [{name: l, values: [security_file_open, security_file_permission]}]
  kprobes:
  - {call: "list:l", syscall: false, return: true, returnArg: {index: 0, type: int64}, args: [` + file,
			`{index: 0, operator: Equal, values: [0]}`, `{index: 0, operator: Mask, values: [1]}`, 0,
		},
		{
			"syscall", compile.CanKprobe, `  kprobes:
  - call: sys_unlinkat
    return: true
    returnArg: {index: 0, type: int}
    args: [{index: 1, type: string}]
    selectors: [{matchArgs: [{index: 1, operator: Equal, values: ["$M/none"]}], matchReturnArgs: [$F]}]`,
			`{index: 0, operator: Equal, values: [-20]}`, `{index: 0, operator: Equal, values: [0]}`, -20,
		},
		{
			"syscalls", compile.CanKprobe, `  lists: [{name: l, type: syscalls, values: [sys_unlinkat, sys_mkdirat]}]
  kprobes:
  - call: "list:l"
    return: true
    returnArg: {index: 0, type: int}
    args: [{index: 1, type: string}]
    selectors: [{matchArgs: [{index: 1, operator: Equal, values: ["$M/none"]}], matchReturnArgs: [$F]}]`,
			`{index: 0, operator: Equal, values: [-20]}`, `{index: 0, operator: GreaterThan, values: [-20]}`, -20,
		},
		{
			"syscall by a trampoline", compile.CanFentry, `  fentries:
  - call: sys_unlinkat
    return: true
    returnArg: {index: 0, type: int}
    args: [{index: 1, type: string}]
    selectors: [{matchArgs: [{index: 1, operator: Equal, values: ["$M/none"]}], matchReturnArgs: [$F]}]`,
			`{index: 0, operator: Equal, values: [-20]}`, `{index: 0, operator: Equal, values: [20]}`, -20,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newProbedBench(t)
			testenv.Require(t, able(c.needs, b))
			b.marker = filepath.Join(testenv.Dir(t), "file")
			if err := os.WriteFile(b.marker, []byte("content"), 0o600); err != nil {
				t.Fatal(err)
			}
			act := func() {
				b.opens(b.marker, nil)
				if err := unix.Unlinkat(unix.AT_FDCWD, b.marker+"/none", 0); !errors.Is(err, unix.ENOTDIR) {
					t.Errorf("unlink below a file: %v", err)
				}
			}
			id := b.loadSpec(strings.ReplaceAll(c.hook, "$F", c.holds) + "\n")
			act()
			e, rule := b.returned(id)
			if got := int64(e.Regs[rule.Result]); got != c.result {
				t.Errorf("returned %d, want %d", got, c.result)
			}
			if got := e.strings[rule.Strings[0]]; !strings.HasPrefix(got, b.marker) {
				t.Errorf("called with %q", got)
			}
			b.apply()
			for b.event() != nil {
				continue
			}
			id = b.loadSpec(strings.ReplaceAll(c.hook, "$F", c.fails) + "\n")
			act()
			if got := b.counters(id); got != (Counters{}) {
				t.Errorf("of what no filter takes: %+v", got)
			}
			if calls, _ := b.remembered(t); calls != 0 {
				t.Errorf("%d calls are remembered", calls)
			}
		})
	}
}

// What is returned is read as what it is: a descriptor's file, a pointer's structure,
// the bytes that a call has written.
func TestWhatFunctionsReturn(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanKprobe, b))
	b.marker = filepath.Join(testenv.Dir(t), "file")
	if err := os.WriteFile(b.marker, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	var ids []PolicyID
	for _, spec := range []string{
		`  kprobes:
  - call: sys_openat
    return: true
    returnArg: {index: 0, type: fd}
    args: [{index: 1, type: string}]
    selectors: [{matchReturnArgs: [{index: 0, operator: Equal, values: ["$M"]}]}]
`,
		`  lists: [{name: l, values: [do_filp_open, do_file_open]}]
  kprobes:
  - call: "list:l"
    syscall: false
    ignore: {callNotFound: true}
    return: true
    returnArg: {index: 0, type: file}
    selectors: [{matchReturnArgs: [{index: 0, operator: Equal, values: ["$M"]}]}]
`,
		`  kprobes:
  - call: sys_read
    return: true
    returnArg: {index: 0, type: int}
    args: [{index: 0, type: fd}, {index: 1, type: char_buf, sizeArgIndex: 3, returnCopy: true}]
    selectors: [{matchArgs: [{index: 0, operator: Equal, values: ["$M"]}], matchReturnArgs: [{index: 0, operator: GreaterThan, values: [0]}]}]
`,
	} {
		compiled, err := b.spec(spec)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, b.load(compiled))
	}
	b.apply(Member{ids[0], true}, Member{ids[1], true}, Member{ids[2], true})
	if text, err := os.ReadFile(b.marker); err != nil || string(text) != "content" {
		t.Fatal(string(text), err)
	}
	for i, id := range ids {
		if got := b.counters(id); got.Post != 1 {
			t.Errorf("policy %d: %+v, want one event", i, got)
		}
	}
	for e := b.event(); e != nil; e = b.event() {
		rule, ok := b.Resolve(e.Site, e.Version, b.policies[ids[2]].hooks[0].first)
		if !ok || rule.Hook.Call != "sys_read" {
			continue
		}
		if got := e.strings[rule.Strings[1]]; got != "content" {
			t.Errorf("read %q", got)
		}
	}
}

// What rules do at the return is done to those whose calls have returned that.
func TestKillAtTheReturn(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanKprobe, b))
	about := func(result string) PolicyID {
		return b.loadSpec(`  kprobes:
  - call: sys_chroot
    return: true
    returnArg: {index: 0, type: int}
    args: [{index: 0, type: string}]
    selectors:
    - matchArgs: [{index: 0, operator: Equal, values: ["$M"]}]
      matchReturnArgs: [{index: 0, operator: Equal, values: [` + result + `]}]
      matchReturnActions: [{action: Sigkill}]
`)
	}
	about("0")
	if b.busybox() {
		t.Error("killed for what the call did not return")
	}
	id := about("-2")
	if !b.busybox() {
		t.Error("not killed for what the call returned")
	}
	if got, want := b.counters(id), (Counters{Post: 1, Signal: 1}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
	if e, _ := b.returned(id); compile.Empty(e.ReturnSignalled) || !compile.Empty(e.Signalled) {
		t.Errorf("event %+v, want one that tells of a signal at the return", e)
	}
}

// A call that is denied has returned the error.
func TestDeniedCallsReturn(t *testing.T) {
	for _, c := range []struct {
		name  string
		needs compile.Mechanism
		spec  string
	}{
		{"function", compile.CanModifyReturn, `  - call: security_file_open
    syscall: false
    args: [{index: 0, type: file}]
`},
		{"syscall", compile.CanOverride, `  - call: sys_openat
    args: [{index: 1, type: string}]
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newProbedBench(t)
			testenv.Require(t, able(c.needs, b))
			b.marker = filepath.Join(testenv.Dir(t), "file")
			if err := os.WriteFile(b.marker, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			id := b.loadSpec("  options: [{name: override-method, value: override-return}]\n  kprobes:\n" + c.spec + `    return: true
    returnArg: {index: 0, type: int}
    selectors:
    - matchArgs: [{args: [0], operator: Equal, values: ["$M"]}]
      matchActions: [{action: Override, argError: -61}]
`)
			b.opens(b.marker, unix.ENODATA)
			e, rule := b.returned(id)
			if got := int32(e.Regs[rule.Result]); got != -61 || compile.Empty(e.Overridden) {
				t.Errorf("event %+v with %d, want one of a denial", e, got)
			}
			if e := b.event(); e != nil {
				t.Errorf("an event too many: %+v", e)
			}
			b.apply(Member{id, false})
			b.opens(b.marker, nil)
			if e, rule := b.returned(id); int32(e.Regs[rule.Result]) == -61 || !compile.Empty(e.Overridden) {
				t.Errorf("event %+v, want one of a call that was let through", e)
			}
			if calls, _ := b.remembered(t); calls != 0 {
				t.Errorf("%d calls are remembered", calls)
			}
		})
	}
}

// Calls that are one in another return each by itself, by kprobes and trampolines.
func TestReturnsInEachOther(t *testing.T) {
	for name, section := range map[string]string{"kprobe": "kprobes", "fentry": "fentries"} {
		t.Run(name, func(t *testing.T) {
			b := newProbedBench(t)
			needs := map[string]compile.Mechanism{"kprobe": compile.CanKprobe, "fentry": compile.CanFentry}[name]
			testenv.Require(t, able(needs, b))
			b.marker = filepath.Join(testenv.Dir(t), "file")
			if err := os.WriteFile(b.marker, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			id := b.loadSpec("  " + section + `:
  - call: vfs_read
    syscall: false
    return: true
    returnArg: {index: 0, type: int64}
    args: [{index: 0, type: file}]
    selectors: [{matchArgs: [{index: 0, operator: Equal, values: ["$M"]}]}]
  - call: security_file_permission
    syscall: false
    return: true
    returnArg: {index: 0, type: int}
    args: [{index: 0, type: file}]
    selectors: [{matchArgs: [{index: 0, operator: Equal, values: ["$M"]}]}]
`)
			f, err := os.Open(b.marker)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			const n = 100
			for range n {
				if _, err := unix.Pread(int(f.Fd()), make([]byte, 8), 0); err != nil {
					t.Fatal(err)
				}
			}
			if got := b.counters(id); got.Post != 2*n {
				t.Errorf("%+v, want %d events", got, 2*n)
			}
			if missed, full := b.errors(t, bpf.WireKernelErrorKERR_RETURN_MISSED), b.errors(t, bpf.WireKernelErrorKERR_CALL); missed+full != 0 {
				t.Errorf("%d returns were missed, %d calls had no room", missed, full)
			}
		})
	}
}
