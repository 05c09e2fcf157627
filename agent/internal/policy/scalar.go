// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// isDefault tells whether a value of a key that is not supported says what
// leaving the key out says.
func isDefault(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		return len(n.Content) == 0
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return true
		case "!!str":
			return n.Value == ""
		case "!!bool":
			on, known := parseBool(n)
			return known && !on
		case "!!int":
			i, err := parseInt(n)
			return err == nil && i == 0
		}
	}
	return false
}

// describe names what stands where something else was needed.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	}
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return "null"
	case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
		return quote(n.Value)
	default:
		return "a value of type " + quote(tag)
	}
}

// text takes a scalar as it is written: numbers and the like need no quotes
// where text is wanted.
func (d *decoder) text(v value) (string, bool) {
	if v.node.Kind == yaml.ScalarNode {
		switch v.node.ShortTag() {
		case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
			return v.node.Value, true
		}
	}
	d.fault(v, "needs text, not %s", describe(v.node))
	return "", false
}

// boundedText is text of min to max bytes.
func (d *decoder) boundedText(v value, min, max int) (string, bool) {
	s, ok := d.text(v)
	switch {
	case !ok:
		return "", false
	case s == "" && min > 0:
		d.fault(v, "is empty")
	case len(s) < min:
		d.fault(v, "%s is shorter than %d bytes", quote(s), min)
	case len(s) > max:
		d.fault(v, "is %d bytes long, more than %d", len(s), max)
	default:
		return s, true
	}
	return "", false
}

// texts is a list of at most max texts.
func (d *decoder) texts(v value, max int) ([]string, bool) {
	var all []string
	whole := true
	ok := d.list(v, max, func(item value) {
		s, ok := d.text(item)
		whole = whole && ok
		all = append(all, s)
	})
	return all, ok && whole
}

// textMap is an object of texts.
func (d *decoder) textMap(v value) map[string]string {
	entries, ok := d.entries(v)
	if !ok {
		return nil
	}
	all := make(map[string]string, len(entries))
	for _, e := range entries {
		if s, ok := d.text(e); ok {
			all[e.key] = s
		}
	}
	return all
}

func (d *decoder) boolean(v value) bool {
	on, known := parseBool(v.node)
	if !known {
		d.fault(v, "needs true or false, not %s", describe(v.node))
	}
	return on
}

// parseBool knows the words of YAML 1.1 too, as the files that people have were
// written for parsers of that version.
func parseBool(n *yaml.Node) (on, known bool) {
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if n.Kind != yaml.ScalarNode || n.Style&quoted != 0 {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

// integer is a whole number from lo to hi.
func (d *decoder) integer(v value, lo, hi int64) (int64, bool) {
	if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!int" {
		d.fault(v, "needs a whole number, not %s", describe(v.node))
		return 0, false
	}
	i, err := parseInt(v.node)
	if err != nil || i < lo || i > hi {
		d.fault(v, "%s is not from %d to %d", quote(v.node.Value), lo, hi)
		return 0, false
	}
	return i, true
}

func parseInt(n *yaml.Node) (int64, error) {
	return strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64)
}

// clip is a number as written, not at length.
func clip(s string) string {
	if len(s) > maxQuoted {
		return s[:maxQuoted] + "..."
	}
	return s
}
