// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/api/v1/boltseal"
)

const containersHelp = `Lists the containers that are alive.

States:
  expected                  announced; its cgroup does not exist yet
  mapped                    sealed; its entrypoint has not run
  sealed before first exec  sealed, and its entrypoint has run
  late                      sealed after it had started
  unsealed                  not sealed: no policy holds in it

LOST is how many of its events found no room on their way to the agent, and
THROTTLED, of the wide form, how many were not told because of cgroup-rate.

The wide form has times of the kernel's clock that starts at boot: of the seal
in seconds, and of the first task, the first exec and the entrypoint from there.`

func (a *app) containersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "containers [ID-PREFIX]",
		Aliases: []string{"ps"},
		Short:   "Lists containers, how they were sealed, and their policies",
		Long:    containersHelp,
		Args:    cobra.MaximumNArgs(1),
	}
	form := outputFlag(c, asTable, asWide, asJSON)
	c.RunE = a.ask(func(ctx context.Context, g agent, args []string) error {
		request := &boltseal.ListContainersRequest{}
		if len(args) > 0 {
			request.IdPrefix = args[0]
		}
		response, err := g.ListContainers(ctx, request)
		if err != nil {
			return err
		}
		if *form == asJSON {
			return document(a.Stdout, response)
		}
		if len(response.GetContainers()) == 0 {
			fmt.Fprintln(a.Stderr, "no containers")
			return nil
		}
		return table(a.Stdout, containerRows(response.GetContainers(), *form == asWide))
	})
	return c
}

func containerRows(containers []*boltseal.Container, wide bool) [][]string {
	head := []string{"ID", "NAME", "RUNTIME", "CGROUP-ID", "STATE", "LOST", "POLICIES"}
	if wide {
		head = append(head, "SEALED-BY", "SEALED", "FIRST-TASK", "FIRST-EXEC", "ENTRYPOINT", "INIT", "TASKS", "THROTTLED", "NAMESPACE", "IMAGE", "CGROUP")
	}
	rows := [][]string{head}
	for _, c := range containers {
		row := []string{
			shortID(c.GetId(), wide), quote.Word(c.GetName()), quote.Word(c.GetRuntime()), number(c.GetCgroupId()),
			stateOf(c), number(c.GetEventsLost()), policyNames(c.GetPolicies()),
		}
		if wide {
			row = append(row, sealedBy(c.GetSealedBy()), seconds(c.GetSealedNs()),
				since(c, c.GetFirstTaskNs()), since(c, c.GetFirstExecNs()), since(c, c.GetArmedNs()),
				number(uint64(c.GetInitPid())), fmt.Sprint(c.GetTasks()), number(c.GetEventsThrottled()), quote.Word(c.GetNamespace()), quote.Word(c.GetImage()), quote.Word(c.GetCgroupPath()))
		}
		rows = append(rows, row)
	}
	return rows
}

// shortID cuts the ids that engines draw, as they do; others were chosen.
func shortID(id string, whole bool) string {
	drawn := len(id) == 64 && strings.Trim(id, "0123456789abcdef") == ""
	if drawn && !whole {
		return id[:12]
	}
	return quote.Word(id)
}

func number(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func stateOf(c *boltseal.Container) string {
	switch c.GetState() {
	case boltseal.ContainerState_CONTAINER_STATE_EXPECTED:
		return "expected"
	case boltseal.ContainerState_CONTAINER_STATE_MAPPED:
		return "mapped"
	case boltseal.ContainerState_CONTAINER_STATE_ARMED:
		return "sealed before first exec"
	case boltseal.ContainerState_CONTAINER_STATE_LATE:
		return "late"
	case boltseal.ContainerState_CONTAINER_STATE_UNSEALED:
		return "unsealed"
	}
	return "unknown"
}

func sealedBy(by boltseal.SealedBy) string {
	switch by {
	case boltseal.SealedBy_SEALED_BY_EXPECTED_PATH:
		return "announced path"
	case boltseal.SealedBy_SEALED_BY_RUNTIME_PATTERN:
		return "runtime's pattern"
	case boltseal.SealedBy_SEALED_BY_HOOK:
		return "hook"
	case boltseal.SealedBy_SEALED_BY_ADOPTION:
		return "found running"
	}
	return "-"
}

func policyNames(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	all := slices.Clone(names)
	for i, n := range all {
		all[i] = quote.Word(n)
	}
	return strings.Join(all, ",")
}

// seconds is a kernel time in seconds, to the nanosecond.
func seconds(ns uint64) string {
	if ns == 0 {
		return "-"
	}
	return fmt.Sprintf("%d.%09d", ns/1e9, ns%1e9)
}

// since is a kernel time after the seal of a container.
func since(c *boltseal.Container, ns uint64) string {
	switch sealed := c.GetSealedNs(); {
	case ns == 0:
		return "-"
	case sealed == 0:
		return seconds(ns)
	case ns < sealed:
		return "-" + seconds(sealed-ns)
	case ns == sealed:
		return "+0.000000000"
	default:
		return "+" + seconds(ns-sealed)
	}
}
