// SPDX-License-Identifier: Apache-2.0

package jsonfile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(path string) Options {
	return Options{Path: path, Rotation: Rotation{MaxBytes: 1 << 20}, Perm: 0o600, Log: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, o Options) *File {
	t.Helper()
	f, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func write(t *testing.T, f *File, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := f.WriteLine([]byte(line + "\n")); err != nil {
			t.Fatal(err)
		}
	}
}

// files are the names and the text of all files of a directory, unpacked.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(entry.Name(), ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(text))
			if err != nil {
				t.Fatalf("%s: %v", entry.Name(), err)
			}
			if text, err = io.ReadAll(z); err != nil {
				t.Fatalf("%s: %v", entry.Name(), err)
			}
		}
		all[entry.Name()] = string(text)
	}
	return all
}

func is(t *testing.T, path, want string) {
	t.Helper()
	if text, err := os.ReadFile(path); err != nil || string(text) != want {
		t.Errorf("%s has %q, %v; want %q", filepath.Base(path), text, err, want)
	}
}

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not in 30 s", what)
		}
	}
}

// TestRotationUnderLoadLosesNothing: each line of several writers is there once, in
// the order of its writer, over files that are being rotated and packed.
func TestRotationUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	const writers, each, most = 4, 2000, 8 << 10
	dir := t.TempDir()
	o := options(filepath.Join(dir, "events.log"))
	o.Rotation.MaxBytes, o.Compress, o.Perm = most, true, 0o640
	o.Rotation.Interval = 20 * time.Millisecond
	f := open(t, o)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for n := range each {
				if err := f.WriteLine(fmt.Appendf(nil, "%d %d %s\n", w, n, strings.Repeat("x", n%50))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	eventually(t, "all old files are packed", func() bool {
		plain, err := filepath.Glob(filepath.Join(dir, "events-*.log"))
		return err == nil && len(plain) == 0
	})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	all := files(t, dir)
	if len(all) < writers*each*20/most {
		t.Errorf("%d files only", len(all))
	}
	next, lines := [writers]int{}, 0
	order := append(sortedBackups(t, f), "events.log")
	if len(order) != len(all) {
		t.Errorf("%d files in order of %d", len(order), len(all))
	}
	for _, name := range order {
		if len(all[name]) > most {
			t.Errorf("%s has %d bytes", name, len(all[name]))
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != 0o640 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		for scanner := bufio.NewScanner(strings.NewReader(all[name])); scanner.Scan(); lines++ {
			var w, n int
			var rest string
			if _, err := fmt.Sscanf(scanner.Text()+"-", "%d %d %s", &w, &n, &rest); err != nil || n != next[w] || len(rest) != n%50+1 {
				t.Fatalf("%s: line %q, want line %d: %v", name, scanner.Text(), next[w], err)
			}
			next[w]++
		}
	}
	if lines != writers*each {
		t.Errorf("%d lines of %d", lines, writers*each)
	}
}

// sortedBackups are the names of packed files, the oldest first.
func sortedBackups(t *testing.T, f *File) (names []string) {
	t.Helper()
	backups, err := f.backups()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range backups {
		names = append([]string{filepath.Base(name) + ".gz"}, names...)
	}
	return names
}

func TestSizeIsABound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options(filepath.Join(dir, "e"))
	o.Rotation.MaxBytes = 10
	f := open(t, o)
	write(t, f, "12345", "678", strings.Repeat("y", 20), "z")
	is(t, o.Path, "z\n")
	backups, err := f.backups()
	if err != nil || len(backups) != 2 {
		t.Fatalf("old files: %v, %v", backups, err)
	}
	is(t, backups[1], "12345\n678\n")
	is(t, backups[0], strings.Repeat("y", 20)+"\n")
}

func TestOldFilesAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options(filepath.Join(dir, "e.log"))
	o.Rotation.MaxBytes, o.Rotation.MaxBackups = 1, 2
	for _, name := range []string{"e-x.log", "e-2026-01-02T03-04-05.000.txt", "f-2026-01-02T03-04-05.000.log", "e-2026-01-02T03-04-05.000.log.bak"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"e-2000-01-02T03-04-05.000.log.gz", "e-2000-01-02T03-04-05.001.log", "e-2000-01-02T03-04-05.002.log.gz.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := open(t, o)
	write(t, f, "a", "b", "c", "d")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	backups, err := f.backups()
	if err != nil || len(backups) != 2 {
		t.Fatalf("old files: %v, %v", backups, err)
	}
	is(t, backups[0], "c\n")
	is(t, backups[1], "b\n")
	if all := files(t, dir); len(all) != 3+4 {
		t.Errorf("files: %v", all)
	}
}

// TestPackingThatWasCutShort: what an agent left that was killed.
func TestPackingThatWasCutShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const old = "e-2026-01-02T03-04-05.00"
	var whole bytes.Buffer
	z := gzip.NewWriter(&whole)
	if _, err := z.Write([]byte("second\n")); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		old + "0": "first\n", old + "0.gz.tmp": "part", // while it was packed
		old + "1": "second\n", old + "1.gz": whole.String(), // before it was removed
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := options(filepath.Join(dir, "e"))
	o.Compress = true
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	f := open(t, o)
	eventually(t, "all is packed", func() bool {
		left, err := filepath.Glob(filepath.Join(dir, old+"?"))
		return err == nil && len(left) == 0
	})
	all := files(t, dir)
	if len(all) != 3 || all[old+"0.gz"] != "first\n" || all[old+"1.gz"] != "second\n" {
		t.Errorf("files: %v", all)
	}
	if err := f.Close(); err != nil || log.Len() > 0 {
		t.Errorf("%v; log:\n%s", err, log.String())
	}
}

func TestInterval(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := options(filepath.Join(dir, "e"))
		o.Rotation.Interval = time.Hour
		f := open(t, o)
		backups := func() int {
			synctest.Wait()
			all, err := f.backups()
			if err != nil {
				t.Fatal(err)
			}
			return len(all)
		}
		after := func(d time.Duration) { <-time.After(d) }
		after(time.Hour + time.Minute)
		if n := backups(); n != 0 {
			t.Errorf("an empty file was rotated: %d", n)
		}
		write(t, f, "a")
		after(50 * time.Minute)
		if n := backups(); n != 0 {
			t.Errorf("rotated early: %d", n)
		}
		after(20 * time.Minute)
		if n := backups(); n != 1 {
			t.Errorf("%d old files after the interval", n)
		}
		write(t, f, "b")
		r := f.Rotation()
		r.Interval = time.Second
		f.SetRotation(r)
		after(2 * time.Second)
		if n := backups(); n != 2 {
			t.Errorf("%d old files after a shorter interval", n)
		}
		write(t, f, "c")
		r.Interval = 0
		r.MaxBackups = 1
		f.SetRotation(r)
		after(time.Hour)
		if n := backups(); n != 1 {
			t.Errorf("%d old files with one to keep", n)
		}
		is(t, o.Path, "c\n")
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestOthersMayRotate: what logrotate and people do to the file.
func TestOthersMayRotate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options(filepath.Join(dir, "sub", "e"))
	f := open(t, o)
	moved := filepath.Join(dir, "moved")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write(t, f, "1")
	check(os.Rename(o.Path, moved))
	write(t, f, "2")
	is(t, moved, "1\n")
	is(t, o.Path, "2\n")
	check(os.Remove(o.Path))
	write(t, f, "3")
	is(t, o.Path, "3\n")
	check(os.Truncate(o.Path, 0)) // copytruncate
	write(t, f, "4")
	is(t, o.Path, "4\n")
	check(os.Rename(o.Path, moved))
	check(f.Reopen())
	is(t, o.Path, "")
	check(os.RemoveAll(filepath.Dir(o.Path)))
	if err := f.WriteLine([]byte("5\n")); err == nil {
		t.Error("a line was written nowhere")
	}
	check(os.Mkdir(filepath.Dir(o.Path), 0o700))
	write(t, f, "6")
	is(t, o.Path, "6\n")
	check(f.Close())
	check(f.Close())
	check(f.Reopen())
	if err := f.WriteLine([]byte("7\n")); err == nil {
		t.Error("a line was written to a closed file")
	}
}

// onSmallDisk calls do in a thread of its own that sees a file system of some
// bytes at dir. The mount ends with the thread.
func onSmallDisk(t *testing.T, dir string, bytes int, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes))
		}
		if err == nil {
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	onSmallDisk(t, dir, 64<<10, func() {
		path, ballast := filepath.Join(dir, "e"), filepath.Join(dir, "ballast")
		f, err := Open(options(path))
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		// A part of the last page is left for the line.
		if err := os.WriteFile(ballast, make([]byte, 48<<10), 0o600); err != nil {
			t.Error(err)
			return
		}
		line := strings.Repeat("x", 5000) + "\n"
		n := 0
		for err = f.WriteLine([]byte(line)); err == nil; err = f.WriteLine([]byte(line)) {
			n++
		}
		if text, _ := os.ReadFile(path); string(text) != strings.Repeat(line, n) || n == 0 {
			t.Errorf("after %v: %d bytes, not %d lines", err, len(text), n)
		}
		if err := f.WriteLine([]byte(line)); err == nil {
			t.Error("there was room again")
		}
		if err := os.Remove(ballast); err != nil {
			t.Error(err)
		}
		if err := f.WriteLine([]byte(line)); err != nil {
			t.Error(err)
		}
		if text, _ := os.ReadFile(path); string(text) != strings.Repeat(line, n+1) {
			t.Errorf("with room again: %d bytes, not %d lines", len(text), n+1)
		}
	})
}

// TestPartThatCannotBeCut: the next line begins anew. The descriptor stands for a
// disk that takes no truncation.
func TestPartThatCannotBeCut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "e")
	f := open(t, options(path))
	write(t, f, "1")
	appended, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer appended.Close()
	if _, err := appended.WriteString("{\"pa"); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.torn = true
	f.mu.Unlock()
	write(t, f, "2")
	is(t, path, "1\n2\n")
}
