// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/attach"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// Tests here put rules in force for the host, that is for every process of the
// machine: each compares a string with one that no other process has, and asks
// for calls that fail.

// points attaches to the kernel's tracepoints.
type points struct {
	*attach.Points
	// refuse is an event to which nothing can be attached.
	refuse string
}

func (p *points) Attach(prog *ebpf.Program, at compile.Site) (io.Closer, error) {
	if at.Name == p.refuse {
		return nil, errRefused
	}
	return p.Points.Attach(prog, at)
}

func (p *points) AttachExit(prog *ebpf.Program, at compile.Site) (io.Closer, error) {
	if p.refuse != "" && slices.Contains(at.ExitEvents(), p.refuse) {
		return nil, fmt.Errorf("%s: %w", p.refuse, errRefused)
	}
	return p.Points.AttachExit(prog, at)
}

var errRefused = errors.New("refused")

// bench is an engine over the kernel's tracepoints, with a word that only this
// test says.
type bench struct {
	*Engine
	t      testing.TB
	points *points
	marker string
	ring   *ringbuf.Reader
}

func newBench(t testing.TB) *bench {
	t.Helper()
	testenv.Require(t, testenv.Root(), testenv.BPF(), testenv.BTF(), testenv.Tracefs())
	hooks, err := attach.Open(kernel.NewFeatures(kernel.Answer{Feature: kernel.Signal}))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, points: &points{Points: hooks}, marker: "/" + filepath.Base(testenv.Dir(t))}
	t.Cleanup(func() { _ = hooks.Close() })
	b.Engine = openBare(t, b.points)
	if b.ring, err = ringbuf.NewReader(b.maps.coll.Maps[bpf.SiteMapEvents]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.ring.Close() })
	return b
}

// policy parses and compiles a policy; $M is the test's word.
func (b *bench) policy(tracepoints string) *compile.Policy {
	b.t.Helper()
	text := "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n  tracepoints:\n" + tracepoints
	p, err := policy.Parse([]byte(strings.ReplaceAll(text, "$M", b.marker)))
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := compile.Compile(p, b.points)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// chroots is a policy about chroot of the test's word.
func (b *bench) chroots(actions string) *compile.Policy {
	b.t.Helper()
	return b.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchActions: [` + actions + `]}]}
`)
}

const (
	post = "{action: Post}"
	kill = "{action: Sigkill}"
	// wink is a signal that nobody minds.
	wink = "{action: Signal, argSig: 28}"
)

func (b *bench) load(p *compile.Policy) PolicyID {
	b.t.Helper()
	id, err := b.Load(p)
	if err != nil {
		b.t.Fatalf("load: %v", err)
	}
	return id
}

func (b *bench) apply(set ...Member) {
	b.t.Helper()
	if err := b.Apply([]Assignment{{Slots: []uint32{0}, Set: set}}, true); err != nil {
		b.t.Fatalf("apply: %v", err)
	}
}

func (b *bench) counters(id PolicyID) Counters {
	b.t.Helper()
	c, err := b.Counters(id)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// event is the next event of this process, nil when there is none.
func (b *bench) event() *siteEvent {
	b.t.Helper()
	r := &rig{t: b.t, ring: b.ring}
	return r.event()
}

// busybox runs chroot of the test's word in another process.
func (b *bench) busybox() (killed bool) {
	b.t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		b.t.Skipf("needs another process: %v", err)
	}
	out, err := exec.CommandContext(b.t.Context(), busybox, "chroot", b.marker, "true").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		b.t.Fatalf("chroot of what does not exist: %v: %s", err, out)
	}
	status := exit.ProcessState.Sys().(interface{ Signaled() bool })
	return status.Signaled()
}

func (b *bench) chroot() {
	b.t.Helper()
	if err := unix.Chroot(b.marker); !errors.Is(err, unix.ENOENT) {
		b.t.Errorf("chroot of what does not exist: %v", err)
	}
}

func TestKillOnlyWhileInForce(t *testing.T) {
	b := newBench(t)
	id := b.load(b.chroots(kill))
	for _, step := range []struct {
		name   string
		do     func()
		killed bool
		want   Counters
	}{
		{"loaded", func() {}, false, Counters{}},
		{"enforced", func() { b.apply(Member{id, true}) }, true, Counters{Post: 1, Signal: 1}},
		{"again", func() {}, true, Counters{Post: 2, Signal: 2}},
		{"monitored", func() { b.apply(Member{id, false}) }, false, Counters{Post: 3, Signal: 2, MonitorSignal: 1}},
		{"withdrawn", func() { b.apply() }, false, Counters{Post: 3, Signal: 2, MonitorSignal: 1}},
		{"back", func() { b.apply(Member{id, true}) }, true, Counters{Post: 4, Signal: 3, MonitorSignal: 1}},
	} {
		step.do()
		if killed := b.busybox(); killed != step.killed {
			t.Errorf("%s: killed %v, want %v", step.name, killed, step.killed)
		}
		if got := b.counters(id); got != step.want {
			t.Errorf("%s: counters %+v, want %+v", step.name, got, step.want)
		}
	}
	if err := b.Unload(id); err == nil {
		t.Error("a policy in force was unloaded")
	}
	b.apply()
	if err := b.Unload(id); err != nil {
		t.Error(err)
	}
	if b.busybox() {
		t.Error("killed after the policy was unloaded")
	}
	if sites := b.Sites(); len(sites) != 0 {
		t.Errorf("sites without policies: %+v", sites)
	}
}

func TestSlotsOfOthersAreNotJudged(t *testing.T) {
	b := newBench(t)
	id := b.load(b.chroots(kill))
	if err := b.Apply([]Assignment{{Slots: []uint32{2, 3}, Set: []Member{{id, true}}}}, true); err != nil {
		t.Fatal(err)
	}
	if b.busybox() {
		t.Error("a process of the host was judged by a container's rules")
	}
}

// The agent is never signalled, and that is counted.
func TestAgentIsSpared(t *testing.T) {
	b := newBench(t)
	id := b.load(b.chroots(wink))
	b.apply(Member{id, true})
	b.chroot()
	if got, want := b.counters(id), (Counters{Post: 1}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
	var perCPU []uint64
	err := b.maps.coll.Maps[bpf.SiteMapKernelErrors].Lookup(uint32(bpf.WireKernelErrorKERR_GUARDED), &perCPU)
	if err != nil {
		t.Fatal(err)
	}
	total := uint64(0)
	for _, n := range perCPU {
		total += n
	}
	if total != 1 {
		t.Errorf("%d signals held back, want 1", total)
	}
	if e := b.event(); e == nil || !compile.Empty(e.Signalled) || !compile.Has(e.Posted, 0) {
		t.Errorf("event %+v, want one that tells of no signal", e)
	}
}

// files counts what this process has open of a kind, such as bpf-prog.
func files(t testing.TB) map[string]int {
	t.Helper()
	counts := map[string]int{}
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "anon_inode:") {
			counts[target]++
		}
	}
	return counts
}

// programs is the ids of the programs of all sites.
func (b *bench) programs() (ids []ebpf.ProgramID) {
	b.t.Helper()
	for _, s := range b.sites {
		for name, p := range s.program.coll.Programs {
			info, err := p.Info()
			if err != nil {
				b.t.Fatal(err)
			}
			id, ok := info.ID()
			if !ok {
				b.t.Skipf("needs ids of programs, which this kernel does not tell: %s", name)
			}
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// checkGone checks that the kernel has let go of programs: as long as one is
// attached it exists.
func checkGone(t testing.TB, ids []ebpf.ProgramID) {
	t.Helper()
	testenv.Eventually(t, 5*time.Second, "programs are gone", func() error {
		for _, id := range ids {
			p, err := ebpf.NewProgramFromID(id)
			if err == nil {
				_ = p.Close()
				return fmt.Errorf("program %d is there", id)
			}
		}
		return nil
	})
}

func TestFailedLoadLeavesNothing(t *testing.T) {
	b := newBench(t)
	const twoSites = `  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchActions: [{action: Sigkill}]}]}
  - {subsystem: syscalls, event: sys_enter_swapoff, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Prefix, values: ["$M"]}], matchActions: [{action: Post}]}]}
`
	for _, refuse := range []string{"sys_enter_swapoff", "sys_exit_swapoff", "sys_enter_chroot", "sys_exit_chroot"} {
		before := files(t)
		b.points.refuse = refuse
		if _, err := b.Load(b.policy(twoSites)); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), refuse) {
			t.Fatalf("load: %v, want an error about %s", err, refuse)
		}
		for kind, n := range files(t) {
			if n != before[kind] {
				t.Errorf("%s refused: %d of %s are open, %d were", refuse, n, kind, before[kind])
			}
		}
		if sites := b.Sites(); len(sites) != 0 {
			t.Errorf("%s refused: sites %+v", refuse, sites)
		}
		checkNoValues(t, b.Engine)
	}
	b.points.refuse = ""
	id := b.load(b.policy(twoSites))
	b.apply(Member{id, true})
	if !b.busybox() {
		t.Error("the same policy later does not kill")
	}
}

// checkNoValues checks that no value of a policy is in the kernel.
func checkNoValues(t testing.TB, e *Engine) {
	t.Helper()
	var key compile.ValueKey
	if err := e.maps.coll.Maps[bpf.SiteMapMatchValues].NextKey(nil, &key); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Errorf("a value is left in the kernel: %+v, %v", key, err)
	}
}

func TestCloseDetaches(t *testing.T) {
	testenv.LeakCheck(t)
	var ids []ebpf.ProgramID
	marker := ""
	t.Run("engine", func(t *testing.T) {
		b := newBench(t)
		b.apply(Member{b.load(b.chroots(kill)), true})
		ids, marker = b.programs(), b.marker
	})
	if len(ids) != 2 {
		t.Fatalf("%d programs were loaded, want those of entry and exit", len(ids))
	}
	checkGone(t, ids)
	if (&bench{t: t, marker: marker}).busybox() {
		t.Error("killed after Close")
	}
}

func TestUnloadDetaches(t *testing.T) {
	b := newBench(t)
	first, second := b.load(b.chroots(kill)), b.load(b.chroots(post))
	ids := b.programs()
	if err := b.Unload(first); err != nil {
		t.Fatal(err)
	}
	if now := b.programs(); !slices.Equal(now, ids) {
		t.Errorf("programs %v became %v, though a policy needs them", ids, now)
	}
	if err := b.Unload(second); err != nil {
		t.Fatal(err)
	}
	checkGone(t, ids)
	checkNoValues(t, b.Engine)
	if err := b.Unload(second); err != nil {
		t.Errorf("unload what is not loaded: %v", err)
	}
}
