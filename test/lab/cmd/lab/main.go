// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command lab boots Linux kernels in QEMU and runs programs on them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/test/lab/room"
)

// statusError ends the program with a status and without a word.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Exit statuses besides those of the command in the guest, like timeout(1) and
// the shell have them.
const (
	statusTimeout = 124
	statusLab     = 125 // the machine or the lab, not the command
)

func main() {
	room.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	var status statusError
	switch {
	case errors.As(err, &status):
		os.Exit(int(status))
	case err != nil:
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(statusLab)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "lab",
		Short:         "Boot Linux kernels in QEMU and run programs on them",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.AddCommand(runCommand(), kernelCommand(), fetchCommand(), matrixCommand(), testCommand(), roomCommand())
	return cmd
}
