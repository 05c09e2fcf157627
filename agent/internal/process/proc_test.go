// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// procDir lays out one process as /proc has it. Files are those of the map;
// exe and cwd are links.
func procDir(t *testing.T, root, pid string, files map[string]string) {
	t.Helper()
	dir := filepath.Join(root, pid)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		var err error
		if name == "exe" || name == "cwd" {
			err = os.Symlink(text, filepath.Join(dir, name))
		} else {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func statText(comm string, parent, flags, ticks uint64) string {
	return fmt.Sprintf("1 (%s) S %d 0 0 0 0 %d 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", comm, parent, flags, ticks)
}

func TestFromProc(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	status := "Name:\tx\nUid:\t5\t6\t7\t8\n"
	procDir(t, root, "1", map[string]string{
		"stat": statText("init", 0, 0x400100, 3), "status": status, "exe": "/sbin/init", "cwd": "/", "cmdline": "/sbin/init\x00",
		"loginuid": "4294967295",
	})
	procDir(t, root, "2", map[string]string{"stat": statText("kthreadd", 0, 0x208040, 3), "status": status, "cwd": "/", "cmdline": ""})
	// Chosen to look like the end of the name.
	procDir(t, root, "30", map[string]string{
		"stat": statText(") S 1 (\nx y", 1, 0, 12345), "status": status, "exe": "/tmp/a b (deleted)", "cwd": "/tmp",
		"cmdline": "a\x00\x00b c\x00", "loginuid": "1000\n",
	})
	procDir(t, root, "31", map[string]string{
		"stat": statText("z", 30, 0, 12346), "status": status, "cmdline": strings.Repeat("x", 5000),
	})
	procDir(t, root, "40", map[string]string{}) // ended meanwhile
	procDir(t, root, "41", map[string]string{"stat": statText("x", 1, 0, 1)})
	procDir(t, root, "sys", map[string]string{})
	procDir(t, root, "0", map[string]string{})

	got, err := FromProc(root, func(pid int) uint64 { return uint64(pid) + 1000 })
	if err != nil {
		t.Fatal(err)
	}
	key1, key30 := Key{1, 30_000_000}, Key{30, 123_450_000_000}
	want := []Info{
		{
			Key: key1, UID: 5, AUID: NoAUID, Binary: "/sbin/init", Args: []string{"/sbin/init"}, Cwd: "/",
			Flags: ProcFS | RootCwd, CgroupID: 1001,
		},
		{Key: Key{2, 30_000_000}, UID: 5, AUID: NoAUID, Binary: "[kthreadd]", Cwd: "/", Flags: ProcFS | RootCwd, CgroupID: 1002},
		{
			Key: key30, Parent: key1, UID: 5, AUID: 1000, Binary: "/tmp/a b", Args: []string{"a", "", "b c"}, Cwd: "/tmp",
			Flags: ProcFS, CgroupID: 1030,
		},
		{
			Key: Key{31, 123_460_000_000}, Parent: key30, UID: 5, AUID: NoAUID, Args: []string{strings.Repeat("x", 4095)},
			Flags: ProcFS | TruncArgs | ErrorFilename | NoCwd, CgroupID: 1031,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestFromProcRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, stat, status, want string }{
		{"no name", "1 x S 1", "Uid:\t0\n", "no name"},
		{"short", "1 (x) S 1 2 3", "Uid:\t0\n", "fields after the name"},
		{"start time too large", statText("x", 1, 0, ^uint64(0)), "Uid:\t0\n", "start time"},
		{"no uid", statText("x", 1, 0, 1), "Name:\tx\n", "no user id"},
		{"bad uid", statText("x", 1, 0, 1), "Uid:\tx\n", "invalid syntax"},
	} {
		root := t.TempDir()
		procDir(t, root, "7", map[string]string{"stat": test.stat, "status": test.status})
		_, err := FromProc(root, nil)
		if err == nil || !strings.Contains(err.Error(), "read process 7: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v", test.name, err)
		}
	}
	if _, err := FromProc(filepath.Join(t.TempDir(), "missing"), nil); err == nil {
		t.Error("no error without a directory")
	}
}

// TestFromThisMachine finds a process of our own, and this test.
func TestFromThisMachine(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	cmd.Dir = dir
	before := bootTime(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	after := bootTime(t)
	found, err := FromProc("/proc", nil)
	if err != nil {
		t.Fatal(err)
	}
	find := func(pid int) Info {
		n := slices.IndexFunc(found, func(i Info) bool { return i.Key.Tgid == uint32(pid) })
		if n < 0 {
			t.Fatalf("process %d is not found", pid)
		}
		return found[n]
	}
	child, self := find(cmd.Process.Pid), find(os.Getpid())
	path, err := filepath.EvalSymlinks(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	if child.Binary != path || !slices.Equal(child.Args, []string{"sleep", "1000"}) || child.Cwd != dir ||
		child.UID != uint32(os.Getuid()) || child.Parent != self.Key {
		t.Errorf("child %+v\nof %+v", child, self)
	}
	if s := child.Key.Start; s+tick < before || s > after {
		t.Errorf("started at %d, not between %d and %d", s, before, after)
	}
}

func bootTime(t *testing.T) uint64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	return uint64(time.Duration(now.Nano()))
}
