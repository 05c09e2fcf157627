// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func (a *app) policyCommand() *cobra.Command {
	return group("policy", "Adds, lists, changes, checks, explains and tries policies",
		a.policyAddCommand(), a.policyListCommand(), a.policyShowCommand(), a.policyDeleteCommand(),
		a.policySwitchCommand("enable", "Puts a policy in force that was disabled", true),
		a.policySwitchCommand("disable", "Takes a policy out of force and keeps it loaded", false),
		a.policyModeCommand(), a.policyCheckCommand(), a.policyExplainCommand(),
		a.policySimulateCommand(), a.policyTestCommand(),
	)
}

// policyName identifies a policy.
type policyName struct{ namespace, name string }

// String is the name as lists of policies have it.
func (p policyName) String() string {
	if p.namespace == "" {
		return quote.Word(p.name)
	}
	return quote.Word(p.namespace + "/" + p.name)
}

func nameOf(p *tetragon.TracingPolicyStatus) policyName {
	return policyName{p.GetNamespace(), p.GetName()}
}

// namespaceFlag adds -n; the function it returns joins it with the argument,
// which may also be "namespace/name".
func namespaceFlag(c *cobra.Command) func(arg string) (policyName, error) {
	namespace := c.Flags().StringP("namespace", "n", "", "namespace of the policy, when it is a TracingPolicyNamespaced")
	return func(arg string) (policyName, error) {
		before, after, found := strings.Cut(arg, "/")
		switch {
		case arg == "" || found && (before == "" || after == ""):
			return policyName{}, &fault{exitUsage, fmt.Sprintf("%q is no name of a policy", arg)}
		case !found:
			return policyName{*namespace, arg}, nil
		case *namespace != "" && *namespace != before:
			return policyName{}, &fault{exitUsage, fmt.Sprintf("policy %q is not in the namespace %q of --namespace", arg, *namespace)}
		}
		return policyName{before, after}, nil
	}
}

func (a *app) policyListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "Lists the policies of the agent",
		Args:    cobra.NoArgs,
	}
	form := outputFlag(c, asTable, asJSON)
	namespace := c.Flags().StringP("namespace", "n", "", "only policies of this namespace")
	c.RunE = a.ask(func(ctx context.Context, g agent, _ []string) error {
		response, err := g.ListTracingPolicies(ctx, &tetragon.ListTracingPoliciesRequest{})
		if err != nil {
			return err
		}
		response.Policies = slices.DeleteFunc(response.Policies, func(p *tetragon.TracingPolicyStatus) bool {
			return *namespace != "" && p.GetNamespace() != *namespace
		})
		if *form == asJSON {
			return document(a.Stdout, response)
		}
		if len(response.GetPolicies()) == 0 {
			fmt.Fprintln(a.Stderr, "no policies")
			return nil
		}
		return table(a.Stdout, policyRows(response.GetPolicies()))
	})
	return c
}

// policyRows is the list of policies; what is wrong with some of them is a column of
// its own, and there only if anything is.
func policyRows(policies []*tetragon.TracingPolicyStatus) [][]string {
	rows := [][]string{{"NAME", "NAMESPACE", "STATE", "MODE", "POSTED", "DENIED", "SIGNALED", "MONITORED", "MEMORY"}}
	faulty := slices.ContainsFunc(policies, func(p *tetragon.TracingPolicyStatus) bool { return p.GetError() != "" })
	if faulty {
		rows[0] = append(rows[0], "ERROR")
	}
	for _, p := range policies {
		n := p.GetStats().GetActionCounters()
		row := []string{
			quote.Word(p.GetName()), quote.Word(p.GetNamespace()), policyState(p), policyMode(p.GetMode()),
			fmt.Sprint(n.GetPost()), fmt.Sprint(n.GetOverride()), fmt.Sprint(n.GetSignal()),
			fmt.Sprint(n.GetMonitorSignal() + n.GetMonitorOverride() + n.GetMonitorNotifyEnforcer()), size(p.GetKernelMemoryBytes()),
		}
		if faulty {
			row = append(row, firstFault(p.GetError()))
		}
		rows = append(rows, row)
	}
	return rows
}

// firstFault is the first line of an error; policy show tells the rest.
func firstFault(all string) string {
	first, rest, more := strings.Cut(all, "\n")
	if !more {
		return quote.Text(first)
	}
	return fmt.Sprintf("%s (and %d more)", quote.Text(first), 1+strings.Count(rest, "\n"))
}

func policyState(p *tetragon.TracingPolicyStatus) string {
	return strings.ToLower(strings.TrimPrefix(p.GetState().String(), "TP_STATE_"))
}

func policyMode(m tetragon.TracingPolicyMode) string {
	return strings.ToLower(strings.TrimPrefix(m.String(), "TP_MODE_"))
}

// size is a number of bytes for people.
func size(bytes uint64) string {
	switch {
	case bytes < 10<<10:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 10<<20:
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

func (a *app) policyShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "Shows one policy: where its rules are, and how often they acted",
		Args:  cobra.ExactArgs(1),
	}
	form := outputFlag(c, asTable, asJSON)
	name := namespaceFlag(c)
	c.RunE = a.ask(func(ctx context.Context, g agent, args []string) error {
		wanted, err := name(args[0])
		if err != nil {
			return err
		}
		response, err := g.ListTracingPolicies(ctx, &tetragon.ListTracingPoliciesRequest{})
		if err != nil {
			return err
		}
		for _, p := range response.GetPolicies() {
			switch {
			case nameOf(p) != wanted:
			case *form == asJSON:
				return document(a.Stdout, p)
			default:
				return a.showPolicy(p)
			}
		}
		return noPolicy(wanted, response.GetPolicies())
	})
	return c
}

func (a *app) showPolicy(p *tetragon.TracingPolicyStatus) error {
	n := p.GetStats().GetActionCounters()
	rows := [][]string{
		{"name", quote.Word(p.GetName())},
		{"namespace", quote.Word(p.GetNamespace())},
		{"state", policyState(p)},
		{"mode", policyMode(p.GetMode())},
	}
	if p.GetInfo() != "" {
		rows = append(rows, []string{"from", quote.Text(p.GetInfo())})
	}
	if p.GetError() != "" {
		rows = append(rows, []string{"error", quote.Text(strings.ReplaceAll(p.GetError(), "\n", "; "))})
	}
	title := "sites"
	for _, s := range p.GetSensors() {
		rows = append(rows, []string{title, quote.Word(s)})
		title = ""
	}
	title = "when enforced"
	for _, h := range p.GetHookStatuses() {
		rows = append(rows, []string{title, quote.Text(h.GetHookDescription())})
		title = ""
	}
	rows = append(rows,
		[]string{"posted", fmt.Sprint(n.GetPost())},
		[]string{"not posted", fmt.Sprint(n.GetNopost())},
		[]string{"denied", fmt.Sprint(n.GetOverride())},
		[]string{"signaled", fmt.Sprint(n.GetSignal())},
		[]string{"notified", fmt.Sprint(n.GetNotifyEnforcer())},
		[]string{"monitored", fmt.Sprint(n.GetMonitorSignal() + n.GetMonitorOverride() + n.GetMonitorNotifyEnforcer())},
		[]string{"memory", size(p.GetKernelMemoryBytes())},
	)
	title = "selectors"
	for _, s := range p.GetStats().GetSelectorActionCounters() {
		rows = append(rows, []string{title, selectorCounters(s)})
		title = ""
	}
	return table(a.Stdout, rows)
}

// selectorCounters says what a selector that has a label did, as far as it did
// anything.
func selectorCounters(s *tetragon.TracingPolicySelectorActionCounters) string {
	n := s.GetActionCounters()
	var did []string
	for _, c := range []struct {
		n    uint64
		what string
	}{
		{n.GetPost(), "posted"},
		{n.GetNopost(), "not posted"},
		{n.GetOverride(), "denied"},
		{n.GetSignal(), "signaled"},
		{n.GetNotifyEnforcer(), "notified"},
		{n.GetMonitorSignal() + n.GetMonitorOverride() + n.GetMonitorNotifyEnforcer(), "monitored"},
	} {
		if c.n > 0 {
			did = append(did, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if len(did) == 0 {
		did = []string{"never matched"}
	}
	return fmt.Sprintf("%s (selector %d of %s): %s", quote.Word(s.GetSelectorLabel()), s.GetSelectorIndex().GetValue(),
		quote.Word(s.GetHook()), strings.Join(did, ", "))
}

// noPolicy says which policies there are instead.
func noPolicy(wanted policyName, there []*tetragon.TracingPolicyStatus) error {
	if len(there) == 0 {
		return failed("no policy %s: there are none; add one with boltseal policy add FILE", wanted)
	}
	var names []string
	for _, p := range there {
		names = append(names, nameOf(p).String())
	}
	return failed("no policy %s: there are: %s", wanted, strings.Join(names, ", "))
}

// named explains an error of a call about one policy.
func named(ctx context.Context, g agent, wanted policyName, err error) error {
	if status.Code(err) != codes.NotFound {
		return err
	}
	response, listErr := g.ListTracingPolicies(ctx, &tetragon.ListTracingPoliciesRequest{})
	if listErr != nil {
		return errors.Join(failed("no policy %s", wanted), listErr)
	}
	return noPolicy(wanted, response.GetPolicies())
}
