// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const stackTreeHelp = `Shows from where in the kernel the events of a policy came, since it was added:
the functions by which the kernel was entered, and below each those that it
called, with how many events came through it and, where stacks end, the binaries
of the processes. The policy must have an action with kernelStackTrace.`

func (a *app) stackTreeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "stacktrace-tree NAME", Short: "Shows the kernel's stacks of a policy's events as a tree", Long: stackTreeHelp, Args: cobra.ExactArgs(1),
	}
	form := outputFlag(c, asTable, asJSON)
	name := namespaceFlag(c)
	c.RunE = a.ask(func(ctx context.Context, g agent, args []string) error {
		wanted, err := name(args[0])
		if err != nil {
			return err
		}
		response, err := g.GetStackTraceTree(ctx, &tetragon.GetStackTraceTreeRequest{Name: wanted.String()})
		switch {
		case status.Code(err) == codes.NotFound:
			return failed("%s", status.Convert(err).Message())
		case err != nil:
			return err
		case *form == asJSON:
			return document(a.Stdout, response)
		}
		return writeTree(a.Stdout, response.GetRoot(), 0)
	})
	return c
}

// writeTree writes a function, and what it called one step further in.
func writeTree(w io.Writer, n *tetragon.StackTraceNode, depth int) error {
	where := "all"
	if at := n.GetAddress(); at != nil {
		where = "?"
		if at.GetSymbol() != "" {
			where = quote.Text(strings.ReplaceAll(at.GetSymbol(), "\n", " "))
		}
		if at.GetAddress() != 0 {
			where = fmt.Sprintf("%#x %s", at.GetAddress(), where)
		}
	}
	line := fmt.Sprintf("%s%s: %d", strings.Repeat("  ", depth), where, n.GetCount())
	for _, l := range n.GetLabels() {
		line += fmt.Sprintf(" [%s %d]", quote.Word(l.GetKey()), l.GetCount())
	}
	if _, err := fmt.Fprintln(w, line); err != nil {
		return err
	}
	for _, c := range n.GetChildren() {
		if err := writeTree(w, c, depth+1); err != nil {
			return err
		}
	}
	return nil
}
