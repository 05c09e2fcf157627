// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv(crashVariable) != "" && os.Getenv(keeperVariable) == "" {
		os.Exit(run(crash{}))
	}
	Main(m)
}

// recorder stands in for a test and keeps what helpers say to it.
type recorder struct {
	testing.TB
	skipped, failed string
	cleanups        []func()
}

// stopped is what a recorder panics with where a real test would end.
type stopped struct{}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}
func (r *recorder) Failed() bool        { return r.failed != "" }
func (r *recorder) Cleanup(f func())    { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.failed += fmt.Sprintf(format, args...) + "\n"
}
func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	panic(stopped{})
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(stopped{})
}

// do runs f as the body of a test, and its cleanups.
func (r *recorder) do(f func(tb testing.TB)) {
	defer func() {
		for i := len(r.cleanups) - 1; i >= 0; i-- {
			r.cleanups[i]()
		}
	}()
	defer func() {
		if p := recover(); p != nil && p != (stopped{}) {
			panic(p)
		}
	}()
	f(r)
}

func TestRequire(t *testing.T) {
	missing := func() error { return errors.New("not built in") }
	there := func() error { return nil }
	for _, test := range []struct {
		name         string
		strict       string
		feature      Feature
		skips, fails string
	}{
		{name: "there", feature: Feature{name: "x", probe: there}},
		{name: "there, strict", strict: "1", feature: Feature{name: "x", probe: there}},
		{name: "missing", feature: Feature{name: "x", probe: missing}, skips: "needs x: not built in"},
		{name: "missing, strict", strict: "1", feature: Feature{name: "x", probe: missing}, fails: "needs x, which this machine should have: not built in\n"},
		{name: "needed", feature: Needed("x", missing), fails: "needs x, which this machine should have: not built in\n"},
		{name: "needed, there", feature: Needed("x", there)},
		{name: "optional, strict", strict: "1", feature: Optional("x", missing), skips: "needs x: not built in"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(StrictVariable, test.strict)
			var r recorder
			r.do(func(tb testing.TB) { Require(tb, test.feature) })
			if r.skipped != test.skips || r.failed != test.fails {
				t.Errorf("skipped %q, failed %q; want %q, %q", r.skipped, r.failed, test.skips, test.fails)
			}
		})
	}
}

func TestTempCgroupIsBornIntoAndRemoved(t *testing.T) {
	Require(t, Root(), Cgroup2())
	var dir string
	ended := make(chan error, 1)
	t.Run("use", func(t *testing.T) {
		c := TempCgroup(t)
		dir = c.Dir
		child := c.Child(t, "child")
		if child.Path != c.Path+"/child" || child.ID == c.ID || c.ID == 0 {
			t.Errorf("parent %+v, child %+v", c, child)
		}
		sleeper := child.Born(exec.Command("sleep", "1000"))
		if err := sleeper.Start(); err != nil {
			t.Fatal(err)
		}
		own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", sleeper.Process.Pid))
		if err != nil || !strings.Contains(string(own), "0::"+child.Path+"\n") {
			t.Errorf("the process is in %q (%v), want %s", own, err, child.Path)
		}
		if err := c.Add(sleeper.Process.Pid); err != nil {
			t.Error(err)
		}
		// Reaped in the background: a zombie keeps its cgroup busy.
		go func() { ended <- sleeper.Wait() }()
	})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	// A cgroup may be removed as soon as its tasks are dying, before they are reaped.
	select {
	case err := <-ended:
		if err == nil || err.Error() != "signal: killed" {
			t.Errorf("the process in the cgroup ended by %v, want a kill", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the process in the cgroup still runs")
	}
}

// crashVariable makes the test binary a test process that makes things and is
// then killed.
const crashVariable = "BOLTSEAL_TEST_CRASH"

// crash is the tests of that process.
type crash struct{}

func (crash) Run() int {
	var r recorder
	r.do(func(tb testing.TB) {
		c := TempCgroup(tb)
		if err := c.Born(exec.Command("sleep", "1000")).Start(); err != nil {
			tb.Fatalf("start: %v", err)
		}
		// Neither the parent nor the container's own cgroup carries the session's name.
		parent := "/" + strings.ToLower(rand.Text())
		box := Bundle(tb, Spec{Args: []string{ActorPath, "sleep"}, CgroupsPath: parent + "/box"})
		if result := NewRunc(tb).RunDetached(context.Background(), box); result.Code != 0 {
			tb.Fatalf("runc: %s", result)
		}
		mount := Dir(tb)
		if err := unix.Mount("tmpfs", mount, "tmpfs", 0, ""); err != nil {
			tb.Fatalf("mount: %v", err)
		}
		fmt.Printf("session %s %s\n", current.name, parent)
		select {} // the parent kills this process
	})
	fmt.Println("crash:", r.failed)
	return 1
}

func TestNothingSurvivesTheTestProcess(t *testing.T) {
	Require(t, Containers())
	for _, signal := range []os.Signal{unix.SIGKILL, unix.SIGINT, unix.SIGQUIT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
			cmd.Env = append(os.Environ(), crashVariable+"=1")
			out, err := os.Create(Dir(t) + "/out")
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var name, parent string
			Eventually(t, 30*time.Second, "the child has made everything", func() error {
				text, err := os.ReadFile(out.Name())
				if err != nil {
					return err
				}
				if n, _ := fmt.Sscanf(string(text), "session %s %s\n", &name, &parent); n != 2 {
					return fmt.Errorf("it says %q", text)
				}
				return nil
			})
			if parent == "" {
				t.FailNow()
			}
			// runc returns before the container's exec, and a task has no name in it.
			Eventually(t, 30*time.Second, "two processes, a cgroup and a mount are found", func() error {
				if made := leftovers(name); len(made) < 4 {
					return fmt.Errorf("found %q", made)
				}
				return nil
			})
			if _, err := os.Stat(Cgroup2Root(t) + parent + "/box"); err != nil {
				t.Errorf("the container's cgroup: %v", err)
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			Eventually(t, sweepTime, "all of session "+name+" is gone", func() error {
				if left := leftovers(name); len(left) > 0 {
					return fmt.Errorf("left: %q", left)
				}
				for _, path := range []string{sessionDir(name), Cgroup2Root(t) + parent} {
					if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
						return fmt.Errorf("%s is there: %w", path, err)
					}
				}
				return nil
			})
		})
	}
}

func TestLeakCheckSeesLeaks(t *testing.T) {
	Require(t, Root(), Cgroup2())
	for _, test := range []struct {
		name, want string
		leak       func(*testing.T) (undo func())
	}{
		{"file", "more files open on", func(t *testing.T) func() {
			f, err := os.Open("/dev/null")
			if err != nil {
				t.Fatal(err)
			}
			return func() { f.Close() }
		}},
		{"goroutine", "unexpected goroutines", func(*testing.T) func() {
			stop := make(chan struct{})
			go func() { <-stop }()
			return func() { close(stop) }
		}},
		{"process", "process", func(t *testing.T) func() {
			cmd := exec.Command("sleep", "1000")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
		}},
		{"cgroup", "cgroup /", func(t *testing.T) func() {
			dir := Cgroup2Root(t) + "/" + current.name + "-leak"
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			return func() { _ = os.Remove(dir) }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r recorder
			var undo func()
			r.do(func(tb testing.TB) {
				leakCheck(tb, 50*time.Millisecond)
				undo = test.leak(t)
			})
			undo()
			if !strings.Contains(r.failed, test.want) {
				t.Errorf("the check said %q, want %q in it", r.failed, test.want)
			}
		})
	}
}
