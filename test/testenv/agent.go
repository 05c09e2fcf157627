// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Limits of an agent's life: it loads programs at start, and detaches them at its end.
const (
	startTime = 2 * time.Minute // the verifier of an emulated machine takes half of one
	stopTime  = 15 * time.Second
)

// AgentOptions says how to start an agent; the zero value is one with defaults
// and nothing of the machine's own configuration.
type AgentOptions struct {
	// Dir holds the socket and the spool; a new one if empty. An agent that is
	// to find what another left gets the other's.
	Dir string
	// Args are added to the command line, Env to the environment.
	Args, Env []string
	// Binary is the program; boltseald of the sources if empty.
	Binary string
}

// AgentProcess is a running boltseald. Its methods are for one goroutine.
type AgentProcess struct {
	// Dir is the directory of the options, Socket the path of the API's socket
	// and Spool that of the hook's spool in it.
	Dir, Socket, Spool string
	// Address is the socket as clients are told: unix:// and the path.
	Address string
	// Pid is the process.
	Pid int

	cmd   *exec.Cmd
	log   string
	told  bool          // to end
	ended chan struct{} // closed when it has been reaped
	err   error         // how it ended, once ended is closed
}

// Agent starts boltseald and waits until it answers. When the test ends it is
// stopped; an agent that does not stop in order, or that has died before without
// being told to, fails the test. The log of a failed test's agent is printed.
func Agent(tb testing.TB, options AgentOptions) *AgentProcess {
	tb.Helper()
	if options.Dir == "" {
		options.Dir = Dir(tb)
	}
	if options.Binary == "" {
		options.Binary = Binary(tb, "./agent/cmd/boltseald")
	}
	a := &AgentProcess{
		Dir:    options.Dir,
		Socket: filepath.Join(options.Dir, "boltseal.sock"),
		Spool:  filepath.Join(options.Dir, "spool"),
		ended:  make(chan struct{}),
	}
	a.Address = "unix://" + a.Socket
	if err := a.start(options); err != nil {
		tb.Fatalf("testenv: start the agent: %v", err)
	}
	tb.Cleanup(func() {
		if err := a.Stop(); err != nil {
			tb.Errorf("testenv: %v", err)
		}
		if tb.Failed() {
			tb.Logf("log of the agent %d:\n%s", a.Pid, a.Log())
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := a.wait(ctx); err != nil {
		tb.Fatalf("testenv: the agent does not answer: %v", err)
	}
	return a
}

func (a *AgentProcess) start(options AgentOptions) error {
	log, err := os.CreateTemp(options.Dir, "agent-*.log")
	if err != nil {
		return err
	}
	defer log.Close()
	a.log = log.Name()
	config := filepath.Join(options.Dir, "boltseald.yaml")
	if err := os.WriteFile(config, []byte("{}\n"), 0o600); err != nil {
		return err
	}
	a.cmd = exec.Command(options.Binary, append([]string{
		"--config", config, "--server-address", a.Address, "--spool-dir", a.Spool, "--policy-dir", "", "--log-level", "debug",
	}, options.Args...)...)
	a.cmd.Env = append(os.Environ(), options.Env...)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	if err := a.cmd.Start(); err != nil {
		return err
	}
	a.Pid = a.cmd.Process.Pid
	go func() {
		a.err = a.cmd.Wait()
		close(a.ended)
	}()
	return nil
}

// wait asks for the agent's health until it says that it is running.
func (a *AgentProcess) wait(ctx context.Context) error {
	conn, err := a.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	client := tetragon.NewFineGuidanceSensorsClient(conn)
	for {
		err := healthy(ctx, client)
		if err == nil {
			return nil
		}
		select {
		case <-a.ended:
			return fmt.Errorf("it ended: %w", errors.Join(a.err, errors.New(a.Log())))
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", err, a.Log())
		case <-time.After(pollInterval):
		}
	}
}

func healthy(ctx context.Context, client tetragon.FineGuidanceSensorsClient) error {
	response, err := client.GetHealth(ctx, &tetragon.GetHealthStatusRequest{})
	if err != nil {
		return err
	}
	for _, s := range response.GetHealthStatus() {
		if s.GetStatus() != tetragon.HealthStatusResult_HEALTH_STATUS_RUNNING {
			return fmt.Errorf("%s: %s %s", s.GetEvent(), s.GetStatus(), s.GetDetails())
		}
	}
	if len(response.GetHealthStatus()) == 0 {
		return errors.New("it says nothing about its health")
	}
	return nil
}

// Dial connects to the agent's API; the caller closes the connection.
func (a *AgentProcess) Dial() (*grpc.ClientConn, error) {
	return grpc.NewClient(a.Address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a unix socket
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
}

// Connect is Dial for a test: it fails the test, and closes the connection at its end.
func (a *AgentProcess) Connect(tb testing.TB) *grpc.ClientConn {
	tb.Helper()
	conn, err := a.Dial()
	if err != nil {
		tb.Fatalf("testenv: connect to the agent: %v", err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Log returns what the agent has written so far.
func (a *AgentProcess) Log() string {
	data, err := os.ReadFile(a.log)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// Hang stops the agent's process where it is: its socket accepts connections,
// and nobody answers. Resume lets it go on.
func (a *AgentProcess) Hang() error {
	if err := a.signal(unix.SIGSTOP); err != nil {
		return err
	}
	// The signal is sent at once, but each thread runs until it notices.
	return poll(time.Second, func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", a.Pid))
		if err == nil && len(threads) == 0 {
			err = errors.New("it has ended")
		}
		for _, thread := range threads {
			// One that is gone has not been stopped: another look will not find it.
			if stat, err := os.ReadFile(thread); err != nil || state(string(stat)) != "T" {
				return fmt.Errorf("thread %s has not stopped", filepath.Base(filepath.Dir(thread)))
			}
		}
		return err
	})
}

// Resume lets an agent that hangs go on.
func (a *AgentProcess) Resume() error { return a.signal(unix.SIGCONT) }

// Kill ends the agent the hard way and waits for it. Stop says nothing about it later.
func (a *AgentProcess) Kill() error {
	a.told = true
	if err := a.signal(unix.SIGKILL); err != nil {
		return err
	}
	<-a.ended
	return nil
}

// Stop ends the agent in order and reports if it did not exit with status 0 in
// time; then it is killed. It reports too that the agent had ended before
// without being told to. It may be called again, and then says nothing.
func (a *AgentProcess) Stop() error {
	if a.told {
		return nil
	}
	a.told = true
	select {
	case <-a.ended:
		return fmt.Errorf("the agent had ended by itself: %w", errors.Join(a.err, errors.New("see its log")))
	default:
	}
	// One that hangs could not act on the signal.
	if err := errors.Join(a.signal(unix.SIGTERM), a.Resume()); err != nil {
		return err
	}
	select {
	case <-a.ended:
		if a.err != nil {
			return fmt.Errorf("the agent did not stop in order: %w", a.err)
		}
		return nil
	case <-time.After(stopTime):
		stacks := a.stacks()
		return errors.Join(fmt.Errorf("the agent did not stop within %v of SIGTERM: %s", stopTime, stacks), a.Kill())
	}
}

// stacks makes Go's runtime write where each goroutine is, and returns that.
func (a *AgentProcess) stacks() string {
	before := len(a.Log())
	_ = a.signal(unix.SIGQUIT) // one that does not react to it either is killed next
	select {
	case <-a.ended:
	case <-time.After(time.Second):
	}
	log := a.Log()
	return strings.TrimSpace(log[min(before, len(log)):])
}

func (a *AgentProcess) signal(s unix.Signal) error {
	// By the process, not by its number: that may have been given to another.
	if err := a.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal the agent: %w", err)
	}
	return nil
}
