// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/stack"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// limited is a Post of the rate and scope.
func limited(rate, scope string) string {
	return fmt.Sprintf("{action: Post, rateLimit: %q, rateLimitScope: %s}", rate, scope)
}

// thread is a thread of this process that does what it is given, until the test
// ends.
func thread(t *testing.T) func(func()) {
	t.Helper()
	acts, done := make(chan func()), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for act := range acts {
			act()
			done <- struct{}{}
		}
	}()
	t.Cleanup(func() { close(acts) })
	return func(act func()) {
		acts <- act
		<-done
	}
}

// actor is another process that does the test's act as often as it is told, until
// the test ends.
func (b *bench) actor() func(times int) {
	b.t.Helper()
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.CommandContext(b.t.Context(), self)
	cmd.Env = append(os.Environ(), "BOLTSEAL_TEST_ACTS="+b.marker)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return func(times int) {
		b.t.Helper()
		if _, err := fmt.Fprintln(in, times); err != nil {
			b.t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("done\n"))); err != nil {
			b.t.Fatal(err)
		}
	}
}

// Of events that are alike one is made, for each thread, each process, or for all.
func TestRateIsOfItsScope(t *testing.T) {
	for _, c := range []struct {
		scope string
		posts uint64
	}{{"thread", 4}, {"process", 3}, {"global", 1}} {
		t.Run(c.scope, func(t *testing.T) {
			b := newBench(t)
			id := b.load(b.chroots(limited("1h", c.scope)))
			b.apply(Member{id, true})
			first, second, one, other := thread(t), thread(t), b.actor(), b.actor()
			for range 2 { // by turns
				first(b.chroot)
				second(b.chroot)
				one(2)
				other(2)
			}
			want := Counters{Post: c.posts, Limited: 12 - c.posts}
			if got := b.counters(id); got != want {
				t.Errorf("counters %+v, want %+v", got, want)
			}
			for range c.posts {
				if e := b.event(); e == nil || e.strings[0] != b.marker {
					t.Errorf("event %+v", e)
				}
			}
			if e := b.event(); e != nil {
				t.Errorf("an event too many: %+v", e)
			}
		})
	}
}

// act is the test's act, of a path that begins with its word.
func (b *bench) act(path string) {
	b.t.Helper()
	if err := unix.Chroot(b.marker + path); !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENAMETOOLONG) {
		b.t.Errorf("chroot of what does not exist: %v", err)
	}
}

// begins is a policy about paths that begin with the test's word.
func (b *bench) begins(actions string) *compile.Policy {
	b.t.Helper()
	return b.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}, {index: 4, type: int32}],
     selectors: [{matchArgs: [{index: 5, operator: Prefix, values: ["$M"]}], matchActions: [` + actions + `]}]}
`)
}

// Events are alike when the first 40 bytes of each argument are.
func TestRateIsOfTheValues(t *testing.T) {
	b := newBench(t)
	first, second := b.load(b.begins(limited("1h", "global"))), b.load(b.begins(limited("1h", "global")))
	b.apply(Member{first, true}, Member{second, true})
	fill := strings.Repeat("x", 40-len(b.marker))
	for i, step := range []struct {
		path string
		made bool
	}{
		{"", true}, {"a", true}, {"", false}, {"a", false}, {"ab", true}, {"b", true}, {"b", false},
		{fill[1:], true}, {fill, true}, {fill, false},
		{fill + "a", false}, {fill + "b", false}, {fill[1:] + "y", true}, {fill[1:] + "yz", false},
	} {
		before := b.counters(first)
		b.act(step.path)
		after := b.counters(first)
		if made := after.Post > before.Post; made != step.made || after.Post+after.Limited != uint64(i+1) {
			t.Errorf("%d: an event of %.60q: %v, want %v; counters %+v", i, step.path, made, step.made, after)
		}
	}
	// Each rule has a rate of its own, also one that has the bit of another.
	if got, want := b.counters(second), b.counters(first); got != want {
		t.Errorf("counters of the other policy %+v, want %+v", got, want)
	}
	b.apply(Member{second, true})
	if err := b.Unload(first); err != nil {
		t.Fatal(err)
	}
	third := b.load(b.begins(limited("1h", "global")))
	b.apply(Member{second, true}, Member{third, true})
	b.act("")
	if got, want := b.counters(third), (Counters{Post: 1}); got != want {
		t.Errorf("counters of a policy that came later %+v, want %+v", got, want)
	}
}

// What a chain leads to is a value as others are, and so is that it leads nowhere.
func TestRateIsOfWhatChainsLeadTo(t *testing.T) {
	b := newBench(t)
	load := func(resolve string) PolicyID {
		return b.load(b.policy(fmt.Sprintf(`  - {subsystem: raw_syscalls, event: sys_enter, raw: true,
     args: [{index: 1, type: int64}, {index: 0, type: uint64, resolve: %s}],
     selectors: [{matchPIDs: [{operator: In, values: [%d]}], matchArgs: [{index: 1, operator: Equal, values: [%d]}], matchActions: [%s]}]}
`, resolve, os.Getpid(), unix.SYS_CHROOT, limited("1h", "global"))))
	}
	argument, number := load(map[string]string{"amd64": "di", "arm64": "regs[0]"}[runtime.GOARCH]), load(map[string]string{"amd64": "orig_ax", "arm64": "syscallno"}[runtime.GOARCH])
	b.apply(Member{argument, true}, Member{number, true})
	var nowhere [2]byte
	for range 3 {
		for i := range nowhere {
			_, _, _ = unix.RawSyscall(unix.SYS_CHROOT, uintptr(unsafe.Pointer(&nowhere[i])), 0, 0)
		}
	}
	if got, want := b.counters(argument), (Counters{Post: 2, Limited: 4}); got != want {
		t.Errorf("of two paths: counters %+v, want %+v", got, want)
	}
	if got, want := b.counters(number), (Counters{Post: 1, Limited: 5}); got != want {
		t.Errorf("of one number: counters %+v, want %+v", got, want)
	}
}

// The agent hears of what it has to do for other hosts also when the event is one
// too many, and of that nobody else does.
func TestRateLeavesRemoteActionsAlone(t *testing.T) {
	b := newBench(t)
	id := b.load(b.chroots(limited("1h", "global") + ", {action: DnsLookup, argFqdn: example.com}"))
	b.apply(Member{id, true})
	for i := range 3 {
		b.chroot()
		e := b.event()
		if e == nil {
			t.Fatalf("%d: no record", i)
		}
		bit := b.policies[id].hooks[0].first
		if silent := compile.Has(e.Silent, bit); silent != (i > 0) || !compile.Has(e.Posted, bit) {
			t.Errorf("%d: silent %v, posted %v", i, silent, e.Posted)
		}
	}
	if got, want := b.counters(id), (Counters{Post: 1, Limited: 2}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
}

func TestRateEnds(t *testing.T) {
	b := newBench(t)
	id := b.load(b.chroots(limited("1s", "process")))
	b.apply(Member{id, true})
	b.chroot()
	began := time.Now()
	testenv.Eventually(t, 10*time.Second, "another event is made", func() error {
		b.chroot()
		if got := b.counters(id); got.Post < 2 {
			return fmt.Errorf("counters %+v", got)
		}
		return nil
	})
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("the second event was made after %s", took)
	}
	if got := b.counters(id); got.Limited == 0 {
		t.Errorf("counters %+v: none was kept back", got)
	}
}

// A rate is of events alone.
func TestRateLeavesEnforcementAlone(t *testing.T) {
	b := newBench(t)
	id := b.load(b.chroots(limited("1h", "global") + ", " + kill))
	b.apply(Member{id, true})
	for i := range 3 {
		if !b.busybox() {
			t.Errorf("act %d was not killed", i)
		}
	}
	if got, want := b.counters(id), (Counters{Post: 1, Limited: 2, Signal: 3}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
}

// When there is no room, or an element has become another key's, events are made.
func TestRatesForgetToMakeEvents(t *testing.T) {
	b := newBench(t)
	id := b.load(b.begins(limited("1h", "global")))
	b.apply(Member{id, true})
	step := func(what, path string, want Counters) {
		t.Helper()
		b.act(path)
		if got := b.counters(id); got != want {
			t.Errorf("%s: counters %+v, want %+v", what, got, want)
		}
	}
	step("first", "", Counters{Post: 1})
	step("second", "", Counters{Post: 1, Limited: 1})
	rates := b.maps.coll.Maps[bpf.SiteMapRates]
	key, err := rates.NextKeyBytes(nil)
	if err != nil || key == nil {
		t.Fatalf("no rate is remembered: %v", err)
	}
	var rated [2]uint64
	if err := rates.Lookup(key, &rated); err != nil {
		t.Fatal(err)
	}
	rated[0]++ // as if half of another one had been written
	if err := rates.Update(key, rated, ebpf.UpdateExist); err != nil {
		t.Fatal(err)
	}
	step("an element of another key", "", Counters{Post: 2, Limited: 1})
	step("mended", "", Counters{Post: 2, Limited: 2})
	for i := range uint64(2 * compile.MaxRates) {
		if err := rates.Update([4]uint64{i, i, i, 0}, [2]uint64{}, ebpf.UpdateAny); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(100) {
		step("full of others", fmt.Sprint(i), Counters{Post: 3 + i, Limited: 2})
	}
}

// functionsOf names the functions of a stack of this process.
func functionsOf(addresses []uint64) string {
	var names []string
	for _, a := range addresses {
		if f := runtime.FuncForPC(uintptr(a) - 1); f != nil {
			names = append(names, f.Name())
		}
	}
	return strings.Join(names, " < ")
}

func symbolsOf(addresses []uint64) string {
	var names []string
	for _, f := range stack.New(stack.Options{Proc: "/proc"}).Kernel(addresses) {
		names = append(names, f.Symbol)
	}
	return strings.Join(names, " < ")
}

// systemCall is a function of the kernel through which every system call goes.
func systemCall() string {
	if runtime.GOARCH == "arm64" {
		return "el0_svc"
	}
	return "do_syscall_64"
}

// stacks makes all rules of a policy ask for stacks.
func stacks(p *compile.Policy, kernel, user bool) *compile.Policy {
	for i := range p.Hooks {
		for j := range p.Hooks[i].Rules {
			p.Hooks[i].Rules[j].KernelStack, p.Hooks[i].Rules[j].UserStack = kernel, user
		}
	}
	return p
}

// Events have the stacks that their rules ask for, at each kind of tracepoint. The
// API's events of tracepoints have no field for them: here the record is looked at.
func TestStacksOfTracepoints(t *testing.T) {
	raw := fmt.Sprintf(`  - {subsystem: raw_syscalls, event: sys_enter, raw: true, args: [{index: 1, type: int64}],
     selectors: [{matchPIDs: [{operator: In, values: [%d]}], matchArgs: [{index: 1, operator: Equal, values: [%d]}]}]}
`, os.Getpid(), unix.SYS_CHROOT)
	b := newBench(t)
	there := b.kernelStackAtCalls()
	for _, c := range []struct {
		name         string
		policy       *compile.Policy
		kernel, user bool
	}{
		{"tracepoint", b.chroots(post), true, true},
		{"kernel's alone", b.chroots(post), true, false},
		{"user's alone", b.chroots(post), false, true},
		{"none", b.chroots(post), false, false},
		{"raw tracepoint", b.policy(raw), true, true},
	} {
		id := b.load(stacks(c.policy, c.kernel, c.user))
		b.apply(Member{id, true})
		b.chroot()
		b.apply()
		if err := b.Unload(id); err != nil {
			t.Fatal(err)
		}
		b.checkStacks(c.name, c.kernel && (there || c.name == "raw tracepoint"), c.user)
	}
}

// checkStacks checks the stacks of the next event, which b.chroot has made.
func (b *bench) checkStacks(name string, kernel, user bool) {
	b.t.Helper()
	e := b.event()
	if e == nil {
		b.t.Errorf("%s: no event", name)
		return
	}
	if names := symbolsOf(e.kernel); strings.Contains(names, systemCall()) != kernel || !kernel && len(e.kernel) != 0 {
		b.t.Errorf("%s: kernel's stack %s", name, names)
	}
	if names := functionsOf(e.user); strings.Contains(names, "engine.(*bench).chroot < ") != user || !user && len(e.user) != 0 {
		b.t.Errorf("%s: stack of the process: %s", name, names)
	}
}

// What a call could not read at its entry is judged when it returns, and has the
// stack of then.
func TestStacksAtExit(t *testing.T) {
	b := newBench(t)
	b.apply(Member{b.load(stacks(b.chroots(post), true, true)), true})
	file, err := os.Create(filepath.Join(testenv.Dir(t), "path"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(b.marker + "\x00"); err != nil {
		t.Fatal(err)
	}
	mapped, err := unix.Mmap(int(file.Fd()), 0, len(b.marker)+1, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(mapped) })
	//nolint:dogsled // it fails: there is no such directory
	_, _, _ = unix.Syscall(unix.SYS_CHROOT, uintptr(unsafe.Pointer(&mapped[0])), 0, 0)
	e := b.event()
	if e == nil || e.AtExit == 0 {
		t.Fatalf("event %+v, want one of the exit", e)
	}
	if names := functionsOf(e.user); !strings.Contains(names, "engine.TestStacksAtExit") {
		t.Errorf("stack of the process: %s", names)
	}
	if names := symbolsOf(e.kernel); strings.Contains(names, systemCall()) != b.kernelStackAtCalls() {
		t.Errorf("kernel's stack %s", names)
	}
}

// Where strings fill the record there is room for stacks behind them.
func TestStacksBehindLongStrings(t *testing.T) {
	b := newBench(t)
	id := b.load(stacks(b.begins(post), true, true))
	b.apply(Member{id, true})
	long := strings.Repeat("x", 4095-len(b.marker))
	b.act(long)
	e := b.event()
	if e == nil || e.strings[0] != b.marker+long || len(e.kernel) == 0 && b.kernelStackAtCalls() || len(e.user) == 0 {
		t.Errorf("event %+v", e)
	}
}

// A program is loaded once more for what it has not done yet, and not for less.
func TestProgramsDoWhatRulesAsk(t *testing.T) {
	b := newBench(t)
	plain := b.load(b.chroots(post))
	ids := b.programs()
	rated := b.load(b.chroots(limited("1h", "global")))
	withRates := b.programs()
	if slices.Equal(ids, withRates) {
		t.Error("programs that know no rates were kept")
	}
	again := b.load(b.chroots(limited("1s", "thread")))
	if got := b.programs(); !slices.Equal(got, withRates) {
		t.Error("programs that know rates were replaced for another one")
	}
	b.load(stacks(b.chroots(post), true, false))
	if got := b.programs(); slices.Equal(got, withRates) {
		t.Error("programs that take no stacks were kept")
	}
	b.apply(Member{plain, true}, Member{rated, true}, Member{again, true})
	b.chroot()
	b.chroot()
	if got, want := b.counters(plain), (Counters{Post: 2}); got != want {
		t.Errorf("counters of the policy without a rate %+v, want %+v", got, want)
	}
}
