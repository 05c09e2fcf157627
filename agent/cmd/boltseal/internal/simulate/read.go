// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// MaxLine is how long the line of an event may be, in bytes: several times what an
// exec with the longest command line takes.
const MaxLine = 16 << 20

// Read reads events, one JSON object a line as the command events and the agent's
// files have them, and calls do with each and its line's number. Empty lines are
// left out. The first error ends it; one of the text names the line.
func Read(from io.Reader, do func(line int, e *tetragon.GetEventsResponse) error) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 64<<10), MaxLine)
	n := 0
	for lines.Scan() {
		n++
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		e, err := parse(text)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := do(n, e); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("line %d: is longer than %d bytes: no event is", n+1, MaxLine)
	default:
		return err
	}
}

// parse reads one event. Fields that this program does not know are of a newer
// agent, and say nothing to the policies that it knows.
func parse(text []byte) (*tetragon.GetEventsResponse, error) {
	e := &tetragon.GetEventsResponse{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, e); err != nil {
		// The library puts blanks of its own kind into its messages, that nobody relies on them.
		reason := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "proto:"), "\u00a0", " ")
		return nil, fmt.Errorf("no event: %s", strings.TrimSpace(reason))
	}
	return e, nil
}
