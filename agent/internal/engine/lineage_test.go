// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/probe"
)

// family is programs of a test's own, each a busybox under another path: shells that
// start one another, and one that does the act.
type family struct {
	*bench
	dir string
}

func newFamily(t *testing.T) *family {
	t.Helper()
	f := &family{bench: newBench(t), dir: testenv.Dir(t)}
	box, err := probe.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "ash", "chroot"} { // applets know themselves by these names
		text, err := os.ReadFile(box)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(f.dir, name), text, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// asks is a policy about the act of processes that a selector's filters choose.
func (f *family) asks(filters string) *compile.Policy {
	return f.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{` + filters + `, matchArgs: [{index: 5, operator: Equal, values: ["$M"]}]}]}
`)
}

// inForce loads a policy and puts it in force for the host, alone.
func (f *family) inForce(filters string) PolicyID {
	f.t.Helper()
	id := f.load(f.asks(filters))
	f.hosts(id)
	return id
}

func (f *family) hosts(ids ...PolicyID) {
	f.t.Helper()
	var set []Member
	for _, id := range ids {
		set = append(set, Member{id, true})
	}
	if err := f.Apply([]Assignment{{Slots: []uint32{0}, Set: set}}, true); err != nil {
		f.t.Fatal(err)
	}
}

// seen is how often a policy has seen its act since the last call.
func (f *family) seen(id PolicyID, before *uint64) uint64 {
	f.t.Helper()
	c, err := f.Counters(id)
	if err != nil {
		f.t.Fatal(err)
	}
	n := c.Post - *before
	*before = c.Post
	return n
}

// act is a shell's command that does the act in a process of its own, or instead of
// the shell.
func (f *family) act() string { return f.dir + "/chroot " + f.marker + " /x 2>/dev/null" }

// script runs a command in one of the family's shells.
func (f *family) script(shell, command string) {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), filepath.Join(f.dir, shell), "-c", command)
	if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState == nil {
		f.t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// waiting is a shell whose child does the act when it is told to.
type waiting struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// waits starts one: its child is there when it returns.
func (f *family) waits(t *testing.T, shell string) *waiting {
	t.Helper()
	return f.started(t, shell, "("+f.loop()+"); exit 0")
}

// orphan is a child whose shell, and the one between them, have ended.
func (f *family) orphan(t *testing.T, shell string) *waiting {
	t.Helper()
	w := f.started(t, shell, "exec 3<&0; ( ("+f.loop()+") <&3 & ) ; exit 0")
	if _, err := w.cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	return w
}

// loop acts for each line that is read.
func (f *family) loop() string {
	return "echo there; while read line; do " + f.act() + "; echo done; done"
}

func (f *family) started(t *testing.T, shell, command string) *waiting {
	t.Helper()
	w := &waiting{t: t}
	w.cmd = exec.CommandContext(t.Context(), filepath.Join(f.dir, shell), "-c", command)
	var err error
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.out = bufio.NewReader(out)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.in.Close()
		_ = w.cmd.Wait()
	})
	w.says("there")
	return w
}

func (w *waiting) says(word string) {
	w.t.Helper()
	if line, err := w.out.ReadString('\n'); err != nil || line != word+"\n" {
		w.t.Fatalf("the shell says %q (%v), not %s", line, err, word)
	}
}

func (w *waiting) acts() {
	w.t.Helper()
	if _, err := io.WriteString(w.in, "go\n"); err != nil {
		w.t.Fatal(err)
	}
	w.says("done")
}

func TestChildrenAreFollowed(t *testing.T) {
	f := newFamily(t)
	sh := filepath.Join(f.dir, "sh")
	early, stranger := f.waits(t, "sh"), f.waits(t, "ash")
	in := f.inForce(fmt.Sprintf("matchBinaries: [{operator: In, values: [%s], followChildren: true}]", sh))
	out := f.load(f.asks(fmt.Sprintf("matchBinaries: [{operator: NotIn, values: [%s], followChildren: true}]", sh)))
	f.hosts(in, out)
	var seenIn, seenOut uint64
	for _, c := range []struct {
		name string
		act  func()
		of   bool
	}{
		{"a child", func() { f.script("sh", f.act()+"; true") }, true},
		{"a grandchild", func() { f.script("sh", "("+f.act()+"; true); true") }, true},
		{"an orphan", func() { f.orphan(t, "sh").acts() }, true},
		{"the shell itself, having become another", func() { f.script("sh", "exec "+f.act()) }, true},
		{"a child of a shell that another has become", func() { f.script("ash", "exec "+sh+" -c '"+f.act()+"; true'") }, true},
		{"a child that was there before the policy", early.acts, true},
		{"another's child", func() { f.script("ash", f.act()+"; true") }, false},
		{"another's child that was there before", stranger.acts, false},
	} {
		c.act()
		gotIn, gotOut := f.seen(in, &seenIn), f.seen(out, &seenOut)
		wantIn, wantOut := uint64(1), uint64(0)
		if !c.of {
			wantIn, wantOut = 0, 1
		}
		if gotIn != wantIn || gotOut != wantOut {
			t.Errorf("%s: seen %d times by In and %d by NotIn, want %d and %d", c.name, gotIn, gotOut, wantIn, wantOut)
		}
	}
}

func TestParentsAreAskedFor(t *testing.T) {
	f := newFamily(t)
	sh := filepath.Join(f.dir, "sh")
	filters := []struct {
		filter string
		// want is whether it holds for a child of the shell, a grandchild whose parent is
		// another shell, what the shell itself becomes, and a child of another shell.
		want [4]bool
	}{
		{"operator: In, values: [" + sh + "]", [4]bool{true, false, false, false}},
		{"operator: NotIn, values: [" + sh + "]", [4]bool{false, true, true, true}},
		{"operator: Prefix, values: [" + f.dir + "/s]", [4]bool{true, false, false, false}},
		{"operator: NotPostfix, values: [/sh]", [4]bool{false, true, true, true}},
		{"operator: In, values: [" + sh + "], followChildren: true", [4]bool{true, true, false, false}},
		{"operator: NotIn, values: [" + sh + "], followChildren: true", [4]bool{false, false, true, true}},
	}
	var ids []PolicyID
	for _, c := range filters {
		ids = append(ids, f.load(f.asks("matchParentBinaries: [{"+c.filter+"}]")))
	}
	f.hosts(ids...)
	before := make([]uint64, len(ids))
	for n, act := range []func(){
		func() { f.script("sh", f.act()+"; true") },
		func() { f.script("sh", f.dir+"/ash -c '"+f.act()+"; true'; true") },
		func() { f.script("sh", "exec "+f.act()) },
		func() { f.script("ash", f.act()+"; true") },
	} {
		act()
		for i, c := range filters {
			if got := f.seen(ids[i], &before[i]); (got == 1) != c.want[n] || got > 1 {
				t.Errorf("%s: act %d is seen %d times, want %v", c.filter, n, got, c.want[n])
			}
		}
	}
}

// A bit that is used again means nothing of whom it was given to before.
func TestFollowedAnew(t *testing.T) {
	f := newFamily(t)
	follow := func(shell string) string {
		return fmt.Sprintf("matchBinaries: [{operator: In, values: [%s/%s], followChildren: true}]", f.dir, shell)
	}
	old := f.waits(t, "sh")
	var before uint64
	first := f.inForce(follow("sh"))
	if old.acts(); f.seen(first, &before) != 1 {
		t.Fatal("the shell's child is not followed")
	}
	f.hosts()
	if err := f.Unload(first); err != nil {
		t.Fatal(err)
	}
	if f.lineages.program != nil {
		t.Error("programs follow tasks for nobody")
	}
	before = 0
	second := f.inForce(follow("ash"))
	if bit := f.lineages.bits[f.policies[second].lineages[0].Key()]; bit != 0 {
		t.Fatalf("bit %d and not the one that was free: the test shows nothing", bit)
	}
	if old.acts(); f.seen(second, &before) != 0 {
		t.Error("a child is taken for one of whom its bit was before")
	}
	if f.script("ash", f.act()+"; true"); f.seen(second, &before) != 1 {
		t.Error("the new one's child is not followed")
	}
	// Two that ask for the same share it, and it stays while one does.
	third := f.load(f.asks(follow("ash")))
	if n := len(f.lineages.bits); n != 1 {
		t.Errorf("%d bits for the same lineage twice", n)
	}
	f.hosts(third)
	if err := f.Unload(second); err != nil {
		t.Fatal(err)
	}
	before = 0
	if f.script("ash", f.act()+"; true"); f.seen(third, &before) != 1 {
		t.Error("a lineage ended with the first of two policies")
	}
}

func TestForksAreFollowed(t *testing.T) {
	f := newFamily(t)
	one, other := f.waits(t, "sh"), f.waits(t, "sh")
	var before uint64
	id := f.inForce(fmt.Sprintf("matchPIDs: [{operator: In, values: [%d], followForks: true}]", one.cmd.Process.Pid))
	if one.acts(); f.seen(id, &before) != 1 {
		t.Error("the child of the process is not followed")
	}
	if other.acts(); f.seen(id, &before) != 0 {
		t.Error("another's child is followed")
	}
	// In the namespace that it makes the first process has a pid that the host's has too.
	inside := f.load(f.asks("matchPIDs: [{operator: In, values: [1], isNamespacePID: true, followForks: true}], " +
		"matchNamespaces: [{namespace: Pid, operator: NotIn, values: [host_ns]}]"))
	f.hosts(inside)
	before = 0
	f.script("sh", "unshare -p -f "+f.dir+"/sh -c '"+f.act()+"; true'")
	if n := f.seen(inside, &before); n != 1 {
		t.Errorf("the child of a namespace's first process is seen %d times", n)
	}
	if other.acts(); f.seen(inside, &before) != 0 {
		t.Error("a process of the host is taken for one of the namespace")
	}
}

// One policy more than there are bits is refused, and leaves nothing.
func TestLineagesThatDoNotFit(t *testing.T) {
	f := newFamily(t)
	name := strings.Repeat("x", 20)
	var selectors []string
	load := func(n int) error {
		_, err := f.Load(f.policy("  - {subsystem: syscalls, event: sys_enter_chroot, selectors: [" + strings.Join(selectors[:n], ", ") + "]}\n"))
		return err
	}
	for i := range 32 {
		selectors = append(selectors, fmt.Sprintf("{matchBinaries: [{operator: In, values: [/%s/%d], followChildren: true}]}", name, i))
	}
	if err := load(32); err != nil {
		t.Fatal(err)
	}
	if n := len(f.lineages.bits); n != 32 {
		t.Fatalf("%d bits for 32 lineages", n)
	}
	for i := range compile.MaxLineages - 32 {
		if err := f.follow([]compile.Lineage{{Binaries: []string{fmt.Sprintf("/%s/more/%d", name, i)}}}); err != nil {
			t.Fatal(err)
		}
	}
	elements := f.Elements()
	selectors[0] = strings.ReplaceAll(selectors[0], "/0]", "/new]")
	if err := load(1); err == nil || !strings.Contains(err.Error(), "512") {
		t.Errorf("one more: %v", err)
	}
	if after := f.Elements(); after != elements {
		t.Errorf("a refused policy leaves %+v where %+v were", after, elements)
	}
}
