// SPDX-License-Identifier: Apache-2.0

// Package jsonedit changes single members of a JSON document and leaves every
// other byte of it as it was: order, indentation, unknown keys and the way that
// numbers are written.
package jsonedit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// SyntaxError is a document that is not JSON, or not an object.
type SyntaxError struct {
	// Line counts from 1.
	Line   int
	Reason string
}

// Error names the line.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Get returns the value at the path as it is written. A document of nothing but
// white space is an empty object.
func Get(doc []byte, path ...string) (json.RawMessage, bool, error) {
	if err := check(doc); err != nil || blank(doc) {
		return nil, false, err
	}
	from, to := outer(doc)
	for i, key := range path {
		m, found, err := find(doc, from, path[:i+1], key)
		if err != nil || !found {
			return nil, false, err
		}
		from, to = m.value, m.end
	}
	return json.RawMessage(slices.Clone(doc[from:to])), true, nil
}

// Set writes the value at the path and makes the objects on the way to it. A
// value that stands there is replaced.
func Set(doc []byte, value json.RawMessage, path ...string) ([]byte, error) {
	if err := check(doc); err != nil {
		return nil, err
	}
	if !json.Valid(value) || len(path) == 0 {
		return nil, errors.New("value and path must not be empty")
	}
	if blank(doc) {
		doc = []byte("{}\n")
	}
	style := styleOf(doc)
	at, _ := outer(doc)
	for i, key := range path {
		m, found, err := find(doc, at, path[:i+1], key)
		if err != nil {
			return nil, err
		}
		if !found {
			return style.insert(doc, at, i, key, nest(value, path[i+1:])), nil
		}
		if i == len(path)-1 {
			return splice(doc, m.value, m.end, style.render(value, len(path))), nil
		}
		at = m.value
	}
	return doc, nil
}

// Delete removes the member at the path. Objects that it leaves empty stay.
func Delete(doc []byte, path ...string) ([]byte, error) {
	if err := check(doc); err != nil || blank(doc) || len(path) == 0 {
		return doc, err
	}
	at, _ := outer(doc)
	for i, key := range path {
		m, found, err := find(doc, at, path[:i+1], key)
		if err != nil || !found {
			return doc, err
		}
		if i < len(path)-1 {
			at = m.value
			continue
		}
		all, end := members(doc, at)
		switch n := slices.Index(all, m); {
		case len(all) == 1:
			return splice(doc, at+1, end-1, nil), nil
		case n > 0:
			return splice(doc, all[n-1].end, m.end, nil), nil
		default:
			return splice(doc, m.start, all[1].start, nil), nil
		}
	}
	return doc, nil
}

// Equal tells whether two texts are the same value.
func Equal(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

func blank(doc []byte) bool { return len(bytes.TrimSpace(doc)) == 0 }

// check finds out that the document is an object, so that the rest of the
// package need not look for faults.
func check(doc []byte) error {
	if blank(doc) {
		return nil
	}
	var any json.RawMessage
	if err := json.Unmarshal(doc, &any); err != nil {
		line := 1
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line = lineAt(doc, int(syntax.Offset)-1)
		}
		return &SyntaxError{Line: line, Reason: err.Error()}
	}
	if from, _ := outer(doc); doc[from] != '{' {
		return &SyntaxError{Line: lineAt(doc, from), Reason: "must be an object"}
	}
	return nil
}

func lineAt(doc []byte, offset int) int {
	return 1 + bytes.Count(doc[:min(max(offset, 0), len(doc))], []byte("\n"))
}

// outer is where the document's value begins and ends.
func outer(doc []byte) (int, int) {
	from := space(doc, 0)
	return from, skip(doc, from)
}

// member is one of an object: offsets of its key, its value and its end.
type member struct {
	key               string
	start, value, end int
}

// find returns the member with the key of the object at an offset. path is for
// errors.
func find(doc []byte, at int, path []string, key string) (member, bool, error) {
	where := strings.Join(path, ".")
	if doc[at] != '{' {
		return member{}, false, fmt.Errorf("line %d: %s: what it is in must be an object", lineAt(doc, at), where)
	}
	all, _ := members(doc, at)
	var found []member
	for _, m := range all {
		if m.key == key {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return member{}, false, nil
	case 1:
		return found[0], true, nil
	}
	return member{}, false, fmt.Errorf("line %d: %s: is there twice", lineAt(doc, found[1].start), where)
}

// members lists an object's, and returns the offset behind its brace.
func members(doc []byte, at int) ([]member, int) {
	var all []member
	for at = space(doc, at+1); doc[at] != '}'; at = space(doc, at) {
		if doc[at] == ',' {
			at = space(doc, at+1)
		}
		m := member{start: at}
		keyEnd := skip(doc, at)
		_ = json.Unmarshal(doc[at:keyEnd], &m.key) // the document has been checked
		m.value = space(doc, space(doc, keyEnd)+1)
		m.end = skip(doc, m.value)
		all = append(all, m)
		at = m.end
	}
	return all, at + 1
}

// space returns the offset of what follows white space.
func space(doc []byte, at int) int {
	for at < len(doc) && strings.IndexByte(" \t\r\n", doc[at]) >= 0 {
		at++
	}
	return at
}

// skip returns the offset behind the value at an offset.
func skip(doc []byte, at int) int {
	depth := 0
	for at < len(doc) {
		switch c := doc[at]; {
		case c == '"':
			for at++; doc[at] != '"'; at++ {
				if doc[at] == '\\' {
					at++
				}
			}
			at++
		case c == '{' || c == '[':
			depth++
			at++
		case c == '}' || c == ']':
			depth--
			at++
		case depth > 0:
			at++
			continue
		default:
			for at < len(doc) && strings.IndexByte(" \t\r\n,]}", doc[at]) < 0 {
				at++
			}
		}
		if depth == 0 {
			return at
		}
	}
	return at
}

// nest wraps a value in objects, the first key outermost.
func nest(value json.RawMessage, path []string) json.RawMessage {
	for _, key := range slices.Backward(path) {
		value = slices.Concat([]byte("{"), quoted(key), []byte(":"), value, []byte("}"))
	}
	return value
}

func quoted(key string) []byte {
	text, _ := json.Marshal(key) // a string always can be
	return text
}

func splice(doc []byte, from, to int, text []byte) []byte {
	return slices.Concat(doc[:from], text, doc[to:])
}
