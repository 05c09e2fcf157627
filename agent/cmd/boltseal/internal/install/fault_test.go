// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// busy is a host on which much is to be changed.
func busy(t *testing.T) *image {
	t.Helper()
	i := newImage(t, map[string]string{
		"/usr/bin/dockerd!": "", "/usr/bin/containerd!": "", "/usr/bin/podman!": "", "/usr/bin/crio!": "",
		"/etc/docker/daemon.json":     "{\n  \"debug\": true\n}\n",
		"/etc/containerd/config.toml": "version = 2\n# mine\n",
	})
	i.options.Settings.Wrapper = true
	return i
}

// errDisk is a fault of the disk.
var errDisk = errors.New("no space left")

// TestFailureHalfWayPutsEverythingBack fails each change in turn.
func TestFailureHalfWayPutsEverythingBack(t *testing.T) {
	failures := func(t *testing.T, prepare func(*image), do func(context.Context, Options) (*Result, error)) {
		t.Helper()
		for n := 1; ; n++ {
			i := busy(t)
			prepare(i)
			before := i.files()
			count, where := 0, ""
			i.options.before = func(_, path string) error {
				if count++; count == n {
					where = path
					return errDisk
				}
				return nil
			}
			_, err := do(t.Context(), i.options)
			if where == "" {
				if err != nil || n < 10 {
					t.Fatalf("%d changes, %v", n-1, err)
				}
				return
			}
			if !errors.Is(err, errDisk) || !strings.Contains(err.Error(), where) {
				t.Errorf("change %d: %v, want one that names %s", n, err, where)
			}
			i.same(before, "a failed change of "+where)
		}
	}
	t.Run("install", func(t *testing.T) { failures(t, func(*image) {}, Install) })
	t.Run("uninstall", func(t *testing.T) { failures(t, func(i *image) { i.install() }, Uninstall) })
}

// crash is a program that ends at once.
type crash struct{}

// crashing runs an operation that ends before its nth change, and tells whether it
// got that far.
func crashing(t *testing.T, i *image, n int, do func(context.Context, Options) (*Result, error)) (crashed bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			crashed = true
		}
	}()
	count, o := 0, i.options
	o.before = func(string, string) error {
		if count++; count == n {
			panic(crash{})
		}
		return nil
	}
	if _, err := do(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return false
}

// TestCrash: whatever ends install or uninstall in between, each file is old or
// new, uninstall restores all and install completes it.
func TestCrash(t *testing.T) {
	whole := busy(t)
	before := whole.files()
	whole.install()
	after := whole.files()
	for what, do := range map[string]func(context.Context, Options) (*Result, error){"install": Install, "uninstall": Uninstall} {
		for n := 1; ; n++ {
			i := busy(t)
			if what == "uninstall" {
				i.install()
			}
			if !crashing(t, i, n, do) {
				if n < 10 {
					t.Errorf("%s has %d changes", what, n-1)
				}
				break
			}
			for name, text := range i.files() {
				if text != before[name] && text != after[name] && !temporary(name) && name != manifestFile+"/" {
					t.Errorf("%s ended before change %d: %s is neither old nor new: %s", what, n, name, text)
				}
			}
			back := *i
			back.uninstall()
			left := back.files()
			for _, dir := range []string{"/var/", "/var/lib/", "/var/lib/boltseal/"} {
				delete(left, dir) // perhaps made before anything was noted
			}
			for name := range left {
				if left[name] != before[name] {
					t.Errorf("%s ended before change %d, then uninstall: %s is %s, was %s", what, n, name, left[name], before[name])
				}
			}
			for name := range before {
				if _, there := left[name]; !there {
					t.Errorf("%s ended before change %d, then uninstall: %s is gone", what, n, name)
				}
			}
			if what == "install" {
				completed(t, n)
			}
		}
	}
}

// completed ends an install before its nth change, and does it again.
func completed(t *testing.T, n int) {
	t.Helper()
	i := busy(t)
	crashing(t, i, n, Install)
	i.install()
	if got := i.registered(); len(got) != 4 || got["docker"] != Registered {
		t.Errorf("install ended before change %d, then install: %v", n, got)
	}
	i.uninstall()
	if i.text("/etc/docker/daemon.json") != "{\n  \"debug\": true\n}\n" || i.text("/etc/containerd/config.toml") != "version = 2\n# mine\n" {
		t.Errorf("install ended before change %d, then install and uninstall: %v", n, i.files())
	}
}

// temporary tells a file that a write left which was cut short.
func temporary(name string) bool { return strings.HasSuffix(name, ".boltseal-new/") }
