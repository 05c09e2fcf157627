// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/demo"
)

const demoHelp = `Starts an agent of its own and two runc containers through boltseal-hook, adds a
policy for one of them, and shows from the kernel's evidence that both were
sealed before their first exec, that the forbidden act was killed in the one and
not in the other nor on the host. The exit code is 0 only when all of it held.

It needs root, runc and a statically linked busybox, takes a few seconds, and
removes all that it made, also when it is interrupted.`

func (a *app) demoCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Seals two real containers and kills a forbidden act in one of them",
		Long:  demoHelp,
		Args:  cobra.NoArgs,
	}
	binDir := c.Flags().String("bin-dir", "", "directory of boltseald and boltseal-hook (default: where this program is)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		dir, err := binariesIn(*binDir)
		if err != nil {
			return err
		}
		err = demo.Run(c.Context(), demo.Options{BinDir: dir, Out: a.Stdout})
		if err == nil || errors.Is(err, syscall.EPIPE) {
			return err
		}
		// Not to be taken for errors of the agent that --server-address names.
		return failed("%v", err)
	}
	return c
}

func binariesIn(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program's directory: %w: name it with --bin-dir", err)
	}
	return filepath.Dir(self), nil
}
