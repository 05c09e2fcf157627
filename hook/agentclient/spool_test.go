// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestSpool(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run", "spool")
	for _, content := range []string{"first", "second"} {
		if err := Spool(dir, "abc", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "id-abc.pb")); err != nil || string(got) != content {
			t.Errorf("read back %q, %v; want %q", got, err, content)
		}
	}
	wantMode(t, dir, 0o700)
	wantMode(t, filepath.Join(dir, "id-abc.pb"), 0o600)
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files, want 1: %v", len(entries), entries)
	}
}

func wantMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %#o, want %#o", path, got, want)
	}
}

func TestSpoolRefuses(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	open := filepath.Join(base, "open")
	file := filepath.Join(base, "file")
	link := filepath.Join(base, "link")
	for _, err := range []error{
		os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.WriteFile(file, nil, 0o600),
		os.Mkdir(filepath.Join(base, "real"), 0o700), os.Symlink(filepath.Join(base, "real"), link),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[string]string{open: "closed to group", file: "not a directory", link: "not a directory"} {
		err := Spool(dir, "abc", []byte("x"))
		if !errors.Is(err, ErrSpool) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one about %q", dir, err, want)
		}
	}
}

func TestSpoolIsBounded(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	if err := Spool(dir, "big", nil); err != nil {
		t.Fatal(err)
	}
	// A sparse file counts as what it would be when it is read.
	if err := os.Truncate(filepath.Join(dir, "id-big.pb"), MaxSpoolBytes-10); err != nil {
		t.Fatal(err)
	}
	if err := Spool(dir, "fits", make([]byte, 10)); err != nil {
		t.Errorf("at the bound: %v", err)
	}
	if err := Spool(dir, "more", []byte{1}); !errors.Is(err, ErrSpool) {
		t.Errorf("beyond the bound: error %v, want ErrSpool", err)
	}

	many := filepath.Join(t.TempDir(), "many")
	if err := os.Mkdir(many, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range MaxSpoolFiles {
		if err := os.Link(filepath.Join(dir, "id-fits.pb"), filepath.Join(many, strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := Spool(many, "abc", nil); !errors.Is(err, ErrSpool) || !strings.Contains(err.Error(), "full") {
		t.Errorf("%d files: error %v, want a full spool", MaxSpoolFiles, err)
	}
}

func TestSpoolFile(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, id := range []string{
		"abc", "a.b_c-D", ".", "..", "../x", "a/b", "a%2Fb", "a b", "\x00", "ü", "",
		strings.Repeat("x", 197), strings.Repeat("x", 198), strings.Repeat("/", 255), "sha256-00",
	} {
		name := SpoolFile(id)
		if filepath.Base(name) != name || strings.HasPrefix(name, ".") || !strings.HasSuffix(name, ".pb") || len(name) > 230 {
			t.Errorf("%.20q has file name %q", id, name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("%.20q and %.20q share %q", id, other, name)
		}
		seen[name] = id
	}
	if got := SpoolFile("a/b"); got != "id-a%2Fb.pb" {
		t.Errorf("a/b has file name %q", got)
	}
}
