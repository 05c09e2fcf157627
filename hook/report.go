// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/bundle"
	"github.com/boltseal/boltseal/hook/readfile"
)

// maxLine bounds what is said about one run on standard error, in bytes:
// runtimes put it into their own error.
const maxLine = 2048

// tell writes the log line, and on standard error what people must know. A run
// that went well says nothing there.
func (h *hook) tell(r result) {
	if err := h.log(r); err != nil {
		r.notes = append(r.notes, err.Error())
	}
	if r.Start && !r.Late {
		return
	}
	verdict := "not started"
	if r.Start {
		verdict = "started unsealed"
	}
	text := fmt.Sprintf("boltseal-hook: container %q %s: %s", r.id, verdict, r.Reason)
	for _, note := range r.notes {
		text += "; " + note
	}
	fmt.Fprintln(h.std.err, oneLine(text))
}

// oneLine makes one line of bounded length of a text, whatever the names in it hold.
func oneLine(text string) string {
	text = strings.Map(printable, text)
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "") + "..."
	}
	return text
}

// printable replaces what would break or hide a line on a terminal.
func printable(c rune) rune {
	if c < ' ' || (c >= 0x7f && c < 0xa0) {
		return ' '
	}
	return c
}

// log appends the run's line to the log file, when there is one.
func (h *hook) log(r result) error {
	if h.config.LogFile == "" {
		return nil
	}
	out, err := openLog(h.config.LogFile, h.std.err)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer out.Close()
	level, word := slog.LevelInfo, "start"
	if r.Late {
		level = slog.LevelWarn
	}
	switch {
	case !r.Start:
		level, word = slog.LevelError, "block"
	case r.outcome.Cause == 0: // a stage without work
		word = "none"
	}
	attrs := []slog.Attr{
		slog.String("stage", h.stage),
		slog.String("container_id", r.id),
		slog.String("decision", word),
		slog.Bool("late", r.Late),
		slog.String("cause", r.outcome.Cause.String()),
		slog.String("reason", r.Reason),
		slog.String("grpc_code", codeOf(r.outcome)),
		slog.Float64("duration_ms", float64(time.Since(h.start).Microseconds())/1000),
		slog.String("address", h.config.Address),
	}
	if len(r.notes) > 0 {
		attrs = append(attrs, slog.String("notes", strings.Join(r.notes, "; ")))
	}
	logger := slog.New(slog.NewJSONHandler(out, nil))
	logger.LogAttrs(context.Background(), level, "container", attrs...)
	return nil
}

// codeOf names the gRPC code that the agent answered, empty when it did not.
func codeOf(o agentclient.Outcome) string {
	var status *agentclient.StatusError
	switch {
	case o.Cause == agentclient.Acknowledged:
		return agentclient.OK.String()
	case errors.As(o.Err, &status):
		return status.Code.String()
	}
	return ""
}

// keepOpen is a writer that Close leaves open.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// openLog opens the log for appending. A pipe without a reader is an error
// rather than a wait.
func openLog(path string, stderr io.Writer) (io.WriteCloser, error) {
	if path == "-" {
		return keepOpen{stderr}, nil
	}
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NONBLOCK | syscall.O_NOFOLLOW | syscall.O_NOCTTY
	//nolint:gosec // the path is root's configuration or command line
	return os.OpenFile(path, flags, 0o600)
}

// nothingToDo serves the stages for which a hook may be registered though there
// is no work: a container must not fail for that. Standard input is read all the
// same, since a runtime may take a closed pipe for a failure.
func (h *hook) nothingToDo(ctx context.Context) int {
	id := make(chan string, 1)
	go func() {
		var state struct {
			ID string `json:"id"`
		}
		if raw, err := readfile.All(h.std.in, bundle.MaxState, usualState); err == nil {
			// Without a readable id the line is written without one.
			_ = json.Unmarshal(raw, &state)
		}
		id <- state.ID
	}()
	r := result{Decision: agentclient.Decision{Start: true, Reason: "nothing to do at " + h.stage}}
	select {
	case r.id = <-id:
	case <-ctx.Done():
	}
	h.decided.Store(&r)
	h.tell(r)
	return exitStart
}
