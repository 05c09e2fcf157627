// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Shows the version of this program; status shows the agent's",
		Args:  cobra.NoArgs,
	}
	form := outputFlag(c, asTable, asJSON)
	c.RunE = func(*cobra.Command, []string) error {
		if *form == asJSON {
			return plain(a.Stdout, map[string]string{"version": a.Version, "go_version": runtime.Version()})
		}
		_, err := fmt.Fprintf(a.Stdout, "boltseal %s (%s)\n", a.Version, runtime.Version())
		return err
	}
	return c
}
