// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/compact"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const processesHelp = `Shows the processes that the agent remembers, to find faults of the agent.

A process has an entry for each program that it has executed. REFS is how many
need the entry: the process as long as it runs the program, and its children. An
entry that nobody needs is kept a little, for events that are under way. The JSON
form has all that events tell of a process, and what the references are.`

// maxArguments bounds the arguments in a table.
const maxArguments = 80

func (a *app) processesCommand() *cobra.Command {
	c := &cobra.Command{Use: "processes", Short: "Shows the processes that the agent remembers", Long: processesHelp, Args: cobra.NoArgs}
	form := outputFlag(c, asTable, asJSON)
	dump := &tetragon.DumpProcessCacheReqArgs{}
	c.Flags().BoolVar(&dump.SkipZeroRefcnt, "skip-zero-refcnt", false, "leave out entries that nobody needs")
	c.Flags().BoolVar(&dump.ExcludeExecveMapProcesses, "exclude-execve-map-processes", false, "leave out what the kernel still runs")
	c.RunE = a.ask(func(ctx context.Context, g agent, _ []string) error {
		response, err := g.GetDebug(ctx, &tetragon.GetDebugRequest{
			Flag: tetragon.ConfigFlag_CONFIG_FLAG_DUMP_PROCESS_CACHE, Arg: &tetragon.GetDebugRequest_Dump{Dump: dump},
		})
		if err != nil {
			return err
		}
		if *form == asJSON {
			return document(a.Stdout, response.GetProcesses())
		}
		rows := [][]string{{"PID", "CONTAINER", "REFS", "STATE", "STARTED", "BINARY", "ARGUMENTS"}}
		for _, e := range response.GetProcesses().GetProcesses() {
			p := e.GetProcess()
			started := "-"
			if p.GetStartTime() != nil {
				started = p.GetStartTime().AsTime().UTC().Format("2006-01-02T15:04:05Z")
			}
			arguments := "-"
			if p.GetArguments() != "" {
				arguments = quote.String(p.GetArguments(), maxArguments)
			}
			rows = append(rows, []string{
				fmt.Sprint(p.GetPid().GetValue()), compact.Container(p), fmt.Sprint(e.GetRefcnt().GetValue()),
				quote.Word(e.GetColor()), started, quote.Word(p.GetBinary()), arguments,
			})
		}
		return table(a.Stdout, rows)
	})
	return c
}
