// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/scenario"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/stage"
)

const testHelp = `Runs scenarios: each proves a policy in throw-away runc containers of an agent of
its own. Every command of a scenario runs without the policy, where it has to be
allowed, and then with it, where its verdict has to be the one that is expected:
killed, denied or allowed. Of a directory all files that end in .yaml are run.

A scenario whose policy this kernel cannot have is skipped with the reason. The
exit code is 0 only when all that ran came out as expected.

It needs root, runc and a statically linked busybox, and removes all that it made,
also when it is interrupted.`

func (a *app) policyTestCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "test SCENARIO.yaml|DIRECTORY...",
		Short: "Proves policies in throw-away containers, with an agent of its own",
		Long:  testHelp,
		Args:  cobra.MinimumNArgs(1),
	}
	form := outputFlag(c, asTable, asJSON)
	binDir := c.Flags().String("bin-dir", "", "directory of boltseald and boltseal-hook (default: where this program is)")
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		tests, err := a.scenarios(args)
		if err != nil {
			return err
		}
		k, err := openTarget(c.Context(), "")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, k.Close()) }()
		for i := range tests {
			tests[i] = tests[i].On(k)
		}
		dir, err := binariesIn(*binDir)
		if err != nil {
			return err
		}
		results, err := a.runScenarios(c.Context(), tests, dir, *form)
		if err != nil && !errors.Is(err, syscall.EPIPE) {
			// Not to be taken for errors of the agent that --server-address names.
			err = failed("%v", err)
		}
		if err != nil {
			return err
		}
		if *form == asJSON {
			err = plain(a.Stdout, results)
		}
		return errors.Join(err, verdictOf(results))
	}
	return c
}

// verdictOf is an error when something came out otherwise than expected.
func verdictOf(results []scenario.Result) error {
	bad := 0
	for i := range results {
		if !results[i].OK() {
			bad++
		}
	}
	if bad > 0 {
		return failed("%d of %s came out otherwise than expected", bad, plural(len(results), "scenario"))
	}
	return nil
}

// scenarios reads all scenarios with their policies. All faults of all files are
// one error.
func (a *app) scenarios(args []string) ([]scenario.Test, error) {
	var tests []scenario.Test
	var faults []string
	files, err := scenarioFiles(args)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		t, err := a.scenario(file)
		if err != nil {
			faults = append(faults, strings.ReplaceAll(err.Error(), "\n", "\n  "))
			continue
		}
		tests = append(tests, t)
	}
	if len(faults) > 0 {
		return nil, failed("nothing was run:\n  %s", strings.Join(faults, "\n  "))
	}
	return tests, nil
}

// scenarioFiles are the files that the arguments name, those of directories in
// order.
func scenarioFiles(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read scenario: %w", err)
		case !info.IsDir():
			files = append(files, arg)
			continue
		}
		found, err := filepath.Glob(filepath.Join(arg, "*.yaml"))
		if err != nil || len(found) == 0 {
			return nil, errors.Join(err, failed("no file in %s ends in .yaml", quote.Word(arg)))
		}
		slices.Sort(found)
		files = append(files, found...)
	}
	return files, nil
}

func (a *app) scenario(file string) (scenario.Test, error) {
	text, err := readUpTo(file, scenario.MaxTextBytes+1)
	if err != nil {
		return scenario.Test{}, fmt.Errorf("read scenario: %w", err)
	}
	s, err := scenario.Parse(text)
	if err != nil {
		lines := strings.Split(err.Error(), "\n")
		return scenario.Test{}, fmt.Errorf("%s: %s", source(file), strings.Join(lines, "\n"+source(file)+": "))
	}
	path := s.Policy
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(file), path)
	}
	p, err := a.parsePolicy(path)
	if err != nil {
		return scenario.Test{}, err
	}
	t, err := scenario.NewTest(s, p)
	if err != nil {
		return scenario.Test{}, fmt.Errorf("%s: %w", source(file), err)
	}
	return t, nil
}

func readUpTo(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// runScenarios runs all on one stage, which is gone afterwards. The stage is not
// built for tests that are all skipped.
func (a *app) runScenarios(ctx context.Context, tests []scenario.Test, binDir, form string) (results []scenario.Result, err error) {
	var runner *scenario.Runner
	var on *stage.Stage
	defer func() {
		if on != nil {
			err = errors.Join(err, on.Close())
		}
	}()
	show := func(r scenario.Result) error {
		results = append(results, r)
		if form == asJSON {
			return nil
		}
		_, err := fmt.Fprint(a.Stdout, resultWords(r))
		return err
	}
	for _, t := range tests {
		if t.Refused != nil {
			if err := show(scenario.Skipped(t)); err != nil {
				return results, err
			}
			continue
		}
		if runner == nil {
			if on, err = stage.New(stage.Options{BinDir: binDir, Name: "boltseal-test"}); err != nil {
				return results, err
			}
			if runner, err = scenario.Start(ctx, on); err != nil {
				return results, a.withLog(ctx, on, err)
			}
		}
		result, err := runner.Run(ctx, t)
		if err != nil {
			return results, a.withLog(ctx, on, fmt.Errorf("scenario %s: %w", t.Name, err))
		}
		if err := show(result); err != nil {
			return results, err
		}
	}
	return results, nil
}

// withLog adds what the agent has logged to an error that is not the user's wish.
func (a *app) withLog(ctx context.Context, on *stage.Stage, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case on.Started():
		return fmt.Errorf("%w\nlog of the agent:\n%s", err, on.LogTail())
	}
	return err
}

func resultWords(r scenario.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: policy %s\n", quote.Word(r.Scenario), quote.Word(r.Policy))
	if r.Skipped != "" {
		fmt.Fprintf(&b, "  skipped: this kernel cannot have the policy:\n    %s\n", quote.Text(strings.ReplaceAll(r.Skipped, "\n", "\n    ")))
	}
	for _, c := range r.Cases {
		mark, with := "ok", "with the policy "
		if !c.OK {
			mark = "NO"
		}
		if c.Control {
			with = "without it "
		}
		fmt.Fprintf(&b, "  %s  %s: %s%s: %s\n", mark, quote.Text(c.Name), with, c.Want, quote.Text(c.Got))
		if !c.OK {
			fmt.Fprintf(&b, "      %s\n", quote.Text(c.Reason))
			fmt.Fprintf(&b, "      output: %s\n", quote.String(c.Output, 0))
		}
	}
	return b.String()
}
