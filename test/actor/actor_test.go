// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// actVariable makes the test binary behave as the actor.
const actVariable = "ACTOR_ACT"

func TestMain(m *testing.M) {
	// An act that executes the program again starts it without test arguments.
	if os.Getenv(actVariable) != "" {
		os.Exit(dispatch(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// actor returns the command that runs the actor with args.
func actor(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), actVariable+"=1", "TMPDIR="+t.TempDir())
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// secret returns the path of a file to open.
func secret(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("the secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMarkersAndStatuses(t *testing.T) {
	t.Parallel()
	path := secret(t)
	for _, test := range []struct {
		args   []string
		status int
		out    string
	}{
		{[]string{"read", path}, exitDone, "READY:read\nLEAK:read\nthe secret"},
		{[]string{"read", "/no/such"}, exitDenied, "READY:read\nDENIED:read:ENOENT\n"},
		{[]string{"exec", "/bin/sh", "-c", "echo $0-$1", "a", "b"}, exitDone, "READY:exec\na-b\n"},
		{[]string{"exec", "/no/such"}, exitDenied, "READY:exec\nDENIED:exec:ENOENT\n"},
		{[]string{"coldpath", path}, exitDone, "READY:coldpath\nLEAK:coldpath\n"},
		{[]string{"coldpath", "/no/such"}, exitDenied, "READY:coldpath\nDENIED:coldpath:ENOENT\n"},
		{[]string{"escape", "plain", path}, exitDone, "READY:plain\nLEAK:plain\n"},
		{[]string{"escape", "plain", "/no/such"}, exitDenied, "READY:plain\nDENIED:plain:ENOENT\n"},
		{[]string{"escape", "vfork", "/no/such"}, exitDenied, "READY:vfork\nDENIED:vfork:child\n"},
		{[]string{"escape", "vfork-exec", path}, exitDone, "READY:vfork-exec\nLEAK:vfork-exec\n"},
		{[]string{"escape", "dblfork", path}, exitDone, "READY:dblfork\nLEAK:dblfork\n"},
		{[]string{"escape", "dblfork", "/no/such"}, exitDenied, "READY:dblfork\nDENIED:dblfork:child\n"},
		{[]string{"escape", "cloneparent", path}, exitDone, "READY:cloneparent\nLEAK:cloneparent\n"},
		{[]string{"escape", "threxec", path}, exitDone, "READY:threxec\nLEAK:threxec\n"},
		{[]string{"escape", "thropen", path}, exitDone, "READY:thropen\nLEAK:thropen\n"},
		{[]string{"escape", "memfd", path}, exitDone, "READY:memfd\nLEAK:memfd\n"},
		{[]string{"threads", "2", "/no/such"}, exitDenied, "READY:threads\nDENIED:threads:ENOENT\nDENIED:threads:ENOENT\n"},
		{[]string{"sleep", "0.01"}, exitDone, "READY:sleep\n"},
		{[]string{"sleep", "x"}, exitUsage, ""},
		{[]string{"threads", "0"}, exitUsage, ""},
		{[]string{"loop", path}, exitUsage, ""},
		{[]string{"loop", path, "soon"}, exitUsage, ""},
		{[]string{"escape", "nowhere", path}, exitUsage, ""},
		{[]string{"dance"}, exitUsage, ""},
		{nil, exitUsage, ""},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			t.Parallel()
			cmd := actor(t, test.args...)
			var out, text bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &text
			_ = cmd.Run() // the status says it
			if status := cmd.ProcessState.ExitCode(); status != test.status || out.String() != test.out {
				t.Errorf("status %d, output %q, want %d, %q; stderr %q", status, out.String(), test.status, test.out, text.String())
			}
			if test.status == exitUsage && text.Len() == 0 {
				t.Error("bad usage without a word on standard error")
			}
		})
	}
}

func TestEscapeThatCannotBePreparedIsNotTried(t *testing.T) {
	t.Parallel()
	out, _ := actor(t, "escape", "-cg", "/no/such", "newcg", secret(t)).Output()
	if s := string(out); !strings.HasPrefix(s, "FAILED:newcg:") || strings.Contains(s, "READY") || strings.Contains(s, "LEAK") {
		t.Errorf("output %q", s)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	for _, c := range commands() {
		var out bytes.Buffer
		if status := dispatch([]string{c.name, "--help"}, &out, io.Discard); status != exitDone || !strings.Contains(out.String(), c.args) {
			t.Errorf("%s --help: status %d, %q", c.name, status, out.String())
		}
	}
}

// TestKilledChildIsReported stops the child in its open, on a pipe that nobody
// writes to, and kills it there.
func TestKilledChildIsReported(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"vfork", "vfork-exec", "dblfork", "cloneparent"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := actor(t, "escape", mode, fifo)
			var out bytes.Buffer
			cmd.Stdout = &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			killChild(t, cmd.Process.Pid)
			_ = cmd.Wait() // the status says it
			want := fmt.Sprintf("READY:%[1]s\nKILLED:%[1]s:SIGKILL\n", mode)
			if status := cmd.ProcessState.ExitCode(); status != exitKilled || out.String() != want {
				t.Errorf("status %d, output %q, want %d, %q", status, out.String(), exitKilled, want)
			}
		})
	}
}

// killChild kills the child of pid that waits in open of a pipe.
func killChild(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, list := range lists {
			children, _ := os.ReadFile(list)
			for field := range strings.FieldsSeq(string(children)) {
				child, err := strconv.Atoi(field)
				if err != nil {
					t.Fatal(err)
				}
				// A child that has exec'd or is the middle of three does not wait there.
				if call, _ := os.ReadFile("/proc/" + field + "/syscall"); strings.HasPrefix(string(call), strconv.Itoa(unix.SYS_OPENAT)+" ") {
					if err := unix.Kill(child, unix.SIGKILL); err != nil {
						t.Fatal(err)
					}
					return
				}
			}
		}
	}
	t.Fatal("no child waits in open")
}

func TestLoopReportsEachTry(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"-exec"}, {"-procs", "3"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			begin := now()
			out, err := actor(t, append(append([]string{"loop", "-count", "5"}, flags...), secret(t), "1ms")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			tries, total := 0, ""
			for line := range strings.Lines(string(out)) {
				var from, to int64
				var result string
				if n, _ := fmt.Sscanf(line, "act %d %d %s", &from, &to, &result); n == 3 {
					tries++
					if from < begin || to <= from || to > now() || result != "leak" {
						t.Errorf("strange try: %q", line)
					}
				} else if strings.HasPrefix(line, "total ") {
					total = line
				}
			}
			if want := fmt.Sprintf("total leak %d\n", tries); tries%5 != 0 || tries == 0 || total != want {
				t.Errorf("%d tries, last line %q; want 5 for each worker and %q", tries, total, want)
			}
		})
	}
}

func TestLoopEndsWithSigterm(t *testing.T) {
	t.Parallel()
	cmd := actor(t, "loop", "/no/such", "1ms")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-time.After(200 * time.Millisecond) // time to try: what is asserted holds at any moment after the start
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "total denied ") {
		t.Errorf("%v, output %q", err, out.String())
	}
}

func TestThreadsAllOpen(t *testing.T) {
	t.Parallel()
	out, err := actor(t, "threads", "8", secret(t)).Output()
	if err != nil || strings.Count(string(out), "LEAK:threads:") != 8 {
		t.Errorf("%v, output %q", err, out)
	}
}
