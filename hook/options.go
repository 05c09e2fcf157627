// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/settings"
)

const usage = `Usage: boltseal-hook [flags] STAGE

Seals a container before its first instruction. Run by a container runtime as an
OCI hook; reads the OCI state from standard input and exits 0 when the container
may start.

Stages:
  createRuntime, prestart        ask the agent to seal the container
  poststart, poststop            nothing to do, exit 0
  createContainer, startContainer
                                 refused: they run inside the container
Commands:
  version                        print the version
  help                           print this text

Flags (they win over the configuration file):
  --config FILE       configuration, JSON (default /etc/boltseal/hook.json, which
                      may be missing)
  --address ADDRESS   the agent's socket (default unix:///run/boltseal/boltseal.sock)
  --deadline TIME     for everything, 10ms to 30s (default 2s)
  --log-file FILE     one JSON line per run is appended, - is standard error
  --fail-policy WORD  block, allow or quarantine, when no rule of the file matches
                      (default block)
  --spool-dir DIR     where containers started without the agent are written down
                      (default /run/boltseal/spool)
`

// options are the parsed command line. Empty strings mean "not given".
type options struct {
	stage                                                    string
	config, address, deadline, logFile, failPolicy, spoolDir string
	help                                                     bool
}

// parseArgs parses the command line. Flags may stand before and behind the
// stage: runtimes and people differ in where they put them.
func parseArgs(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("boltseal-hook", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&o.config, "config", "", "")
	flags.StringVar(&o.address, "address", "", "")
	flags.StringVar(&o.deadline, "deadline", "", "")
	flags.StringVar(&o.logFile, "log-file", "", "")
	flags.StringVar(&o.failPolicy, "fail-policy", "", "")
	flags.StringVar(&o.spoolDir, "spool-dir", "", "")

	for rest := args; ; {
		if err := flags.Parse(rest); errors.Is(err, flag.ErrHelp) {
			o.help = true
			return o, nil
		} else if err != nil {
			return o, err
		}
		if flags.NArg() == 0 {
			break
		}
		if o.stage != "" {
			return o, fmt.Errorf("one stage at a time: %q and %q", o.stage, flags.Arg(0))
		}
		o.stage, rest = flags.Arg(0), flags.Args()[1:]
	}
	return o, o.checkStage()
}

// settings joins the configuration file and the flags, which win.
func (o *options) settings() (settings.Settings, error) {
	return settings.Load(o.config, settings.File{
		Address: o.address, Deadline: o.deadline, LogFile: o.logFile, SpoolDir: o.spoolDir,
		FailPolicy: agentclient.FailPolicy{Default: agentclient.Answer(o.failPolicy)},
	})
}

// checkStage refuses what no OCI runtime calls a stage.
func (o *options) checkStage() error {
	known := []string{"createRuntime", "prestart", "createContainer", "startContainer", "poststart", "poststop", "version"}
	switch {
	case o.stage == "":
		return errors.New("no stage given")
	case o.stage == "help":
		o.help = true
	case !slices.Contains(known, o.stage):
		return fmt.Errorf("unknown stage %q", o.stage)
	}
	return nil
}
