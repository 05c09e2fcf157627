// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/bpf"
)

func TestAnIDIsOneContainers(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	w.run("/b", 11, 101)
	add(t, c, policyText("p", forWeb))
	web := admit(t, c, "web", 100)
	for name, a := range map[string]Admission{
		"another process": {Container: container.Container{ID: web.ID, InitPID: 101}},
		"another path":    {Container: container.Container{ID: web.ID}, CgroupsPath: "/b"},
		"a path to come":  {Container: container.Container{ID: web.ID}, CgroupsPath: "/c"},
	} {
		if _, err := c.Admit(a); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
		if now, _ := c.Registry.ByID(web.ID); now != web {
			t.Errorf("%s: the container is %+v now", name, now)
		}
		wantInForce(t, w, web.Slot, "p")
	}
}

// TestLaterWordsAddToEarlierOnes: hook and runtime plugin tell of the same
// container, and know different things of it.
func TestLaterWordsAddToEarlierOnes(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	add(t, c, policyText("p", forWeb))
	add(t, c, policyText("pod", "podSelector: {matchLabels: {app: web}}"))
	first := container.Container{
		ID: "x", Name: "web", InitPID: 100, Image: "i", Annotations: map[string]string{"a": "1", "c": "1"},
		Pod: &container.Pod{Name: "pod", Labels: map[string]string{"app": "web"}},
	}
	if _, err := c.Admit(Admission{Container: first}); err != nil {
		t.Fatal(err)
	}
	made, err := c.Admit(Admission{Container: container.Container{
		ID: "x", Name: "x", InitPID: 100, Labels: map[string]string{"b": "2"}, Annotations: map[string]string{"c": "2"},
		Pod: &container.Pod{Labels: map[string]string{"tier": "front"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if made.Name != "web" || made.Image != "i" || made.Annotations["a"] != "1" || made.Annotations["c"] != "2" || made.Labels["b"] != "2" ||
		made.Pod.Labels["app"] != "web" || made.Pod.Labels["tier"] != "front" {
		t.Errorf("known as %+v", made)
	}
	wantInForce(t, w, made.Slot, "p pod")
}

// TestLateIsWhatNobodyConfirmed: a runtime's plugin that reconnects tells of all
// that runs as late. What was confirmed before it started stays in time, and
// nothing that was late becomes timely.
func TestLateIsWhatNobodyConfirmed(t *testing.T) {
	t.Parallel()
	type word struct {
		pid  uint32
		late bool
	}
	for _, test := range []struct {
		name  string
		words []word
		want  bool
	}{
		{"confirmed, then told as late", []word{{100, false}, {100, true}}, false},
		{"announced, confirmed, then told as late", []word{{0, false}, {100, false}, {100, true}}, false},
		{"announced, then told as late", []word{{0, false}, {100, true}}, true},
		{"late, then confirmed", []word{{100, true}, {100, false}}, true},
		{"late, confirmed, then told as late", []word{{100, true}, {100, false}, {100, true}}, true},
		{"late alone", []word{{100, true}}, true},
	} {
		c, w := start(t)
		w.run("/a", 10, 100)
		var made *container.Container
		for _, say := range test.words {
			var err error
			a := Admission{Container: container.Container{ID: "a", Name: "a", InitPID: say.pid, Late: say.late}, CgroupsPath: "/a"}
			if made, err = c.Admit(a); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
		}
		if made.Late != test.want {
			t.Errorf("%s: late is %v", test.name, made.Late)
		}
	}
}

// TestNamesakesStandAside: a cgroup that is called as a container's takes neither
// its place nor, made first, keeps it from its own.
func TestNamesakesStandAside(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("5ea1", 16)
	for _, firstComes := range []string{"container", "namesake"} {
		c, w := start(t)
		w.run("/real/docker-"+id, 10, 100)
		w.run("/fake/docker-"+id, 11, 101)
		namesake := func() {
			w.birth(11, w.free[0], bpf.WireSealedBySEALED_BY_PATTERN)
			c.Sealed(w.seals[11].Slot, 11, "/fake/docker-"+id, bpf.WireSealedBySEALED_BY_PATTERN)
		}
		if firstComes == "namesake" {
			namesake()
		}
		made, err := c.Admit(Admission{Container: container.Container{ID: id, Name: "web", InitPID: 100}})
		if err != nil {
			t.Fatalf("%s first: %v", firstComes, err)
		}
		if firstComes == "container" {
			namesake()
		}
		if now, _ := c.Registry.ByID(id); now != made || now.CgroupID != 10 {
			t.Errorf("%s first: the id is that of %+v", firstComes, now)
		}
		if other, ok := c.Registry.ByCgroup(11); !ok || other.ID == id || other.Slot == made.Slot {
			t.Errorf("%s first: the namesake is %+v", firstComes, other)
		}
	}
}

// FuzzAdmit holds what nobody may be talked into, whatever a request says: the
// root, the agent's cgroup and another container's stay as they are, and a
// refusal leaves nothing.
func FuzzAdmit(f *testing.F) {
	for _, seed := range []struct {
		id, path string
		pid      uint16
	}{
		{"id", "/id", 0}, {"", "", 0}, {"", "/a/b", 0}, {"id", "/", 0}, {"id", "..", 0}, {"id", "/../..", 0}, {"..", "/x", 0},
		{"a:b:c", "a:b:c", 0}, {"id", "system.slice:docker:id", 0}, {"id", "-.slice:::", 0}, {"id", strings.Repeat("a/", 2048), 0},
		{"id\x00", "/i\x00d", 0}, {"id", "/\xff\xfe", 0}, {"id", "/a\n", 0}, {"web-id", "/free", 0}, {"web-id", "/other", 0},
		{"id", "/web", 0}, {"id", "/web/below", 0}, {"id", "/agent", 0}, {"id", "", 1}, {"id", "", 2}, {"id", "", 3}, {"id", "", 4},
		{"web-id", "", 4}, {"id", "", 65535},
	} {
		f.Add(seed.id, seed.path, seed.pid)
	}
	f.Fuzz(func(t *testing.T, id, cgroupsPath string, process uint16) {
		c, w := start(t)
		w.run("/web", 10, 3)
		w.run("/other", 11, 4)
		web := admit(t, c, "web", 3)
		pid := uint32(process)
		if process == 2 {
			pid = uint32(os.Getpid())
		}
		before := w.kept()
		made, err := c.Admit(Admission{Container: container.Container{ID: id, InitPID: pid}, CgroupsPath: cgroupsPath})
		if err != nil {
			w.checkRefusal(t, err, before)
		} else {
			checkAdmitted(t, w, made)
		}
		if now, ok := c.Registry.ByID(web.ID); !ok || now.CgroupID != 10 || now.Slot != web.Slot || w.seals[10].Slot != web.Slot {
			t.Errorf("the other container is %+v, sealed as %+v", now, w.seals[10])
		}
	})
}

// kept is what a refusal must leave as it was.
func (w *world) kept() *world {
	return &world{seals: maps.Clone(w.seals), expected: maps.Clone(w.expected), free: slices.Clone(w.free), held: maps.Clone(w.held)}
}

func (w *world) checkRefusal(t *testing.T, err error, before *world) {
	t.Helper()
	if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrRefused) && !errors.Is(err, seal.ErrNoRoom) {
		t.Errorf("an error of no kind: %v", err)
	}
	slices.Sort(w.free) // one that was taken and given back has another place
	if !maps.Equal(w.seals, before.seals) || !maps.Equal(w.expected, before.expected) ||
		!slices.Equal(w.free, before.free) || !maps.Equal(w.held, before.held) {
		t.Errorf("refused with %v, and left seals %v, expectations %v, free slots %v", err, w.seals, w.expected, w.free)
	}
}

func checkAdmitted(t *testing.T, w *world, made *container.Container) {
	t.Helper()
	if made.Slot <= seal.NoRoom || made.ID == "" || len(made.ID) > maxIDBytes {
		t.Errorf("admitted as %+v", made)
	}
	if made.CgroupID != 0 {
		if w.seals[made.CgroupID].Slot != made.Slot || made.CgroupPath == "/agent" {
			t.Errorf("admitted %+v, sealed as %+v", made, w.seals[made.CgroupID])
		}
		return
	}
	found := false
	for p, slot := range w.expected {
		if p == "/" || path.Clean(p) != p || !path.IsAbs(p) || !utf8.ValidString(p) || strings.ContainsAny(p, "\x00\n") {
			t.Errorf("expects %q", p)
		}
		found = found || slot == made.Slot
	}
	if !found {
		t.Errorf("admitted %+v, and nothing is expected", made)
	}
}
