// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func (a *app) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Shows the agent's health, and what this kernel lacks and why",
		Args:  cobra.NoArgs,
	}
	form := outputFlag(c, asTable, asJSON)
	c.RunE = a.ask(func(ctx context.Context, g agent, _ []string) error {
		health, err := g.GetHealth(ctx, &tetragon.GetHealthStatusRequest{})
		if err != nil {
			return err
		}
		status, err := g.GetStatus(ctx, &boltseal.GetStatusRequest{})
		if err != nil {
			return err
		}
		if *form == asJSON {
			err = document(a.Stdout, status)
		} else {
			err = a.showStatus(status, health)
		}
		if err == nil && !running(health) {
			return failed("agent is not healthy: %s", words(health))
		}
		return err
	})
	return c
}

func running(h *tetragon.GetHealthStatusResponse) bool {
	ill := func(s *tetragon.HealthStatus) bool {
		return s.GetStatus() != tetragon.HealthStatusResult_HEALTH_STATUS_RUNNING
	}
	return len(h.GetHealthStatus()) > 0 && !slices.ContainsFunc(h.GetHealthStatus(), ill)
}

// words is what the agent says of its health.
func words(h *tetragon.GetHealthStatusResponse) string {
	var all []string
	for _, s := range h.GetHealthStatus() {
		state := strings.ToLower(strings.TrimPrefix(s.GetStatus().String(), "HEALTH_STATUS_"))
		all = append(all, cmp.Or(s.GetDetails(), state))
	}
	return cmp.Or(strings.Join(all, ", "), "unknown")
}

func (a *app) showStatus(s *boltseal.GetStatusResponse, health *tetragon.GetHealthStatusResponse) error {
	up := a.Now().Sub(s.GetStartedAt().AsTime()).Round(time.Second)
	rows := [][]string{
		{"agent", fmt.Sprintf("%s, pid %d, up %s", quote.Text(words(health)), s.GetPid(), up)},
		{"version", fmt.Sprintf("%s (%s)", quote.Word(s.GetVersion()), quote.Word(s.GetGoVersion()))},
		{"kernel", quote.Word(s.GetKernelRelease())},
		{"cgroups", quote.Word(s.GetCgroupRoot())},
		{"containers", fmt.Sprintf("%d (%d of %d slots used)", s.GetContainers(), s.GetSlotsUsed(), s.GetSlotsMax())},
		{"policies", fmt.Sprint(s.GetPolicies())},
	}
	rows = append(rows, siteRows(s.GetSites())...)
	if s.EventsLost != nil {
		rows = append(rows, []string{"events lost", fmt.Sprintf("%d (%d of no container)", s.GetEventsLost(), s.GetHostEventsLost())})
	}
	rows = append(rows, errorRows(s.GetKernelErrors())...)
	if err := table(a.Stdout, rows); err != nil {
		return err
	}
	return a.showFeatures(s.GetFeatures())
}

// siteRows lists the places where rules apply.
func siteRows(sites []*boltseal.Site) [][]string {
	var rows [][]string
	title := "sites"
	for _, site := range sites {
		rows = append(rows, []string{title, fmt.Sprintf("%s: %s, %s", quote.Word(site.GetName()),
			plural(site.GetRules(), "rule"), plural(site.GetPrograms(), "program"))})
		title = ""
	}
	if rows == nil {
		rows = append(rows, []string{title, "none"})
	}
	return rows
}

// errorRows lists the failures that were counted.
func errorRows(counts map[string]uint64) [][]string {
	var rows [][]string
	title := "kernel errors"
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] == 0 {
			continue
		}
		rows = append(rows, []string{title, fmt.Sprintf("%s: %d", quote.Word(name), counts[name])})
		title = ""
	}
	if rows == nil {
		rows = append(rows, []string{title, "none"})
	}
	return rows
}

func (a *app) showFeatures(features []*boltseal.Feature) error {
	rows := [][]string{{"FEATURE", "STATE", "REASON"}}
	for _, f := range features {
		// The other columns say this already.
		reason := strings.TrimPrefix(f.GetReason(), f.GetName()+" is not supported by this kernel: ")
		state, reason := "unknown", quote.Text(strings.ReplaceAll(reason, "\n", "; "))
		switch f.GetState() {
		case boltseal.FeatureState_FEATURE_STATE_AVAILABLE:
			state, reason = "available", "-"
		case boltseal.FeatureState_FEATURE_STATE_UNSUPPORTED:
			state = "missing"
		}
		rows = append(rows, []string{quote.Word(f.GetName()), state, cmp.Or(reason, "-")})
	}
	fmt.Fprintln(a.Stdout)
	return table(a.Stdout, rows)
}
