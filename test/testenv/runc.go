// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// runcState is the directory below a session's that holds runc's state directories.
const runcState = "runc"

// waitDelay bounds the wait for output after runc itself has ended or was killed.
const waitDelay = 5 * time.Second

// Runc runs containers with a state directory of its own. Its methods may be
// called at the same time.
type Runc struct {
	// Root is the state directory, Path the program.
	Root, Path string
}

// Result is how one runc command ended.
type Result struct {
	// Code is runc's exit status, which for Run and Exec is the container
	// process's, 128 more than the signal if one killed it; -1 if runc did not exit.
	Code           int
	Stdout, Stderr string
	// Err says why runc did not exit by itself: it was not found, or ctx ended.
	Err error
}

// String returns the result on one line, for messages of tests.
func (r Result) String() string {
	return fmt.Sprintf("exit status %d, stdout %q, stderr %q, error %v", r.Code, r.Stdout, r.Stderr, r.Err)
}

// NewRunc makes a state directory. When the test ends all containers in it are
// killed and deleted.
func NewRunc(tb testing.TB) *Runc {
	tb.Helper()
	parent := filepath.Join(of(tb).dir, runcState)
	err := os.MkdirAll(parent, 0o700)
	var root string
	if err == nil {
		root, err = os.MkdirTemp(parent, "")
	}
	if err != nil {
		tb.Fatalf("testenv: make a state directory for runc: %v", err)
	}
	r := &Runc{Root: root, Path: "runc"}
	tb.Cleanup(func() {
		containers, err := os.ReadDir(root)
		if err != nil {
			tb.Errorf("testenv: list containers: %v", err)
		}
		for _, c := range containers {
			Eventually(tb, 20*time.Second, "container "+c.Name()+" is deleted", func() error { return r.forget(c.Name()) })
		}
		if err := os.RemoveAll(root); err != nil {
			tb.Errorf("testenv: remove %s: %v", root, err)
		}
	})
	return r
}

// Run creates and starts the container, waits for its end and deletes it.
func (r *Runc) Run(ctx context.Context, c *Container) Result {
	return r.first(ctx, c, "run", "--bundle", c.Dir, c.ID)
}

// Create creates the container: all but its entrypoint is there afterwards. The
// result has what runc wrote; later output is in [Container.Stdout].
func (r *Runc) Create(ctx context.Context, c *Container) Result {
	return r.first(ctx, c, "create", "--bundle", c.Dir, c.ID)
}

// RunDetached creates and starts the container and returns while it runs.
func (r *Runc) RunDetached(ctx context.Context, c *Container) Result {
	return r.first(ctx, c, "run", "--detach", "--bundle", c.Dir, c.ID)
}

// Start lets the entrypoint of a created container run.
func (r *Runc) Start(ctx context.Context, c *Container) Result { return r.do(ctx, "start", c.ID) }

// Exec runs a command in the running container and waits for it.
func (r *Runc) Exec(ctx context.Context, c *Container, args ...string) Result {
	return r.do(ctx, append([]string{"exec", c.ID}, args...)...)
}

// Kill sends the signal, by name or number, to the container's init.
func (r *Runc) Kill(ctx context.Context, c *Container, signal string) Result {
	return r.do(ctx, "kill", c.ID, signal)
}

// Delete kills the container if it runs, and removes it.
func (r *Runc) Delete(ctx context.Context, c *Container) Result {
	return r.do(ctx, "delete", "--force", c.ID)
}

// State returns what runc says about the container.
func (r *Runc) State(ctx context.Context, c *Container) (specs.State, error) {
	result := r.do(ctx, "state", c.ID)
	if result.Code != 0 {
		return specs.State{}, fmt.Errorf("runc state %s: %s", c.ID, result)
	}
	var state specs.State
	if err := json.Unmarshal([]byte(result.Stdout), &state); err != nil {
		return specs.State{}, fmt.Errorf("runc state %s: %w", c.ID, err)
	}
	return state, nil
}

// Stopped waits until the container's init has ended.
func (r *Runc) Stopped(ctx context.Context, tb testing.TB, c *Container, within time.Duration) {
	tb.Helper()
	Eventually(tb, within, "container "+c.ID+" stops", func() error {
		state, err := r.State(ctx, c)
		if err == nil && state.Status != specs.StateStopped {
			err = fmt.Errorf("it is %s", state.Status)
		}
		return err
	})
}

// first runs the command that brings a container to life. Its output goes to
// files: the container may hold them open for longer than runc runs.
func (r *Runc) first(ctx context.Context, c *Container, args ...string) Result {
	c.runc.Store(r)
	cmd := r.command(ctx, args...)
	stdout, err := openOutput(c.Dir, "stdout")
	if err != nil {
		return Result{Code: -1, Err: err}
	}
	defer stdout.Close()
	stderr, err := openOutput(c.Dir, "stderr")
	if err != nil {
		return Result{Code: -1, Err: err}
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	result := finish(ctx, cmd)
	result.Stdout, result.Stderr = c.Stdout(), c.Stderr()
	return result
}

func openOutput(dir, name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
}

func (r *Runc) do(ctx context.Context, args ...string) Result {
	cmd := r.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	result := finish(ctx, cmd)
	result.Stdout, result.Stderr = stdout.String(), stderr.String()
	return result
}

func (r *Runc) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.Path, append([]string{"--root", r.Root}, args...)...)
	cmd.WaitDelay = waitDelay
	return cmd
}

func finish(ctx context.Context, cmd *exec.Cmd) Result {
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return Result{}
	case errors.As(err, &exit) && exit.Exited() && ctx.Err() == nil:
		return Result{Code: exit.ExitCode()}
	default:
		return Result{Code: -1, Err: errors.Join(ctx.Err(), err)}
	}
}

// forget deletes the container id if runc knows it.
func (r *Runc) forget(id string) error {
	if _, err := os.Stat(filepath.Join(r.Root, id)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if result := r.do(ctx, "delete", "--force", id); result.Code != 0 {
		return fmt.Errorf("runc delete %s: %s", id, result)
	}
	return nil
}
