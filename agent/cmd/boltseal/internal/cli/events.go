// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/compact"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const eventsHelp = `Shows events as they happen, until it is interrupted.

The compact form is one line an event; text that a process chose is in quotes,
with escapes for what a terminal would act on. The JSON form is one object a
line with the names of the protocol.

Filters of different kinds must all hold, those of one kind one of them:
  boltseal events --policy no-shadow-read --event-type tracepoint`

// eventFilter is the flags that choose events.
type eventFilter struct {
	policies, containers, types, binaries, namespaces, pods []string
	pids                                                    []uint
}

func (a *app) eventsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "events",
		Short: "Shows events as they happen",
		Long:  eventsHelp,
		Args:  cobra.NoArgs,
	}
	form := outputFlag(c, asCompact, asJSON)
	flags := c.Flags()
	var f eventFilter
	flags.StringSliceVar(&f.policies, "policy", nil, "only events of these policies")
	flags.StringSliceVar(&f.containers, "container", nil, "only events of these containers: names, or beginnings of ids")
	flags.StringSliceVarP(&f.types, "event-type", "e", nil, "only events of these types: "+strings.Join(slices.Sorted(maps.Keys(eventTypes())), ", "))
	flags.UintSliceVar(&f.pids, "pid", nil, "only events of these processes")
	flags.StringArrayVar(&f.binaries, "binary", nil, "only events of processes whose binary matches this regular expression")
	flags.StringSliceVarP(&f.namespaces, "namespace", "n", nil, "only events of pods in these namespaces")
	flags.StringArrayVar(&f.pods, "pod", nil, "only events of pods whose name matches this regular expression")
	count := flags.Uint64("count", 0, "end after so many events; 0: never")
	c.RunE = a.stream(func(ctx context.Context, g agent, _ []string) error {
		request, err := f.request()
		if err != nil {
			return &fault{exitUsage, err.Error()}
		}
		write := func(e *tetragon.GetEventsResponse) error {
			_, err := fmt.Fprintln(a.Stdout, compact.Line(e))
			return err
		}
		if *form == asJSON {
			write = func(e *tetragon.GetEventsResponse) error { return line(a.Stdout, e) }
		}
		return a.follow(ctx, g, request, *count, write)
	})
	return c
}

// follow writes events until there were enough of them, or the agent stops.
func (a *app) follow(
	ctx context.Context, g agent, request *tetragon.GetEventsRequest, count uint64,
	write func(*tetragon.GetEventsResponse) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := g.GetEvents(ctx, request)
	if err != nil {
		return err
	}
	for n := uint64(0); count == 0 || n < count; n++ {
		e, err := events.Recv()
		switch {
		case ctx.Err() != nil:
			return ctx.Err() // interrupted
		case errors.Is(err, io.EOF), n > 0 && status.Code(err) == codes.Unavailable:
			return &fault{exitNoAgent, fmt.Sprintf("agent at %s has ended the stream: it stopped", a.address)}
		case err != nil:
			return err
		}
		if err := write(e); err != nil {
			return err
		}
	}
	return nil
}

func eventTypes() map[string]tetragon.EventType {
	types := map[string]tetragon.EventType{}
	for number, name := range tetragon.EventType_name {
		if short, ok := strings.CutPrefix(name, "PROCESS_"); ok {
			types[strings.ToLower(short)] = tetragon.EventType(number)
		}
	}
	return types
}

// request is the flags as filters. A container is given by name or id, which
// are different fields, so that it takes two filters.
func (f *eventFilter) request() (*tetragon.GetEventsRequest, error) {
	base := func() *tetragon.Filter {
		return &tetragon.Filter{
			PolicyNames: f.policies, BinaryRegex: f.binaries, Namespace: f.namespaces, PodRegex: f.pods,
		}
	}
	var types []tetragon.EventType
	for _, name := range f.types {
		t, ok := eventTypes()[strings.TrimPrefix(strings.ToLower(name), "process_")]
		if !ok {
			return nil, fmt.Errorf("--event-type %q: there are: %s", name, strings.Join(slices.Sorted(maps.Keys(eventTypes())), ", "))
		}
		types = append(types, t)
	}
	var pids []uint32
	for _, pid := range f.pids {
		if uint(uint32(pid)) != pid {
			return nil, fmt.Errorf("--pid %d: no process id is as large", pid)
		}
		pids = append(pids, uint32(pid))
	}
	byName := base()
	byName.EventSet, byName.Pid = types, pids
	request := &tetragon.GetEventsRequest{AllowList: []*tetragon.Filter{byName}}
	switch {
	case len(f.containers) > 0:
		byID := base()
		byID.EventSet, byID.Pid = types, pids
		byID.ContainerId = f.containers
		for _, name := range f.containers {
			byName.ContainerNameRegex = append(byName.ContainerNameRegex, "^"+regexp.QuoteMeta(name)+"$")
		}
		request.AllowList = append(request.AllowList, byID)
	case len(f.types)+len(f.pids)+len(f.policies)+len(f.binaries)+len(f.namespaces)+len(f.pods) == 0:
		request.AllowList = nil
	}
	return request, nil
}
