// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	s := &Stage{scene: scene{dir: "/d", name: "n"}}
	c := &Container{Role: "r", Annotations: map[string]string{"a": "b"}, Args: []string{"/bin/x"}, Root: "/root", Capabilities: []string{"CAP_KILL"}}
	s.Name(c)
	config := s.config(c, "/bin/hook")
	if config.Annotations["a"] != "b" || !slices.Equal(config.Process.Args, c.Args) || config.Process.Capabilities.Effective[0] != "CAP_KILL" {
		t.Errorf("annotations %v, process %+v", config.Annotations, config.Process)
	}
	hook := config.Hooks.CreateRuntime[0]
	if hook.Path != "/bin/hook" || !slices.Equal(hook.Args, []string{"boltseal-hook", "createRuntime", "--config", "/d/hook.json"}) {
		t.Errorf("hook %+v", hook)
	}
	if c.ID != "n-r" || config.Linux.CgroupsPath != "/n/n-r" || config.Root.Path != "/root" || !config.Root.Readonly {
		t.Errorf("id %q, cgroup %q, root %+v", c.ID, config.Linux.CgroupsPath, config.Root)
	}
}

func TestFindTools(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "boltseald"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := findTools(dir)
	for _, want := range []string{"boltseald is no program: build it with make build", "find boltseal-hook", "--bin-dir"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want ...%s", err, want)
		}
	}
	if _, err := installed("boltseal-no-such-program", "some-package"); err == nil || !strings.Contains(err.Error(), "Debian package some-package") {
		t.Errorf("a program that is not there: %v", err)
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skipf("there is no dynamic program to look at: %v", err)
	}
	if _, err := static(bash, "bash-static"); err == nil || !strings.Contains(err.Error(), "needs shared libraries") {
		t.Errorf("a program with shared libraries: %v", err)
	}
}

func TestUsable(t *testing.T) {
	t.Parallel()
	if err := usable("/tmp"); err != nil {
		t.Errorf("/tmp: %v", err)
	}
	if err := usableWith("/tmp", unix.ST_NODEV|unix.ST_NOEXEC); err == nil || !strings.Contains(err.Error(), "cannot be run") {
		t.Errorf("where nothing may be executed: %v", err)
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 90))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := usable(long); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a long path: %v", err)
	}
	if err := usable(filepath.Join(long, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestHierarchies(t *testing.T) {
	t.Parallel()
	const mounts = `22 1 0:20 / /proc rw - proc proc rw
30 22 0:26 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/with\040space rw - cgroup cgroup rw,cpu
33 30 0:29 / /sys/fs/cgroup/unified rw master:1 propagate_from:2 - cgroup2 cgroup2 rw
a strange line
`
	want := []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/with space", "/sys/fs/cgroup/unified"}
	if got := hierarchies(mounts); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRemoveTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := removeTree(filepath.Join(dir, "none")); err != nil {
		t.Errorf("a tree that is not there: %v", err)
	}
	root := filepath.Join(dir, "a")
	if err := os.MkdirAll(filepath.Join(root, "b", "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(root); err != nil {
		t.Errorf("a tree: %v", err)
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestUndo(t *testing.T) {
	t.Parallel()
	var order []string
	failure := errors.New("no")
	var u undo
	for _, name := range []string{"first", "second", "third"} {
		u.later(name, func(ctx context.Context) error {
			order = append(order, name)
			if ctx.Err() != nil {
				t.Errorf("%s: %v", name, ctx.Err())
			}
			if name == "second" {
				return failure
			}
			return nil
		})
	}
	if err := u.run(); !errors.Is(err, failure) || err.Error() != "second: no" {
		t.Errorf("%v", err)
	}
	if !slices.Equal(order, []string{"third", "second", "first"}) {
		t.Errorf("order %q", order)
	}
	if err := u.run(); err != nil || len(order) != 3 {
		t.Errorf("once more: %v, %q", err, order)
	}
}

func TestPoll(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	n := 0
	if err := poll(ctx, func() (bool, error) { n++; return n == 2, nil }); err != nil || n != 2 {
		t.Errorf("asked %d times: %v", n, err)
	}
	if err := poll(ctx, func() (bool, error) { return false, nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if err := poll(ctx, func() (bool, error) { return false, unix.ECHILD }); !errors.Is(err, unix.ECHILD) {
		t.Errorf("an error: %v", err)
	}
}
