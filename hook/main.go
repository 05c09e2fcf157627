// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// version is set by the linker.
var version = "unknown"

// Exit statuses. A runtime only asks whether it is 0.
const (
	exitStart = 0
	exitBlock = 1
	exitUsage = 2
)

// maxReserve is the most time that is kept for spool and log.
const maxReserve = 100 * time.Millisecond

// tellTime is how long spool and log may take beyond the deadline. A busy machine
// takes longer than the reserve, and a container that starts unsealed and is not in
// the spool is known to nobody.
const tellTime = time.Second

func main() {
	// What the kernel keeps by thread must be the first one's when it becomes a
	// runtime: the signal at its parent's death is one such thing.
	runtime.LockOSThread()
	if w := wrapperOf(os.Args, streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}); w != nil {
		os.Exit(w.run())
	}
	runtime.UnlockOSThread()
	os.Exit(run(os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// streams are the standard streams of the process.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run is main without the process.
func run(args []string, std streams) int {
	start := time.Now()
	opts, err := parseArgs(args)
	if err != nil {
		fmt.Fprintf(std.err, "boltseal-hook: %v\n%s", err, usage)
		return exitUsage
	}
	switch {
	case opts.help:
		fmt.Fprint(std.out, usage)
		return exitStart
	case opts.stage == "version":
		fmt.Fprintln(std.out, "boltseal-hook", version)
		return exitStart
	}
	return within(start, opts, std)
}

// within runs the stage and ends when its deadline does, whatever hangs, or at most
// tellTime later when that is spool or log.
func within(start time.Time, opts options, std streams) int {
	cfg, cfgErr := opts.settings()
	h := &hook{start: start, stage: opts.stage, config: cfg, std: std}
	if cfgErr != nil {
		return h.configFault(cfgErr)
	}
	// The work gives up a little earlier than the process, so that there is time
	// to spool and to log what became of it.
	reserve := min(cfg.Deadline/10, maxReserve)
	ctx, cancel := context.WithDeadline(context.Background(), start.Add(cfg.Deadline-reserve))
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- h.run(ctx) }()

	hard := time.NewTimer(time.Until(start.Add(cfg.Deadline - reserve/2)))
	defer hard.Stop()
	select {
	case status := <-done:
		return status
	case <-hard.C:
		return h.giveUp(reserve/2 + tellTime)
	}
}
