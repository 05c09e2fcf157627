// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"

	"github.com/boltseal/boltseal/api/v1/boltseal"
)

// runAsRuntime makes the test binary be a runtime that tells, as JSON in the file that
// it names, what it was started with.
const runAsRuntime = "BOLTSEAL_TEST_RUN_AS_RUNTIME"

// runtimeCopy is a copy of the test binary by the name runc: the wrapper does not execute
// its own file.
const runtimeCopy = "BOLTSEAL_TEST_RUNTIME"

// withRuntime runs the tests while there is a copy.
func withRuntime(m *testing.M) (status int) {
	dir, err := os.MkdirTemp("", "boltseal-hook-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "runc")
	self, err := os.ReadFile("/proc/self/exe")
	if err := errors.Join(err, os.WriteFile(path, self, 0o700), os.Setenv(runtimeCopy, path)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// seen is what a runtime was started with.
type seen struct {
	Args, Env []string
	Stdin     string
	Pid       int
	Extra     string // what descriptor 3 holds, if there is one
	Signal    string // which came
}

// runtimeExit is the exit status of the runtime that tells.
const runtimeExit = 77

// tellWhatIsSeen is the runtime. "wait" as its last argument has it wait for a signal, of
// which it says that it is ready for it.
func tellWhatIsSeen(file string) int {
	s := seen{Args: os.Args, Env: os.Environ(), Pid: os.Getpid()}
	if os.Args[len(os.Args)-1] == "wait" {
		came := make(chan os.Signal, 1)
		signal.Notify(came, syscall.SIGUSR1)
		fmt.Println("ready")
		s.Signal = (<-came).String()
	}
	in, _ := io.ReadAll(os.Stdin)
	s.Stdin = string(in)
	if extra, err := io.ReadAll(os.NewFile(3, "extra")); err == nil {
		s.Extra = string(extra)
	}
	raw, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("from the runtime")
	return runtimeExit
}

// wrapped is a host on which the hook stands in a runtime's place.
type wrapped struct {
	*host
	hook, runtime, told string
}

func newWrapped(t *testing.T) *wrapped {
	t.Helper()
	h := newHost(t)
	w := &wrapped{host: h, hook: filepath.Join(h.dir, "boltseal-hook"), runtime: os.Getenv(runtimeCopy), told: filepath.Join(h.dir, "told")}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The same file by a name of its own: a link would lead back to the test's name.
	if err := os.Link(self, w.hook); err != nil {
		t.Fatal(err)
	}
	return w
}

// command is the wrapper, called by a path; the environment has what it asks for.
func (w *wrapped) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.t.Context(), program, args...)
	cmd.Env = append(os.Environ(), runAsHook+"=1", runAsRuntime+"="+w.told, "GORACE=atexit_sleep_ms=0", "PATH="+filepath.Dir(w.runtime))
	cmd.Dir = w.dir
	cmd.WaitDelay = time.Second
	return cmd
}

// asRuntime is the wrapper called as the command runtime, with the host's hook.json.
func (w *wrapped) asRuntime(args ...string) *exec.Cmd {
	w.t.Helper()
	raw, err := json.Marshal(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.dir, "hook.json")
	w.write(file, raw)
	return w.command(w.hook, append([]string{"runtime", "--config", file, "--exec", w.runtime}, args...)...)
}

// finish runs the command; seen is nil when no runtime was started.
func (w *wrapped) finish(cmd *exec.Cmd) (r ran, s *seen) {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	r = ran{status: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String(), log: w.readLog()}
	raw, err := os.ReadFile(w.told)
	if err != nil {
		return r, nil
	}
	s = new(seen)
	if err := errors.Join(json.Unmarshal(raw, s), os.Remove(w.told)); err != nil {
		w.t.Fatal(err)
	}
	return r, s
}

// hooks are those of the bundle.
func (w *wrapped) hooks() []specs.Hook {
	w.t.Helper()
	raw, err := os.ReadFile(w.papers())
	if err != nil {
		w.t.Fatal(err)
	}
	var config specs.Spec
	if err := json.Unmarshal(raw, &config); err != nil {
		w.t.Fatal(err)
	}
	if config.Hooks == nil {
		return nil
	}
	return config.Hooks.CreateRuntime
}

// execAgent is an agent that takes notices.
type execAgent struct {
	boltseal.UnimplementedBoltsealServer
	notices chan *boltseal.ExecNoticeRequest
	answer  func(context.Context) error
}

func (a *execAgent) ExecNotice(ctx context.Context, r *boltseal.ExecNoticeRequest) (*boltseal.ExecNoticeResponse, error) {
	a.notices <- r
	return &boltseal.ExecNoticeResponse{}, a.answer(ctx)
}

func (w *wrapped) serveNotices(answer func(context.Context) error) *execAgent {
	w.t.Helper()
	a := &execAgent{notices: make(chan *boltseal.ExecNoticeRequest, 10), answer: answer}
	server := grpc.NewServer()
	boltseal.RegisterBoltsealServer(server, a)
	go server.Serve(w.listen())
	w.t.Cleanup(server.Stop)
	return a
}
