// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/boltseal/boltseal/test/lab"
	"github.com/boltseal/boltseal/test/lab/job"
	"github.com/boltseal/boltseal/test/lab/room"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/probe"
	"github.com/boltseal/boltseal/test/testenv/summary"
)

// parts sums up the parts of a column as their output comes.
type parts struct {
	column  Column
	summary *summary.Summary
	out     io.Writer
	step    int
	open    *converter
	err     error
}

// take takes an event of a guest in.
func (p *parts) take(e job.Event) {
	if p.err != nil {
		return
	}
	if p.open == nil {
		p.step = e.Step
		if p.open, p.err = convert(p.column.Parts[e.Step].name(), p.summary, p.out); p.err != nil {
			return
		}
	}
	if _, err := p.open.Write(e.Output); err != nil {
		p.err = err
	}
	if e.Exit != nil {
		p.err = errors.Join(p.err, p.close(*e.Exit))
	}
}

// close ends a part. A test binary can fail although all of its tests passed.
func (p *parts) close(exit job.Exit) error {
	err := p.open.Close()
	p.open = nil
	part := p.column.Parts[p.step]
	fmt.Fprintf(p.out, "     took %.0f s\n", exit.Seconds)
	if exit.Error != "" {
		err = errors.Join(err, fmt.Errorf("%s: %s", part.Package, exit.Error))
	}
	if exit.Status != 0 {
		p.summary.MustFail(part.name(), fmt.Sprintf("exit status %d", exit.Status), p.out)
	}
	return err
}

// end closes what the end of the machine has cut off: the test that ran fails.
func (p *parts) end() error {
	if p.open != nil {
		p.err = errors.Join(p.err, p.close(job.Exit{Status: -1}))
	}
	return p.err
}

// converter turns the output of a test binary into the events that go test would
// make of it, and sums them up.
type converter struct {
	io.WriteCloser
	cmd  *exec.Cmd
	done chan error
}

func convert(pkg string, sum *summary.Summary, out io.Writer) (*converter, error) {
	cmd := exec.Command("go", "tool", "test2json", "-t", "-p", pkg)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	events, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start test2json: %w", err)
	}
	c := &converter{WriteCloser: in, cmd: cmd, done: make(chan error, 1)}
	go func() { c.done <- sum.Read(events, out) }()
	return c, nil
}

// Close waits until everything is summed up.
func (c *converter) Close() error {
	return errors.Join(c.WriteCloser.Close(), <-c.done, c.cmd.Wait())
}

// native runs a column on this machine's kernel, from the same binaries.
func native(ctx context.Context, dir string, c Column, out io.Writer) *Outcome {
	return onHost(c, out, func(part Part, output io.Writer) (int, error) {
		step := part.step(dir)
		cmd := exec.CommandContext(ctx, step.Argv[0], step.Argv[1:]...)
		cmd.Dir = filepath.Clean(step.Dir)
		cmd.Env = append(append(os.Environ(), strict()), step.Env...)
		cmd.Stdout, cmd.Stderr = output, output
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = nil
		}
		return cmd.ProcessState.ExitCode(), err
	})
}

// inRoom runs a column in a room, on this machine's kernel too.
func inRoom(ctx context.Context, l *lab.Lab, dir string, c Column, out io.Writer) *Outcome {
	root, err := l.Room(ctx, c.Room)
	if err != nil {
		return &Outcome{Column: c, Summary: summary.New(), Err: err}
	}
	return onHost(c, out, func(part Part, output io.Writer) (int, error) {
		step := part.step(job.InDir)
		r := room.Room{
			Suite: c.Room, Unified: c.Unified, Root: root, Shared: map[string]string{dir: job.InDir}, Argv: step.Argv, Dir: step.Dir,
			Env: append(step.Env, strict()), Output: output,
		}
		return r.Run(ctx)
	})
}

// strict is what tests on this machine's kernel are told of it.
func strict() string {
	if probe.Able() != nil {
		return testenv.StrictVariable + "=0"
	}
	return testenv.StrictVariable + "=1"
}

// onHost sums up the parts of a column that run returns the exit statuses of.
func onHost(c Column, out io.Writer, run func(part Part, output io.Writer) (status int, err error)) *Outcome {
	begin := time.Now()
	o := &Outcome{Column: c, Summary: summary.New()}
	for _, part := range c.Parts {
		begin := time.Now()
		parts := &parts{column: Column{Parts: []Part{part}}, summary: o.Summary, out: out}
		status, err := run(part, writer(func(text []byte) { parts.take(job.Event{Output: text}) }))
		if err == nil {
			parts.take(job.Event{Exit: &job.Exit{Status: status, Seconds: time.Since(begin).Seconds()}})
		}
		o.Err = errors.Join(o.Err, err, parts.end())
	}
	o.Time = time.Since(begin)
	return o
}

// writer is a function that is written to.
type writer func([]byte)

func (w writer) Write(text []byte) (int, error) {
	w(text)
	return len(text), nil
}
