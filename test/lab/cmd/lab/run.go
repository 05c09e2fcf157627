// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/boltseal/boltseal/test/lab"
	"github.com/boltseal/boltseal/test/lab/job"
)

// machineFlags are the flags of commands that boot machines.
type machineFlags struct {
	lsm, params, out string
	files, env       []string
	cpus, memory     int
	multi            bool
	timeout          time.Duration
}

func (f *machineFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.lsm, "lsm", lab.LSMWithBPF, "the kernel's parameter lsm=; empty for the kernel's own default")
	flags.StringVar(&f.params, "params", "", "further parameters of the kernel")
	flags.StringArrayVarP(&f.files, "file", "f", nil, "a file or directory for "+job.InDir+" in the guest, as HOST or HOST:GUEST (repeatable)")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "an environment variable of the command, as NAME=VALUE (repeatable)")
	flags.StringVarP(&f.out, "out", "o", "", "a directory that gets what the command leaves in "+job.OutDir)
	flags.IntVar(&f.cpus, "cpus", 2, "processors")
	flags.IntVar(&f.memory, "memory", 3072, "megabytes of memory")
	flags.BoolVar(&f.multi, "multi", false, "a host thread for each processor: real races, and rare deaths of the kernel at boot")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Minute, "for the boot and the command")
}

// machine returns the machine that is asked for, on a kernel.
func (f *machineFlags) machine(kernel lab.Kernel) lab.Machine {
	return lab.Machine{
		Kernel: kernel, LSM: f.lsm, Params: f.params, OutDir: f.out,
		CPUs: f.cpus, MemoryMB: f.memory, MultiThreaded: f.multi, Timeout: f.timeout,
	}
}

// packed returns the files of the flags as the lab packs them.
func (f *machineFlags) packed() []lab.File {
	var files []lab.File
	for _, spec := range f.files {
		host, guest, found := strings.Cut(spec, ":")
		if !found {
			guest = filepath.Base(host)
		}
		files = append(files, lab.File{Host: host, Guest: guest})
	}
	return files
}

// steps makes a job of a command: one word is a line for the shell.
func (f *machineFlags) steps(command []string) job.Job {
	if len(command) == 1 {
		command = []string{"sh", "-c", command[0]}
	}
	return job.Job{Steps: []job.Step{{Argv: command, Env: f.env}}}
}

func runCommand() *cobra.Command {
	var flags machineFlags
	var kernel, console string
	cmd := &cobra.Command{
		Use:   "run --kernel NAME [flags] -- COMMAND...",
		Short: "Run a command in a machine that is thrown away afterwards, and exit with its status",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := lab.KernelByName(kernel)
			if err != nil {
				return err
			}
			l, err := lab.Open(cmd.Context(), os.Stderr)
			if err != nil {
				return err
			}
			m := flags.machine(k)
			m.Console = console
			return errors.Join(runOne(cmd, l, m, &flags, args), l.Close())
		},
	}
	cmd.Flags().StringVarP(&kernel, "kernel", "k", "", "the kernel, as lab fetch lists them")
	cmd.Flags().StringVar(&console, "console", "", "a file that gets the kernel's console")
	flags.add(cmd.Flags())
	if err := cmd.MarkFlagRequired("kernel"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func runOne(cmd *cobra.Command, l *lab.Lab, m lab.Machine, flags *machineFlags, args []string) error {
	disk, err := l.Pack(cmd.Context(), flags.packed()...)
	if err != nil {
		return err
	}
	m.Disk = disk
	result, err := l.Run(cmd.Context(), m, flags.steps(args), func(e job.Event) {
		_, _ = io.Writer(os.Stdout).Write(e.Output)
		if e.Exit != nil && e.Exit.Error != "" {
			fmt.Fprintln(os.Stderr, "lab:", e.Exit.Error)
		}
	})
	if errors.Is(err, lab.ErrTimeout) {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return statusError(statusTimeout)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "lab: %s: booted in %.1f s, ended after %.1f s\n", m.Kernel.Name, result.Ready.Seconds(), result.Time.Seconds())
	if status := result.Steps[0].Status; status != 0 {
		return statusError(status)
	}
	return nil
}
