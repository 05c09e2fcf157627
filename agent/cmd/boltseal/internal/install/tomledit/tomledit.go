// SPDX-License-Identifier: Apache-2.0

// Package tomledit changes single keys of a TOML document and leaves every other
// byte of it as it was, comments too. Each change is proven: the document's
// values before and after differ in that key alone, or it is an error.
package tomledit

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// SyntaxError is a document that is not TOML.
type SyntaxError struct {
	// Line counts from 1; 0 is unknown.
	Line   int
	Reason string
}

// Error names the line.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Parse returns the document's values.
func Parse(doc []byte) (map[string]any, error) {
	tree := map[string]any{}
	err := toml.Unmarshal(doc, &tree)
	if err == nil {
		return tree, nil
	}
	fault := &SyntaxError{Reason: strings.TrimPrefix(err.Error(), "toml: ")}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		fault.Line, _ = decode.Position()
	}
	return nil, fault
}

// Get returns the value at the path of parsed values.
func Get(tree map[string]any, path ...string) (any, bool) {
	var value any = tree
	for _, key := range path {
		table, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, ok = table[key]; !ok {
			return nil, false
		}
	}
	return value, true
}

// Set writes a string, an integer or a bool at the path.
func Set(doc []byte, value any, path ...string) ([]byte, error) {
	before, err := Parse(doc)
	if err != nil {
		return nil, err
	}
	if old, found := Get(before, path...); found && old == value {
		return doc, nil
	}
	text, err := render(value)
	if err != nil {
		return nil, err
	}
	parsed, err := parse(doc)
	if err != nil {
		return nil, err
	}
	out, err := parsed.set(path, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dotted(path), err)
	}
	if !put(before, value, path) {
		return nil, fmt.Errorf("%s: what it is in must be a table", dotted(path))
	}
	return out, proven(before, out, path)
}

// Delete removes the key at the path. With tables, tables that it leaves empty go
// with it.
func Delete(doc []byte, tables bool, path ...string) ([]byte, error) {
	before, err := Parse(doc)
	if err != nil {
		return nil, err
	}
	if _, found := Get(before, path...); !found {
		return doc, nil
	}
	parsed, err := parse(doc)
	if err != nil {
		return nil, err
	}
	out, err := parsed.remove(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dotted(path), err)
	}
	for n := len(path) - 1; tables && n > 0; n-- {
		if parsed, err = parse(out); err != nil {
			return nil, err
		}
		out = parsed.removeEmpty(path[:n])
	}
	drop(before, path)
	return out, proven(before, out, path)
}

// proven compares the values that are wanted with those of the new document.
// Empty tables are no values: headers may come and go.
func proven(want map[string]any, out []byte, path []string) error {
	got, err := Parse(out)
	if err != nil {
		return fmt.Errorf("%s: cannot be changed without changing more: %w", dotted(path), err)
	}
	if !reflect.DeepEqual(pruned(want), pruned(got)) {
		return fmt.Errorf("%s: cannot be changed without changing more", dotted(path))
	}
	return nil
}

// pruned is a table without tables that hold nothing.
func pruned(table map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range table {
		if inner, ok := value.(map[string]any); ok {
			inner = pruned(inner)
			if len(inner) == 0 {
				continue
			}
			value = inner
		}
		out[key] = value
	}
	return out
}

func put(tree map[string]any, value any, path []string) bool {
	for _, key := range path[:len(path)-1] {
		if _, ok := tree[key]; !ok {
			tree[key] = map[string]any{}
		}
		inner, ok := tree[key].(map[string]any)
		if !ok {
			return false
		}
		tree = inner
	}
	tree[path[len(path)-1]] = value
	return true
}

func drop(tree map[string]any, path []string) {
	if inner, ok := Get(tree, path[:len(path)-1]...); ok {
		if table, ok := inner.(map[string]any); ok {
			delete(table, path[len(path)-1])
		}
	}
}

func render(value any) (string, error) {
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case string:
		return quote(v), nil
	}
	return "", fmt.Errorf("values of type %T are not written", value)
}

// quote is a basic string.
func quote(s string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&out, `\u%04X`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// dotted is a path as it is written in a document.
func dotted(path []string) string {
	parts := make([]string, len(path))
	for i, key := range path {
		parts[i] = key
		if key == "" || strings.Trim(key, bareKey) != "" {
			parts[i] = quote(key)
		}
	}
	return strings.Join(parts, ".")
}

// bareKey is the characters of keys that need no quotes.
const bareKey = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

func newline(doc []byte) string {
	if bytes.Contains(doc, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

func splice(doc []byte, from, to int, text string) []byte {
	return slices.Concat(doc[:from], []byte(text), doc[to:])
}
