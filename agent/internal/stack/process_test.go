// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// deep starts the program of that name, whose stack it tells.
func deep(t *testing.T) (cmd *exec.Cmd, program string, stack []uint64) {
	t.Helper()
	testenv.Require(t, testenv.Root(), testenv.Optional("go", func() error {
		_, err := exec.LookPath("go")
		return err
	}))
	program = filepath.Join(t.TempDir(), "deep with space")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/deep")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd = exec.CommandContext(t.Context(), program)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(line) {
		address, err := strconv.ParseUint(word, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		stack = append(stack, address)
	}
	return cmd, program, stack
}

// startOf is when a process started, as the kernel tells it in events.
func startOf(t *testing.T, pid int) uint64 {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	ticks, ok := startTicks(string(stat))
	if !ok {
		t.Fatalf("no start in %q", stat)
	}
	return ticks*tick + tick/2
}

func TestFunctionsOfAProcess(t *testing.T) {
	cmd, program, stack := deep(t)
	pid := uint32(cmd.Process.Pid)
	start := startOf(t, cmd.Process.Pid)
	s := New(Options{Proc: "/proc"})
	frames := func() []Frame { return s.name(pid, start, append(stack, 1)) }
	var names []string
	for _, f := range frames() {
		names = append(names, f.Symbol)
		if f.Symbol != "" && (f.Module != program || f.Offset == 0 || f.Offset > 4096) {
			t.Errorf("frame %+v", f)
		}
	}
	want := []string{"main.innermost", "main.middle", "main.outermost", "main.main", "runtime.main", "runtime.goexit.abi0", ""}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	// The file's name may be another one's now: what is read is what is mapped.
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = New(Options{Proc: "/proc"})
	if got := frames(); got[0].Symbol != want[0] || got[0].Module != program {
		t.Errorf("frames of a file that was removed: %+v", got)
	}
	if got := s.name(pid, start+10*tick, stack); got != nil {
		t.Errorf("names of a process that had the number before: %+v", got)
	}
	if got := s.User(1<<31-1, 0, stack); len(got) != len(stack) || got[0] != (Frame{}) || s.Unnamed() != 1 {
		t.Errorf("frames of no process: %+v, %d without names", got, s.Unnamed())
	}
}

// A file that is never read to its end holds up one stack for a moment, and later
// ones not at all.
func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	s := New(Options{Proc: "/no/such"})
	stuck := make(chan struct{})
	began := time.Now()
	for range 1000 {
		if got := s.wait(func() []Frame { <-stuck; return []Frame{{}} }); got != nil {
			t.Fatalf("frames %+v", got)
		}
	}
	if took := time.Since(began); took > 2*maxBudget+time.Second {
		t.Errorf("a thousand stacks held up the events for %s", took)
	}
	close(stuck)
	testenv.Eventually(t, 5*time.Second, "workers are free again", func() error {
		if got := s.wait(func() []Frame { return []Frame{{Symbol: "f"}} }); len(got) != 1 {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
}

func TestBudget(t *testing.T) {
	t.Parallel()
	now := time.Now()
	b := budget{left: maxBudget}
	if got := b.at(now); got != maxBudget {
		t.Errorf("%s at first", got)
	}
	b.left = 0
	if got := b.at(now.Add(time.Second)); got != 100*time.Millisecond {
		t.Errorf("%s after a second", got)
	}
	if got := b.at(now.Add(time.Hour)); got != maxBudget {
		t.Errorf("%s after an hour", got)
	}
}

func TestFilesThatAreNotRead(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, t.TempDir(), "/no/such", "/dev/null"} {
		if got := s.modules.file(path); got != nil {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	m := modules{byFile: map[fileKey]*module{}}
	for i := range 3 * maxFiles {
		m.keep(fileKey{inode: uint64(i)}, nil)
	}
	if len(m.byFile) > maxFiles {
		t.Errorf("%d files are kept", len(m.byFile))
	}
	for i := range 10 {
		m.keep(fileKey{inode: uint64(i)}, &elfFile{bytes: maxCached / 3})
		if m.bytes > maxCached {
			t.Errorf("%d bytes are kept", m.bytes)
		}
	}
}

func TestMappingsAreRead(t *testing.T) {
	t.Parallel()
	got := parseMaps("00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/a b (deleted)\n" +
		"e03f7000-e0424000 rw-p 00000000 00:00 0           [heap]\n" +
		"7fff-8fff r-xp 00000000 00:00 0 \n" +
		"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n" +
		"9-8 r-xp 0 00:00 0\nx-y r-xp 0 00:00 0\nr-xp\n\n" +
		"1-2 r-xp 0 00:00 0")
	want := []mapping{
		{0x400000, 0x452000, 0x1000, "/usr/bin/a b (deleted)"}, {0x7fff, 0x8fff, 0, ""},
		{0xffffffffff600000, 0xffffffffff601000, 0, "[vsyscall]"}, {1, 2, 0, ""},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mapping{})); diff != "" {
		t.Error(diff)
	}
	for _, stat := range []string{"", "1 (a", "1 (a) S 1 2", "1 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"} {
		if ticks, ok := startTicks(stat); ok {
			t.Errorf("%q: %d", stat, ticks)
		}
	}
	if ticks, ok := startTicks("1 () 1 2) 3 4 5 6 7) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99 0"); !ok || ticks != 99 {
		t.Errorf("start %d %v", ticks, ok)
	}
}
