// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/seal"
)

// TestRecall: an agent that is started again knows what the last one was told.
func TestRecall(t *testing.T) {
	t.Parallel()
	before := container.Container{
		ID: "web-id", Name: "web", Image: "i", CgroupPath: "/a", CgroupID: 10, InitPID: 100, Slot: 9, Labels: map[string]string{"l": "1"},
	}
	for name, test := range map[string]struct {
		known func(*container.Container, *world)
		want  func(*container.Container) // of before; nil: nothing is known
		err   error
	}{
		"in full":        {want: func(*container.Container) {}},
		"its init ended": {known: func(_ *container.Container, w *world) { delete(w.pids, 100) }, want: func(c *container.Container) { c.InitPID = 0 }},
		"its init's pid is another's": {
			known: func(_ *container.Container, w *world) { w.pids[100] = "/ab" },
			want:  func(c *container.Container) { c.InitPID = 0 },
		},
		"its init moved down": {known: func(_ *container.Container, w *world) { w.run("/a/init", 12, 100) }, want: func(*container.Container) {}},
		"gone":                {known: func(_ *container.Container, w *world) { delete(w.paths, "/a") }, err: ErrGone},
		"another cgroup":      {known: func(_ *container.Container, w *world) { w.paths["/a"] = 11 }, err: ErrGone},
		"the agent's own":     {known: func(_ *container.Container, w *world) { w.pids[os.Getpid()] = "/a" }, err: ErrRefused},
		"a guess": {
			known: func(c *container.Container, _ *world) { c.Guess = true },
			want: func(c *container.Container) {
				*c = container.Container{ID: "a", Name: "a", CgroupPath: "/a", CgroupID: 10, Guess: true}
			},
		},
		"no room": {known: func(_ *container.Container, w *world) { w.free = nil }, err: seal.ErrNoRoom},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, w := start(t)
			add(t, c, policyText("p", forWeb))
			w.run("/a", 10, 100)
			known := before
			if test.known != nil {
				test.known(&known, w)
			}
			if err := c.Recall(known); !errors.Is(err, test.err) {
				t.Fatalf("recall: %v, want %v", err, test.err)
			}
			if test.want == nil {
				if all := c.Registry.List(); len(all) != 0 {
					t.Errorf("known: %+v", all[0])
				}
				return
			}
			want := before
			test.want(&want)
			got, found := c.Registry.ByID(want.ID)
			if !found {
				t.Fatalf("not known; %+v", c.Registry.List())
			}
			want.Slot, want.Added, want.Late = got.Slot, got.Added, true
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Error(diff)
			}
			if !want.Guess {
				wantInForce(t, w, got.Slot, "p")
			}
			if w.seals[10].Slot != got.Slot {
				t.Errorf("cgroup 10 is sealed as %+v", w.seals[10])
			}
		})
	}
}

// TestRecallOfWhatIsKnown: who told of a container meanwhile knows it better.
func TestRecallOfWhatIsKnown(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	told := admit(t, c, "web", 100)
	if err := c.Recall(container.Container{ID: told.ID, Name: "old", CgroupPath: "/a", CgroupID: 10}); err != nil {
		t.Fatal(err)
	}
	if now, _ := c.Registry.ByID(told.ID); now != told {
		t.Errorf("told %+v, now %+v", told, now)
	}
}
