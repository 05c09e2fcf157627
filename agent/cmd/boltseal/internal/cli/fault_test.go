// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func noEnv(string) (string, bool) { return "", false }

func TestAddress(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	listen(t, socket, "running")
	env := func(name string) (string, bool) { return socket, name == addressEnv }
	for _, test := range []struct {
		name string
		args []string
		env  func(string) (string, bool)
		want int
	}{
		{"flag", []string{"status", "--server-address", "unix://" + socket}, noEnv, 0},
		{"flag without scheme", []string{"--server-address", socket, "status"}, noEnv, 0},
		{"environment", []string{"status"}, env, 0},
		{"flag before environment", []string{"status", "--server-address", socket + "x"}, env, exitNoAgent},
		{"relative", []string{"status", "--server-address", "s.sock"}, noEnv, exitUsage},
		{"TCP", []string{"status", "--server-address", "tcp://127.0.0.1:54321"}, noEnv, exitUsage},
	} {
		if code, _, stderr := runWith(t.Context(), test.args, test.env); code != test.want {
			t.Errorf("%s: exit code %d, want %d: %s", test.name, code, test.want, stderr)
		}
	}
}

// TestWhoListens: the text is another for people who are not root.
func TestWhoListens(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	listen(t, socket, "closing")
	want := "is boltseald what listens there?"
	if os.Geteuid() != 0 {
		want = "run this as root"
	}
	code, _, stderr := runWith(t.Context(), []string{"status", "--server-address", socket}, noEnv)
	if code != exitNoAgent || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d, want %d; %q, want ...%q", code, exitNoAgent, stderr, want)
	}
}

// TestTimeout: an agent that hangs holds a command up no longer than it was told.
func TestTimeout(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	listen(t, socket, "hung")
	start := time.Now()
	code, _, _ := runWith(t.Context(), []string{"containers", "--timeout", "50ms", "--server-address", socket}, noEnv)
	if took := time.Since(start); code != exitNoAgent || took < 50*time.Millisecond || took > time.Second {
		t.Errorf("exit code %d after %s", code, took)
	}
}

func TestPermissionDenied(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	listen(t, socket, "hung")
	if err := os.Chmod(socket, 0); err != nil {
		t.Fatal(err)
	}
	a := &app{address: unixScheme + socket}
	found := make(chan *fault)
	go func() {
		// Rights are the thread's; it is not unlocked, so that it ends with them.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if err := unix.Setfsuid(65534); err != nil {
				found <- failed("give up rights: %v", err)
				return
			}
		}
		found <- a.unreachable(context.Background(), "")
	}()
	if f := <-found; f.code != exitNoAgent || !strings.HasPrefix(f.text, "permission denied") || !strings.HasSuffix(f.text, "run this as root") {
		t.Errorf("%+v", f)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	a := &app{address: "unix:///s"}
	for _, test := range []struct {
		err  error
		code int
		text string
	}{
		{fmt.Errorf("write: %w", syscall.EPIPE), exitFailed, ""},
		{fmt.Errorf("read: %w", fs.ErrNotExist), exitFailed, "read: file does not exist"},
		{fmt.Errorf("around: %w", &fault{exitUsage, "inside"}), exitUsage, "inside"},
	} {
		if got := a.explain(t.Context(), test.err); got.code != test.code || got.text != test.text {
			t.Errorf("%v: %+v, want %d %q", test.err, got, test.code, test.text)
		}
	}
}

// TestSignal: whatever a command is doing, a signal ends it with its own code.
func TestSignal(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	listen(t, socket, "hung")
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		for _, command := range []string{"status", "events"} {
			ctx, cancel := context.WithCancelCause(t.Context())
			timer := time.AfterFunc(50*time.Millisecond, func() { cancel(SignalError{signal}) })
			code, stdout, _ := runWith(ctx, []string{command, "--timeout", "1m", "--server-address", socket}, noEnv)
			timer.Stop()
			cancel(nil)
			if code != want || stdout != "" {
				t.Errorf("%s after %s: exit code %d, want %d, stdout %q", command, signal, code, want, stdout)
			}
		}
	}
}

// brokenPipe is standard output whose reader has gone away.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) {
	return 0, &fs.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
}

func TestReaderGoesAway(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	listen(t, socket, "running")
	for _, line := range []string{"status", "status -o json", "containers", "events", "events -o json", "version", "policy check testdata/policies/good.yaml"} {
		var stderr strings.Builder
		code := Run(t.Context(), Options{
			Args: append(strings.Fields(line), "--server-address", socket), Stdout: brokenPipe{}, Stderr: &stderr, Now: now, Env: noEnv,
		})
		if code != exitFailed || stderr.String() != "" {
			t.Errorf("%s: exit code %d, stderr %q, want %d and silence", line, code, stderr.String(), exitFailed)
		}
	}
}

func TestFaultIsAnError(t *testing.T) {
	t.Parallel()
	if err := errors.Join(failed("a"), failed("b")); err.Error() != "a\nb" {
		t.Errorf("%v", err)
	}
}
