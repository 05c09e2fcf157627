// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree makes a cgroup of the test's own, or skips where none can be made.
func tree(t *testing.T) (Root, string) {
	t.Helper()
	root, err := FindRoot()
	if errors.Is(err, ErrNoUnified) || errors.Is(err, ErrNamespace) {
		t.Skipf("this host has no unified hierarchy to test on: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(root.Path(), "boltseal-test-")
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		t.Skipf("no right to make a cgroup: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	base := "/" + filepath.Base(dir)
	t.Cleanup(func() { remove(t, root, base) })
	return root, base
}

// remove takes a tree of cgroups away, with what runs in it.
func remove(t *testing.T, root Root, base string) {
	t.Helper()
	if err := root.Kill(base); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	until(t, "cgroup "+base+" is removed", func() bool {
		paths := []string{base}
		_ = root.walk(base, func(p string, _ uint64) error { paths = append(paths, p); return nil })
		slices.Reverse(paths)
		for _, p := range paths {
			_ = unix.Rmdir(root.Path() + p)
		}
		_, err := root.ID(base)
		return errors.Is(err, fs.ErrNotExist)
	})
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(5 * time.Second)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("timeout: %s", what)
		}
	}
}

func mkdir(t *testing.T, root Root, p string) {
	t.Helper()
	if err := os.MkdirAll(root.Path()+p, 0o755); err != nil {
		t.Fatal(err)
	}
}

// spawn runs a shell script in the cgroup and returns the shell's pid.
func spawn(t *testing.T, root Root, p, script string) *exec.Cmd {
	t.Helper()
	dir, err := os.Open(root.Path() + p)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func TestIDAgreesWithInodeAndPathOf(t *testing.T) {
	t.Parallel()
	root, base := tree(t)
	for _, name := range []string{"/plain", "/a/b/c", "/sp ace", "/0::", "/tab\t\x01", "/bytes\xff\xfe", "/x (deleted)", "/" + strings.Repeat("n", 255)} {
		p := base + name
		mkdir(t, root, p)
		var st unix.Stat_t
		if err := unix.Stat(root.Path()+p, &st); err != nil {
			t.Fatal(err)
		}
		id, err := root.ID(p)
		if err != nil || id != st.Ino || id <= rootID {
			t.Errorf("ID(%q) = %d, %v; inode is %d", p, id, err, st.Ino)
		}
		if got, err := root.PathOf(id); err != nil || got != p {
			t.Errorf("PathOf(%d) = %q, %v; want %q", id, got, err, p)
		}
		if got, err := root.pathByWalk(id); err != nil || got != p {
			t.Errorf("pathByWalk(%d) = %q, %v; want %q", id, got, err, p)
		}
	}
	if id, err := root.ID("/"); err != nil || id != rootID {
		t.Errorf("ID(/) = %d, %v", id, err)
	}
	if p, err := root.PathOf(rootID); err != nil || p != "/" {
		t.Errorf("PathOf(root) = %q, %v", p, err)
	}
}

func TestIDRefuses(t *testing.T) {
	t.Parallel()
	root, base := tree(t)
	tests := []struct {
		path string
		err  error // nil: any
	}{
		{"", nil},
		{"relative", nil},
		{base + "/../..", nil},
		{"/..", nil},
		{base + "/\x00", nil},
		{base + "/none", fs.ErrNotExist},
		{base + "/cgroup.procs", ErrNotCgroup},
		{base + "/cgroup.procs/x", ErrNotCgroup},
	}
	for _, tt := range tests {
		id, err := root.ID(tt.path)
		if err == nil || (tt.err != nil && !errors.Is(err, tt.err)) {
			t.Errorf("ID(%q) = %d, %v; want %v", tt.path, id, err, tt.err)
		}
	}
	if id, err := (Root{}).ID("/"); err == nil {
		t.Errorf("zero Root: ID(/) = %d", id)
	}
}

// A directory tree with links stands in for a hierarchy: cgroup2 itself has none.
func TestOpenFollowsNoLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, sub := range []string{"in/a", "out/a"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"in/up": "../out", "in/abs": dir + "/out", "in/same": "a"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(filepath.Join(dir, "in"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for name, open := range map[string]func(int, string, int) (int, error){"openat2": openBeneath, "by_parts": openByParts} {
		t.Run(name, func(t *testing.T) {
			got, err := open(fd, "a", unix.O_PATH)
			if err != nil {
				t.Fatalf("open a: %v", err)
			}
			unix.Close(got)
			for _, rel := range []string{"up/a", "abs/a", "same/", "up", "../out", "a/../../out"} {
				got, err := open(fd, rel, unix.O_RDONLY)
				if err == nil {
					unix.Close(got)
					t.Errorf("open %q was let through", rel)
				}
			}
		})
	}
	if _, err := At(dir); !errors.Is(err, ErrNotCgroup) {
		t.Errorf("At(plain directory): %v", err)
	}
}

func TestHandleID(t *testing.T) {
	t.Parallel()
	root, base := tree(t)
	tests := []struct {
		dir string
		ok  bool
		err bool
	}{
		{root.Path() + base, true, false},
		{"/proc/self", false, false}, // gives no handles
		{t.TempDir(), false, true},   // gives others
	}
	for _, tt := range tests {
		fd, err := unix.Open(tt.dir, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		id, ok, err := handleID(fd)
		if ok != tt.ok || (err != nil) != tt.err || ok != (id != 0) {
			t.Errorf("handleID(%s) = %d, %v, %v", tt.dir, id, ok, err)
		}
	}
}

func TestAtRefusesPartOfHierarchy(t *testing.T) {
	t.Parallel()
	root, base := tree(t)
	if _, err := At(root.Path() + base); !errors.Is(err, ErrNamespace) {
		t.Errorf("At(sub-cgroup): %v", err)
	}
}

func TestOfPID(t *testing.T) {
	t.Parallel()
	root, base := tree(t)
	p := base + "/a b: (deleted)"
	mkdir(t, root, p)
	cmd := spawn(t, root, p, "exec sleep 60")
	want, err := root.ID(p)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := root.OfPID(cmd.Process.Pid); err != nil || got != (Location{p, want}) {
		t.Errorf("OfPID = %+v, %v; want %q %d", got, err, p, want)
	}
	if pids, err := root.Procs(p); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("Procs = %v, %v", pids, err)
	}
	if got, err := root.OfPID(2); !errors.Is(err, ErrRoot) && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OfPID(kthreadd) = %+v, %v; want ErrRoot", got, err)
	}
	for _, pid := range []int{0, -1, 1 << 30} {
		if got, err := root.OfPID(pid); err == nil {
			t.Errorf("OfPID(%d) = %+v", pid, got)
		}
	}
}

func TestOfPIDInRemovedCgroup(t *testing.T) {
	t.Parallel()
	root, base := tree(t)
	p := base + "/gone"
	mkdir(t, root, p)
	cmd := spawn(t, root, p, "exec sleep 60")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Not waited for: the zombie keeps the cgroup, which can be removed.
	until(t, "rmdir below a zombie", func() bool { return unix.Rmdir(root.Path()+p) == nil })
	if got, err := root.OfPID(cmd.Process.Pid); !errors.Is(err, ErrDeleted) {
		t.Errorf("OfPID(zombie) = %+v, %v; want ErrDeleted", got, err)
	}
}

func TestPathOfRemovedCgroup(t *testing.T) {
	t.Parallel()
	root, base := tree(t)
	mkdir(t, root, base+"/x")
	id, err := root.ID(base + "/x")
	if err != nil {
		t.Fatal(err)
	}
	// A file's id is no cgroup's.
	var st unix.Stat_t
	if err := unix.Stat(root.Path()+base+"/x/cgroup.procs", &st); err != nil {
		t.Fatal(err)
	}
	if p, err := root.PathOf(st.Ino); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("PathOf(file) = %q, %v", p, err)
	}
	if err := unix.Rmdir(root.Path() + base + "/x"); err != nil {
		t.Fatal(err)
	}
	if p, err := root.PathOf(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("PathOf = %q, %v", p, err)
	}
}

func TestWalkWhileCgroupsComeAndGo(t *testing.T) {
	t.Parallel()
	root, base := tree(t)
	want := []string{base, base + "/keep", base + "/keep/a", base + "/keep/b"}
	for _, p := range want {
		mkdir(t, root, p)
	}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			dir := fmt.Sprintf("%s%s/t%d", root.Path(), base, i%8)
			_ = os.MkdirAll(dir+"/u/v", 0o755)
			_, _, _ = unix.Rmdir(dir+"/u/v"), unix.Rmdir(dir+"/u"), unix.Rmdir(dir)
		}
	})
	for range 50 {
		var got []string
		err := root.Walk(func(p string, id uint64) error {
			if slices.Contains(want, p) {
				got = append(got, p)
			}
			if id <= rootID {
				t.Errorf("%q has id %d", p, id)
			}
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("Walk = %q, %v; want %q", got, err, want)
		}
	}
	close(stop)
	churn.Wait()
}

func TestWalkStops(t *testing.T) {
	t.Parallel()
	root, base := tree(t)
	mkdir(t, root, base+"/a/b")
	mkdir(t, root, base+"/c")
	boom := errors.New("boom")
	for _, tt := range []struct {
		at, err, want error
		seen          []string
	}{
		{err: fs.SkipDir, seen: []string{base + "/a", base + "/c"}},
		{err: fs.SkipAll, seen: []string{base + "/a"}},
		{err: boom, want: boom, seen: []string{base + "/a"}},
	} {
		var seen []string
		err := root.walk(base, func(p string, _ uint64) error {
			seen = append(seen, p)
			if p == base+"/a" {
				return tt.err
			}
			return nil
		})
		if !errors.Is(err, tt.want) || !slices.Equal(seen, tt.seen) {
			t.Errorf("%v: saw %q, %v", tt.err, seen, err)
		}
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	ways := map[string]func(Root, string) error{"cgroup.kill": Root.Kill, "signals": Root.killEach}
	for name, kill := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, base := tree(t)
			mkdir(t, root, base+"/k/sub")
			mkdir(t, root, base+"/other")
			bystander := spawn(t, root, base+"/other", "exec sleep 60")
			victims := []*exec.Cmd{
				spawn(t, root, base+"/k", "trap '' TERM; while :; do sleep 0.01 & wait; done"), // goes on forking
				spawn(t, root, base+"/k/sub", "exec sleep 60"),
			}
			if err := kill(root, base+"/k"); err != nil {
				t.Fatal(err)
			}
			for _, cmd := range victims {
				err := cmd.Wait()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Errorf("victim ended with %v", err)
				}
			}
			until(t, "killed cgroup is empty", func() bool {
				pids, err := root.Procs(base + "/k")
				return err == nil && len(pids) == 0
			})
			if pids, err := root.Procs(base + "/other"); err != nil || !slices.Equal(pids, []int{bystander.Process.Pid}) {
				t.Errorf("bystander: %v, %v", pids, err)
			}
		})
	}
}

func TestKillRefusesTheRoot(t *testing.T) {
	t.Parallel()
	root, base := tree(t)
	if err := root.Kill(base + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Kill(nothing): %v", err)
	}
	// Not Kill itself: were the check broken that would end the machine.
	for _, p := range []string{"/", "//", "/./"} {
		if err := root.mayKill(p); !errors.Is(err, ErrRoot) {
			t.Errorf("mayKill(%q): %v", p, err)
		}
	}
	if err := root.mayKill(base); err != nil {
		t.Errorf("mayKill(own): %v", err)
	}
}
