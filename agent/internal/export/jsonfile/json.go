// SPDX-License-Identifier: Apache-2.0

package jsonfile

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// AppendLine appends an event as clients of the compatible API read it: a JSON
// object with the names of fields and values as in the API, numbers of 64 bits as
// strings, the event itself first, no white space, and a newline. The error is about
// text that is not UTF-8.
func AppendLine(to []byte, e *tetragon.GetEventsResponse) ([]byte, error) {
	begin := len(to)
	line, err := protojson.MarshalOptions{UseProtoNames: true}.MarshalAppend(to, e)
	if err != nil {
		return to, fmt.Errorf("encode event: %w", err)
	}
	// protojson's own white space changes from build to build.
	line = line[:begin+compact(line[begin:])]
	return append(line, '\n'), nil
}

// compact removes the white space of valid JSON, and returns its length then.
func compact(text []byte) int {
	n := 0
	keep := func(part []byte) { n += copy(text[n:], part) }
	for rest := text; len(rest) > 0; {
		quote := bytes.IndexByte(rest, '"')
		outside := rest
		if quote >= 0 {
			outside = rest[:quote]
		}
		for _, c := range outside {
			if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
				text[n] = c
				n++
			}
		}
		if quote < 0 {
			break
		}
		end := quote + 1
		for end < len(rest) && rest[end] != '"' {
			if rest[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end+1, len(rest))
		keep(rest[quote:end])
		rest = rest[end:]
	}
	return n
}
