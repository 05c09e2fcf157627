// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/match"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/bpf"
)

func add(t *testing.T, c *Controller, text []byte) {
	t.Helper()
	if _, err := c.AddPolicy(text); err != nil {
		t.Fatalf("add policy: %v", err)
	}
}

// run makes a cgroup with an init process in it.
func (w *world) run(path string, id uint64, pid int) {
	w.paths[path], w.pids[pid] = id, path
}

func admit(t *testing.T, c *Controller, name string, pid uint32) *container.Container {
	t.Helper()
	made, err := c.Admit(Admission{Container: container.Container{ID: name + "-id", Name: name, InitPID: pid}})
	if err != nil {
		t.Fatalf("admit %s: %v", name, err)
	}
	return made
}

func wantInForce(t *testing.T, w *world, slot uint32, want string) {
	t.Helper()
	if got := w.names(slot); got != want {
		t.Errorf("slot %d: in force %q, want %q", slot, got, want)
	}
}

func TestPoliciesAndContainersMeetInEitherOrder(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	w.run("/b", 11, 101)
	web := admit(t, c, "web", 100)
	add(t, c, policyText("p", forWeb))
	wantInForce(t, w, web.Slot, "p")
	add(t, c, policyText("every", "containerSelector: {}"))
	wantInForce(t, w, web.Slot, "every p")
	db := admit(t, c, "db", 101)
	wantInForce(t, w, db.Slot, "every")
	wantInForce(t, w, seal.Host, "")
	add(t, c, policyText("host", "hostSelector: {}"))
	wantInForce(t, w, seal.Host, "host")
	wantInForce(t, w, web.Slot, "every p")
	// What nobody announced is born with the default set.
	wantInForce(t, w, w.free[0], "every")
}

// A policy is for the nodes that it names; where nobody knows the node's labels it
// is refused rather than guessed at.
func TestNodeSelector(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	web := admit(t, c, "web", 100)
	here := policyText("here", "nodeSelector: {matchLabels: {zone: a}}\ncontainerSelector: {}")
	if _, err := c.AddPolicy(here); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "spec.nodeSelector") {
		t.Errorf("on a node without labels: %v", err)
	}
	wantInForce(t, w, web.Slot, "")
	c.NodeLabels = match.NodeLabels{"zone": "a"}
	add(t, c, here)
	add(t, c, policyText("elsewhere", "nodeSelector: {matchLabels: {zone: b}}"))
	add(t, c, policyText("not-there", "nodeSelector: {matchExpressions: [{key: zone, operator: NotIn, values: [b]}]}"))
	wantInForce(t, w, web.Slot, "here not-there")
	wantInForce(t, w, seal.Host, "not-there")
	wantInForce(t, w, w.free[0], "here not-there")
}

func TestPolicyChangesAreOneStepAndWhole(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	web := admit(t, c, "web", 100)
	add(t, c, policyText("p", forWeb))
	monitor, enforce, off, on := policy.Monitor, policy.Enforce, false, true
	for _, step := range []struct {
		enable *bool
		mode   *policy.Mode
		want   string
	}{{nil, &monitor, "(p)"}, {&off, nil, ""}, {&on, &enforce, "p"}, {&off, &monitor, ""}, {&on, nil, "(p)"}} {
		if err := c.ConfigurePolicy("", "p", step.enable, step.mode); err != nil {
			t.Fatalf("configure: %v", err)
		}
		wantInForce(t, w, web.Slot, step.want)
	}
	add(t, c, policyText("p", "containerSelector: {}")) // replaced
	wantInForce(t, w, web.Slot, "p")
	wantInForce(t, w, w.free[0], "p")
	if len(w.loaded) != 1 {
		t.Errorf("%d policies are loaded after a replacement, want 1", len(w.loaded))
	}
	w.refuse = errors.New("kernel says no")
	if err := c.DeletePolicy("", "p"); err == nil {
		t.Error("delete that the kernel refused succeeds")
	}
	wantInForce(t, w, web.Slot, "p")
	if err := c.DeletePolicy("", "p"); err != nil {
		t.Errorf("delete: %v", err)
	}
	wantInForce(t, w, web.Slot, "")
	if len(w.loaded) != 0 {
		t.Errorf("%d policies are loaded after the last was deleted", len(w.loaded))
	}
	if err := c.DeletePolicy("", "p"); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete again: %v, want ErrNotFound", err)
	}
}

func TestPolicyThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	web := admit(t, c, "web", 100)
	add(t, c, policyText("p", forWeb))
	if _, err := c.AddPolicy([]byte("nonsense")); !errors.Is(err, ErrInvalid) {
		t.Errorf("nonsense: %v, want ErrInvalid", err)
	}
	unknown := strings.ReplaceAll(string(policyText("p", forWeb)), "sys_enter_x", "sys_enter_y")
	if _, err := c.AddPolicy([]byte(unknown)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "tracepoints[0]") {
		t.Errorf("unknown event: %v, want ErrInvalid that names the field", err)
	}
	for range 2 { // the first failure is Load's, the second Apply's
		w.refuse = seal.ErrNoRoom
		if _, err := c.AddPolicy(policyText("p", "containerSelector: {}")); !errors.Is(err, seal.ErrNoRoom) {
			t.Errorf("kernel without room: %v", err)
		}
		wantInForce(t, w, web.Slot, "p")
		wantInForce(t, w, w.free[0], "")
		if len(w.loaded) != 1 {
			t.Errorf("%d policies are loaded, want 1", len(w.loaded))
		}
	}
}

func TestAdmitRefuses(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.pids[os.Getpid()] = "/system/agent"
	w.paths["/system"], w.paths["/system/agent"] = 20, 21
	w.pids[50], w.pids[51] = "/system", "/"
	w.run("/a", 10, 100)
	admit(t, c, "web", 100)
	before := len(w.free)
	for name, test := range map[string]struct {
		a    Admission
		want error
	}{
		"no id":                  {Admission{}, ErrInvalid},
		"id with a slash":        {Admission{Container: container.Container{ID: "a/b"}}, ErrInvalid},
		"long id":                {Admission{Container: container.Container{ID: strings.Repeat("x", 600)}}, ErrInvalid},
		"path that climbs":       {Admission{Container: container.Container{ID: "x"}, CgroupsPath: "/a/../.."}, ErrInvalid},
		"init that is gone":      {Admission{Container: container.Container{ID: "x", InitPID: 999}}, ErrInvalid},
		"the root cgroup":        {Admission{Container: container.Container{ID: "x", InitPID: 51}}, ErrRefused},
		"above the agent":        {Admission{Container: container.Container{ID: "x", InitPID: 50}}, ErrRefused},
		"the agent itself":       {Admission{Container: container.Container{ID: "x", InitPID: uint32(os.Getpid())}}, ErrRefused},
		"above the agent, path":  {Admission{Container: container.Container{ID: "x"}, CgroupsPath: "/system"}, ErrRefused},
		"another's cgroup":       {Admission{Container: container.Container{ID: "x", InitPID: 100}}, ErrRefused},
		"another's cgroup, path": {Admission{Container: container.Container{ID: "x"}, CgroupsPath: "/a"}, ErrRefused},
	} {
		if _, err := c.Admit(test.a); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	if len(w.free) != before || c.Registry.Len() != 1 {
		t.Errorf("refusals left %d of %d slots free and %d containers", len(w.free), before, c.Registry.Len())
	}
}

func TestAdmitTakesNothingWhenTheKernelFails(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	before := len(w.free)
	for range 3 {
		w.refuse = seal.ErrNoRoom
		if _, err := c.Admit(Admission{Container: container.Container{ID: "x", InitPID: 100}}); !errors.Is(err, seal.ErrNoRoom) {
			t.Errorf("admit: %v, want ErrNoRoom", err)
		}
		w.refuse = seal.ErrNoRoom
		if _, err := c.Admit(Admission{Container: container.Container{ID: "y"}}); !errors.Is(err, seal.ErrNoRoom) {
			t.Errorf("announce: %v, want ErrNoRoom", err)
		}
	}
	if len(w.free) != before || c.Registry.Len() != 0 || len(c.subjects) != 0 {
		t.Errorf("%d of %d slots free, %d containers, %d subjects", len(w.free), before, c.Registry.Len(), len(c.subjects))
	}
}

func TestAnnouncedContainerLives(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	add(t, c, policyText("p", forWeb))
	announced, err := c.Admit(Admission{Container: container.Container{ID: "x", Name: "web"}, CgroupsPath: "/pod/x"})
	if err != nil {
		t.Fatal(err)
	}
	wantInForce(t, w, announced.Slot, "p")
	if w.expected["/pod/x"] != announced.Slot {
		t.Errorf("expected %v, want slot %d at /pod/x", w.expected, announced.Slot)
	}
	w.run("/pod/x", 30, 300)
	w.birth(30, announced.Slot, bpf.WireSealedBySEALED_BY_PATH)
	c.Sealed(announced.Slot, 30, "/pod/x", bpf.WireSealedBySEALED_BY_PATH)
	if got, ok := c.Registry.ByCgroup(30); !ok || got.ID != "x" {
		t.Errorf("container of cgroup 30: %v", got)
	}
	confirmed, err := c.Admit(Admission{Container: container.Container{ID: "x", Name: "web", InitPID: 300}, CgroupsPath: "/pod/x"})
	if err != nil || confirmed.Slot != announced.Slot {
		t.Fatalf("confirm: %v, %v", confirmed, err)
	}
	w.end("/pod/x", 1) // a task has left for another cgroup
	c.Gone(announced.Slot, 30)
	c.Sweep(time.Now())
	wantInForce(t, w, announced.Slot, "p")
	if c.Registry.Len() != 0 {
		t.Error("the container is listed after its end")
	}
	w.slots[announced.Slot].Tasks = 0
	c.Sweep(time.Now())
	wantInForce(t, w, announced.Slot, "")
	if w.held[announced.Slot] {
		t.Error("slot is not free after its last task")
	}
}

// TestPodIsWhatAllWaysTell: an OCI hook sees a pod's name and not its labels,
// and must not take the container out of what they selected.
func TestPodIsWhatAllWaysTell(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	labels := map[string]string{"app": "web"}
	if _, err := c.Admit(Admission{CgroupsPath: "/pod/x", Container: container.Container{
		ID: "x", Pod: &container.Pod{Name: "n", Namespace: "s", UID: "u", Labels: labels, Annotations: labels},
	}}); err != nil {
		t.Fatal(err)
	}
	w.run("/pod/x", 30, 300)
	for _, told := range []*container.Pod{nil, {}, {Name: "n", Namespace: "s"}} {
		made, err := c.Admit(Admission{Container: container.Container{ID: "x", InitPID: 300, Pod: told}, CgroupsPath: "/pod/x"})
		if err != nil {
			t.Fatal(err)
		}
		if p := made.Pod; p.Name != "n" || p.Namespace != "s" || p.UID != "u" || p.Labels["app"] != "web" || p.Annotations["app"] != "web" {
			t.Errorf("told %v after all of it: the pod is %v", told, p)
		}
	}
}

func TestAnnouncementThatNothingComesOfIsWithdrawn(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	announced, err := c.Admit(Admission{Container: container.Container{ID: "x"}, CgroupsPath: "/pod/x"})
	if err != nil {
		t.Fatal(err)
	}
	c.Sweep(time.Now())
	if len(w.expected) == 0 {
		t.Error("withdrawn at once")
	}
	c.Sweep(time.Now().Add(2 * time.Minute))
	if len(w.expected) != 0 || w.held[announced.Slot] || c.Registry.Len() != 0 {
		t.Errorf("still there: expected %v, held %v, %d containers", w.expected, w.held, c.Registry.Len())
	}
}

// TestWithdrawTakesBackOnlyWhatIsNotThere: no word of a client unseals what runs.
func TestWithdrawTakesBackOnlyWhatIsNotThere(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	announce := func(id string) *container.Container {
		made, err := c.Admit(Admission{Container: container.Container{ID: id}, CgroupsPath: "/pod/" + id})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	withdraw := func(id string) {
		if err := c.Withdraw(id); err != nil {
			t.Errorf("withdraw %s: %v", id, err)
		}
	}
	never := announce("never")
	withdraw("never")
	withdraw("never")
	if len(w.expected) != 0 || w.held[never.Slot] || c.Registry.Len() != 0 {
		t.Errorf("still there: expected %v, held %v, %d containers", w.expected, w.held, c.Registry.Len())
	}
	// Made, and the kernel's word of it is not read yet.
	born := announce("born")
	w.slots[born.Slot].State = uint32(bpf.WireSlotStateSLOT_MAPPED)
	withdraw("born")
	if _, ok := c.Registry.ByID("born"); !ok || c.subjects[born.Slot] == nil {
		t.Error("a container that is being made was forgotten")
	}
	w.run("/pod/runs", 7, 70)
	runs := admit(t, c, "runs", 70)
	withdraw(runs.ID)
	if _, ok := c.Registry.ByID(runs.ID); !ok || !w.held[runs.Slot] || w.seals[7].Slot != runs.Slot {
		t.Error("a container that runs was unsealed")
	}
	delete(w.paths, "/pod/runs")
	withdraw(runs.ID)
	if _, ok := c.Registry.ByID(runs.ID); ok {
		t.Error("a container whose cgroup is gone is still known")
	}
}

func TestUnannouncedContainerIsGuessedAndThenNamed(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	add(t, c, policyText("every", "containerSelector: {}"))
	add(t, c, policyText("p", forWeb))
	id := strings.Repeat("ab", 32)
	path := "/docker/" + id
	w.run(path, 40, 400)
	slot := w.free[0]
	w.birth(40, slot, bpf.WireSealedBySEALED_BY_PATTERN)
	c.Sealed(slot, 40, path, bpf.WireSealedBySEALED_BY_PATTERN)
	wantInForce(t, w, slot, "every")
	if _, ok := c.Registry.ByID(id); !ok {
		t.Errorf("container is not known by the id in its cgroup's name")
	}
	made, err := c.Admit(Admission{Container: container.Container{ID: "real", Name: "web", InitPID: 400}})
	if err != nil || made.Slot != slot {
		t.Fatalf("admit: %v, %v", made, err)
	}
	wantInForce(t, w, slot, "every p")
	if c.Registry.Len() != 1 {
		t.Errorf("%d containers, want the named one alone", c.Registry.Len())
	}
}

// A runtime makes the cgroup of a pod before that of a container in it: the container is
// known by its own.
func TestGuessFollowsTheSealDown(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	id := strings.Repeat("ab", 32)
	add(t, c, policyText("p", fmt.Sprintf("containerSelector: {matchLabels: {name: %s}}", id)))
	w.run("/pod", 40, 400)
	w.run("/pod/"+id, 41, 401)
	slot := w.free[0]
	w.birth(40, slot, bpf.WireSealedBySEALED_BY_PATTERN)
	c.Sealed(slot, 40, "/pod", bpf.WireSealedBySEALED_BY_PATTERN)
	w.birth(41, slot, bpf.WireSealedBySEALED_BY_PATTERN)
	for range 2 { // told twice of the same
		c.Sealed(slot, 41, "/pod/"+id, bpf.WireSealedBySEALED_BY_PATTERN)
		known, ok := c.Registry.ByID(id)
		if !ok || known.Name != id || known.CgroupID != 41 || known.CgroupPath != "/pod/"+id || c.Registry.Len() != 1 {
			t.Fatalf("%d containers, known as %+v", c.Registry.Len(), known)
		}
	}
	wantInForce(t, w, slot, "p")
	if made := admit(t, c, "web", 401); made.Slot != slot || c.Registry.Len() != 1 {
		t.Errorf("%d containers, made %+v", c.Registry.Len(), made)
	}
}

func TestLostEventsAreNoticed(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/lost", 50, 500)
	slot := w.free[0]
	w.birth(50, slot, bpf.WireSealedBySEALED_BY_PATTERN)
	c.Sweep(time.Now())
	if got, ok := c.Registry.BySlot(slot); !ok || got.CgroupPath != "/lost" {
		t.Errorf("container of a lost event: %v", got)
	}
	w.end("/lost", 0)
	c.Sweep(time.Now())
	if w.held[slot] || c.Registry.Len() != 0 {
		t.Error("slot of a container whose end was lost is not free")
	}
}

func TestNoRoomEndsTheContainer(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	c.Sealed(seal.NoRoom, 60, "/full", bpf.WireSealedBySEALED_BY_PATTERN)
	c.Sealed(5, 61, "/unsealed", bpf.WireSealedBySEALED_BY_NOBODY)
	if len(w.killed) != 2 {
		t.Errorf("killed %v, want both", w.killed)
	}
}

func TestRestartUnderTheSameID(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	add(t, c, policyText("p", forWeb))
	w.run("/a", 10, 100)
	first := admit(t, c, "web", 100)
	w.end("/a", 0)
	w.run("/a", 11, 110)
	second := admit(t, c, "web", 110)
	if second.CgroupID != 11 || second.Slot == first.Slot {
		t.Errorf("restarted: %+v after %+v", second, first)
	}
	wantInForce(t, w, second.Slot, "p")
	again := admit(t, c, "web", 110) // the other way in tells of it too
	if again.Slot != second.Slot {
		t.Errorf("told twice: slot %d, then %d", second.Slot, again.Slot)
	}
}

func TestAdoptRunning(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	id := strings.Repeat("0f", 32)
	w.paths["/system.slice/docker-"+id+".scope"] = 70
	w.paths["/system.slice/libpod-conmon-"+id+".scope"] = 71
	w.paths["/user.slice"] = 72
	if err := c.AdoptRunning(); err != nil {
		t.Fatal(err)
	}
	got, ok := c.Registry.ByID(id)
	if !ok || !got.Late || got.CgroupID != 70 || c.Registry.Len() != 1 {
		t.Errorf("adopted %v, %d containers; want the docker one, late", got, c.Registry.Len())
	}
}
