// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth bounds how deep a value may stand in the text. The schema needs
	// 9; the bound is for aliases that contain themselves.
	maxDepth = 64
	// maxFaults bounds the report on one text.
	maxFaults = 100
	// maxQuoted bounds how much of a text's own words a fault repeats.
	maxQuoted = 80
)

// value is a YAML node and the way to it. Aliases are already followed, so that
// line is that of the anchor's text, where a fault has to be mended.
type value struct {
	node  *yaml.Node
	up    *value
	key   string // the key in a mapping, when index is negative
	index int    // the index in a sequence
	depth int
}

// position builds the path, which is long work for a text of 100,000 values:
// it is only asked for when there is something to say.
func (v value) position() position {
	return position{path: v.path(), line: v.node.Line}
}

func (v value) path() string {
	if v.up == nil {
		return ""
	}
	above := v.up.path()
	switch {
	case v.index >= 0:
		return above + "[" + strconv.Itoa(v.index) + "]"
	case !plainKey(v.key):
		return above + "[" + quote(v.key) + "]"
	case above == "":
		return v.key
	}
	return above + "." + v.key
}

func plainKey(key string) bool {
	return key != "" && len(key) <= maxQuoted && strings.IndexFunc(key, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
	}) < 0
}

// quote repeats hostile text safely and not at length.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(s[:maxQuoted]) + "..."
	}
	return strconv.Quote(s)
}

// decoder walks a tree and collects what is wrong with it. After a fault it
// goes on wherever the rest still makes sense.
type decoder struct {
	faults   []*FieldError
	warnings []*FieldError
	dropped  bool // there were more than maxFaults
	steps    int  // nodes visited, those behind aliases at each use

	// names has the lists of the policy, and enforcers is whether there are any: both
	// are known before the hooks that refer to them are decoded.
	names names
	// expressions is how many were met.
	expressions int
	enforcers   bool

	// generated are the lists of names of the kernel's, enforcerLists those of them
	// that the enforcers are from.
	generated     []Generated
	enforcerLists []string
	// envelope is the policy's kind, macros are its macros.
	envelope Kind
	macros   map[string]*macro
	// workloads are what matchWorkloads have said so far, each once.
	workloads []Workload
}

func (d *decoder) fault(v value, format string, args ...any) {
	d.add(v, &FieldError{Reason: fmt.Sprintf(format, args...)})
}

func (d *decoder) unsupported(v value, what string) {
	d.add(v, &FieldError{Reason: what + ErrUnsupported.Error(), Err: ErrUnsupported})
}

func (d *decoder) add(v value, e *FieldError) {
	if len(d.faults) >= maxFaults {
		d.dropped = true
		return
	}
	at := v.position()
	e.Path, e.Line = at.path, at.line
	// A macro is decoded at each of its uses.
	if slices.ContainsFunc(d.faults, func(f *FieldError) bool { return *f == *e }) {
		return
	}
	d.faults = append(d.faults, e)
}

func (d *decoder) warn(v value, format string, args ...any) {
	w := v.position().fault(format, args...)
	if len(d.warnings) < maxFaults && !slices.ContainsFunc(d.warnings, func(f *FieldError) bool { return *f == *w }) {
		d.warnings = append(d.warnings, w)
	}
}

// exhausted tells that the walk has to end: an alias is a few bytes of text and
// as much work as what it stands for.
func (d *decoder) exhausted() bool { return d.steps > MaxNodes }

// child steps down. It is false when the walk must not go there.
func (d *decoder) child(up *value, node *yaml.Node, key string, index int) (value, bool) {
	if d.exhausted() {
		return value{}, false
	}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	v := value{node: node, up: up, key: key, index: index, depth: up.depth + 1}
	d.steps++
	if d.exhausted() {
		d.fault(v, "aliases expand the text to more than %d nodes", MaxNodes)
		return v, false
	}
	if v.depth > maxDepth {
		d.fault(v, "deeper than %d levels", maxDepth)
		return v, false
	}
	return v, true
}

// shape says which keys a mapping may have.
type shape struct {
	// known keys are decoded. A null is the same as no key.
	known map[string]func(value)
	// later are keys of the language that this version does not support. One
	// that only says its default has nothing to support.
	later []string
	// required keys must be there, and not null.
	required []string
}

// object decodes a mapping. It is false when v is none.
func (d *decoder) object(v value, s shape) bool {
	entries, ok := d.entries(v)
	if ok {
		d.fields(v, entries, s)
	}
	return ok
}

// fields decodes the pairs of a mapping.
func (d *decoder) fields(v value, entries []value, s shape) {
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		decode, known := s.known[e.key]
		switch {
		case known && isNull(e.node):
		case known:
			seen[e.key] = true
			decode(e)
		case slices.Contains(s.later, e.key):
			if !isDefault(e.node) {
				d.unsupported(e, "")
			}
		default:
			d.fault(e, "unknown key%s", s.hint(e.key))
		}
	}
	for _, key := range s.required {
		if !seen[key] {
			d.fault(v, "%s is required", key)
		}
	}
}

// hint names the key that was probably meant.
func (s shape) hint(key string) string {
	all := slices.Concat(s.later, slices.Sorted(maps.Keys(s.known)))
	for _, k := range all {
		if strings.EqualFold(k, key) {
			return " (did you mean " + k + "?)"
		}
	}
	return ""
}

// entries are the pairs of a mapping, those of merge keys ("<<") after its own.
// Keys are unique: a second one is a fault and left out.
func (d *decoder) entries(v value) ([]value, bool) {
	if v.node.Kind != yaml.MappingNode || v.node.ShortTag() != "!!map" {
		d.fault(v, "needs an object, not %s", describe(v.node))
		return nil, false
	}
	var entries, merges []value
	seen := map[string]int{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		k := v.node.Content[i]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			d.fault(value{node: k, up: v.up, key: v.key, index: v.index}, "a key must be text, not %s", describe(k))
			continue
		}
		e, ok := d.child(&v, v.node.Content[i+1], k.Value, -1)
		if !ok {
			return nil, false
		}
		if first, double := seen[k.Value]; double {
			// The line of the second key, not of its value, which may be an alias.
			d.fault(value{node: k, up: &v, key: k.Value, index: -1}, "duplicate key, first at line %d", first)
			continue
		}
		seen[k.Value] = k.Line
		if k.ShortTag() == "!!merge" {
			merges = append(merges, e)
			continue
		}
		entries = append(entries, e)
	}
	for _, m := range merges {
		for _, e := range d.merged(m) {
			if _, own := seen[e.key]; !own {
				seen[e.key] = e.node.Line
				entries = append(entries, e)
			}
		}
	}
	return entries, true
}

// merged are the pairs that a merge key brings: of one mapping, or of several,
// the earlier ones winning.
func (d *decoder) merged(m value) []value {
	if m.node.Kind != yaml.SequenceNode {
		entries, _ := d.entries(m)
		return entries
	}
	var all []value
	d.list(m, maxDepth, func(source value) {
		entries, _ := d.entries(source)
		all = append(all, entries...)
	})
	return all
}

// list calls item for each item of a sequence of at most max items. It is false
// when v is none, or too long.
func (d *decoder) list(v value, max int, item func(value)) bool {
	if v.node.Kind != yaml.SequenceNode || v.node.ShortTag() != "!!seq" {
		d.fault(v, "needs a list, not %s", describe(v.node))
		return false
	}
	if n := len(v.node.Content); n > max {
		d.fault(v, "has %d items, more than %d", n, max)
		return false
	}
	for i, node := range v.node.Content {
		c, ok := d.child(&v, node, "", i)
		if !ok {
			return false
		}
		item(c)
	}
	return true
}
