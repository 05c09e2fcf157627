// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/test/lab"
	"github.com/boltseal/boltseal/test/lab/job"
	"github.com/boltseal/boltseal/test/lab/suite"
)

func matrixCommand() *cobra.Command {
	var flags machineFlags
	cmd := &cobra.Command{
		Use:   "matrix [flags] -- COMMAND...",
		Short: "Run a command on every kernel and print how it ended on each",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(cmd.Context(), os.Stderr)
			if err != nil {
				return err
			}
			return errors.Join(matrix(cmd, l, &flags, args), l.Close())
		},
	}
	flags.add(cmd.Flags())
	return cmd
}

func matrix(cmd *cobra.Command, l *lab.Lab, flags *machineFlags, args []string) error {
	disk, err := l.Pack(cmd.Context(), flags.packed()...)
	if err != nil {
		return err
	}
	worst := 0
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "kernel\tstatus\tseconds\tlast line")
	for _, k := range lab.Kernels() {
		var output strings.Builder
		m := flags.machine(k)
		m.Disk = disk
		result, err := l.Run(cmd.Context(), m, flags.steps(args), func(e job.Event) { output.Write(e.Output) })
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", k.Name, err, output.String())
		}
		status := result.Steps[0].Status
		if status != 0 {
			worst = 1
			fmt.Fprintf(os.Stderr, "=== %s: exit status %d\n%s\n", k.Name, status, output.String())
		}
		lines := strings.Split(strings.TrimSpace(output.String()), "\n")
		fmt.Fprintf(table, "%s\t%d\t%.1f\t%s\n", k.Name, status, result.Steps[0].Seconds, lines[len(lines)-1])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if worst != 0 {
		return statusError(worst)
	}
	return nil
}

func testCommand() *cobra.Command {
	var options suite.Options
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Run the project's tests on every kernel and on this machine, and print the table of what works where",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ok, err := suite.Run(cmd.Context(), os.Stdout, options)
			if err == nil && !ok {
				err = statusError(1)
			}
			return err
		},
	}
	cmd.Flags().StringSliceVar(&options.Columns, "column", nil, "only these columns of the table")
	cmd.Flags().BoolVar(&options.Long, "long", false, "what takes long: every act by every mechanism, and rules that change, on every kernel")
	cmd.Flags().IntVar(&options.Jobs, "jobs", runtime.NumCPU(), "machines at the same time; each keeps a processor busy")
	return cmd
}
