// SPDX-License-Identifier: Apache-2.0

package tomledit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// expression is one line or more of a document: a table's header, or a key with
// its value.
type expression struct {
	// key is the whole path, that of the table around it too.
	key []string
	// table is the path of the table around it; a header's is its own.
	table  []string
	header bool
	// array tells a header of an array of tables, and keys below one.
	array bool
	// inline tells a key whose value is a table.
	inline bool
	// start is the offset of the first key, value and end those of the value.
	start, value, end int
}

// document is a text with its expressions, in order.
type document struct {
	text []byte
	all  []expression
}

func parse(text []byte) (*document, error) {
	d := &document{text: text}
	p := &unstable.Parser{}
	p.Reset(text)
	var table []string
	array := false
	for p.NextExpression() {
		node := p.Expression()
		if node.Kind == unstable.Comment {
			continue
		}
		e := expression{array: array, table: table}
		keys := node.Key()
		var own []string
		last := 0
		for keys.Next() {
			key := keys.Node()
			if len(own) == 0 {
				e.start = int(key.Raw.Offset)
			}
			last = int(key.Raw.Offset + key.Raw.Length)
			own = append(own, string(key.Data))
		}
		if node.Kind == unstable.KeyValue {
			e.key = slices.Concat(table, own)
			e.inline = node.Value().Kind == unstable.InlineTable
			e.end = int(node.Raw.Offset + node.Raw.Length)
			e.value = last + bytes.IndexByte(text[last:], '=') + 1
			for strings.IndexByte(" \t", text[e.value]) >= 0 {
				e.value++
			}
		} else {
			table, array = own, node.Kind == unstable.ArrayTable
			e.key, e.table, e.header, e.array = own, own, true, array
		}
		d.all = append(d.all, e)
	}
	if err := p.Error(); err != nil {
		return nil, &SyntaxError{Reason: err.Error()}
	}
	return d, nil
}

// place is where a value may go.
type place struct{ key, header, sibling *expression }

// find looks for the places of a path, and refuses those that cannot be written.
func (d *document) find(path []string) (place, error) {
	parent := path[:len(path)-1]
	var p place
	for i := range d.all {
		e := &d.all[i]
		if e.array && (starts(path, e.table) || starts(e.table, path)) {
			return p, fmt.Errorf("line %d: is in an array of tables", d.line(e.start))
		}
		if e.inline && starts(path, e.key) && len(e.key) < len(path) {
			return p, fmt.Errorf("line %d: is in an inline table: write it as a table of its own", d.line(e.start))
		}
		switch {
		case e.header && slices.Equal(e.key, parent):
			p.header = e
		case !e.header && slices.Equal(e.key, path):
			p.key = e
		case !e.header && starts(e.key, parent) && len(e.table) < len(parent):
			p.sibling = e
		}
	}
	return p, nil
}

// set writes a value, in the order in which TOML leaves a choice: where the key
// is, in its table, beside dotted keys of its table, in a table of its own.
func (d *document) set(path []string, value string) ([]byte, error) {
	parent := path[:len(path)-1]
	p, err := d.find(path)
	if err != nil {
		return nil, err
	}
	header, sibling := p.header, p.sibling
	end := newline(d.text)
	switch {
	case p.key != nil:
		return splice(d.text, p.key.value, p.key.end, value), nil
	case header != nil:
		at := d.lineEnd(header.start)
		text := d.indent(header) + dotted(path[len(parent):]) + " = " + value + end
		if at == len(d.text) && !bytes.HasSuffix(d.text, []byte("\n")) {
			text = end + text
		}
		return splice(d.text, at, at, text), nil
	case sibling != nil:
		at := d.lineStart(sibling.start)
		name := dotted(path[len(sibling.table):])
		return splice(d.text, at, at, string(d.text[at:sibling.start])+name+" = "+value+end), nil
	case len(parent) == 0:
		return splice(d.text, 0, 0, dotted(path)+" = "+value+end), nil
	}
	text := fmt.Sprintf("[%s]%s%s = %s%s", dotted(parent), end, dotted(path[len(parent):]), value, end)
	if len(d.text) > 0 {
		text = end + text
		if !bytes.HasSuffix(d.text, []byte("\n")) {
			text = end + text
		}
	}
	return splice(d.text, len(d.text), len(d.text), text), nil
}

// indent is that of the first key of a table, or its header's.
func (d *document) indent(header *expression) string {
	at := header.start
	for i := range d.all {
		if e := &d.all[i]; e.start > header.start {
			if !e.header {
				return string(d.text[d.lineStart(e.start):e.start])
			}
			break
		}
	}
	line := string(d.text[d.lineStart(at):at])
	return strings.TrimSuffix(strings.TrimRight(line, " \t"), "[")
}

// remove takes the lines of a key away.
func (d *document) remove(path []string) ([]byte, error) {
	for _, e := range d.all {
		if !e.header && slices.Equal(e.key, path) && !e.array {
			return splice(d.text, d.lineStart(e.start), d.lineEnd(e.end), ""), nil
		}
	}
	return nil, fmt.Errorf("is not on lines of its own")
}

// removeEmpty takes away the header of a table that holds nothing, and the empty
// line before it. With keys or comments below it, it stays.
func (d *document) removeEmpty(path []string) []byte {
	for i, e := range d.all {
		if !e.header || e.array || !slices.Equal(e.key, path) {
			continue
		}
		from, to := d.lineStart(e.start), d.lineEnd(e.start)
		until := len(d.text)
		if i+1 < len(d.all) {
			if next := d.all[i+1]; !next.header {
				return d.text
			}
			until = d.lineStart(d.all[i+1].start)
		}
		if len(bytes.TrimSpace(d.text[to:until])) > 0 {
			return d.text
		}
		if before := d.lineStart(max(from-1, 0)); from > 0 && len(bytes.TrimSpace(d.text[before:from])) == 0 {
			from = before
		}
		return splice(d.text, from, to, "")
	}
	return d.text
}

func (d *document) line(at int) int { return 1 + bytes.Count(d.text[:at], []byte("\n")) }

func (d *document) lineStart(at int) int { return bytes.LastIndexByte(d.text[:at], '\n') + 1 }

// lineEnd is the offset behind the end of the line.
func (d *document) lineEnd(at int) int {
	if n := bytes.IndexByte(d.text[at:], '\n'); n >= 0 {
		return at + n + 1
	}
	return len(d.text)
}

// starts tells whether the path begins with the other one.
func starts(path, with []string) bool {
	return len(path) >= len(with) && slices.Equal(path[:len(with)], with)
}
