// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// MaxTextBytes is how long a policy's text may be.
	MaxTextBytes = 10 << 20
	// MaxNodes is how many YAML nodes a text may hold, and may expand to. It is
	// room for several filters of MaxValues values, and about 300 MB of parser.
	MaxNodes = 500_000

	maxDirectives = 16

	apiVersion = "cilium.io/v1alpha1"
)

// Parse reads one policy. On a fault the policy is nil and the error holds all
// faults, in the order of the text; see [Faults].
func Parse(data []byte) (*Policy, error) { return (&decoder{}).parse(data) }

func (d *decoder) parse(data []byte) (*Policy, error) {
	root, err := parseTree(data)
	if err != nil {
		return nil, err
	}
	p := d.policy(value{node: root})
	byLine := func(a, b *FieldError) int { return cmp.Compare(a.Line, b.Line) }
	slices.SortStableFunc(d.faults, byLine)
	if len(d.faults) == 0 {
		slices.SortStableFunc(d.warnings, byLine)
		p.Warnings = d.warnings
		p.Text = string(data)
		return p, nil
	}
	if d.dropped {
		d.faults = append(d.faults, &FieldError{Reason: fmt.Sprintf("more than %d faults; the rest is not shown", maxFaults)})
	}
	all := make([]error, len(d.faults))
	for i, f := range d.faults {
		all[i] = f
	}
	return nil, errors.Join(all...)
}

// parseTree is the text's one document that is not empty.
func parseTree(data []byte) (*yaml.Node, error) {
	if err := checkText(data); err != nil {
		return nil, err
	}
	var root *yaml.Node
	for documents := yaml.NewDecoder(bytes.NewReader(data)); ; {
		next, err := nextDocument(documents)
		switch {
		case errors.Is(err, io.EOF) && root == nil:
			return nil, &FieldError{Reason: "text holds no policy"}
		case errors.Is(err, io.EOF):
			return root, nil
		case err != nil:
			return nil, syntaxFault(err)
		case isNull(next):
		case root != nil:
			return nil, &FieldError{Line: next.Line, Reason: "a second document: write one policy a file"}
		default:
			root = next
		}
	}
}

// nextDocument guards against faults of the YAML parser itself: the text comes
// from anyone who may add a policy, and a panic would take the agent along.
func nextDocument(documents *yaml.Decoder) (root *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: parser gave up: %v", r)
		}
	}()
	var document yaml.Node
	if err := documents.Decode(&document); err != nil {
		return nil, err
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
	}
	return document.Content[0], nil
}

// syntaxFault takes the line out of the parser's message.
func syntaxFault(err error) *FieldError {
	m := regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`).FindStringSubmatch(err.Error())
	if m == nil {
		return &FieldError{Reason: "not YAML: " + err.Error()}
	}
	line, _ := strconv.Atoi(m[1]) // no line: 0
	return &FieldError{Line: line, Reason: "not YAML: " + clip(m[2])}
}

// checkText refuses what the YAML parser must not see, as its memory and time
// are not bounded by the length of the text alone.
func checkText(data []byte) error {
	if len(data) > MaxTextBytes {
		return &FieldError{Reason: fmt.Sprintf("text is %d bytes long, more than %d", len(data), MaxTextBytes)}
	}
	// The parser also reads UTF-16, where the bounds below would not hold.
	if bad := invalidUTF8(data); bad >= 0 {
		return &FieldError{Line: 1 + bytes.Count(data[:bad], []byte{'\n'}), Reason: "text is not UTF-8"}
	}
	nodes, directives := bounds(data)
	if nodes > MaxNodes {
		return &FieldError{Reason: fmt.Sprintf("text may hold %d nodes, more than %d", nodes, MaxNodes)}
	}
	if directives > maxDirectives {
		return &FieldError{Reason: fmt.Sprintf("text has %d lines that start with %%, more than %d", directives, maxDirectives)}
	}
	return nil
}

// invalidUTF8 is the offset of the first byte that is not UTF-8 text, or -1.
func invalidUTF8(data []byte) int {
	if nul := bytes.IndexByte(data, 0); nul >= 0 {
		return nul
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return -1
}

// bounds are at least how many nodes and directives the text can parse to. A
// sequence's item follows '[', ',' or '-'; a pair has ':' or '?' and brings two
// nodes; their containers are counted with them. The parser takes some hundred
// bytes for each node, more for a comment, and for each %TAG directive the time
// to compare it with all others.
func bounds(data []byte) (nodes, directives int) {
	nodes = 1
	for i, c := range data {
		switch c {
		case '[', '{', ',':
			nodes++
		case ':':
			nodes += 2
		case '-', '?':
			// Inside a word it is only a letter. Beyond ASCII are YAML's other line breaks.
			if i+1 == len(data) || outsideWord(data[i+1]) {
				nodes++
			}
		case '#':
			if i == 0 || outsideWord(data[i-1]) {
				nodes += 2
			}
		case '%':
			if i == 0 || data[i-1] != ' ' && outsideWord(data[i-1]) {
				directives++
			}
		}
	}
	return nodes, directives
}

func outsideWord(c byte) bool { return c <= ' ' || c >= utf8.RuneSelf }

func (d *decoder) policy(root value) *Policy {
	p := &Policy{}
	var meta, spec value
	d.object(root, shape{
		known: map[string]func(value){
			"apiVersion": func(v value) {
				if s, ok := d.text(v); ok && s != apiVersion {
					d.fault(v, "is %s, not %s", quote(s), apiVersion)
				}
			},
			"kind":     func(v value) { p.Kind = d.kind(v) },
			"metadata": func(v value) { meta = v },
			"spec":     func(v value) { spec = v },
		},
		required: []string{"apiVersion", "kind", "metadata", "spec"},
	})
	// What follows depends on the kind, which may stand after it in the text.
	if meta.node != nil {
		d.metadata(meta, p)
	}
	if spec.node != nil {
		d.spec(spec, p)
	}
	return p
}

func (d *decoder) kind(v value) Kind {
	s, ok := d.text(v)
	switch {
	case !ok:
	case s == Cluster.String():
		return Cluster
	case s == Namespaced.String():
		return Namespaced
	default:
		d.fault(v, "is %s, neither %s nor %s", quote(s), Cluster, Namespaced)
	}
	return 0
}
