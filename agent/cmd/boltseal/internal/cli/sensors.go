// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func (a *app) sensorsCommand() *cobra.Command {
	return group("sensors", "Shows where in the kernel policies have rules", a.sensorsListCommand())
}

func (a *app) sensorsListCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "Lists the places in the kernel where policies have rules", Args: cobra.NoArgs,
	}
	form := outputFlag(c, asTable, asJSON)
	c.RunE = a.ask(func(ctx context.Context, g agent, _ []string) error {
		response, err := g.ListSensors(ctx, &tetragon.ListSensorsRequest{}) //nolint:staticcheck // deprecated, and works here
		if err != nil {
			return err
		}
		if *form == asJSON {
			return document(a.Stdout, response)
		}
		rows := [][]string{{"SENSOR", "STATE", "POLICY"}}
		for _, s := range response.GetSensors() {
			state, policy := "disabled", s.GetCollection()
			if s.GetEnabled() {
				state = "enabled"
			}
			if policy == s.GetName() { // of no policy
				policy = ""
			}
			rows = append(rows, []string{quote.Word(s.GetName()), state, quote.Word(policy)})
		}
		return table(a.Stdout, rows)
	})
	return c
}
