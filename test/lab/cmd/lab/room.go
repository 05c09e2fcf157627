// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/test/lab"
	"github.com/boltseal/boltseal/test/lab/room"
)

func roomCommand() *cobra.Command {
	var r room.Room
	var files []string
	cmd := &cobra.Command{
		Use:   "room --suite NAME [flags] -- COMMAND...",
		Short: "Run a command among a Debian release's container runtimes, on this kernel, and exit with its status",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cache, err := lab.OpenCache(os.Stderr)
			if err != nil {
				return err
			}
			if r.Root, err = cache.Room(cmd.Context(), r.Suite); err != nil {
				return err
			}
			r.Argv, r.Shared = args, map[string]string{}
			for _, f := range files {
				from, to, found := strings.Cut(f, ":")
				if !found {
					return fmt.Errorf("--file %s: not HOST:ROOM", f)
				}
				r.Shared[from] = to
			}
			status, err := r.Run(cmd.Context())
			if err == nil && status != 0 {
				err = statusError(status)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&r.Suite, "suite", "", "the release: "+strings.Join(room.Suites(), ", "))
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "a directory that the room shares, as HOST:ROOM (repeatable)")
	cmd.Flags().StringArrayVarP(&r.Env, "env", "e", nil, "an environment variable of the command, as NAME=VALUE (repeatable)")
	if err := cmd.MarkFlagRequired("suite"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}
