// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/agent/internal/policy"
)

// checked is what is known of one file.
type checked struct {
	File     string      `json:"file"`
	Policy   string      `json:"policy,omitempty"`
	Mode     string      `json:"mode,omitempty"`
	Faults   []faultLine `json:"faults"`
	Warnings []faultLine `json:"warnings"`
}

// faultLine is one fault; Line is 0 and Path is empty where there is none.
type faultLine struct {
	Line        int    `json:"line"`
	Path        string `json:"path"`
	Reason      string `json:"reason"`
	Unsupported bool   `json:"unsupported"`
}

func (a *app) policyCheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check FILE|-...",
		Short: "Finds all faults of policies without an agent",
		Long: `Finds all faults of policies, each with its line and the path of its field. No
agent is asked, and nothing is changed. The exit code is 1 when there are faults.
Whether a kernel can do what a policy asks for is told by policy explain.`,
		Args: cobra.MinimumNArgs(1),
	}
	form := outputFlag(c, asTable, asJSON)
	c.RunE = func(_ *cobra.Command, args []string) error {
		all := make([]checked, 0, len(args))
		bad, faults := 0, 0
		for _, name := range args {
			one := a.check(name)
			all = append(all, one)
			faults += len(one.Faults)
			if len(one.Faults) > 0 {
				bad++
			}
		}
		if err := a.showChecked(all, *form); err != nil {
			return err
		}
		if bad > 0 {
			return failed("%s in %d of %s", plural(faults, "fault"), bad, plural(len(all), "file"))
		}
		return nil
	}
	return c
}

func (a *app) check(name string) checked {
	one := checked{File: name, Faults: []faultLine{}, Warnings: []faultLine{}}
	text, err := a.readPolicy(name)
	var p *policy.Policy
	if err == nil {
		p, err = policy.Parse(text)
	}
	if err != nil {
		one.Faults = faultLines(policy.Faults(err))
		if len(one.Faults) == 0 {
			one.Faults = append(one.Faults, faultLine{Reason: err.Error()})
		}
		return one
	}
	one.Policy, one.Mode, one.Warnings = p.Key(), p.Mode.String(), faultLines(p.Warnings)
	return one
}

func faultLines(faults []*policy.FieldError) []faultLine {
	lines := make([]faultLine, 0, len(faults))
	for _, f := range faults {
		lines = append(lines, faultLine{f.Line, f.Path, f.Reason, errors.Is(f, policy.ErrUnsupported)})
	}
	return lines
}

func (a *app) showChecked(all []checked, form string) error {
	if form == asJSON {
		return plain(a.Stdout, all)
	}
	for _, one := range all {
		if err := one.show(a.Stdout); err != nil {
			return err
		}
	}
	return nil
}

// show writes a line a fault, in the form that editors understand.
func (c checked) show(w io.Writer) error {
	for _, f := range c.Faults {
		if err := f.show(w, c.File, ""); err != nil {
			return err
		}
	}
	for _, f := range c.Warnings {
		if err := f.show(w, c.File, "warning: "); err != nil {
			return err
		}
	}
	if len(c.Faults) > 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "%s: ok: policy %s, mode %s\n", quote.Text(c.File), quote.Word(c.Policy), c.Mode)
	return err
}

func (f faultLine) show(w io.Writer, file, kind string) error {
	where := file
	if f.Line > 0 {
		where = fmt.Sprintf("%s:%d", file, f.Line)
	}
	text := kind
	if f.Path != "" {
		text += f.Path + ": "
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", quote.Text(where), quote.Text(text+f.Reason))
	return err
}
