// SPDX-License-Identifier: Apache-2.0

package container

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRepo(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"":                                       "",
		"busybox":                                "busybox",
		"busybox:1.36":                           "busybox",
		"docker.io/library/busybox:1.36":         "docker.io/library/busybox",
		"localhost:5000/a/b":                     "localhost:5000/a/b",
		"localhost:5000/a/b:1.0":                 "localhost:5000/a/b",
		"localhost:5000/a/b:1.0@sha256:0123abcd": "localhost:5000/a/b",
		"quay.io/a@sha256:0123":                  "quay.io/a",
		"sha256:0123":                            "sha256",
		"sha256:" + strings.Repeat("0f", 32):     "",
	} {
		if got := (&Container{Image: image}).Repo(); got != want {
			t.Errorf("repository of %q is %q, want %q", image, got, want)
		}
	}
}

func mustPut(t *testing.T, r *Registry, c *Container) *Container {
	t.Helper()
	if err := r.Put(c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPutAndFind(t *testing.T) {
	t.Parallel()
	r := New(0)
	now := time.Now()
	b := mustPut(t, r, &Container{ID: "bb", CgroupID: 2, Slot: 20, Added: now})
	a := mustPut(t, r, &Container{ID: "aa", CgroupID: 1, Slot: 10, Added: now})
	first := mustPut(t, r, &Container{ID: "zz", Added: now.Add(-time.Second)})
	mustPut(t, r, &Container{ID: "no cgroup yet", Added: now.Add(time.Second)})

	if c, ok := r.ByID("aa"); !ok || c != a {
		t.Errorf("by id: %v %v", c, ok)
	}
	if c, ok := r.ByCgroup(2); !ok || c != b {
		t.Errorf("by cgroup: %v %v", c, ok)
	}
	if c, ok := r.BySlot(10); !ok || c != a {
		t.Errorf("by slot: %v %v", c, ok)
	}
	if _, ok := r.ByCgroup(0); ok {
		t.Error("cgroup id 0 finds a container")
	}
	if _, ok := r.BySlot(0); ok {
		t.Error("slot 0 finds a container")
	}
	list := r.List()
	if len(list) != 4 || list[0] != first || list[1] != a || list[2] != b || r.Len() != 4 {
		t.Errorf("list: %v", list)
	}
}

func TestReplaceMovesKeys(t *testing.T) {
	t.Parallel()
	r := New(1)
	mustPut(t, r, &Container{ID: "a", CgroupID: 1, Slot: 10})
	moved := mustPut(t, r, &Container{ID: "a", CgroupID: 2, Slot: 10})
	if _, ok := r.ByCgroup(1); ok {
		t.Error("the former cgroup id still answers")
	}
	for _, find := range []func() (*Container, bool){
		func() (*Container, bool) { return r.ByID("a") },
		func() (*Container, bool) { return r.ByCgroup(2) },
		func() (*Container, bool) { return r.BySlot(10) },
	} {
		if c, ok := find(); !ok || c != moved {
			t.Errorf("found %v", c)
		}
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	r := New(2)
	holder := mustPut(t, r, &Container{ID: "holder", CgroupID: 1, Slot: 10})
	for _, c := range []struct {
		c    *Container
		want error
		text string
	}{
		{&Container{ID: "x", CgroupID: 1}, ErrConflict, "cgroup id 1: held by another container: holder"},
		{&Container{ID: "x", CgroupID: 2, Slot: 10}, ErrConflict, "slot 10: held by another container: holder"},
		{&Container{}, ErrInvalid, "needs an id"},
		{nil, ErrInvalid, "needs an id"},
		{&Container{ID: "x", Removed: time.Now()}, ErrInvalid, "no time of removal"},
	} {
		if err := r.Put(c.c); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("put %+v: %v, want %v", c.c, err, c.want)
		}
	}
	mustPut(t, r, &Container{ID: "second"})
	if err := r.Put(&Container{ID: "third"}); !errors.Is(err, ErrFull) {
		t.Errorf("a third of two: %v", err)
	}
	if err := r.Put(&Container{ID: "second", Slot: 10}); !errors.Is(err, ErrConflict) {
		t.Errorf("replacement that takes a slot: %v", err)
	}
	if c, _ := r.BySlot(10); c != holder || r.Len() != 2 {
		t.Errorf("slot 10 is %v, %d containers", c, r.Len())
	}
	if c, _ := r.ByID("second"); c.Slot != 0 {
		t.Error("a refused replacement was applied")
	}
}

func TestRemovedAnswersUntilForgotten(t *testing.T) {
	t.Parallel()
	r := New(1)
	now := time.Now()
	original := mustPut(t, r, &Container{ID: "a", CgroupID: 1, Slot: 10})
	removed, err := r.Remove("a", now)
	if err != nil || !removed.Removed.Equal(now) || removed.ID != "a" {
		t.Fatalf("removed %+v, %v", removed, err)
	}
	if !original.Alive() {
		t.Error("the value that readers hold was modified")
	}
	if _, err := r.Remove("a", now); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed again: %v", err)
	}
	if _, ok := r.ByID("a"); ok || r.Len() != 0 || len(r.List()) != 0 {
		t.Error("a removed container is listed")
	}
	if c, ok := r.ByCgroup(1); !ok || c != removed {
		t.Errorf("by cgroup: %v", c)
	}
	if c, ok := r.BySlot(10); !ok || c != removed {
		t.Errorf("by slot: %v", c)
	}

	// The same id with another cgroup, as when a name is run again: both answer.
	again := mustPut(t, r, &Container{ID: "a", CgroupID: 2, Slot: 10})
	if c, _ := r.ByCgroup(1); c != removed {
		t.Errorf("former cgroup: %v", c)
	}
	if c, _ := r.BySlot(10); c != again {
		t.Errorf("slot that was given again: %v", c)
	}
	if n := r.Len(); n != 1 {
		t.Errorf("%d containers", n)
	}
	if n := r.Forget(now); n != 0 {
		t.Errorf("forgot %d that were not removed before", n)
	}
	if n := r.Forget(now.Add(1)); n != 1 {
		t.Errorf("forgot %d, want 1", n)
	}
	if _, ok := r.ByCgroup(1); ok {
		t.Error("a forgotten container answers")
	}
	if c, _ := r.BySlot(10); c != again {
		t.Error("forgetting took the slot of a live container")
	}
	if c, _ := r.Remove("a", time.Time{}); c.Alive() {
		t.Error("removed at the zero time, and alive")
	}
}

// TestRemovedHoldsNoKeys holds that the late answers of a removed container
// stand in nobody's way.
func TestRemovedHoldsNoKeys(t *testing.T) {
	t.Parallel()
	r := New(0)
	mustPut(t, r, &Container{ID: "a", CgroupID: 1, Slot: 10})
	if _, err := r.Remove("a", time.Now()); err != nil {
		t.Fatal(err)
	}
	b := mustPut(t, r, &Container{ID: "b", CgroupID: 1, Slot: 10})
	if c, _ := r.ByCgroup(1); c != b {
		t.Errorf("by cgroup: %v", c)
	}
}

func TestByIDPrefix(t *testing.T) {
	t.Parallel()
	r := New(0)
	for _, id := range []string{"abc1", "abc2", "abc", "xyz"} {
		mustPut(t, r, &Container{ID: id})
	}
	for prefix, want := range map[string]any{
		"x": "xyz", "xyz": "xyz", "abc": "abc", "abc2": "abc2", "ab": ErrAmbiguous, "xyz1": ErrNotFound, "": ErrNotFound,
	} {
		c, err := r.ByIDPrefix(prefix)
		if wantErr, isErr := want.(error); isErr {
			if !errors.Is(err, wantErr) || c != nil {
				t.Errorf("%q: %v, %v", prefix, c, err)
			}
		} else if err != nil || c.ID != want {
			t.Errorf("%q: %v, %v", prefix, c, err)
		}
	}
}

func describe(c Change) string {
	switch {
	case c.Old == nil:
		return "added " + c.New.ID
	case !c.New.Alive():
		return "removed " + c.New.ID
	}
	return "replaced " + c.New.ID
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	r := New(0)
	mustPut(t, r, &Container{ID: "before"})
	var got []string
	cancel := r.Subscribe(func(c Change) {
		got = append(got, describe(c))
		// A subscriber may change the registry: its change comes after this one.
		if c.Old == nil && c.New.ID == "a" {
			mustPut(t, r, &Container{ID: "b"})
			got = append(got, "after b was put")
		}
	})
	mustPut(t, r, &Container{ID: "a"})
	mustPut(t, r, &Container{ID: "a", Slot: 1})
	if _, err := r.Remove("b", time.Now()); err != nil {
		t.Fatal(err)
	}
	cancel()
	mustPut(t, r, &Container{ID: "c"})
	want := []string{"added a", "after b was put", "added b", "replaced a", "removed b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("changes (-want +got):\n", diff)
	}
}

func TestSubscriberMayPanic(t *testing.T) {
	t.Parallel()
	r := New(0)
	calls := 0
	r.Subscribe(func(Change) {
		if calls++; calls == 1 {
			panic("subscriber")
		}
	})
	func() {
		defer func() { _ = recover() }()
		_ = r.Put(&Container{ID: "a"})
	}()
	mustPut(t, r, &Container{ID: "b"})
	if calls != 2 {
		t.Errorf("%d calls, want 2: the feed is stuck", calls)
	}
}

// TestConcurrentUse holds that subscribers see each container's changes in
// order, however many goroutines make them.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	r := New(0)
	state := map[string]string{} // no lock: calls come one at a time
	var total, bad int
	r.Subscribe(func(c Change) {
		total++
		next, ok := map[string]string{"": "added ", "added ": "replaced ", "replaced ": "removed ", "removed ": "added "}[state[c.New.ID]]
		if !ok || describe(c) != next+c.New.ID {
			bad++
		}
		state[c.New.ID] = next
	})
	const workers, rounds = 8, 200
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			id := fmt.Sprint("container ", w)
			for range rounds {
				for range 2 {
					if err := r.Put(&Container{ID: id, CgroupID: uint64(w + 1), Slot: uint32(w + 1)}); err != nil {
						t.Error(err)
					}
				}
				if c, ok := r.ByCgroup(uint64(w + 1)); !ok || c.ID != id {
					t.Errorf("cgroup %d is %v", w+1, c)
				}
				r.List()
				if _, err := r.Remove(id, time.Now()); err != nil {
					t.Error(err)
				}
				r.Forget(time.Now())
			}
		})
	}
	wait.Wait()
	if total != workers*rounds*3 || bad != 0 {
		t.Errorf("%d changes, want %d; %d out of order", total, workers*rounds*3, bad)
	}
}

func BenchmarkByCgroup(b *testing.B) {
	r := New(0)
	for i := range 10_000 {
		if err := r.Put(&Container{ID: fmt.Sprint(i), CgroupID: uint64(i + 1)}); err != nil {
			b.Fatal(err)
		}
	}
	b.RunParallel(func(pb *testing.PB) {
		for i := uint64(1); pb.Next(); i++ {
			r.ByCgroup(i%10_000 + 1)
		}
	})
}
