// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func (a *app) eventLogCommand() *cobra.Command {
	return group("eventlog", "Shows or changes when the agent begins a new file of events", a.eventLogGetCommand(), a.eventLogSetCommand())
}

func (a *app) eventLogGetCommand() *cobra.Command {
	c := &cobra.Command{Use: "get", Short: "Shows when a new file of events is begun, and how many are kept", Args: cobra.NoArgs}
	form := outputFlag(c, asTable, asJSON)
	c.RunE = a.ask(func(ctx context.Context, g agent, _ []string) error {
		response, err := g.GetEventLogParams(ctx, &tetragon.GetEventLogParamsRequest{})
		if err != nil {
			return err
		}
		if *form == asJSON {
			return document(a.Stdout, response)
		}
		_, err = fmt.Fprintf(a.Stdout, "max size           %d MiB\nrotation interval  %s\nmax backups        %s\n",
			response.GetMaxSize(), orWord(response.GetRotationInterval(), "0s", "none"), orWord(fmt.Sprint(response.GetMaxBackups()), "0", "all"))
		return err
	})
	return c
}

// orWord is what a value stands for if it is the one that has a meaning of its own.
func orWord(value, special, word string) string {
	if value == special {
		return word
	}
	return value
}

func (a *app) eventLogSetCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "set",
		Short: "Changes when a new file of events is begun, until the agent ends",
		Long:  "Changes when a new file of events is begun, until the agent ends. What is not named stays as it is.",
		Args:  cobra.NoArgs,
	}
	size := c.Flags().Int32("max-size", 0, "begin a new file before this one has so many MiB")
	interval := c.Flags().Duration("rotation-interval", 0, "begin a new file as often as that; 0 for never")
	backups := c.Flags().Int32("max-backups", 0, "keep so many old files; 0 for all")
	c.RunE = a.ask(func(ctx context.Context, g agent, _ []string) error {
		request := &tetragon.SetEventLogParamsRequest{}
		if c.Flags().Changed("max-size") {
			request.MaxSize = size
		}
		if c.Flags().Changed("rotation-interval") {
			request.RotationInterval = new(interval.String())
		}
		if c.Flags().Changed("max-backups") {
			request.MaxBackups = backups
		}
		if proto.Equal(request, &tetragon.SetEventLogParamsRequest{}) {
			return &fault{exitUsage, "nothing to change: name --max-size, --rotation-interval or --max-backups"}
		}
		if _, err := g.SetEventLogParams(ctx, request); err != nil {
			return err
		}
		_, err := fmt.Fprintln(a.Stdout, "event log changed")
		return err
	})
	return c
}
