// SPDX-License-Identifier: Apache-2.0

package account

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "passwd")
	u := New(path)
	if got := u.Name(0); got != "" {
		t.Errorf("without a file: %q", got)
	}
	write(t, path, "root:x:0:0:root:/root:/bin/sh\nmail:*:8:8::/:\n")
	for uid, want := range map[uint32]string{0: "root", 8: "mail", 9: "", 1 << 31: ""} {
		if got := u.Name(uid); got != want {
			t.Errorf("user %d: %q, want %q", uid, got, want)
		}
	}
}

// TestChanges: a file that was replaced, rewritten in place with as many bytes,
// removed, or is none.
func TestChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, next := filepath.Join(dir, "passwd"), filepath.Join(dir, "next")
	u := New(path)
	write(t, path, "first:x:7:\n")
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
	check := func(what, want string) {
		t.Helper()
		if got := u.Name(7); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("at first", "first")
	write(t, next, "other:x:7:\n")
	if err := os.Chtimes(next, then, then); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	check("replaced", "other")
	write(t, path, "third:x:7:\n")
	check("rewritten", "third")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("removed", "")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	check("a fifo", "")
}

func TestParse(t *testing.T) {
	t.Parallel()
	text := strings.Join([]string{
		"a:x:1:1:::", "second-of-1:x:1:1:::", ":x:2:2:::", "b:x:4294967295:0:::", "c:x:4294967296:0:::", "d:x:-1:0:::", "e:x::0:::",
		"f", "g:x", "h:x:3", "# i:x:4:", "+j:x:5:", "-k::6:", "", "l::7:", strings.Repeat("m", maxName+1) + ":x:8:", "n:x:9:\x00", "o:x: 10:",
	}, "\n")
	want := map[uint32]string{1: "a", 1<<32 - 1: "b", 7: "l", 9: "n"}
	if diff := cmp.Diff(want, parse([]byte(text))); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("root:x:0:0:root:/root:/bin/sh\nmail:*:8:8::/:\n+::::::\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for uid, name := range parse(text) {
			if name == "" || len(name) > maxName || strings.ContainsAny(name, ":\n") {
				t.Errorf("user %d: %q", uid, name)
			}
		}
	})
}
