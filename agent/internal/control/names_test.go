// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/names"
	"github.com/boltseal/boltseal/bpf"
)

// records is what engines' records tell, by containers' ids.
type records map[string]names.Names

func (r records) Find(c *container.Container) (names.Names, error) {
	n, ok := r[c.ID]
	switch {
	case c.Runtime == "" && !c.Guess:
		return names.Names{}, names.ErrNone
	case !ok:
		return names.Names{}, names.ErrUnread
	}
	return n, nil
}

const forShop = `containerSelector: {matchLabels: {com.docker.compose.project: shop}}`

// admitted tells of a container of Docker's, in a cgroup that exists.
func admitted(w *world, id string) Admission {
	path := "/docker/" + id
	w.paths[path], w.pids[100+len(w.pids)] = uint64(1000+len(w.paths)), path
	pid := uint32(100 + len(w.pids) - 1)
	return Admission{Container: container.Container{ID: id, Name: id, Runtime: "docker", InitPID: pid}, CgroupsPath: path}
}

func mustAdd(t *testing.T, c *Controller, name, selector string) {
	t.Helper()
	if _, err := c.AddPolicy(policyText(name, selector)); err != nil {
		t.Fatal(err)
	}
}

// TestPoliciesAreChosenByTheEnginesNames holds that a container's policies are right
// from the start, with a name and labels that no hook has told.
func TestPoliciesAreChosenByTheEnginesNames(t *testing.T) {
	c, w := start(t)
	c.Names = records{"a": {Engine: "docker", Name: "web", Image: "shop/web:1", Labels: map[string]string{"com.docker.compose.project": "shop"}}}
	mustAdd(t, c, "by-name", forWeb)
	mustAdd(t, c, "by-label", forShop)
	before := w.applied
	made, err := c.Admit(admitted(w, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if got := w.names(made.Slot); got != "by-label by-name" || w.applied != before+1 {
		t.Errorf("in force: %q, in %d steps", got, w.applied-before)
	}
	if made.Name != "web" || made.Image != "shop/web:1" || made.Labels["com.docker.compose.project"] != "shop" {
		t.Errorf("known as %+v", made)
	}
}

// TestUnreadNamesStopWhatPoliciesSelectByThem has a record that cannot be read: the
// container must not start with the wrong policies.
func TestUnreadNamesStopWhatPoliciesSelectByThem(t *testing.T) {
	c, w := start(t)
	c.Names = records{}
	mustAdd(t, c, "all", `containerSelector: {}`)
	made, err := c.Admit(admitted(w, "a"))
	if err != nil || w.names(made.Slot) != "all" {
		t.Fatalf("with no policy that asks for names: %v, %v", made, err)
	}
	mustAdd(t, c, "by-label", forShop)
	if _, err := c.Admit(admitted(w, "b")); !errors.Is(err, ErrUnnamed) {
		t.Errorf("with a policy that does: %v", err)
	}
	if _, known := c.Registry.ByID("b"); known || len(w.seals) != 1 {
		t.Errorf("something was taken: %v", w.seals)
	}
	off := false
	if err := c.ConfigurePolicy("", "by-label", &off, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Admit(admitted(w, "c")); err != nil {
		t.Errorf("with the policy disabled: %v", err)
	}
}

// TestRenamed renames a container while it runs.
func TestRenamed(t *testing.T) {
	c, w := start(t)
	all := records{"a": {Name: "db", Labels: map[string]string{}}}
	c.Names = all
	mustAdd(t, c, "by-name", forWeb)
	mustAdd(t, c, "by-label", forShop)
	made, err := c.Admit(admitted(w, "a"))
	if err != nil || w.names(made.Slot) != "" {
		t.Fatalf("admit: %v; in force: %q", err, w.names(made.Slot))
	}
	rename := func(to names.Names, want string, steps int) {
		t.Helper()
		before := w.applied
		all["a"] = to
		c.Renamed("a")
		known, _ := c.Registry.ByID("a")
		if got := w.names(made.Slot); got != want || w.applied != before+steps {
			t.Errorf("in force: %q in %d steps, want %q in %d", got, w.applied-before, want, steps)
		}
		if s := c.subjects[made.Slot]; s.container != known {
			t.Errorf("policies are for %+v, and the container is %+v", s.container, known)
		}
	}
	shop := map[string]string{"com.docker.compose.project": "shop"}
	rename(names.Names{Name: "web", Labels: shop}, "by-label by-name", 1)
	rename(names.Names{Name: "web", Labels: shop}, "by-label by-name", 0)
	rename(names.Names{Name: "api", Labels: shop}, "by-label", 1)
	rename(names.Names{Name: "api-2", Labels: shop}, "by-label", 0)
	if known, _ := c.Registry.ByID("a"); known.Name != "api-2" || known.CgroupID != made.CgroupID || known.InitPID != made.InitPID {
		t.Errorf("known as %+v", known)
	}
	w.refuseApply = errors.New("no room")
	rename(names.Names{Name: "web", Labels: shop}, "by-label", 0)
	if known, _ := c.Registry.ByID("a"); known.Name != "api-2" {
		t.Errorf("half renamed: %+v", known)
	}
	rename(names.Names{Name: "gone", Labels: map[string]string{}}, "", 1)
	c.Renamed("nobody")
}

// TestAGuessIsNamedByItsOwnRecordAlone has the kernel seal cgroups that are named as
// Docker's are: anybody who may make cgroups can do so.
func TestAGuessIsNamedByItsOwnRecordAlone(t *testing.T) {
	c, w := start(t)
	id := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	all := records{}
	c.Names = all
	mustAdd(t, c, "by-name", forWeb)
	path := "/x/docker-" + id + ".scope"
	w.paths[path], w.paths["/elsewhere"], w.paths[path+"/below"] = 70, 71, 72
	w.birth(70, 9, bpf.WireSealedBySEALED_BY_PATTERN)
	c.Sealed(9, 70, path, bpf.WireSealedBySEALED_BY_PATTERN)
	w.pids[500], w.pids[501], w.pids[502] = "/elsewhere", path+"/below", "/"
	for _, test := range []struct {
		pid  int
		want string
	}{{0, ""}, {500, ""}, {502, ""}, {503, ""}, {501, "by-name"}} {
		all[id] = names.Names{Engine: "docker", Name: "web", Labels: map[string]string{}, InitPID: test.pid}
		c.Renamed(id)
		known, _ := c.Registry.ByID(id)
		if got := w.names(9); got != test.want || known.Guess != (test.want == "") {
			t.Errorf("init process %d: in force: %q, known as %+v", test.pid, got, known)
		}
	}
	if known, _ := c.Registry.ByID(id); known.Name != "web" || known.Runtime != "docker" || known.InitPID != 501 {
		t.Errorf("known as %+v", known)
	}
}
