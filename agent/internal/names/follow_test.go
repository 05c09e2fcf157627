// SPDX-License-Identifier: Apache-2.0

package names

import (
	"context"
	"encoding/binary"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/container"
)

// following follows records below a root, and tells of each call of changed.
func following(t *testing.T, root string, registry *container.Registry) <-chan string {
	t.Helper()
	goleak.VerifyNone(t)
	told := make(chan string, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- at(root).Follow(ctx, registry, func(id string) { told <- id }, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t)
	})
	return told
}

func next(t *testing.T, told <-chan string) string {
	t.Helper()
	select {
	case id := <-told:
		return id
	case <-time.After(time.Minute):
		t.Fatal("nothing is told of")
	}
	return ""
}

func put(t *testing.T, registry *container.Registry, all ...container.Container) {
	t.Helper()
	for _, c := range all {
		if err := registry.Put(&c); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFollow renames containers of Docker and of Podman, known before and after it is
// begun to follow them.
func TestFollow(t *testing.T) {
	root, registry := t.TempDir(), container.New(0)
	a, b, c := idOf("a"), idOf("b"), idOf("c")
	ofA, ofB := "var/lib/docker/containers/"+a+"/config.v2.json", "var/lib/docker/containers/"+b+"/config.v2.json"
	list := "g/vfs-containers/containers.json"
	write(t, root, map[string]string{ofA: record(a, "web"), ofB: record(b, "api"), list: storage(c, "db")})
	put(t, registry, container.Container{ID: a, Runtime: "docker"}, container.Container{ID: "x", Runtime: "runc"})
	told := following(t, root, registry)
	expect := func(want string) {
		t.Helper()
		if got := next(t, told); got != want {
			t.Errorf("told of %.4s, want %.4s", got, want)
		}
	}
	expect(a)
	put(t, registry, container.Container{ID: b, Guess: true})
	expect(b)
	put(t, registry, container.Container{ID: c, Runtime: "podman", Bundle: "/g/vfs-containers/" + c + "/userdata"})
	expect(c)

	write(t, root, map[string]string{ofB: record(b, "other")})
	expect(b)
	write(t, root, map[string]string{list: storage(c, "other")})
	expect(c)
	// Put again, as naming it does, it is not told of again.
	put(t, registry, container.Container{ID: a, Runtime: "docker", Name: "web"})
	write(t, root, map[string]string{ofA: record(a, "other")})
	expect(a)
	// What a container writes is in the same directory.
	write(t, root, map[string]string{filepath.Dir(ofA) + "/" + a + "-json.log": "{}"})
	if _, err := registry.Remove(a, time.Now()); err != nil {
		t.Fatal(err)
	}
	// The next that is told of has been put behind the removal.
	put(t, registry, container.Container{ID: b, Runtime: "docker", Name: "again"}, container.Container{ID: a, Runtime: "docker"})
	expect(a)
	write(t, root, map[string]string{ofB: record(b, "third")})
	expect(b)
}

// words are what the kernel tells through inotify.
func words(number int32, mask uint32, name string) []byte {
	text := make([]byte, unix.SizeofInotifyEvent)
	binary.NativeEndian.PutUint32(text, uint32(number))
	binary.NativeEndian.PutUint32(text[4:], mask)
	binary.NativeEndian.PutUint32(text[12:], uint32(len(name)))
	return append(text, name...)
}

// TestLostWordsAreOfAll has the kernel lose words, and a directory go.
func TestLostWordsAreOfAll(t *testing.T) {
	w := &follower{
		watches: map[int]map[string]bool{1: {"a": true, "b": true}, 2: {"c": true}},
		on:      map[string]int{"a": 1, "b": 1, "c": 2},
	}
	if got := w.concerned(words(-1, unix.IN_Q_OVERFLOW, "")); len(got) != 3 {
		t.Errorf("lost words are of %v", got)
	}
	text := append(words(1, unix.IN_MOVED_TO, "containers.json\x00"), words(2, unix.IN_CLOSE_WRITE, "c-json.log\x00\x00")...)
	if got := w.concerned(text); len(got) != 2 || !got["a"] || !got["b"] {
		t.Errorf("a change is of %v", got)
	}
	w.concerned(words(1, unix.IN_IGNORED, ""))
	if len(w.watches) != 1 || len(w.on) != 1 {
		t.Errorf("kept: %v, %v", w.watches, w.on)
	}
}

// FuzzWords holds that nothing which is read from inotify breaks its reader.
func FuzzWords(f *testing.F) {
	f.Add(words(1, unix.IN_MOVED_TO, "config.v2.json\x00\x00"))
	f.Add(words(1, unix.IN_IGNORED, ""))
	f.Fuzz(func(t *testing.T, text []byte) {
		w := &follower{watches: map[int]map[string]bool{1: {"a": true}}, on: map[string]int{"a": 1}}
		for id := range w.concerned(text) {
			if id != "a" {
				t.Errorf("told of %q", id)
			}
		}
	})
}
