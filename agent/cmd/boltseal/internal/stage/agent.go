// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const (
	// startTime is how long the agent may take to ask a slow kernel what it can do.
	startTime = 30 * time.Second
	// stopTime is how long it may take to detach its programs.
	stopTime = 10 * time.Second
	// logLines is how much of its log is shown when something went wrong.
	logLines = 15
)

// Agent is a boltseald of the stage's own.
type Agent struct {
	tetragon.FineGuidanceSensorsClient
	boltseal.BoltsealClient

	conn  *grpc.ClientConn
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has been reaped
	err   error         // how it ended, once ended is closed
}

// startAgent starts boltseald and waits until it serves.
func startAgent(ctx context.Context, t tools, s scene, u *undo) (*Agent, error) {
	log, err := os.OpenFile(s.agentLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	a := &Agent{ended: make(chan struct{})}
	u.later("stop the agent", a.stop)
	a.conn, err = grpc.NewClient(s.address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	a.FineGuidanceSensorsClient = tetragon.NewFineGuidanceSensorsClient(a.conn)
	a.BoltsealClient = boltseal.NewBoltsealClient(a.conn)
	// The context does not kill it: it is told to end, and has to clean up.
	a.cmd = exec.CommandContext(context.WithoutCancel(ctx), t.agent,
		"--config", s.agentFile(), "--server-address", s.address(), "--spool-dir", s.spool(), "--policy-dir", "")
	a.cmd.Stdout, a.cmd.Stderr = log, log
	// A signal of the terminal is for this process alone; the agent must not outlive it.
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", t.agent, err)
	}
	go func() {
		a.err = a.cmd.Wait()
		close(a.ended)
	}()
	if err := a.ready(ctx); err != nil {
		return nil, fmt.Errorf("wait for an answer of the agent: %w", err)
	}
	return a, nil
}

// ready waits until the agent answers.
func (a *Agent) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var last error
	err := poll(ctx, func() (bool, error) {
		select {
		case <-a.ended:
			return false, fmt.Errorf("it ended: %w", a.ending())
		default:
		}
		_, last = a.GetStatus(ctx, &boltseal.GetStatusRequest{})
		return last == nil, nil
	})
	if errors.Is(err, context.DeadlineExceeded) && last != nil {
		err = fmt.Errorf("none within %s: %w", startTime, Said(last))
	}
	return err
}

// Said is the agent's answer without the words of the protocol.
func Said(err error) error { return errors.New(status.Convert(err).Message()) }

// ending is how the agent ended.
func (a *Agent) ending() error {
	if a.err == nil {
		return errors.New("exit status 0")
	}
	return a.err
}

// stop tells the agent to end, waits, and then does not ask any more.
func (a *Agent) stop(ctx context.Context) error {
	var errs []error
	if a.conn != nil {
		errs = append(errs, a.conn.Close())
	}
	if a.cmd == nil || a.cmd.Process == nil {
		return errors.Join(errs...)
	}
	select {
	case <-a.ended:
		return errors.Join(append(errs, fmt.Errorf("it had ended before: %w", a.ending()))...)
	default:
	}
	_ = a.cmd.Process.Signal(unix.SIGTERM) // it may end this very moment
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	select {
	case <-a.ended:
		// A signal that came before the agent could take it is an end as good as any.
		if a.err != nil && !endedBy(a.err, unix.SIGTERM) {
			errs = append(errs, a.err)
		}
	case <-ctx.Done():
		_ = a.cmd.Process.Kill()
		<-a.ended
		errs = append(errs, fmt.Errorf("it did not end within %s and was killed", stopTime))
	}
	return errors.Join(errs...)
}

func endedBy(err error, signal unix.Signal) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	ending, ok := exit.Sys().(syscall.WaitStatus)
	return ok && ending.Signaled() && ending.Signal() == signal
}

// logTail is the end of the agent's log, fit for a terminal.
func logTail(s scene) string {
	text, _ := os.ReadFile(s.agentLog())
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > logLines {
		lines = lines[len(lines)-logLines:]
	}
	return "  " + quote.Text(strings.Join(lines, "\n  "))
}
