// SPDX-License-Identifier: Apache-2.0

package demo

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

	"github.com/boltseal/boltseal/agent/internal/policy"
)

func TestPolicies(t *testing.T) {
	t.Parallel()
	for goarch, hooks := range map[string]int{"amd64": 3, "arm64": 2} {
		p, err := policy.Parse([]byte(policyFor(goarch)))
		if err != nil {
			t.Errorf("%s: %v", goarch, err)
			continue
		}
		if p.Name != policyName || p.Mode != policy.Enforce || len(p.Hooks) != hooks || p.ContainerSelector == nil {
			t.Errorf("%s: %s, mode %s, %d hooks, selector %v", goarch, p.Name, p.Mode, len(p.Hooks), p.ContainerSelector)
		}
		for _, h := range p.Hooks {
			if !h.Enforces() {
				t.Errorf("%s: %s does not enforce", goarch, h.Event)
			}
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	s := scene{dir: "/d", name: "n"}
	for _, selected := range []bool{true, false} {
		c := &container{role: "r", id: "n-r", cgroup: "/n/n-r", selected: selected}
		config := s.config(c, "/bin/hook")
		if got := config.Annotations[policyKey] == policyName; got != selected {
			t.Errorf("selected %v: annotations %v", selected, config.Annotations)
		}
		hook := config.Hooks.CreateRuntime[0]
		if hook.Path != "/bin/hook" || !slices.Equal(hook.Args, []string{"boltseal-hook", "createRuntime", "--config", "/d/hook.json"}) {
			t.Errorf("hook %+v", hook)
		}
		if config.Linux.CgroupsPath != "/n/n-r" || !config.Root.Readonly {
			t.Errorf("cgroup %q, read-only %v", config.Linux.CgroupsPath, config.Root.Readonly)
		}
	}
}

func TestIDsFitIntoEvents(t *testing.T) {
	t.Parallel()
	r := &run{scene: scene{name: "boltseal-demo-abcdef"}}
	for _, role := range []string{"neighbour", "selected"} {
		// An event holds the first 31 bytes of an id.
		if c := r.container(role, false); len(c.id) > 31 {
			t.Errorf("%s is %d bytes long", c.id, len(c.id))
		}
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
