// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/compact"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const eventsHelp = `Shows events as they happen, until it is interrupted.

The compact form is one line an event; text that a process chose is in quotes,
with escapes for what a terminal would act on. The JSON form is one object a
line with the names of the protocol.

Filters of different kinds must all hold, those of one kind one of them:
  boltseal events --policy no-shadow-read --event-type tracepoint

--allow and --deny take filters as JSON objects with the names of the protocol, for
what has no flag. An event is shown if the flags allow it or one of --allow does,
and none of --deny holds:
  boltseal events --deny '{"binary_regex":["^/usr/sbin/"],"event_set":["PROCESS_EXEC"]}'`

func (a *app) eventsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "events",
		Short: "Shows events as they happen",
		Long:  eventsHelp,
		Args:  cobra.NoArgs,
	}
	form := outputFlag(c, asCompact, asJSON)
	request := eventFlags(c)
	flags := c.Flags()
	count := flags.Uint64("count", 0, "end after so many events; 0: never")
	timestamps := flags.Bool("timestamps", true, "show when events happened, in the compact form")
	stacks := flags.Bool("stack-traces", false, "show stacks below their events, in the compact form")
	reconnect := flags.Bool("reconnect", false, "when the agent has stopped, wait until it is back and go on; events in between are missed")
	c.RunE = a.stream(func(ctx context.Context, g agent, _ []string) error {
		r, err := request()
		if err != nil {
			return &fault{exitUsage, err.Error()}
		}
		f := &follower{app: a, request: r, limit: *count, write: func(e *tetragon.GetEventsResponse) error {
			if *form == asJSON {
				return line(a.Stdout, e)
			}
			text := compact.Line(e)
			if !*timestamps {
				_, text, _ = strings.Cut(text, " ")
			}
			if *stacks {
				text = strings.Join(append([]string{text}, compact.Stacks(e)...), "\n")
			}
			_, err := fmt.Fprintln(a.Stdout, text)
			return err
		}}
		if *reconnect {
			return f.again(ctx, g)
		}
		return f.follow(ctx, g)
	})
	c.AddCommand(a.testEventCommand())
	return c
}

// follower writes events until there were enough of them.
type follower struct {
	*app
	request *tetragon.GetEventsRequest
	// limit is how many are enough; 0: none are. seen is how many there were.
	limit, seen uint64
	write       func(*tetragon.GetEventsResponse) error
}

// endedError says that the agent ended the stream.
type endedError struct{ error }

// Unwrap is the fault that the command ends in.
func (e endedError) Unwrap() error { return e.error }

// follow writes events until there were enough of them, or the agent stops.
func (f *follower) follow(ctx context.Context, g agent) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := g.GetEvents(ctx, f.request)
	if err != nil {
		return err
	}
	for first := true; f.limit == 0 || f.seen < f.limit; first = false {
		e, err := events.Recv()
		switch {
		case ctx.Err() != nil:
			return ctx.Err() // interrupted
		case errors.Is(err, io.EOF), !first && status.Code(err) == codes.Unavailable:
			return endedError{&fault{exitNoAgent, fmt.Sprintf("agent at %s has ended the stream: it stopped", f.address)}}
		case err != nil:
			return err
		}
		f.seen++
		if err := f.write(e); err != nil {
			return err
		}
	}
	return nil
}

// Waits for an agent that has stopped.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
)

// again follows from one agent to the next. The first has to be there.
func (f *follower) again(ctx context.Context, g agent) error {
	wait := time.Duration(0)
	for {
		before := f.seen
		err := f.follow(ctx, g)
		var ended endedError
		gone := errors.As(err, &ended) || wait > 0 && status.Code(err) == codes.Unavailable
		if !gone || ctx.Err() != nil {
			return err
		}
		if f.seen > before || wait == 0 {
			wait = firstWait
			f.complain(&fault{text: fmt.Sprintf("agent at %s is away: waiting for it, events are missed", f.address)})
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		wait = min(2*wait, lastWait)
	}
}

func (a *app) testEventCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test [NUMBER]...",
		Short: "Has the agent make an event of the type test",
		Long: `Has the agent make an event of the type test, with up to four numbers in it. It goes
the way of all events, to all that are subscribed: to find out whether they arrive.`,
		Args: cobra.MaximumNArgs(4),
		RunE: a.ask(func(ctx context.Context, g agent, args []string) error {
			var numbers [4]uint64
			for i, arg := range args {
				n, err := strconv.ParseUint(arg, 0, 64)
				if err != nil {
					return &fault{exitUsage, fmt.Sprintf("%q is no number of 64 bits", arg)}
				}
				numbers[i] = n
			}
			_, err := g.EmitTestEvent(ctx, &boltseal.EmitTestEventRequest{
				Arg0: numbers[0], Arg1: numbers[1], Arg2: numbers[2], Arg3: numbers[3],
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.Stdout, "test event sent")
			return err
		}),
	}
}
