// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/attach"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/kernel/kerneltest"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/test/testenv"
)

// host is sealing and policies together, as the daemon has them.
type host struct {
	*engine.Engine
	t      testing.TB
	seals  *seal.Seals
	points *attach.Points
	root   *testenv.Cgroup
	// marker is a path that only this test names.
	marker string
}

func newHost(t testing.TB) *host {
	t.Helper()
	preempted, err := kernel.RawTracepointsPreempted()
	if err != nil {
		t.Fatal(err)
	}
	return newHostWhere(t, preempted)
}

// newHostWhere is newHost where programs can, or cannot, be missed.
func newHostWhere(t testing.TB, preempted bool) *host {
	t.Helper()
	testenv.Require(t, testenv.Root(), testenv.BPF(), testenv.BTF(), testenv.Tracefs(), testenv.Cgroup2())
	h := &host{t: t, root: testenv.TempCgroup(t), marker: "/" + filepath.Base(testenv.Dir(t)) + strings.Repeat("x", 64)}
	h.marker = h.marker[:64]
	closing := func(c io.Closer) {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	really, err := kernel.RawTracepointsPreempted()
	if err != nil {
		t.Fatal(err)
	}
	if h.points, err = attach.Open(hostFeatures(t)); err != nil {
		t.Fatal(err)
	}
	closing(h.points)
	keys := compile.NewKeys()
	room := kerneltest.TaskRoom(t)
	if h.seals, err = seal.Open(seal.Options{HashKeys: *keys, RingBytes: 1 << 20, TaskRoom: room, Preempted: really}); err != nil {
		t.Fatal(err)
	}
	closing(h.seals)
	h.Engine, err = engine.Open(engine.Options{
		Keys: keys, Base: h.seals.SharedMaps(), Slots: h.seals, Attacher: h.points, TaskRoom: room,
		Preempted: preempted, Origins: h.seals,
	})
	if err != nil {
		t.Fatal(err)
	}
	closing(h.Engine)
	return h
}

// policy compiles and loads a policy; $M is the test's path.
func (h *host) policy(tracepoints string) engine.PolicyID {
	h.t.Helper()
	return h.load("tracepoints", tracepoints)
}

func (h *host) compiled(tracepoints string) *compile.Policy {
	h.t.Helper()
	return h.compiledOf("tracepoints", tracepoints)
}

// load is policy for the hooks of a section.
func (h *host) load(section, hooks string) engine.PolicyID {
	h.t.Helper()
	id, err := h.Load(h.compiledOf(section, hooks))
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

func (h *host) compiledOf(section, hooks string) *compile.Policy {
	h.t.Helper()
	text := "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n  " + section + ":\n" + hooks
	p, err := policy.Parse([]byte(strings.ReplaceAll(text, "$M", h.marker)))
	if err != nil {
		h.t.Fatal(err)
	}
	compiled, err := compile.Compile(p, h.points)
	if err != nil {
		h.t.Fatal(err)
	}
	return compiled
}

func (h *host) apply(slot uint32, set ...engine.Member) {
	h.t.Helper()
	if err := h.Apply([]engine.Assignment{{Slots: []uint32{slot}, Set: set}}, true); err != nil {
		h.t.Fatal(err)
	}
}

// container makes a cgroup that is sealed at its birth.
func (h *host) container(name string) (*testenv.Cgroup, uint32) {
	h.t.Helper()
	slot, err := h.seals.Take()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.seals.Expect(slot, h.root.Path+"/"+name); err != nil {
		h.t.Fatal(err)
	}
	return h.root.Child(h.t, name), slot
}

// actor is a process that does the act when it is told to.
type actor struct {
	*exec.Cmd
	t   testing.TB
	in  io.WriteCloser
	out *bufio.Reader
}

// actor starts one in a cgroup, in namespaces of its own as a workload is, or in
// the host's.
func (h *host) actor(in *testenv.Cgroup, namespaces uintptr) *actor {
	h.t.Helper()
	return h.actorWith(in, namespaces, "BOLTSEAL_TEST_ACTS="+h.marker)
}

// actorWith is actor for the one that an environment variable chooses.
func (h *host) actorWith(in *testenv.Cgroup, namespaces uintptr, variable string) *actor {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), variable)
	if in != nil {
		in.Born(cmd)
		cmd.SysProcAttr.Cloneflags = namespaces
	}
	a := &actor{Cmd: cmd, t: h.t}
	var err error
	if a.in, err = cmd.StdinPipe(); err != nil {
		h.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	a.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if a.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return a
}

// act does the act n times and tells whether the actor lived on.
func (a *actor) act(n int) bool {
	a.t.Helper()
	if _, err := fmt.Fprintln(a.in, n); err != nil {
		a.t.Fatalf("tell the actor: %v", err)
	}
	line, err := a.out.ReadString('\n')
	if err == nil && line == "done\n" {
		return true
	}
	_ = a.Wait()
	if status, ok := a.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		a.t.Errorf("the actor ended with %v", a.ProcessState)
	}
	return false
}

const killChroot = `  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchActions: [{action: Sigkill}]}]}
`

// Rules of a container are about its workload: not about other containers, the
// host, or the runtime's own tasks in it; and about it wherever it goes.
func TestRulesAreForTheSelectedContainer(t *testing.T) {
	h := newHost(t)
	id := h.policy(killChroot)
	a, slotA := h.container("a")
	b, slotB := h.container("b")
	h.apply(slotA, engine.Member{Policy: id, Enforce: true})
	monitored := h.policy(killChroot)
	h.apply(slotB, engine.Member{Policy: monitored})
	for _, c := range []struct {
		name   string
		actor  *actor
		killed bool
	}{
		{"the host's", h.actor(h.root, 0), false},
		{"the workload's", h.actor(a, syscall.CLONE_NEWUTS), true},
		{"the workload's in a monitored container", h.actor(b, syscall.CLONE_NEWUTS), false},
		{"the runtime's in the container", h.actor(a, 0), false},
	} {
		if alive := c.actor.act(1); alive == c.killed {
			t.Errorf("%s task lives after the act: %v", c.name, alive)
		}
	}
	if got, err := h.Counters(monitored); err != nil || got.MonitorSignal != 1 || got.Signal != 0 {
		t.Errorf("counters of the monitored policy: %+v, %v", got, err)
	}
	for name, to := range map[string]*testenv.Cgroup{"the host's cgroup": h.root, "another container's": b} {
		workload := h.actor(a, syscall.CLONE_NEWUTS)
		workload.act(0)
		if err := to.Add(workload.Process.Pid); err != nil {
			t.Fatal(err)
		}
		if workload.act(1) {
			t.Errorf("a workload that moved to %s lives after the act", name)
		}
	}
	h.apply(slotA)
	if !h.actor(a, syscall.CLONE_NEWUTS).act(1) {
		t.Error("killed by what was withdrawn")
	}
}

// The binary of a rule is the file that was executed.
func TestBinaryOfASealedTask(t *testing.T) {
	h := newHost(t)
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	about := func(op, path string) engine.PolicyID {
		return h.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchBinaries: [{operator: ` + op + `, values: ["` + path + `"]}]}]}
`)
	}
	c, slot := h.container("c")
	want := map[engine.PolicyID]uint64{
		about("In", self): 1, about("NotIn", self): 0, about("In", self+"x"): 0, about("NotIn", "/no"+self): 1,
	}
	var set []engine.Member
	for id := range want {
		set = append(set, engine.Member{Policy: id, Enforce: true})
	}
	h.apply(slot, set...)
	h.actor(c, syscall.CLONE_NEWUTS).act(1)
	for id, posts := range want {
		if got, err := h.Counters(id); err != nil || got.Post != posts {
			t.Errorf("policy %d: %+v, %v, want %d", id, got, err, posts)
		}
	}
}

// The exec that ends set-up is the workload's first act, and is judged; those
// before it are not.
func TestExecThatEndsSetUp(t *testing.T) {
	h := newHost(t)
	busybox, err := exec.LookPath("busybox")
	testenv.Require(t, testenv.Optional("busybox", func() error { return err }))
	h.marker = filepath.Join(testenv.Dir(t), "busybox")
	if err := os.Symlink(busybox, h.marker); err != nil {
		t.Fatal(err)
	}
	id := h.policy(`  - {subsystem: syscalls, event: sys_enter_execve, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchActions: [{action: Sigkill}]}]}
`)
	for name, c := range map[string]struct {
		in     string
		flags  uintptr
		killed bool
	}{
		"the workload's": {"a", syscall.CLONE_NEWUTS, true},
		"the runtime's":  {"b", 0, false},
	} {
		in, slot := h.container(c.in)
		h.apply(slot, engine.Member{Policy: id, Enforce: true})
		cmd := in.Born(exec.CommandContext(t.Context(), h.marker, "true"))
		cmd.SysProcAttr.Cloneflags = c.flags
		// Of a child that is killed in its exec Go says nothing but the signal.
		err := cmd.Run()
		if killed := err != nil; killed != c.killed {
			t.Errorf("%s exec was killed: %v (%v)", name, killed, err)
		}
	}
	got, err := h.Counters(id)
	if err != nil || got.Signal != 1 {
		t.Errorf("counters %+v, %v, want one kill", got, err)
	}
}
