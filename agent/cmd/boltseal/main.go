// SPDX-License-Identifier: Apache-2.0

// Command boltseal is the command line of the agent, for people and for scripts.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/cli"
)

// version is set by the linker.
var version = "unknown"

func main() { os.Exit(run()) }

func run() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // nohup, and background jobs of scripts
			signal.Notify(signals, s)
		}
	}
	// A reader of our output that goes away must not end us before what was
	// started is stopped: writing fails instead.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		// Only the first one: later ones must not cut a cleanup short either.
		if s, ok := (<-signals).(syscall.Signal); ok {
			cancel(cli.SignalError{Signal: s})
		}
	}()
	return cli.Run(ctx, cli.Options{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Env: os.LookupEnv, Now: time.Now, Version: version,
	})
}
