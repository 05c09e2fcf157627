// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
)

// Exit codes. A command that a signal ended has 128 and the signal's number.
const (
	exitOK = 0
	// exitFailed: the agent refused, a checked policy has faults, the demo did not
	// show what it promises, a check of the doctor failed.
	exitFailed = 1
	// exitUsage: the command line is wrong; nothing was done.
	exitUsage = 2
	// exitNoAgent: the agent could not be reached: it does not run, does not
	// answer in time, or does not let this user in.
	exitNoAgent = 3
	// exitEnforced: simulated policies would have killed, denied or signaled.
	exitEnforced = 4
	// exitUndecided: whether they would have is not known.
	exitUndecided = 5

	exitSignal = 128
)

const (
	defaultAddress = "unix:///run/boltseal/boltseal.sock"
	addressEnv     = "BOLTSEAL_SERVER_ADDRESS"
	defaultTimeout = 10 * time.Second
)

// Options is what a run of the command line works with.
type Options struct {
	// Args is the arguments without the program's name.
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Env is os.LookupEnv.
	Env func(string) (string, bool)
	// Now is time.Now.
	Now func() time.Time
	// Version is the program's own.
	Version string
}

// SignalError is the cause of a context that a signal ended.
type SignalError struct{ Signal syscall.Signal }

// Error names the signal.
func (e SignalError) Error() string { return "ended by signal: " + e.Signal.String() }

// app is one run.
type app struct {
	Options
	address string
	timeout time.Duration
	// parsed tells that the command line was understood: an error before is one
	// of usage.
	parsed bool
}

// Run runs one command and returns the exit code. Faults are written to
// Stderr. When the context ends with a SignalError as its cause, the command
// ends in order and the exit code is the signal's.
func Run(ctx context.Context, o Options) int {
	a := &app{Options: o}
	root := a.root()
	root.SetArgs(o.Args)
	root.SetIn(o.Stdin)
	root.SetOut(o.Stdout)
	root.SetErr(o.Stderr)
	command, err := root.ExecuteContextC(ctx)
	var s SignalError
	if errors.As(context.Cause(ctx), &s) {
		// Calls that were cut short have nothing to say; a command of its own does.
		var own *fault
		if errors.As(err, &own) {
			a.complain(own)
		}
		return exitSignal + int(s.Signal)
	}
	switch {
	case err == nil:
		return exitOK
	case !a.parsed:
		a.complain(err)
		fmt.Fprintf(o.Stderr, "Usage: %s (see --help)\n", command.UseLine())
		return exitUsage
	}
	fault := a.explain(ctx, err)
	if fault.text != "" {
		a.complain(fault)
	}
	return fault.code
}

func (a *app) complain(err error) {
	text := strings.TrimSuffix(err.Error(), "\n")
	fmt.Fprintf(a.Stderr, "boltseal: %s\n", quote.Text(text))
}

const rootHelp = `boltseal shows and manages the containers and policies of the agent, boltseald.

The agent listens on a unix socket that is root's alone. A server address is
unix:///path or the path itself; it is taken from --server-address, else from
$` + addressEnv + `, else it is ` + defaultAddress + `.

Exit codes:
  0  done
  1  failed: refused by the agent, faults in a checked policy, a demo that did
     not show what it should, a check of the doctor that failed
  2  wrong usage: nothing was done
  3  the agent was not reached: it is not running, does not answer, or does not
     let this user in
  4  policy simulate: something would have been killed, denied or signaled
  5  policy simulate: whether something would have been is undecided
  128 and the number of the signal that ended the command`

func (a *app) root() *cobra.Command {
	root := group("boltseal", "Shows and manages sealed containers and their policies",
		a.statusCommand(), a.containersCommand(), a.eventsCommand(), a.policyCommand(), a.demoCommand(), a.hookCommand(), a.doctorCommand(),
		a.versionCommand(),
		a.logLevelCommand(), a.eventLogCommand(), a.processesCommand(), a.sensorsCommand(), a.stackTreeCommand())
	root.Long = rootHelp
	root.SilenceErrors, root.SilenceUsage = true, true // Run writes them
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		path, err := socketPath(a.address)
		if err == nil && a.timeout <= 0 {
			err = fmt.Errorf("--timeout %s: must be more than 0", a.timeout)
		}
		if err != nil {
			return err
		}
		a.address, a.parsed = unixScheme+path, true
		return nil
	}
	address := defaultAddress
	if set, ok := a.Env(addressEnv); ok && set != "" {
		address = set
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.address, "server-address", address, "socket of the agent")
	flags.DurationVar(&a.timeout, "timeout", defaultTimeout, "how long one call may take; streams of events are not limited")
	return root
}

// group is a command that only has commands below it.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			text := fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath())
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				text += fmt.Sprintf(": did you mean %q?", near[0])
			}
			return errors.New(text)
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.SuggestionsMinimumDistance = 2
	c.AddCommand(commands...)
	return c
}
