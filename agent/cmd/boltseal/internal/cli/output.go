// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
)

// The forms of output.
const (
	asTable   = "table"
	asWide    = "wide"
	asJSON    = "json"
	asCompact = "compact"
)

// outputFlag adds -o with the forms of a command, the first of them the default.
func outputFlag(c *cobra.Command, forms ...string) *string {
	form := &formValue{value: forms[0], forms: forms}
	c.Flags().VarP(form, "output", "o", "form of the output: "+strings.Join(forms, ", "))
	return &form.value
}

type formValue struct {
	value string
	forms []string
}

// String, Set and Type are pflag.Value.
func (f *formValue) String() string { return f.value }

// Set takes one of the forms.
func (f *formValue) Set(s string) error {
	for _, form := range f.forms {
		if s == form {
			f.value = s
			return nil
		}
	}
	return fmt.Errorf("must be %s", strings.Join(f.forms, " or "))
}

// Type is what the help says of the value.
func (f *formValue) Type() string { return "form" }

// table writes rows in columns.
func table(w io.Writer, rows [][]string) error {
	// Cells end with a tab but for the last: no white space at the end of lines.
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	return columns.Flush()
}

// document writes a message as one JSON document with the names of the protocol
// and with fields that are empty, so that scripts find every key.
func document(w io.Writer, m proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	var out bytes.Buffer
	// protojson's own white space changes from build to build.
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err = fmt.Fprintln(w, quote.JSON(out.String()))
	return err
}

// line writes a message as JSON on one line.
func line(w io.Writer, m proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err = fmt.Fprintln(w, quote.JSON(out.String()))
	return err
}

// plain writes a value that is no message, as document does.
func plain(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err = fmt.Fprintln(w, quote.JSON(string(text)))
	return err
}

// plural is "1 rule", "2 rules".
func plural[T int | uint32 | uint64 | int64](n T, noun string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
