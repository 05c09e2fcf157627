// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/boltseal/boltseal/test/lab/job"
)

// conversation is what is heard of a machine while it does its job.
type conversation struct {
	machine Machine
	todo    job.Job
	watch   func(job.Event)
	begin   time.Time

	result Result
	ready  bool
	up     float64   // the guest's uptime at its last sign of life
	first  time.Time // of those
	step   int
	done   bool
}

// hold tells a machine its job and listens until it has ended.
func (c *conversation) hold(ctx context.Context, q *qemu) error {
	if err := json.NewEncoder(q.job).Encode(c.todo); err != nil {
		return fmt.Errorf("send job: %w", err)
	}
	files := c.receiveFiles(q)
	events := make(chan job.Event)
	broken := make(chan error, 1)
	go func() {
		defer close(events)
		decoder := json.NewDecoder(q.events)
		for {
			var e job.Event
			if err := decoder.Decode(&e); err != nil {
				broken <- err
				return
			}
			events <- e
		}
	}()
	err := c.listen(ctx, events)
	if err != nil {
		q.kill()
	}
	for range events { // the reader ends with the machine
	}
	<-q.ended
	if fault := <-broken; err == nil && !errors.Is(fault, io.EOF) {
		err = fmt.Errorf("read events of the guest: %w", fault)
	}
	return errors.Join(err, <-files)
}

// receiveFiles unpacks files as they come, until the machine's end.
func (c *conversation) receiveFiles(q *qemu) <-chan error {
	result := make(chan error, 1)
	go func() {
		if c.machine.OutDir == "" {
			_, _ = io.Copy(io.Discard, q.files)
			result <- nil
			return
		}
		err := os.MkdirAll(c.machine.OutDir, 0o755)
		if err == nil {
			err = unpackFiles(q.files, c.machine.OutDir)
		}
		_, _ = io.Copy(io.Discard, q.files)
		if !c.done {
			err = nil // cut off with the machine, whose fault is told
		}
		result <- err
	}()
	return result
}

// listen takes events in until the stream ends, or for as long as they may take.
func (c *conversation) listen(ctx context.Context, events <-chan job.Event) error {
	whole := time.NewTimer(c.machine.Timeout)
	defer whole.Stop()
	silence := time.NewTimer(c.machine.Silence)
	defer silence.Stop()
	for {
		select {
		case e, open := <-events:
			if !open {
				if c.done {
					return nil
				}
				return fmt.Errorf("%w %s", ErrDied, c.where())
			}
			silence.Reset(c.machine.Silence)
			if err := c.take(e); err != nil {
				return err
			}
		case <-silence.C:
			return fmt.Errorf("%w: no sign of life for %v, %s", ErrHangs, c.machine.Silence, c.where())
		case <-whole.C:
			return fmt.Errorf("%w: longer than %v, %s", ErrTimeout, c.machine.Timeout, c.where())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *conversation) take(e job.Event) error {
	switch {
	case e.Error != "":
		return fmt.Errorf("%w: %s", ErrGuest, e.Error)
	case e.Up != 0:
		return c.alive(e.Up, time.Now())
	case e.Exit != nil:
		c.result.Steps = append(c.result.Steps, *e.Exit)
		c.step = e.Step + 1
	case e.Done:
		c.done = true
	}
	if c.watch != nil && (e.Output != nil || e.Exit != nil) {
		c.watch(e)
	}
	return nil
}

// alive takes a sign of life in. The first two are to compare the clocks by; they
// come before the first step, so that the machine can be booted again.
func (c *conversation) alive(up float64, now time.Time) error {
	before := c.up
	c.up = up
	switch {
	case c.ready:
	case before == 0:
		c.first = now
	default:
		const slack = 0.1 // of a second: how exact an uptime is, and more
		if here := now.Sub(c.first).Seconds(); up-before > 2*here+slack {
			return fmt.Errorf("%w: %.2f s of it took %.2f s", ErrClock, up-before, here)
		}
		c.ready = true
		c.result.Ready = now.Sub(c.begin)
	}
	return nil
}

// where says how far the machine came.
func (c *conversation) where() string {
	switch {
	case !c.ready:
		return "while it booted"
	case c.step < len(c.todo.Steps):
		return fmt.Sprintf("%.0f s after its boot or later, in step %d: %s", c.up, c.step+1, strings.Join(c.todo.Steps[c.step].Argv, " "))
	default:
		return fmt.Sprintf("%.0f s after its boot or later, at its end", c.up)
	}
}
