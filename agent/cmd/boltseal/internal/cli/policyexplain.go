// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/explain"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/target"
	"github.com/boltseal/boltseal/agent/internal/attach/described"
	"github.com/boltseal/boltseal/agent/internal/policy"
)

const explainHelp = `Says in plain words what policies do: for which containers, at which hooks and
under which conditions, by which mechanism of the kernel and with which promise,
and by which ways they are known to be got around. No agent is asked.

A promise depends on the kernel. Without --kernel the one that runs here is asked
what it can do, which needs root: what cannot be asked is taken for granted and
told. With --kernel a description stands for it:
  `

// kernelFlag adds --kernel.
func kernelFlag(c *cobra.Command) *string {
	return c.Flags().String("kernel", "", "a described kernel in place of the running one: "+strings.Join(described.Names(), ", "))
}

// openTarget finds the kernel of --kernel.
func openTarget(ctx context.Context, name string) (*target.Kernel, error) {
	k, err := target.Open(ctx, name)
	if errors.Is(err, described.ErrUnknown) {
		return nil, &fault{exitUsage, "--kernel: " + err.Error()}
	}
	return k, err
}

func (a *app) policyExplainCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "explain FILE|-...",
		Short: "Says in plain words what policies do on a kernel, without an agent",
		Long:  explainHelp + strings.Join(described.Names(), ", ") + "\n\nThe exit code is 1 when a policy has faults or the kernel refuses it.",
		Args:  cobra.MinimumNArgs(1),
	}
	form := outputFlag(c, asTable, asJSON)
	name := kernelFlag(c)
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		k, err := openTarget(c.Context(), *name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, k.Close()) }()
		all := []*explain.Explanation{}
		bad := 0
		for _, file := range args {
			p, err := a.parsePolicy(file)
			if err != nil {
				bad++
				a.complain(err)
				continue
			}
			e := explain.Policy(p, explain.Kernel{Kernel: k, Title: k.Title, Describes: k.Describes})
			e.Notes = append(e.Notes, k.Unasked()...)
			if !e.Loads {
				bad++
			}
			all = append(all, e)
		}
		if err := a.showExplained(all, *form); err != nil {
			return err
		}
		if bad > 0 {
			return failed("%d of %s cannot be loaded", bad, plural(len(args), "file"))
		}
		return nil
	}
	return c
}

// parsePolicy reads and parses a file. The error has a line for each fault.
func (a *app) parsePolicy(file string) (*policy.Policy, error) {
	text, err := a.readPolicy(file)
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s has faults:\n  %s", source(file), strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	return p, nil
}

func (a *app) showExplained(all []*explain.Explanation, form string) error {
	if form == asJSON {
		return plain(a.Stdout, all)
	}
	for i, e := range all {
		if i > 0 {
			if _, err := fmt.Fprintln(a.Stdout); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprint(a.Stdout, quote.Text(e.Text())); err != nil {
			return err
		}
	}
	return nil
}
