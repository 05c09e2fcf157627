// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/doctor"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/doctor/canary"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
)

const doctorHelp = `Looks at the kernel, the agent, its socket, the hook and its settings, and proves
each container runtime of this host with canaries: containers that are built in,
need no image and no network, and do one harmless thing. Each line has a verdict:

  ok          it was seen to hold
  warn        it holds, but not as well as it could
  FAIL        it does not hold
  not proven  this host, or who runs this, cannot show it; the line says why

A canary shows when it was sealed, by the kernel's clock; that a policy that selects
it alone kills it in the act, and that one denies the act where the kernel can, by
its exit status and by the event of each; and that it does not start when the hook
finds no agent, for which its hook is pointed at a socket that does not exist. The
agent is not stopped.

It needs root, adds two policies to the running agent for the time it takes, and
removes all that it made, also when it is interrupted. The exit code is 0 only when
nothing failed.`

// tellTime is how long an agent may take to tell of what happened on a busy host.
const tellTime = 10 * time.Second

// doctorFlags are the flags of the command doctor.
type doctorFlags struct {
	form             *string
	hook, hookConfig string
	runtimes         []string
	sockets          []string
}

func (a *app) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Proves with canary containers that this host seals, kills and denies",
		Long:  doctorHelp,
		Args:  cobra.NoArgs,
	}
	f := doctorFlags{form: outputFlag(c, asTable, asJSON)}
	c.Flags().StringVar(&f.hook, "hook", "/usr/local/bin/boltseal-hook", "the hook that runtimes run")
	c.Flags().StringVar(&f.hookConfig, "hook-config", "", "the hook's configuration, when it is not the usual one")
	c.Flags().StringSliceVar(&f.runtimes, "runtime", nil, "look at this runtime alone: "+strings.Join(canary.Names(), ", ")+" (repeatable)")
	c.Flags().StringSliceVar(&f.sockets, "cri-socket", canary.Sockets(), "where runtimes of Kubernetes listen (repeatable)")
	c.PreRunE = func(*cobra.Command, []string) error {
		for _, name := range f.runtimes {
			if !canary.Known(name) {
				a.parsed = false
				return fmt.Errorf("--runtime %s: must be one of %s", name, strings.Join(canary.Names(), ", "))
			}
		}
		return nil
	}
	c.RunE = a.stream(func(ctx context.Context, g agent, _ []string) error { return a.doctor(ctx, g, f) })
	return c
}

func (a *app) doctor(ctx context.Context, g agent, f doctorFlags) error {
	var writeErr error
	o := doctor.Options{
		Agent: g, Address: a.address, CallTime: a.timeout, TellTime: tellTime, Version: a.Version, Now: a.Now,
		Unreachable: func(ctx context.Context, err error) string { return a.explain(ctx, err).text },
		Hook:        f.hook, HookConfig: f.hookConfig, Host: doctor.DefaultHost(),
		Runtimes: canary.Find(f.sockets), Only: f.runtimes, Registrations: registrations{binDir: filepath.Dir(f.hook)},
	}
	if *f.form == asTable {
		o.Each = func(c doctor.Check) {
			if _, err := fmt.Fprint(a.Stdout, checkWords(c)); err != nil && writeErr == nil {
				writeErr = err
			}
		}
	}
	report, err := doctor.Run(ctx, o)
	switch {
	case errors.Is(err, doctor.ErrLeft):
		return failed("%v", err)
	case ctx.Err() != nil:
		return err
	case err != nil:
		return failed("%v", err)
	case errors.Is(writeErr, syscall.EPIPE):
		return writeErr
	}
	if *f.form == asJSON {
		if err := plain(a.Stdout, report); err != nil {
			return err
		}
	}
	if report.Failed > 0 {
		return failed("%s failed", plural(report.Failed, "check"))
	}
	return nil
}

// registrations tells what hook status does, of programs in a directory, on this host
// or in an image of one.
type registrations struct{ binDir, root string }

func (r registrations) Registration(ctx context.Context, runtime string) (doctor.Registration, error) {
	name := runtime
	if name == "cri-o" {
		name = "crio"
	}
	all, err := install.Status(ctx, install.Options{Root: r.root, Runtimes: []string{name}, BinDir: r.binDir})
	if err != nil {
		return doctor.Registration{}, err
	}
	var is doctor.Registration
	for _, s := range all {
		switch s.Registered {
		case install.Registered, install.NotNeeded:
			is.Registered, is.How = true, s.How
		case install.NotKnown:
			return is, fmt.Errorf("what it is told cannot be read: %s", s.Do)
		case install.PartlyDone:
			is.How, is.Do = "boltseal is registered with it in part", s.Do
		default:
			is.How, is.Do = "boltseal is not registered with it", s.Do
		}
	}
	return is, nil
}

// checkWords is a check in one line, and one more when there is something to do.
func checkWords(c doctor.Check) string {
	text := fmt.Sprintf("%-10s  %-19s  %s\n", c.Verdict, c.Name, quote.Text(c.Found))
	if c.Do != "" {
		text += fmt.Sprintf("%-10s  %-19s    do: %s\n", "", "", quote.Text(c.Do))
	}
	return text
}
