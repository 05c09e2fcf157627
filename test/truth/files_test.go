// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/truth/script"
)

// file is one that can be executed: path names it, binary is what then runs, and args
// come before those of the caller after the first.
type file struct {
	path, binary string
	// by, for a script, is what the kernel puts before the path.
	by []string
}

// files is what programs find on disk.
type files struct {
	dir       string
	performer string
	good      []file
	bad       map[int]string // by the error
	dirs      []string
}

// odd are names that a path may have: all but NUL and the slash.
func odd() []string {
	return []string{"per former", "new\nline", "\xff\xfe\"quoted\\", "żółw", "-x", "(deleted)"}
}

// newFiles makes the files.
func newFiles(tb testing.TB) *files {
	tb.Helper()
	dir := testenv.Dir(tb)
	f := &files{dir: dir, performer: filepath.Join(dir, "performer"), bad: map[int]string{}}
	text, err := os.ReadFile(testenv.Binary(tb, "./test/truth/performer"))
	if err != nil {
		tb.Fatal(err)
	}
	f.write(tb, "performer", string(text), 0o755)
	f.good = append(f.good, file{path: f.performer, binary: f.performer})
	for _, name := range odd() {
		path := filepath.Join(dir, name)
		if err := os.Link(f.performer, path); err != nil {
			tb.Fatal(err)
		}
		f.good = append(f.good, file{path: path, binary: path})
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("performer", link); err != nil {
		tb.Fatal(err)
	}
	f.good = append(f.good, file{path: link, binary: f.performer})
	plain := f.write(tb, "script", "#!"+f.performer+"\n", 0o755)
	option := f.write(tb, "script with option", "#!"+f.performer+"  an option \n", 0o755)
	nested := f.write(tb, "nested", "#!"+plain+" x\n", 0o755)
	f.good = append(f.good,
		file{path: plain, binary: f.performer, by: []string{f.performer}},
		file{path: option, binary: f.performer, by: []string{f.performer, "an option"}},
		file{path: nested, binary: f.performer, by: []string{f.performer, plain, "x"}})
	f.bad[int(unix.ENOENT)] = filepath.Join(dir, "nowhere")
	f.bad[int(unix.EACCES)] = f.write(tb, "not executable", string(text[:64]), 0o644)
	f.bad[int(unix.ENOEXEC)] = f.write(tb, "garbage", "\x00\x01garbage", 0o755)
	f.bad[int(unix.ENOTDIR)] = filepath.Join(f.performer, "x")
	f.dirs = []string{"/", dir, f.mkdir(tb, "d"), f.mkdir(tb, "new\nline d"), f.mkdir(tb, "\xc3\x28"), f.mkdir(tb, strings.Repeat("deep/", 100)+"er")}
	return f
}

func (f *files) write(tb testing.TB, name, text string, mode os.FileMode) string {
	tb.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
	return path
}

func (f *files) mkdir(tb testing.TB, name string) string {
	tb.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		tb.Fatal(err)
	}
	return path
}

// argument is one of those that are easily mistaken.
func argument(r *rand.Rand) string {
	switch r.IntN(12) {
	case 0:
		return ""
	case 1:
		return "two words"
	case 2:
		return "line\nline\n"
	case 3:
		return "\xff\xfe bytes \x80"
	case 4:
		return "tab\tand \"quotes\" and \\"
	case 5:
		return "\u00a0\u2003" // spaces that are not ASCII
	case 6:
		return strings.Repeat("long ", r.IntN(300))
	case 7:
		return "日本語 \U0001F512"
	default:
		return fmt.Sprintf("arg%d", r.IntN(1000))
	}
}

func arguments(r *rand.Rand) []string {
	args := []string{"performer"}
	switch r.IntN(30) {
	case 0:
		return nil // the kernel makes one that is empty of it, or leaves it so
	case 1:
		args = append(args, strings.Repeat("x", 100_000)) // 100 kB
	case 2:
		for range 2000 {
			args = append(args, "many")
		}
	case 3: // about as much as an event holds
		args = append(args, strings.Repeat("y", 4080+r.IntN(20)))
	case 4:
		args = []string{""}
	}
	for range r.IntN(6) {
		args = append(args, argument(r))
	}
	return args
}

// execOf is a successful exec of one of the files from a directory.
func (f *files) execOf(r *rand.Rand, cwd string) *script.Exec {
	args := arguments(r)
	e := &script.Exec{Cwd: []byte(cwd), Threads: r.IntN(3)}
	if r.IntN(2) == 0 {
		e.Threads = script.Leader
	}
	if r.IntN(3) == 0 {
		e.Idle = 1 + r.IntN(3)
	}
	of := f.good[r.IntN(len(f.good))]
	switch r.IntN(8) {
	case 0:
		of = file{binary: "/memfd:performer"}
		e.How, e.FD = script.ByDescriptor, script.MemoryFD
	case 1:
		of = file{binary: f.performer}
		e.How, e.FD = script.ByDescriptor, script.FileFD
	}
	e.Path, e.Binary = []byte(of.path), []byte(of.binary)
	if rest, inside := strings.CutPrefix(of.path, strings.TrimSuffix(cwd, "/")+"/"); inside && r.IntN(2) == 0 {
		e.Path = []byte("./" + rest)
	}
	e.Args = asBytes(args)
	switch {
	case of.by != nil: // what was argv[0] gives way to the script's path
		e.Argv = append(asBytes(of.by), e.Path)
		if len(args) > 0 {
			e.Argv = append(e.Argv, asBytes(args[1:])...)
		}
	case len(args) == 0:
		e.Argv = [][]byte{{}}
	default:
		e.Argv = e.Args
	}
	return e
}

// byPath is an exec for a Go runtime: by a path, with an argument.
func (f *files) byPath(r *rand.Rand, cwd string) *script.Exec {
	for {
		if e := f.execOf(r, cwd); e.How == script.ByPath && len(e.Args) > 0 {
			return e
		}
	}
}

// failing is an exec that fails.
func (f *files) failing(r *rand.Rand, cwd string) *script.Exec {
	e := &script.Exec{Cwd: []byte(cwd), Args: asBytes([]string{"fails"})}
	switch n := r.IntN(5); n {
	case 4:
		e.Errno, e.Path, e.Args = int(unix.E2BIG), []byte(f.performer), asBytes([]string{strings.Repeat("z", 200_000)})
	default:
		e.Errno = []int{int(unix.ENOENT), int(unix.EACCES), int(unix.ENOEXEC), int(unix.ENOTDIR)}[n]
		e.Path = []byte(f.bad[e.Errno])
	}
	return e
}

func asBytes(of []string) [][]byte {
	out := make([][]byte, 0, len(of))
	for _, s := range of {
		out = append(out, []byte(s))
	}
	return out
}
