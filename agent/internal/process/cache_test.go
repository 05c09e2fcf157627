// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const second = uint64(time.Second)

func id(since uint64, tgid uint32) string {
	return base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("node:%d:%d", since, tgid)))
}

func newCache(o Options) *Cache {
	o.Node = "node"
	return New(o)
}

var (
	initKey  = Key{Tgid: 1, Start: 2 * second}
	shellKey = Key{Tgid: 100, Start: 100*second + 1}
	childKey = Key{Tgid: 200, Start: 200*second + 2}
)

// withShell is a cache with process 1 and a shell that it has started.
func withShell(o Options) (c *Cache, shell *Process) {
	c = newCache(o)
	c.Load([]Info{{Key: initKey, Binary: "/sbin/init", AUID: NoAUID}})
	c.Fork(Info{Key: shellKey, Parent: initKey, UID: 7})
	shell = c.Exec(101*second, Info{
		Key: shellKey, Parent: initKey, UID: 7, AUID: 8, Binary: "/bin/sh", Args: []string{"sh", "-l"}, Cwd: "/home", Slot: 3, CgroupID: 4,
	})
	return c, shell
}

func TestExecAfterFork(t *testing.T) {
	t.Parallel()
	c, shell := withShell(Options{})
	want := &Process{
		Info: Info{
			Key: shellKey, Parent: initKey, UID: 7, AUID: 8, Binary: "/bin/sh", Args: []string{"sh", "-l"}, Cwd: "/home",
			Flags: Exec | Clone, Slot: 3, CgroupID: 4,
		},
		ExecID: id(101*second, 100), ParentExecID: id(2*second, 1), Since: 101 * second,
	}
	if diff := cmp.Diff(want, shell); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if got, ok := c.Get(shellKey); !ok || got != shell {
		t.Errorf("Get = %v, %v", got, ok)
	}
}

func TestForkCopiesItsParent(t *testing.T) {
	t.Parallel()
	c, shell := withShell(Options{})
	child := c.Fork(Info{Key: childKey, Parent: shellKey, UID: 9, Slot: 5, CgroupID: 6})
	want := &Process{
		Info: Info{
			Key: childKey, Parent: shellKey, UID: 9, AUID: 8, Binary: "/bin/sh", Args: []string{"sh", "-l"}, Cwd: "/home",
			Flags: Clone, Slot: 5, CgroupID: 6,
		},
		ExecID: id(200*second+2, 200), ParentExecID: shell.ExecID, Since: 200*second + 2,
	}
	if diff := cmp.Diff(want, child); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestForkCopiesWhoMadeIt(t *testing.T) {
	t.Parallel()
	c, shell := withShell(Options{})
	c.Fork(Info{Key: childKey, Parent: shellKey})
	c.Exec(201*second, Info{Key: childKey, Parent: shellKey, Binary: "/bin/maker", Args: []string{"maker"}, Cwd: "/", Flags: TruncArgs})
	sibling := c.Fork(Info{Key: Key{Tgid: 201, Start: 202 * second}, Parent: shellKey, Maker: childKey})
	if sibling.ParentExecID != shell.ExecID {
		t.Errorf("parent %s, want %s", sibling.ParentExecID, shell.ExecID)
	}
	if sibling.Binary != "/bin/maker" || len(sibling.Args) != 1 || sibling.Cwd != "/" || sibling.Flags != Clone|TruncArgs|RootCwd {
		t.Errorf("not a copy of its maker: %+v", sibling.Info)
	}
}

func TestForkPassesOnWhatIsMissing(t *testing.T) {
	t.Parallel()
	c, _ := withShell(Options{})
	c.Exec(102*second, Info{Key: shellKey, Parent: initKey, Cwd: "/", Flags: TruncArgs | ErrorFilename})
	child := c.Fork(Info{Key: childKey, Parent: shellKey})
	if want := Clone | TruncArgs | ErrorFilename | RootCwd; child.Flags != want {
		t.Errorf("flags %q, want %q", child.Flags, want)
	}
}

func TestSecondExecIsAnotherProcess(t *testing.T) {
	t.Parallel()
	c, shell := withShell(Options{})
	child := c.Fork(Info{Key: childKey, Parent: shellKey})
	again := c.Exec(300*second, Info{Key: shellKey, Parent: initKey, Binary: "/bin/ls"})
	if again.ExecID == shell.ExecID || again.ParentExecID != shell.ParentExecID || again.Flags&Clone != 0 {
		t.Errorf("second exec: %+v", again)
	}
	if got, _ := c.Get(shellKey); got != again {
		t.Errorf("Get = %+v", got)
	}
	// The child's parent is still the shell, long after.
	c.Exec(400*second, Info{Key: initKey})
	if got, ok := c.ByExecID(child.ParentExecID); !ok || got != shell {
		t.Errorf("parent of the child: %+v", got)
	}
}

func TestCwdFlags(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cwd  string
		has  Flags
		want Flags
	}{{"/", 0, RootCwd}, {"", 0, NoCwd}, {"", ErrorCwd, ErrorCwd}, {"/x", 0, 0}} {
		c := newCache(Options{})
		p := c.Exec(5, Info{Key: Key{1, 1}, Cwd: test.cwd, Flags: test.has})
		if p.Flags != Exec|test.want {
			t.Errorf("cwd %q: flags %q", test.cwd, p.Flags)
		}
	}
}

func TestExitIsReportedOnce(t *testing.T) {
	t.Parallel()
	c, shell := withShell(Options{})
	for n, wantFirst := range []bool{true, false, false} {
		if p, first := c.Exit(300*second, Info{Key: shellKey}); p != shell || first != wantFirst {
			t.Errorf("exit %d: %+v, %v", n, p, first)
		}
	}
	stranger := Info{Key: Key{9, 9}, UID: 4}
	p, first := c.Exit(300*second, stranger)
	if !first || p.Flags != Miss || p.ExecID != id(9, 9) || p.UID != 4 {
		t.Errorf("exit of a stranger: %+v, %v", p, first)
	}
	if _, first := c.Exit(300*second, stranger); first {
		t.Error("second exit of a stranger is the first")
	}
}

func TestEndedProcessesAreKeptForTheirGrace(t *testing.T) {
	t.Parallel()
	c, shell := withShell(Options{Grace: 5 * time.Second})
	c.Exit(300*second, Info{Key: shellKey})
	c.Exec(305*second, Info{Key: childKey, Parent: initKey})
	if got, ok := c.Get(shellKey); !ok || got != shell {
		t.Errorf("within the grace: %v, %v", got, ok)
	}
	c.Exec(305*second+1, Info{Key: childKey, Parent: initKey})
	if got, ok := c.Get(shellKey); ok {
		t.Errorf("after the grace: %+v", got)
	}
	if _, ok := c.ByExecID(shell.ExecID); ok {
		t.Error("after the grace: found by exec id")
	}
}

func TestEndedParentIsKeptForItsChildren(t *testing.T) {
	t.Parallel()
	c, shell := withShell(Options{})
	c.Fork(Info{Key: childKey, Parent: shellKey})
	c.Exit(300*second, Info{Key: shellKey})
	tick := func(at uint64) { c.Exec(at, Info{Key: initKey}) }
	tick(900 * second)
	if got, ok := c.ByExecID(shell.ExecID); !ok || got != shell {
		t.Errorf("parent of a running child: %v, %v", got, ok)
	}
	c.Exit(901*second, Info{Key: childKey})
	tick(999 * second)
	if _, ok := c.ByExecID(shell.ExecID); ok {
		t.Error("parent of an ended child is kept")
	}
}

func TestReplacedChildLetsGoOfItsParent(t *testing.T) {
	t.Parallel()
	c, shell := withShell(Options{})
	c.Fork(Info{Key: childKey, Parent: shellKey})
	c.Exit(300*second, Info{Key: shellKey})
	c.Exec(900*second, Info{Key: initKey})
	c.Fork(Info{Key: childKey, Parent: initKey})
	if _, ok := c.ByExecID(shell.ExecID); ok {
		t.Error("a parent whose only child was replaced is kept")
	}
}

// TestChainsEnd: a process that forks and exits for ever keeps nothing but its
// last ancestor.
func TestChainsEnd(t *testing.T) {
	t.Parallel()
	c := newCache(Options{})
	parent := Key{Tgid: 1, Start: 1}
	for n := range uint32(1000) {
		at := uint64(n+1) * 20 * second
		child := Key{Tgid: 2 + n, Start: at}
		c.Fork(Info{Key: child, Parent: parent})
		c.Exit(at+1, Info{Key: parent})
		parent = child
	}
	if n := c.Stats().Size; n > 5 {
		t.Errorf("%d processes are kept", n)
	}
}

func TestUnknownParent(t *testing.T) {
	t.Parallel()
	c := newCache(Options{})
	p := c.Fork(Info{Key: childKey, Parent: shellKey})
	parent, ok := c.ByExecID(p.ParentExecID)
	if !ok || parent.Flags != Miss || parent.Key != shellKey || parent.ExecID != id(shellKey.Start, 100) || parent.AUID != NoAUID {
		t.Errorf("parent: %+v", parent)
	}
	if p.Flags != Clone|Miss {
		t.Errorf("flags of the child: %q", p.Flags)
	}
	if again := c.Exec(500*second, Info{Key: childKey, Parent: shellKey}); again.ParentExecID != p.ParentExecID {
		t.Error("the unknown parent has two ids")
	}
}

func TestParentOfTheFirstProcess(t *testing.T) {
	t.Parallel()
	c, _ := withShell(Options{})
	first, _ := c.Get(initKey)
	kernel, ok := c.ByExecID(first.ParentExecID)
	if !ok || kernel.Binary != "<kernel>" || kernel.ExecID != id(0, 0) {
		t.Errorf("%+v", kernel)
	}
	// With a start time of its own or none: one kernel.
	again := c.Exec(9*second, Info{Key: initKey, Parent: Key{Start: 77}})
	if again.ParentExecID != kernel.ExecID {
		t.Error("the kernel has two ids")
	}
}

func TestSeen(t *testing.T) {
	t.Parallel()
	c, shell := withShell(Options{})
	if got := c.Seen(Info{Key: shellKey, UID: 99}); got != shell {
		t.Errorf("known: %+v", got)
	}
	first := c.Seen(Info{Key: childKey, UID: 1, Slot: 2, CgroupID: 3})
	if first.Flags != Miss || first.UID != 1 || first.Slot != 2 || first.CgroupID != 3 || first.ParentExecID != "" {
		t.Errorf("unknown: %+v", first)
	}
	if second := c.Seen(Info{Key: childKey}); second != first {
		t.Errorf("unknown, again: %+v", second)
	}
	if _, ok := c.Get(Key{5, 5}); ok || c.Stats().Missed != 2 {
		t.Errorf("missed %d", c.Stats().Missed)
	}
}

// TestProcessesFoundInProc: /proc rounds start times down to hundredths.
func TestProcessesFoundInProc(t *testing.T) {
	t.Parallel()
	rounded := Key{Tgid: 100, Start: 100 * second}
	last := Key{Tgid: 100, Start: 100*second + tick - 1}
	c := newCache(Options{})
	// The parent comes after its child.
	c.Load([]Info{
		{Key: rounded, Parent: initKey, Binary: "/bin/sh"},
		{Key: initKey, Binary: "/sbin/init"},
	})
	p, ok := c.Get(last)
	if !ok || p.Binary != "/bin/sh" || p.Flags != ProcFS || p.ExecID != id(100*second, 100) || p.ParentExecID != id(2*second, 1) {
		t.Fatalf("%+v, %v", p, ok)
	}
	if _, ok := c.Get(Key{100, 100*second + tick}); ok {
		t.Error("found with a start time that is a tick away")
	}
	replaced := c.Exec(200*second, Info{Key: last, Parent: initKey, Binary: "/bin/ls"})
	if replaced.Flags&(Clone|ProcFS) != 0 {
		t.Errorf("flags %q", replaced.Flags)
	}
	if got, _ := c.Get(last); got != replaced {
		t.Errorf("after the exec: %+v", got)
	}
	c.Load([]Info{{Key: rounded, Parent: initKey, Binary: "/bin/stale"}})
	if got, _ := c.Get(last); got != replaced {
		t.Errorf("/proc replaced what an event told: %+v", got)
	}
}

func TestLoadEndsWithLoops(t *testing.T) {
	t.Parallel()
	a, b := Key{Tgid: 10, Start: second}, Key{Tgid: 11, Start: second}
	c := newCache(Options{})
	own := Key{Tgid: 12, Start: second}
	c.Load([]Info{{Key: a, Parent: b, Binary: "/a"}, {Key: b, Parent: a, Binary: "/b"}, {Key: own, Parent: own}})
	if p, _ := c.Get(a); p == nil || p.Binary != "/a" {
		t.Errorf("%+v", p)
	}
}

func TestSizeIsBounded(t *testing.T) {
	t.Parallel()
	const size = 50
	c, shell := withShell(Options{Size: size})
	keep, keepKey := c.Fork(Info{Key: childKey, Parent: shellKey}), childKey
	for n := range uint32(500) {
		k := Key{Tgid: 1000 + n, Start: 300 * second}
		c.Fork(Info{Key: k, Parent: shellKey})
		c.Exit(300*second, Info{Key: k})
		if got := c.Stats().Size; got > size {
			t.Fatalf("%d processes", got)
		}
	}
	// What has ended made room, not what runs.
	for _, want := range []*Process{shell, keep} {
		if got, ok := c.Get(want.Key); !ok || got != want {
			t.Errorf("a running process made room for ended ones: %+v", want)
		}
	}
	// Of those that run, the one not used for longest.
	for n := range uint32(500) {
		c.Get(keepKey)
		c.Fork(Info{Key: Key{Tgid: 5000 + n, Start: 301 * second}, Parent: initKey})
	}
	if got, ok := c.Get(keepKey); !ok || got != keep {
		t.Errorf("the process in use made room: %+v", got)
	}
	if _, ok := c.Get(Key{Tgid: 5000, Start: 301 * second}); ok {
		t.Error("the process not used for longest is there")
	}
	if s := c.Stats(); s.Size > size || s.Evicted < 900 {
		t.Errorf("%+v", s)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	c := newCache(Options{Bytes: limit})
	long := strings.Repeat("x", 4095)
	for n := range uint32(2000) {
		c.Exec(uint64(n), Info{Key: Key{Tgid: n + 2}, Binary: long, Args: []string{long}, Cwd: long})
		if got := c.Stats().Bytes; got > limit {
			t.Fatalf("%d bytes", got)
		}
	}
	if n := c.Stats().Size; n < 50 {
		t.Errorf("only %d processes", n)
	}
}

func TestCountersReturnToZero(t *testing.T) {
	t.Parallel()
	c := newCache(Options{})
	for n := range uint32(100) {
		k := Key{Tgid: n + 2, Start: uint64(n) * second}
		c.Fork(Info{Key: k, Parent: Key{Tgid: n/2 + 2, Start: uint64(n/2) * second}})
		c.Exec(k.Start+1, Info{Key: k, Parent: initKey})
	}
	for _, e := range c.Dump() {
		c.Exit(1000*second, e.Info)
	}
	c.Exec(2000*second, Info{Key: Key{Tgid: 7777}})
	// Left are the newest and its parent, the kernel.
	if s := c.Stats(); s.Size != 2 || len(c.current) != 2 || c.ended.Len()+c.neededLen() != 0 || s.Bytes > 2000 {
		t.Errorf("%+v, %d keys, %d ended, %d needed", s, len(c.current), c.ended.Len(), c.neededLen())
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c, shell := withShell(Options{Size: 20})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range uint32(2000) {
			k := Key{Tgid: n + 500, Start: uint64(n)}
			c.Fork(Info{Key: k, Parent: shellKey})
			c.Exit(uint64(n), Info{Key: k})
		}
	})
	for range 2 {
		wg.Go(func() {
			for range 500 {
				c.Dump()
				c.Get(shellKey)
				c.ByExecID(shell.ExecID)
				c.Stats()
			}
		})
	}
	wg.Wait()
}

func TestFlagWords(t *testing.T) {
	t.Parallel()
	if got := (Exec | Clone | RootCwd).String(); got != "execve rootcwd clone" {
		t.Errorf("%q", got)
	}
	all := Exec | ProcFS | TruncArgs | Miss | ErrorFilename | ErrorArgs | NoCwd | RootCwd | ErrorCwd | Clone
	if got := all.String(); got != "execve procFS truncArgs miss errorFilename errorArgs nocwd rootcwd errorCWD clone" {
		t.Errorf("%q", got)
	}
	if got := Flags(0).String(); got != "" {
		t.Errorf("%q", got)
	}
}

func BenchmarkForkExecExit(b *testing.B) {
	for name, ancestors := range map[string]bool{"parents": false, "ancestors": true} {
		b.Run(name, func(b *testing.B) {
			c, _ := withShell(Options{Ancestors: ancestors})
			// As deep as a shell in a container is.
			parent := shellKey
			for n := range uint32(6) {
				k := Key{Tgid: 200 + n, Start: 250 * second}
				c.Fork(Info{Key: k, Parent: parent})
				parent = k
			}
			args := []string{"ls", "-l"}
			b.ReportAllocs()
			n := uint32(0)
			for b.Loop() {
				n++
				at := 300*second + uint64(n)*100_000
				k := Key{Tgid: 1000 + n%30000, Start: at}
				c.Fork(Info{Key: k, Parent: parent})
				c.Exec(at+1, Info{Key: k, Parent: parent, Binary: "/bin/ls", Args: args, Cwd: "/"})
				c.Exit(at+2, Info{Key: k})
			}
		})
	}
}

func BenchmarkLine(b *testing.B) {
	c, _ := withShell(Options{Ancestors: true})
	parent := shellKey
	var p *Process
	for n := range uint32(6) {
		k := Key{Tgid: 200 + n, Start: 250 * second}
		p = c.Fork(Info{Key: k, Parent: parent})
		parent = k
	}
	for name, ancestors := range map[string]bool{"parent": false, "ancestors": true} {
		b.Run(name, func(b *testing.B) {
			var line []Relative
			b.ReportAllocs()
			for b.Loop() {
				line = c.Line(p, ancestors, line[:0])
			}
		})
	}
}
