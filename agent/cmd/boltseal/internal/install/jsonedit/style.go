// SPDX-License-Identifier: Apache-2.0

package jsonedit

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// style is how a document is laid out.
type style struct {
	// unit is the indentation of one level; empty for a document on one line.
	unit string
	// newline is the end of a line.
	newline string
}

func styleOf(doc []byte) style {
	s := style{newline: "\n"}
	if bytes.Contains(doc, []byte("\r\n")) {
		s.newline = "\r\n"
	}
	at, _ := outer(doc)
	all, _ := members(doc, at)
	if len(all) == 0 {
		s.unit = "  "
		return s
	}
	s.unit, _ = indentation(doc, all[0].start)
	return s
}

// indentation is the white space before an offset, when nothing else is on its
// line.
func indentation(doc []byte, at int) (string, bool) {
	line := doc[bytes.LastIndexByte(doc[:at], '\n')+1 : at]
	alone := len(bytes.TrimSpace(line)) == 0 && len(line) < at
	if !alone {
		return "", false
	}
	return string(line), true
}

// insert adds a member behind the last one of the object at an offset. depth is
// how many objects are around that one.
func (s style) insert(doc []byte, at, depth int, key string, value json.RawMessage) []byte {
	all, end := members(doc, at)
	name := append(quoted(key), ": "...)
	if len(all) == 0 {
		text := slices.Concat(name, s.render(value, depth+1))
		if s.unit != "" {
			text = slices.Concat([]byte(s.newline+strings.Repeat(s.unit, depth+1)), text,
				[]byte(s.newline+strings.Repeat(s.unit, depth)))
		}
		return splice(doc, at+1, end-1, text)
	}
	last := all[len(all)-1]
	if indent, alone := indentation(doc, last.start); alone {
		text := slices.Concat([]byte(","+s.newline+indent), name, s.renderAt(value, indent))
		return splice(doc, last.end, last.end, text)
	}
	return splice(doc, last.end, last.end, slices.Concat([]byte(", "), name, style{newline: s.newline}.render(value, 0)))
}

// render lays a value out that stands at a depth.
func (s style) render(value json.RawMessage, depth int) []byte {
	return s.renderAt(value, strings.Repeat(s.unit, depth))
}

func (s style) renderAt(value json.RawMessage, indent string) []byte {
	var out bytes.Buffer
	if s.unit == "" {
		_ = json.Compact(&out, value) // it is valid
		return out.Bytes()
	}
	_ = json.Indent(&out, value, indent, s.unit)
	return bytes.ReplaceAll(out.Bytes(), []byte("\n"), []byte(s.newline))
}
