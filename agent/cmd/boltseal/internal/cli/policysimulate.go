// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/compact"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/simulate"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/target"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const simulateHelp = `Replays recorded events through policies and says for each which rules would have
matched and what would have been done. No agent is asked, and nothing is done.

The last argument is the events, one JSON object a line, as

  boltseal events -o json > EVENTS.json

writes them. An event holds what the policy that recorded it had asked for. Which
values those are is known from that policy: it is found among the policies by its
name, or is named with --recorded-by. What an event does not hold, such as the
labels and annotations of a container, or what a process has changed since it
began, is unknown: then the outcome is told as undecided, with what decides it.
Of ancestors those are known that events up to then tell of. With --selected the
policies are taken to be for the process of every event. Hits that nobody
recorded are not in the file, and hooks of which it has no event are named at the
end.

Exit codes: 0 when nothing would have been killed, denied or signaled, 4 when
something would, 5 when that is undecided, 1 when the events or a policy have
faults.`

// simulateFlags are the flags of the command simulate.
type simulateFlags struct {
	form, kernel *string
	recordedBy   []string
	selected     bool
}

func (a *app) policySimulateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "simulate POLICY... EVENTS.json|-",
		Short: "Says what policies would have done to recorded events, without an agent",
		Long:  simulateHelp,
		Args:  cobra.MinimumNArgs(2),
	}
	f := simulateFlags{form: outputFlag(c, asTable, asJSON), kernel: kernelFlag(c)}
	c.Flags().StringArrayVar(&f.recordedBy, "recorded-by", nil, "the file of a policy that the events were recorded by (repeatable)")
	c.Flags().BoolVar(&f.selected, "selected", false, "take the policies to be for the process of every event")
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		k, err := openTarget(c.Context(), *f.kernel)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, k.Close()) }()
		last := len(args) - 1
		tally, err := a.simulator(k, args[:last], f)
		if err != nil {
			return err
		}
		for _, note := range k.Unasked() {
			fmt.Fprintf(a.Stderr, "boltseal: note: %s\n", quote.Text(note))
		}
		if err := a.replay(c.Context(), args[last], tally, *f.form); err != nil {
			return err
		}
		return a.endSimulation(tally.End(), *f.form)
	}
	return c
}

// simulator compiles all policies.
func (a *app) simulator(k *target.Kernel, files []string, f simulateFlags) (*simulate.Tally, error) {
	o := simulate.Options{Selected: f.selected, HostNamespace: k.HostNamespace}
	for _, list := range []struct {
		files []string
		into  *[]*compile.Policy
	}{{files, &o.Policies}, {f.recordedBy, &o.Recorders}} {
		for _, file := range list.files {
			p, err := a.parsePolicy(file)
			if err != nil {
				return nil, err
			}
			compiled, err := compile.Compile(p, k)
			if err != nil {
				return nil, failed("%s cannot be compiled for %s; --kernel names another:\n  %s",
					source(file), k.Title, strings.ReplaceAll(err.Error(), "\n", "\n  "))
			}
			*list.into = append(*list.into, compiled)
		}
	}
	return simulate.NewTally(simulate.New(o)), nil
}

// replayed is the JSON of an event that something came of.
type replayed struct {
	Line     int                `json:"line"`
	Time     string             `json:"time"`
	Outcomes []simulate.Outcome `json:"outcomes"`
}

// replay tries the policies on all events of a file.
func (a *app) replay(ctx context.Context, name string, tally *simulate.Tally, form string) error {
	from := a.Stdin
	if name != stdin {
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		defer file.Close()
		from = file
	}
	err := simulate.Read(from, func(line int, e *tetragon.GetEventsResponse) error {
		outcomes := tally.Event(e)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case len(outcomes) == 0:
			return nil
		case form == asJSON:
			r := replayed{Line: line, Outcomes: outcomes}
			if e.GetTime() != nil {
				r.Time = e.GetTime().AsTime().Format("2006-01-02T15:04:05.000000000Z")
			}
			return jsonLine(a.Stdout, r)
		}
		return a.showOutcomes(line, e, outcomes)
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, errWrite) {
		return failed("read events of %s: %v", source(name), err)
	}
	return err
}

// errWrite marks an error of output.
var errWrite = errors.New("write")

func (a *app) showOutcomes(line int, e *tetragon.GetEventsResponse, outcomes []simulate.Outcome) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d: %s\n", line, compact.Line(e))
	for _, o := range outcomes {
		fmt.Fprintf(&b, "   %s\n", quote.Text(outcomeWords(o)))
	}
	if _, err := io.WriteString(a.Stdout, b.String()); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return nil
}

// outcomeWords is one outcome on one line.
func outcomeWords(o simulate.Outcome) string {
	what := string(o.Verdict)
	if o.Detail != "" && o.Detail != what {
		what += " (" + o.Detail + ")"
	}
	text := fmt.Sprintf("policy %s, %s, rule %d: ", quote.Word(o.Policy), o.Hook, o.Rule)
	if o.Certain {
		return text + what
	}
	return text + "undecided, perhaps " + what + "; unknown: " + strings.Join(o.Unknown, ", ")
}

func jsonLine(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = fmt.Fprintln(w, quote.JSON(string(text)))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return nil
}

// endSimulation writes the summary, and chooses the exit code.
func (a *app) endSimulation(s *simulate.Summary, form string) error {
	var err error
	if form == asJSON {
		err = jsonLine(a.Stdout, map[string]any{"summary": s})
	} else {
		_, err = io.WriteString(a.Stdout, summaryWords(s))
	}
	switch {
	case err != nil:
		return err
	case s.Enforced():
		return &fault{code: exitEnforced}
	case s.Open():
		return &fault{code: exitUndecided}
	}
	return nil
}

func summaryWords(s *simulate.Summary) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d at hooks of the policies\n", plural(s.Events, "event"), s.Hooked)
	for _, counts := range []struct {
		title string
		of    map[simulate.Verdict]int
	}{{"certain", s.Certain}, {"undecided", s.Undecided}} {
		var words []string
		for _, v := range simulate.Verdicts() {
			if n := counts.of[v]; n > 0 {
				words = append(words, fmt.Sprintf("%d %s", n, v))
			}
		}
		if len(words) == 0 {
			words = []string{"nothing"}
		}
		fmt.Fprintf(&b, "%s: %s\n", counts.title, strings.Join(words, ", "))
	}
	for _, name := range s.Untouched {
		fmt.Fprintf(&b, "no event of: %s\n", quote.Text(name))
	}
	return b.String()
}
