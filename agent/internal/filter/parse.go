// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// MaxText is the most bytes of a text of filters.
const MaxText = 1 << 20

// ParseFilters reads filters, each a JSON object with the fields of the API, one after
// another. Errors tell the line on which the faulty object begins.
func ParseFilters(text string) ([]*tetragon.Filter, error) {
	return parse(text, func(object []byte) (*tetragon.Filter, error) {
		f := &tetragon.Filter{}
		return f, unmarshal(object, f)
	})
}

// ParseRedactions reads redactions, written as the filters of ParseFilters are.
func ParseRedactions(text string) ([]*tetragon.RedactionFilter, error) {
	return parse(text, func(object []byte) (*tetragon.RedactionFilter, error) {
		f := &tetragon.RedactionFilter{}
		return f, unmarshal(object, f)
	})
}

// ParseFieldFilters reads field filters, written as the filters of ParseFilters are.
// Their fields are a text of paths with commas between; the names in them are those of
// the API or of its JSON: process.exec_id, process.execId.
func ParseFieldFilters(text string) ([]*tetragon.FieldFilter, error) {
	return parse(text, func(object []byte) (*tetragon.FieldFilter, error) {
		f := &tetragon.FieldFilter{}
		rest, fields, err := takeFields(object)
		if err == nil {
			err = unmarshal(rest, f)
		}
		if fields != nil {
			f.Fields = &fieldmaskpb.FieldMask{Paths: fields}
		}
		return f, err
	})
}

// parse reads objects up to the end of the text.
func parse[M any](text string, read func(object []byte) (M, error)) (all []M, err error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("is %d bytes long, more than %d", len(text), MaxText)
	}
	d := json.NewDecoder(strings.NewReader(text))
	var errs []error
	for at, line := 0, 1; ; {
		// Blanks first, so that the line is that of the object.
		next := len(text) - len(strings.TrimLeft(text[at:], " \t\r\n"))
		line += strings.Count(text[at:next], "\n")
		at = next
		var object json.RawMessage
		if err := d.Decode(&object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", line, err))
			break // there is no telling where the next one begins
		}
		one, err := read(object)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", line, err))
		}
		all = append(all, one)
		end := int(d.InputOffset())
		line += strings.Count(text[at:end], "\n")
		at = end
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, nil
}

func unmarshal(object []byte, into proto.Message) error {
	err := protojson.Unmarshal(object, into)
	if err == nil {
		return nil
	}
	// "proto:", a blank of one kind or another, and at times "(line 1:2): ": a
	// position in the object. What is left is the fault.
	message := strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0")
	if rest, ok := strings.CutPrefix(message, "(line "); ok {
		if _, fault, ok := strings.Cut(rest, "): "); ok {
			message = fault
		}
	}
	return errors.New(message)
}

// takeFields takes the paths out of a field filter, since the JSON of protocol buffers
// has them in camel case only. fields is nil when it has none, or they are null.
func takeFields(object []byte) (rest []byte, fields []string, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	switch start, err := d.Token(); {
	case err != nil:
		return nil, nil, err
	case start != json.Delim('{'):
		return object, nil, nil // unmarshal tells what is wrong
	}
	var out bytes.Buffer
	out.WriteByte('{')
	seen := false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, nil, err
		}
		if key != "fields" {
			if out.Len() > 1 {
				out.WriteByte(',')
			}
			name, err := json.Marshal(key)
			if err != nil {
				return nil, nil, err
			}
			out.Write(name)
			out.WriteByte(':')
			out.Write(value)
			continue
		}
		if seen {
			return nil, nil, errors.New(`duplicate field "fields"`)
		}
		seen = true
		if fields, err = paths(value); err != nil {
			return nil, nil, err
		}
	}
	out.WriteByte('}')
	return out.Bytes(), fields, nil
}

func paths(value []byte) ([]string, error) {
	var text *string
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, errors.New("fields: is no text of paths with commas between")
	}
	if text == nil || *text == "" {
		return nil, nil
	}
	all := strings.Split(*text, ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all, nil
}
