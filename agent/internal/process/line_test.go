// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// entryOf is what the dump has of a value.
func entryOf(t *testing.T, c *Cache, p *Process) Entry {
	t.Helper()
	for _, e := range c.Dump() {
		if e.Process == p {
			return e
		}
	}
	t.Fatalf("process %d is not in the dump", p.Key.Tgid)
	return Entry{}
}

func binaries(line []Relative) (names []string) {
	for _, r := range line {
		names = append(names, r.Binary)
	}
	return names
}

func TestUsesOfAValue(t *testing.T) {
	t.Parallel()
	for _, ancestors := range []bool{false, true} {
		c, shell := withShell(Options{Ancestors: ancestors})
		first := c.byID[shell.ParentExecID].Process
		c.Fork(Info{Key: childKey, Parent: shellKey})
		// The value of the fork holds its parent until its grace is over.
		c.Exec(201*second, Info{Key: childKey, Parent: shellKey})
		c.Exec(202*second, Info{Key: shellKey, Parent: initKey})
		e := entryOf(t, c, shell)
		if want := (map[string]int32{"process++": 1, "process--": 1, "parent++": 2}); !cmp.Equal(want, e.Uses.Ops()) || e.Running || e.Color != InUse || e.Uses.Refs() != 2 {
			t.Errorf("ancestors %v: %+v, %v", ancestors, e, e.Uses.Ops())
		}
		// Process 1 has the shell's three values, of which the first is over, and two
		// further down.
		want := map[string]int32{"process++": 1, "parent++": 3, "parent--": 1}
		if ancestors {
			want["ancestor++"] = 2
		}
		if got := entryOf(t, c, first); !cmp.Equal(want, got.Uses.Ops()) || !got.Running || got.Color != InUse {
			t.Errorf("ancestors %v: process 1: %v", ancestors, got.Uses.Ops())
		}
		c.Exit(203*second, Info{Key: childKey})
		c.Exit(203*second, Info{Key: shellKey})
		last, _ := c.Get(shellKey)
		if e := entryOf(t, c, last); e.Running || e.Color != DeletePending || e.Uses.Refs() != 0 {
			t.Errorf("ancestors %v: nobody uses %+v", ancestors, e)
		}
		c.Exec(300*second, Info{Key: Key{Tgid: 9, Start: 1}})
		want = map[string]int32{"process++": 1, "parent++": 3, "parent--": 3}
		if ancestors {
			want["ancestor++"], want["ancestor--"] = 2, 2
		}
		if got := entryOf(t, c, first); !cmp.Equal(want, got.Uses.Ops()) {
			t.Errorf("ancestors %v: process 1, alone: %v", ancestors, got.Uses.Ops())
		}
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	c, shell := withShell(Options{Ancestors: true})
	c.Fork(Info{Key: childKey, Parent: shellKey})
	child := c.Exec(201*second, Info{Key: childKey, Parent: shellKey, Binary: "/bin/make"})
	grandchild := c.Fork(Info{Key: Key{Tgid: 300, Start: 202 * second}, Parent: childKey})
	// Both in between end, and the shell's place is taken: who adopts the process is
	// none of its ancestors.
	c.Exit(203*second, Info{Key: childKey})
	c.Exec(203*second, Info{Key: shellKey, Parent: initKey, Binary: "/bin/other"})
	c.Exec(900*second, Info{Key: initKey, Binary: "/sbin/init2"})
	line := c.Line(grandchild, true, nil)
	if diff := cmp.Diff([]string{"/bin/make", "/bin/make", "/bin/sh", "/sbin/init", "<kernel>"}, binaries(line)); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if line[0].Process != grandchild || line[0].Refs != 1 || line[1].Process != child || line[1].Refs != 1 || line[2].Process != shell || line[2].Refs != 1 {
		t.Errorf("%+v", line)
	}
	if got := binaries(c.Line(grandchild, false, line[:1])); !cmp.Equal(got, []string{"/bin/make", "/bin/make", "/bin/make"}) {
		t.Errorf("without ancestors, after another: %v", got)
	}
	// The last to need them ends.
	c.Exit(901*second, Info{Key: grandchild.Key})
	c.Exec(999*second, Info{Key: shellKey, Parent: initKey})
	for _, p := range []*Process{grandchild, child, shell} {
		if _, ok := c.ByExecID(p.ExecID); ok {
			t.Errorf("%s is kept for nobody", p.Binary)
		}
	}
	if got := c.Line(grandchild, true, nil); len(got) != 1 || got[0].Refs != 0 {
		t.Errorf("line of what is forgotten: %+v", got)
	}
}

func TestAncestorsAreBounded(t *testing.T) {
	t.Parallel()
	c := newCache(Options{Ancestors: true})
	parent := Key{Tgid: 1, Start: 1}
	var last *Process
	for n := range uint32(1000) {
		at := uint64(n+1) * 20 * second
		child := Key{Tgid: 2 + n, Start: at}
		last = c.Fork(Info{Key: child, Parent: parent})
		c.Exit(at+1, Info{Key: parent})
		parent = child
	}
	if got := len(c.Line(last, true, nil)); got != 2+maxAncestors {
		t.Errorf("line of %d", got)
	}
	// The last two of them hold theirs; the kernel is nobody's parent here.
	if n := c.Stats().Size; n > maxAncestors+5 {
		t.Errorf("%d processes are kept", n)
	}
}

// TestLineOfALoop: /proc can tell that two processes are each other's parents.
func TestLineOfALoop(t *testing.T) {
	t.Parallel()
	a, b := Key{Tgid: 10, Start: second}, Key{Tgid: 11, Start: second}
	c := newCache(Options{Ancestors: true})
	c.Load([]Info{{Key: a, Parent: b, Binary: "/a"}, {Key: b, Parent: a, Binary: "/b"}})
	p, _ := c.Get(a)
	if diff := cmp.Diff([]string{"/a", "/b"}, binaries(c.Line(p, true, nil))); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	for n, e := range c.Dump() {
		if e.Uses.Refs() > 2 {
			t.Errorf("%d: %v", n, e.Uses.Ops())
		}
	}
}

// model is the cache as one would write it that had no time to be fast: it holds
// everything that ever was, and asks of each whether it is still there.
type model struct {
	grace     uint64
	ancestors bool
	all       []*value
	current   map[Key]*value
}

type value struct {
	key        Key
	since, end uint64
	parent     *value
	parentID   string
	holds      []*value
	running    bool
	over       bool // the grace
	replaced   bool
}

func (v *value) id() string { return id(v.since, v.key.Tgid) }

func (m *model) holders(of *value) (n uint32) {
	for _, v := range m.all {
		if v.replaced || !v.running && v.over {
			continue
		}
		for _, held := range v.holds {
			if held == of {
				n++
			}
		}
	}
	return n
}

func (m *model) present(v *value) bool {
	return !v.replaced && (v.running || !v.over || m.holders(v) > 0)
}

func (m *model) expire(now uint64) {
	for _, v := range m.all {
		if !v.running && v.end+m.grace < now {
			v.over = true
			if !m.ancestors {
				v.parent = nil
			}
		}
	}
}

func (m *model) find(k Key) *value {
	if v := m.current[k]; v != nil && m.present(v) {
		return v
	}
	return nil
}

func (m *model) parentOf(k Key) *value {
	if v := m.find(k); v != nil {
		return v
	}
	return m.add(k, k.Start, nil)
}

func (m *model) add(k Key, since uint64, parent *value) *value {
	v := &value{key: k, since: since}
	before := m.find(k)
	twin := before
	for _, other := range m.all {
		if m.present(other) && other.id() == v.id() {
			twin = other
		}
	}
	switch {
	case twin == nil || twin.id() != v.id():
		m.all = append(m.all, v)
	case twin.parent == nil:
		v = twin
	default:
		defer func() { twin.replaced = true }()
		m.all = append(m.all, v)
	}
	if before != nil && before != v && before.running {
		before.running, before.end = false, since
	}
	m.current[k], v.running, v.over, v.holds = v, true, false, nil
	if parent == nil {
		return v
	}
	v.parentID = parent.id()
	for a, n := parent, 0; a != nil && n <= maxAncestors; a, n = a.parent, n+1 {
		if a == v {
			return v
		}
	}
	v.parent, v.holds = parent, []*value{parent}
	for a := parent.parent; m.ancestors && a != nil && m.present(a) && len(v.holds) <= maxAncestors; a = a.parent {
		v.holds = append(v.holds, a)
	}
	return v
}

func (m *model) line(v *value) (ids []string) {
	byID := map[string]*value{}
	for _, v := range m.all {
		if m.present(v) {
			byID[v.id()] = v
		}
	}
	seen := map[*value]bool{}
	for ; v != nil && !seen[v]; v = byID[v.parentID] {
		seen[v] = true
		ids = append(ids, v.id())
	}
	return ids
}

// check compares the cache with the model, and what the cache counts with what it
// has.
func (m *model) check(t *testing.T, c *Cache, step string) {
	t.Helper()
	want := map[string]string{}
	for _, v := range m.all {
		if m.present(v) {
			refs, color := m.holders(v), InUse
			if v.running {
				refs++
			}
			if refs == 0 {
				color = DeletePending
			}
			want[v.id()] = fmt.Sprint(refs, v.running, color, v.parentID)
		}
	}
	got := map[string]string{}
	for _, e := range c.Dump() {
		got[e.ExecID] = fmt.Sprint(e.Uses.Refs(), e.Running, e.Color, e.ParentExecID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s: want -, got +:\n%s", step, diff)
	}
	for _, v := range m.all {
		if v.replaced || m.current[v.key] != v || !m.present(v) {
			continue
		}
		p, ok := c.Get(v.key)
		if !ok {
			t.Fatalf("%s: no current value of %v: %+v", step, v.key, v)
		}
		var ids []string
		for _, r := range c.Line(p, true, nil) {
			ids = append(ids, r.ExecID)
		}
		if diff := cmp.Diff(m.line(v), ids); diff != "" {
			t.Fatalf("%s: line: want -, got +:\n%s", step, diff)
		}
	}
	checkBytes(t, c, step)
}

// checkBytes: the cache counts the bytes of all that can be reached.
func checkBytes(t *testing.T, c *Cache, step string) {
	t.Helper()
	bytes, dropped := 0, map[*entry]bool{}
	for _, e := range c.byID {
		bytes += e.Process.bytes()
		for a := e.up; a != nil; a = a.up {
			if a.list == nil && a.held() && !dropped[a] {
				dropped[a] = true
				bytes += droppedBytes
			}
		}
	}
	listed, shared := c.ended.Len(), droppedBytes*len(dropped)
	for _, s := range c.slots {
		listed += s.running.Len() + s.needed.Len()
		shared += s.bytes
	}
	if bytes != c.bytes || bytes != shared || len(c.byID) != listed {
		t.Fatalf("%s: %d bytes, counted as %d, and %d in shares; %d values, %d in lists", step, bytes, c.bytes, shared, len(c.byID), listed)
	}
}

// TestCacheIsLikeItsModel does random things, also those that the kernel does not:
// processes that were never forked, two forks of one, children of the dead.
func TestCacheIsLikeItsModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(16) {
		random := rand.New(rand.NewPCG(seed, 1))
		ancestors := seed%2 == 0
		c := newCache(Options{Grace: 20 * time.Second, Ancestors: ancestors})
		m := &model{grace: 20 * second, ancestors: ancestors, current: map[Key]*value{}}
		var keys []Key
		now := second
		for step := range 120 {
			now += second * uint64(1+random.IntN(4))
			if len(keys) < 2 || random.IntN(3) == 0 {
				keys = append(keys, Key{Tgid: 1 + random.Uint32N(9), Start: now})
			}
			recent := keys[max(0, len(keys)-8):]
			k := recent[random.IntN(len(recent))]
			parent := keys[random.IntN(len(keys))]
			if random.IntN(2) == 0 {
				parent = recent[random.IntN(len(recent))]
			}
			did := ""
			switch what := random.IntN(10); {
			case what < 4 && parent != k && (m.find(k) == nil || m.find(k).since == k.Start):
				did = "fork"
				c.Fork(Info{Key: k, Parent: parent})
				m.expire(k.Start)
				m.add(k, k.Start, m.parentOf(parent))
			case what < 7 && parent != k:
				did = "exec"
				now++ // for two processes of one id cannot begin at once
				c.Exec(now, Info{Key: k, Parent: parent})
				m.expire(now)
				if before := m.find(k); before != nil && before.running {
					before.running, before.end = false, now
				}
				m.add(k, now, m.parentOf(parent))
			case what < 9:
				did = "exit"
				c.Exit(now, Info{Key: k})
				m.expire(now)
				v := m.parentOf(k)
				if v.running {
					v.running, v.end = false, now
				}
			default:
				did = "see"
				c.Seen(Info{Key: k})
				m.parentOf(k)
			}
			m.check(t, c, fmt.Sprintf("seed %d, step %d: %s %v, parent %v", seed, step, did, k, parent))
		}
		if c.stats.Evicted != 0 {
			t.Fatal("something made room")
		}
	}
}

// TestUsesWhileThereIsNoRoom: what made room is let go of by all that held it.
func TestUsesWhileThereIsNoRoom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		c := newCache(Options{Grace: 20 * time.Second, Ancestors: seed%2 == 0, Size: 1 + random.IntN(20)})
		now := second
		var keys []Key
		for step := range 500 {
			now += second
			k := Key{Tgid: 1 + random.Uint32N(50), Start: now}
			parent := k
			if len(keys) > 0 {
				parent = keys[max(0, len(keys)-1-random.IntN(12))]
			}
			switch random.IntN(4) {
			case 0, 1:
				keys = append(keys, k)
				c.Fork(Info{Key: k, Parent: parent})
			case 2:
				c.Exec(now, Info{Key: parent, Parent: k})
			case 3:
				c.Exit(now, Info{Key: parent})
			}
			at := fmt.Sprintf("seed %d, step %d", seed, step)
			checkBytes(t, c, at)
			if got := c.Stats().Size; got > c.options.Size {
				t.Fatalf("%s: %d values", at, got)
			}
		}
		for _, e := range c.Dump() {
			c.Exit(now, e.Info)
		}
		c.Exec(now+100*second, Info{Key: Key{Tgid: 7777}})
		for _, e := range c.Dump() {
			if e.Key.Tgid != 7777 && e.Key.Tgid != 0 {
				t.Errorf("seed %d: nobody needs %+v: %v", seed, e.Key, e.Uses.Ops())
			}
		}
		checkBytes(t, c, fmt.Sprintf("seed %d, at the end", seed))
	}
}
