// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// SessionVariable is the environment variable that processes started for a
// session carry, so that left-overs are found.
const SessionVariable = "BOLTSEAL_TEST_SESSION"

// keeperVariable makes a test binary act as the keeper of the session it names.
const keeperVariable = "BOLTSEAL_TEST_KEEPER"

// session is what one test process has made or will make.
type session struct {
	// name is part of the name of everything that the session makes.
	name string
	dir  string

	keeper *exec.Cmd
	// lifeline is closed by the kernel when this process ends, however it ends.
	lifeline *os.File

	mu    sync.Mutex
	built map[string]func() (string, error)
}

// current is the session of this test process. Helpers get a testing.TB alone,
// as Go's tests are written, so this is the one place where they can find it.
//
//nolint:gochecknoglobals // see above; set once, by Main
var current *session

// Main runs the tests of a package in a session and exits; call it from TestMain.
// It fails the run, also if all tests passed, when something was left behind.
func Main(m *testing.M) {
	if name := os.Getenv(keeperVariable); name != "" {
		os.Exit(keep(name))
	}
	os.Exit(run(m))
}

// run runs the tests in a session and returns the exit status.
func run(tests interface{ Run() int }) int {
	s, err := open()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv: open the session:", err)
		return 1
	}
	current = s
	// Every process that a test starts inherits it, so that none is overlooked.
	if err := os.Setenv(SessionVariable, s.name); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return 1
	}
	status := tests.Run()
	if err := s.close(); err != nil {
		fmt.Fprintln(os.Stderr, "testenv: close the session:", err)
		status = max(status, 1)
	}
	return status
}

func open() (*session, error) {
	// Short: socket paths below it have 108 bytes in all.
	name := fmt.Sprintf("bst-%d-%s", os.Getpid(), strings.ToLower(rand.Text()[:6]))
	s := &session{name: name, dir: sessionDir(name), built: map[string]func() (string, error){}}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return nil, err
	}
	if err := s.startKeeper(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

// sessionDir returns the directory of a session. Containers with mapped users
// must reach their root, so it is not below a private directory.
func sessionDir(name string) string { return filepath.Join(os.TempDir(), name) }

// startKeeper starts this binary again as the keeper, which waits for the end
// of the pipe. It is in a session of its own: Ctrl-C does not reach it.
func (s *session) startKeeper() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	s.keeper = exec.Command("/proc/self/exe")
	s.keeper.Env = append(os.Environ(), keeperVariable+"="+s.name)
	s.keeper.Stdin = read
	s.keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := s.keeper.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the keeper: %w", err), write.Close())
	}
	s.lifeline = write
	return nil
}

// close ends the keeper, looks for what the tests left behind, and removes it.
func (s *session) close() error {
	removeOwned(s.dir)
	left := leftovers(s.name)
	err := errors.Join(s.lifeline.Close(), s.keeper.Wait())
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("left behind by the tests:\n  %s", strings.Join(left, "\n  ")))
	}
	return err
}

// of returns the session of the test's process.
func of(tb testing.TB) *session {
	tb.Helper()
	if current == nil {
		tb.Fatal("testenv: no session: add func TestMain(m *testing.M) { testenv.Main(m) } to the package")
	}
	return current
}

// once builds the thing called key at its first use in this process; all later
// uses, also those that wait for the first, get the same path and error.
func (s *session) once(key string, build func() (string, error)) (string, error) {
	s.mu.Lock()
	f, ok := s.built[key]
	if !ok {
		f = sync.OnceValues(build)
		s.built[key] = f
	}
	s.mu.Unlock()
	return f()
}

// Dir returns a new directory that is removed when the test ends. Its path is
// short enough for unix sockets in it, which tb.TempDir does not promise.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp(of(tb).dir, "d")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		tb.Fatalf("testenv: make a directory: %v", err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("testenv: remove %s: %v", dir, err)
		}
	})
	return dir
}
