// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func (a *app) logLevelCommand() *cobra.Command {
	return group("loglevel", "Shows or changes the level of the agent's log", a.logLevelGetCommand(), a.logLevelSetCommand())
}

func (a *app) logLevelGetCommand() *cobra.Command {
	c := &cobra.Command{Use: "get", Short: "Shows the level of the agent's log", Args: cobra.NoArgs}
	form := outputFlag(c, asTable, asJSON)
	c.RunE = a.ask(func(ctx context.Context, g agent, _ []string) error {
		response, err := g.GetDebug(ctx, &tetragon.GetDebugRequest{Flag: tetragon.ConfigFlag_CONFIG_FLAG_LOG_LEVEL})
		if err != nil {
			return err
		}
		if *form == asJSON {
			return document(a.Stdout, response)
		}
		_, err = fmt.Fprintln(a.Stdout, logLevelName(response.GetLevel()))
		return err
	})
	return c
}

func (a *app) logLevelSetCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "set LEVEL",
		Short:     "Changes the level of the agent's log until the agent ends",
		Long:      "Changes the level of the agent's log until the agent ends. The levels are " + strings.Join(logLevelNames(), ", ") + ".",
		Args:      cobra.ExactArgs(1),
		ValidArgs: logLevelNames(),
		RunE: a.ask(func(ctx context.Context, g agent, args []string) error {
			level := slices.Index(logLevelNames(), strings.ToLower(args[0]))
			if level < 0 {
				return &fault{exitUsage, fmt.Sprintf("%q is no level: there are: %s", args[0], strings.Join(logLevelNames(), ", "))}
			}
			response, err := g.SetDebug(ctx, &tetragon.SetDebugRequest{
				Flag: tetragon.ConfigFlag_CONFIG_FLAG_LOG_LEVEL, Arg: &tetragon.SetDebugRequest_Level{Level: tetragon.LogLevel(level)},
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Stdout, "log level %s\n", logLevelName(response.GetLevel()))
			return err
		}),
	}
}

// logLevelNames are the levels by their numbers.
func logLevelNames() []string {
	names := make([]string, len(tetragon.LogLevel_name))
	for number := range names {
		names[number] = logLevelName(tetragon.LogLevel(number))
	}
	return names
}

func logLevelName(l tetragon.LogLevel) string {
	return strings.ToLower(strings.TrimPrefix(l.String(), "LOG_LEVEL_"))
}
