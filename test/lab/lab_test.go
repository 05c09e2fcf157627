// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestCacheKeepsWhatIsWhole(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := &Cache{Dir: t.TempDir(), Log: &log}
	broken := errors.New("broken")
	if _, err := c.entry("thing", "1", func(dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o600), broken)
	}); !errors.Is(err, broken) || !strings.Contains(err.Error(), "make thing") {
		t.Errorf("error is %v", err)
	}
	var built atomic.Int32
	build := func(dir string) error {
		built.Add(1)
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("the place is not empty: %v, %v", left, err)
		}
		return os.WriteFile(filepath.Join(dir, "whole"), []byte("x"), 0o600)
	}
	first, err := c.entry("thing", "1", build)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.entry("thing", "1", build)
	if err != nil || second != first || built.Load() != 1 {
		t.Errorf("second time: %q, %v, built %d times", second, err, built.Load())
	}
	if _, err := c.entry("thing", "2", build); err != nil || built.Load() != 2 {
		t.Errorf("another recipe: %v, built %d times", err, built.Load())
	}
	if !strings.Contains(log.String(), "made thing: 0 MB in "+first) {
		t.Errorf("log: %q", log.String())
	}
}

func TestCacheBuildsOnceForAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var built atomic.Int32
	results := make(chan error)
	for range 8 {
		go func() {
			// Caches of their own, as other processes have.
			c := &Cache{Dir: dir, Log: &bytes.Buffer{}}
			_, err := c.entry("thing", "1", func(string) error { built.Add(1); return nil })
			results <- err
		}()
	}
	for range 8 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if built.Load() != 1 {
		t.Errorf("built %d times", built.Load())
	}
}

func TestReleaseName(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n": "bookworm",
		"ID=ubuntu\nPRETTY_NAME=\"Ubuntu\"\nVERSION_CODENAME=noble\n":                            "",
		"": "",
	} {
		path := filepath.Join(t.TempDir(), "os-release")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := releaseName(path)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), MirrorVariable) {
			t.Errorf("the error does not say what to do: %v", err)
		}
	}
}

func TestKernelByName(t *testing.T) {
	t.Parallel()
	for _, k := range Kernels() {
		if got, err := KernelByName(k.Name); err != nil || got != k {
			t.Errorf("%s: %v, %v", k.Name, got, err)
		}
	}
	if _, err := KernelByName("2.4"); err == nil || !strings.Contains(err.Error(), "6.12-inject") {
		t.Errorf("error is %v", err)
	}
}

func TestHostNeedsAreAllTold(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Open(context.Background(), &bytes.Buffer{})
	if !errors.Is(err, ErrMissing) {
		t.Fatalf("error is %v", err)
	}
	for _, words := range []string{"qemu-system-x86_64", "Debian package qemu-system-x86)", "mke2fs", "xz-utils"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not in: %v", words, err)
		}
	}
}

func TestGuestFilesStayInside(t *testing.T) {
	t.Parallel()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range []tar.Header{
		{Name: "ok", Typeflag: tar.TypeReg, Size: 2, Mode: 0o777},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
		{Name: "../outside", Typeflag: tar.TypeReg, Size: 2},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("hi")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "out")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := unpackFiles(&archive, dir)
	if err == nil || !strings.Contains(err.Error(), "outside") {
		t.Errorf("error is %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "ok")); err != nil || string(text) != "hi" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "link")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the link is there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(parent, "outside")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was written outside: %v", err)
	}
}

func TestPackRefusesPathsOutside(t *testing.T) {
	t.Parallel()
	l := &Lab{dir: t.TempDir()}
	for _, guest := range []string{"/etc/passwd", "../x", ""} {
		if _, err := l.Pack(t.Context(), File{Host: "/dev/null", Guest: guest}); err == nil {
			t.Errorf("%q was packed", guest)
		}
	}
}

func TestFaultBeginsWithTheComplaint(t *testing.T) {
	t.Parallel()
	noise := strings.Repeat("[ 1.0] all is well\n", 1000)
	if got := fault(noise + "[ 2.0] Oops: int3\n" + noise); !strings.HasPrefix(got, "[ 2.0] Oops: int3\n") || len(got) > 4000 {
		t.Errorf("%.100q", got)
	}
	if got := fault(noise + "the end"); !strings.HasSuffix(got, "the end") || len(got) > 4000 {
		t.Errorf("%.100q", got)
	}
}

func TestDroppedOptions(t *testing.T) {
	t.Parallel()
	got := droppedOptions("# words\nCONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n", "CONFIG_A=y\nCONFIG_B=m\nCONFIG_AB=y\n")
	if len(got) != 1 || got[0] != "CONFIG_B=y" {
		t.Errorf("%q", got)
	}
}

func TestFastClocksAreFound(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	for _, test := range []struct {
		guest, host time.Duration
		fast        bool
	}{
		{time.Second, time.Second, false}, {time.Second, 5 * time.Second, false}, {time.Second, 700 * time.Millisecond, false},
		{time.Second, 100 * time.Millisecond, true}, {time.Second, 300 * time.Millisecond, true},
	} {
		c := &conversation{begin: begin}
		if err := c.alive(4, begin); err != nil || c.ready {
			t.Errorf("first sign of life: ready %t, %v", c.ready, err)
		}
		err := c.alive(4+test.guest.Seconds(), begin.Add(test.host))
		if errors.Is(err, ErrClock) != test.fast || c.ready == test.fast {
			t.Errorf("%v of the guest in %v: ready %t, %v", test.guest, test.host, c.ready, err)
		}
	}
}
