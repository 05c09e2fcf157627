// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/settings"
)

const usage = `Usage: boltseal-hook [flags] STAGE
       boltseal-hook runtime [flags] --exec RUNTIME [ARGUMENT...]

Seals a container before its first instruction. Run by a container runtime as an
OCI hook; reads the OCI state from standard input and exits 0 when the container
may start.

Stages:
  createRuntime, prestart        ask the agent to seal the container
  poststart, poststop            nothing to do, exit 0
  createContainer, startContainer
                                 refused: they run inside the container
Commands:
  runtime                        add this hook to the bundle that RUNTIME (a path, or
                                 a name in $PATH) is to create, run or restore, then
                                 become RUNTIME with exactly the arguments behind it;
                                 called as boltseal-runc it does so for runc
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
	flags := o.flags()
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

// flags are those of all commands.
func (o *options) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("boltseal-hook", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&o.config, "config", "", "")
	flags.StringVar(&o.address, "address", "", "")
	flags.StringVar(&o.deadline, "deadline", "", "")
	flags.StringVar(&o.logFile, "log-file", "", "")
	flags.StringVar(&o.failPolicy, "fail-policy", "", "")
	flags.StringVar(&o.spoolDir, "spool-dir", "", "")
	return flags
}

// parseRuntimeArgs parses what stands behind the command runtime: flags of the hook, then
// --exec with the runtime, and then the runtime's own arguments, which are left alone.
func parseRuntimeArgs(args []string) (o options, runtime string, own []string, err error) {
	at := slices.IndexFunc(args, func(arg string) bool { return arg == "--exec" || strings.HasPrefix(arg, "--exec=") })
	mine := args
	if at >= 0 {
		mine = args[:at]
	}
	flags := o.flags()
	err = flags.Parse(mine)
	switch {
	case errors.Is(err, flag.ErrHelp):
		o.help = true
		return o, "", nil, nil
	case err != nil:
		return o, "", nil, err
	case flags.NArg() > 0:
		return o, "", nil, fmt.Errorf("%q stands before --exec", flags.Arg(0))
	case at < 0:
		return o, "", nil, errors.New("runtime: --exec is missing")
	case o.config != "" && !filepath.IsAbs(o.config):
		// The hook reads the same file, in whichever directory the runtime is.
		return o, "", nil, fmt.Errorf("--config %q: not an absolute path", o.config)
	}
	runtime, whole := strings.CutPrefix(args[at], "--exec=")
	own = args[at+1:]
	if !whole {
		if len(own) == 0 {
			return o, "", nil, errors.New("--exec: the runtime is missing")
		}
		runtime, own = own[0], own[1:]
	}
	if runtime == "" {
		return o, "", nil, errors.New("--exec: the runtime is empty")
	}
	return o, runtime, own, nil
}

// settings joins the configuration file and the flags, which win.
func (o *options) settings() (settings.Settings, error) {
	return settings.Load(o.config, settings.File{
		Address: o.address, Deadline: o.deadline, LogFile: o.logFile, SpoolDir: o.spoolDir,
		FailPolicy: agentclient.FailPolicy{Default: agentclient.Answer(o.failPolicy)},
	})
}

// again are the arguments by which the hook, run by a runtime, is told the same.
func (o *options) again() []string {
	args := []string{"boltseal-hook", "createRuntime"}
	for _, f := range [...]struct{ name, value string }{
		{"--config", o.config}, {"--address", o.address}, {"--deadline", o.deadline}, {"--log-file", o.logFile},
		{"--fail-policy", o.failPolicy}, {"--spool-dir", o.spoolDir},
	} {
		if f.value != "" {
			args = append(args, f.name, f.value)
		}
	}
	return args
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
