// SPDX-License-Identifier: Apache-2.0

// Command boltseald is the agent.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/config"
	"github.com/boltseal/boltseal/agent/internal/daemon"
)

// version is set by the linker.
var version = "unknown"

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet("boltseald", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stdout, "boltseald seals containers and enforces their policies.\n\nUsage: boltseald [flags]\n\n%s", flags.FlagUsages())
	}
	config.Register(flags)
	showVersion := flags.Bool("version", false, "print the version and exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		return usage(stderr, err)
	case flags.NArg() > 0:
		return usage(stderr, fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	case *showVersion:
		fmt.Fprintln(stdout, version)
		return exitOK
	}
	c, err := config.Load(flags, os.LookupEnv)
	if err != nil {
		return usage(stderr, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	level := &slog.LevelVar{}
	level.Set(c.Level())
	log := logger(c, level, stderr)
	if err := daemon.Run(ctx, c, version, log, level); err != nil {
		log.Error("stopped", "error", err)
		return exitFailed
	}
	return exitOK
}

func usage(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "boltseald: %v\nTry boltseald --help.\n", err)
	return exitUsage
}

func logger(c config.Config, level slog.Leveler, to io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}
