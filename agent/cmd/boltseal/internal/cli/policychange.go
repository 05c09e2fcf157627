// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// stdin is the name of standard input where a file is asked for.
const stdin = "-"

// source is the name of a file for people.
func source(name string) string {
	if name == stdin {
		return "standard input"
	}
	return quote.Word(name)
}

// readPolicy reads the text of a policy; one that is too long is cut, and
// refused for its length by whoever parses it.
func (a *app) readPolicy(name string) ([]byte, error) {
	from := a.Stdin
	if name != stdin {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		defer file.Close()
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, policy.MaxTextBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read policy %s: %w", source(name), err)
	}
	return text, nil
}

func (a *app) policyAddCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "add FILE|-",
		Short: "Puts the policy of a file, or of standard input, in force",
		Long: `Puts the policy of a file, or of standard input, in force. One with its name is
replaced in one step. When the command returns 0, the policy is in force for
every container it selects; on an error nothing has changed.`,
		Args: cobra.ExactArgs(1),
	}
	c.RunE = a.ask(func(ctx context.Context, g agent, args []string) error {
		text, err := a.readPolicy(args[0])
		if err != nil {
			return err
		}
		_, err = g.AddTracingPolicy(ctx, &tetragon.AddTracingPolicyRequest{Yaml: string(text)})
		if status.Code(err) == codes.InvalidArgument {
			faults := strings.TrimPrefix(status.Convert(err).Message(), "invalid policy: ")
			faults = strings.ReplaceAll(faults, "\n", "\n  ")
			return failed("agent refused the policy of %s, and nothing has changed:\n  %s", source(args[0]), faults)
		}
		if err != nil {
			return err
		}
		return a.reportAdded(text)
	})
	return c
}

// reportAdded says what was added. The agent took it, so that a text that is
// not understood here is only newer than this program.
func (a *app) reportAdded(text []byte) error {
	p, err := policy.Parse(text)
	if err != nil {
		_, err := fmt.Fprintln(a.Stdout, "policy added")
		return err
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(a.Stderr, "boltseal: warning: %s\n", quote.Text(w.Error()))
	}
	_, err = fmt.Fprintf(a.Stdout, "policy %s added, mode %s\n", quote.Word(p.Key()), p.Mode)
	return err
}

func (a *app) policyDeleteCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "delete NAME",
		Aliases: []string{"rm"},
		Short:   "Takes a policy out of force and forgets it",
		Args:    cobra.ExactArgs(1),
	}
	name := namespaceFlag(c)
	c.RunE = a.ask(func(ctx context.Context, g agent, args []string) error {
		wanted, err := name(args[0])
		if err != nil {
			return err
		}
		request := &tetragon.DeleteTracingPolicyRequest{Name: wanted.name, Namespace: wanted.namespace}
		if _, err := g.DeleteTracingPolicy(ctx, request); err != nil {
			return named(ctx, g, wanted, err)
		}
		_, err = fmt.Fprintf(a.Stdout, "policy %s deleted\n", wanted)
		return err
	})
	return c
}

func (a *app) policySwitchCommand(verb, short string, on bool) *cobra.Command {
	c := &cobra.Command{Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1)}
	name := namespaceFlag(c)
	c.RunE = a.ask(func(ctx context.Context, g agent, args []string) error {
		return a.configure(ctx, g, name, args[0], verb+"d", &tetragon.ConfigureTracingPolicyRequest{Enable: &on})
	})
	return c
}

func (a *app) policyModeCommand() *cobra.Command {
	modes := map[string]tetragon.TracingPolicyMode{
		policy.Enforce.String(): tetragon.TracingPolicyMode_TP_MODE_ENFORCE,
		policy.Monitor.String(): tetragon.TracingPolicyMode_TP_MODE_MONITOR,
	}
	c := &cobra.Command{
		Use:   "set-mode NAME enforce|monitor",
		Short: "Lets a policy act (enforce) or only report what it would do (monitor)",
		Args: func(c *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(2)(c, args); err != nil {
				return err
			}
			if _, ok := modes[args[1]]; !ok {
				return fmt.Errorf("mode %q is neither enforce nor monitor", args[1])
			}
			return nil
		},
		ValidArgs: []string{policy.Enforce.String(), policy.Monitor.String()},
	}
	name := namespaceFlag(c)
	c.RunE = a.ask(func(ctx context.Context, g agent, args []string) error {
		request := &tetragon.ConfigureTracingPolicyRequest{Mode: modes[args[1]].Enum()}
		return a.configure(ctx, g, name, args[0], "set to "+args[1], request)
	})
	return c
}

// configure sends a change of one policy and says that it is done.
func (a *app) configure(
	ctx context.Context, g agent, name func(string) (policyName, error), arg, done string,
	request *tetragon.ConfigureTracingPolicyRequest,
) error {
	wanted, err := name(arg)
	if err != nil {
		return err
	}
	request.Name, request.Namespace = wanted.name, wanted.namespace
	if _, err := g.ConfigureTracingPolicy(ctx, request); err != nil {
		return named(ctx, g, wanted, err)
	}
	_, err = fmt.Fprintf(a.Stdout, "policy %s %s\n", wanted, done)
	return err
}
