// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/internal/container"
)

// opened is a store of a boot, and what it logs.
func opened(t *testing.T, dir, boot string) (*Store, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	s, err := Open(dir, boot, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

// left are the containers that a store gives back, and how many files it has then.
func left(t *testing.T, s *Store) (all []container.Container, files int) {
	t.Helper()
	all, err := s.Containers()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	return all, len(entries)
}

// full is a container of which everything is known.
func full() container.Container {
	yes := true
	return container.Container{
		ID: "../one/\n", Name: "shop", Image: "localhost/shop:1", Runtime: "runc", Bundle: "/run/b", RootDir: "/run/b/root",
		CgroupPath: "/box/\xff", CgroupID: 1 << 63, Slot: 3, InitPID: 7,
		Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"},
		Pod:        &container.Pod{Name: "p", Namespace: "n", UID: "u", Labels: map[string]string{"e": "f"}, Annotations: map[string]string{"g": "h"}},
		Privileged: &yes, Sandbox: true, Guess: true, Late: true, Added: time.Unix(1, 2).UTC(),
	}
}

func TestContainersOutliveTheStore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "containers")
	s, log := opened(t, dir, "one")
	first, second, announced := full(), container.Container{ID: "2", CgroupID: 2, CgroupPath: "/2"}, container.Container{ID: "3", CgroupPath: "/3"}
	for _, c := range []*container.Container{&first, &second, &announced} {
		s.Follow(container.Change{New: c})
	}
	renamed := first
	renamed.Name = "store"
	s.Follow(container.Change{Old: &first, New: &renamed})
	removed := second
	removed.Removed = time.Unix(3, 0)
	s.Follow(container.Change{Old: &second, New: &removed})

	next, log2 := opened(t, dir, "one")
	all, files := left(t, next)
	if diff := cmp.Diff([]container.Container{renamed}, all); diff != "" || files != 1 {
		t.Errorf("%d files, %s", files, diff)
	}
	if err := next.Drop(first.ID); err != nil {
		t.Error(err)
	}
	if err := next.Drop(first.ID); err != nil {
		t.Errorf("dropped twice: %v", err)
	}
	if all, files := left(t, next); len(all) != 0 || files != 0 {
		t.Errorf("left: %v, %d files", all, files)
	}
	if log.Len()+log2.Len() != 0 {
		t.Errorf("logged: %s%s", log, log2)
	}
}

// TestWhatNoAgentWrote: another boot's containers, unfinished files and garbage give
// no containers, and are removed.
func TestWhatNoAgentWrote(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		file, text string
		complaint  string
	}{
		"another boot": {file: "a.json", text: `{"Boot":"zero","Container":{"ID":"a","CgroupID":1},"CgroupPath":"L2E="}`},
		"unfinished":   {file: "new-1", text: `{"Boot":"one","Container":{"ID":"a","CgroupID":1},"CgroupPath":"L2E="}`},
		"no JSON":      {file: "a.json", text: "{", complaint: "unexpected end of JSON"},
		"no id":        {file: "a.json", text: `{"Boot":"one","Container":{"CgroupID":1},"CgroupPath":"L2E="}`, complaint: "no container with a cgroup"},
		"no cgroup":    {file: "a.json", text: `{"Boot":"one","Container":{"ID":"a"},"CgroupPath":"L2E="}`, complaint: "no container with a cgroup"},
		"no path":      {file: "a.json", text: `{"Boot":"one","Container":{"ID":"a","CgroupID":1}}`, complaint: "no container with a cgroup"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, log := opened(t, filepath.Join(t.TempDir(), "containers"), "one")
			if err := os.WriteFile(filepath.Join(s.dir, test.file), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if all, files := left(t, s); len(all) != 0 || files != 0 {
				t.Errorf("left: %v, %d files", all, files)
			}
			if !strings.Contains(log.String(), test.complaint) || (test.complaint == "") != (log.Len() == 0) {
				t.Errorf("logged: %q", log)
			}
		})
	}
}

// TestOthersMayNotWrite: what the directory holds is believed.
func TestOthersMayNotWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, file, filepath.Join(file, "below")} {
		if s, err := Open(path, "one", slog.Default()); err == nil {
			t.Errorf("%s was taken: %v", path, s)
		}
	}
}

// TestFullDisk: what cannot be written is told, and leaves nothing behind.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s, log := opened(t, filepath.Join(t.TempDir(), "containers"), "one")
	c := full()
	if err := os.Mkdir(s.file(c.ID), 0o700); err != nil { // where no file can be put
		t.Fatal(err)
	}
	s.Follow(container.Change{New: &c})
	if !strings.Contains(log.String(), "write down container") {
		t.Errorf("logged: %q", log)
	}
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}
