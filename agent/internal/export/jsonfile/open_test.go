// SPDX-License-Identifier: Apache-2.0

package jsonfile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhatIsNoFileIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, link, folder := filepath.Join(dir, "pipe"), filepath.Join(dir, "link"), filepath.Join(dir, "folder")
	for _, err := range []error{unix.Mkfifo(pipe, 0o600), os.Symlink(filepath.Join(dir, "target"), link), os.Mkdir(folder, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{pipe, link, folder, "/dev/null", filepath.Join(pipe, "x")} {
		if f, err := Open(options(path)); err == nil {
			t.Errorf("%s was opened", path)
			f.Close()
		}
	}
}

func TestUnendedLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("z", 3*block)
	for text, want := range map[string]string{
		"":                                "",
		"{\"a\":1}\n":                     "{\"a\":1}\n",
		"{\"a\":1}\n{\"b\":":              "{\"a\":1}\n",
		"{\"a\":1}\n{":                    "{\"a\":1}\n",
		"{\"b\":":                         "",
		"{\"a\":1}\n{\"b\":2}":            "{\"a\":1}\n{\"b\":2}\n",
		"x\ny":                            "x\ny\n",
		"a\n{\"" + long:                   "a\n",
		long:                              long + "\n",
		"{\"b\": [1, 2,\n  3], \"c\": 4}": "{\"b\": [1, 2,\n  3], \"c\": 4}\n",
	} {
		path := filepath.Join(t.TempDir(), "e")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		f := open(t, options(path))
		is(t, path, want)
		write(t, f, "+")
		is(t, path, want+"+\n")
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
}

func FuzzUnendedLines(f *testing.F) {
	f.Add([]byte("{\"a\":1}\n{\"b"))
	f.Add([]byte("x"))
	path := filepath.Join(f.TempDir(), "e")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		size, err := mend(file, int64(len(text)))
		got, readErr := os.ReadFile(path)
		if err != nil || readErr != nil || int64(len(got)) != size || len(got) > 0 && got[len(got)-1] != '\n' {
			t.Fatalf("%q became %q, size %d: %v, %v", text, got, size, err, readErr)
		}
		// All lines that have an end stay.
		if whole := text[:bytes.LastIndexByte(text, '\n')+1]; !bytes.HasPrefix(got, whole) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
