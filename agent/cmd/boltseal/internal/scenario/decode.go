// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoding collects the faults of a text.
type decoding struct{ faults []error }

// field is a value and where it stands.
type field struct {
	node *yaml.Node
	path string
}

// keys are what an object may have.
type keys map[string]func(field)

func (d *decoding) fault(f field, format string, args ...any) {
	d.faults = append(d.faults, &FaultError{f.node.Line, f.path, fmt.Sprintf(format, args...)})
}

// object decodes the keys of a mapping; required ones must be there.
func (d *decoding) object(f field, known keys, required ...string) {
	entries, ok := d.entries(f)
	if !ok {
		return
	}
	seen := map[string]bool{}
	for _, e := range entries {
		name := e.path[strings.LastIndexByte(e.path, '.')+1:]
		seen[name] = true
		if decode, ok := known[name]; ok {
			decode(e)
		} else {
			d.fault(e, "unknown key")
		}
	}
	for _, name := range required {
		if !seen[name] {
			d.fault(f, "%s is required", name)
		}
	}
}

// entries are the values of a mapping, each once, whose path ends in their key.
func (d *decoding) entries(f field) (entries []field, ok bool) {
	if f.node.Kind != yaml.MappingNode {
		d.fault(f, "must be a mapping")
		return nil, false
	}
	var seen []string
	for i := 0; i+1 < len(f.node.Content); i += 2 {
		key, value := f.node.Content[i], f.node.Content[i+1]
		path := key.Value
		if f.path != "" {
			path = f.path + "." + path
		}
		e := field{value, path}
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag == "!!merge":
			d.fault(field{key, f.path}, "has a key that is no text")
		case slices.Contains(seen, key.Value):
			d.fault(field{key, path}, "is given twice")
		default:
			entries = append(entries, e)
		}
		seen = append(seen, key.Value)
	}
	return entries, true
}

func (d *decoding) list(f field, limit int, item func(field)) {
	if f.node.Kind != yaml.SequenceNode {
		d.fault(f, "must be a list")
		return
	}
	if n := len(f.node.Content); n > limit {
		d.fault(f, "has %d items, more than %d", n, limit)
		return
	}
	for i, node := range f.node.Content {
		item(field{node, fmt.Sprintf("%s[%d]", f.path, i)})
	}
}

// text is a scalar that is text; an alias is none, so that nothing expands.
func (d *decoding) text(f field, limit int) string {
	switch {
	case f.node.Kind != yaml.ScalarNode || f.node.Tag != "!!str":
		d.fault(f, "must be text")
	case f.node.Value == "":
		d.fault(f, "is empty")
	case len(f.node.Value) > limit:
		d.fault(f, "is longer than %d bytes", limit)
	case strings.ContainsRune(f.node.Value, 0):
		d.fault(f, "has a NUL in it")
	default:
		return f.node.Value
	}
	return ""
}

// texts is a mapping of text to text, which may be empty.
func (d *decoding) texts(f field) map[string]string {
	// Keys may have dots in them: not by their paths.
	if f.node.Kind != yaml.MappingNode {
		d.fault(f, "must be a mapping")
		return nil
	}
	all := map[string]string{}
	for i := 0; i+1 < len(f.node.Content); i += 2 {
		key, value := f.node.Content[i], f.node.Content[i+1]
		at := field{value, fmt.Sprintf("%s[%q]", f.path, key.Value)}
		_, twice := all[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str" || key.Value == "":
			d.fault(field{key, f.path}, "has a key that is no text")
		case twice:
			d.fault(at, "is given twice")
		case value.Kind != yaml.ScalarNode || value.Tag != "!!str":
			d.fault(at, "must be text: put it in quotes")
		default:
			all[key.Value] = value.Value
		}
	}
	return all
}

func (d *decoding) integer(f field, low, high int) int {
	n, err := strconv.Atoi(f.node.Value)
	if f.node.Kind != yaml.ScalarNode || f.node.Tag != "!!int" || err != nil || n < low || n > high {
		d.fault(f, "must be a number from %d to %d", low, high)
		return low
	}
	return n
}
