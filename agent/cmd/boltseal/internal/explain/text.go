// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"strings"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
)

// width is where lines of text are broken.
const width = 110

// Text is the explanation for people, in lines that a terminal can show.
func (e *Explanation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, mode %s\n", e.Kind, e.Policy, e.Mode)
	item(&b, "for", strings.Join(e.Subjects, "; "))
	item(&b, "kernel", e.Kernel+": "+e.answer())
	for _, r := range e.Refusals {
		text := r.Reason
		if r.Path != "" {
			text = r.Path + ": " + text
		}
		item(&b, "refused", text)
	}
	for i := range e.Hooks {
		e.Hooks[i].text(&b)
	}
	if len(e.Holes) > 0 {
		fmt.Fprintln(&b, "\nknown ways around it")
	}
	for _, h := range e.Holes {
		item(&b, h.Name, h.Text+" ("+strings.Join(h.Hooks, ", ")+")")
	}
	if len(e.Notes) > 0 {
		fmt.Fprintln(&b, "\nnotes")
	}
	for _, n := range e.Notes {
		item(&b, "-", n)
	}
	return b.String()
}

func (e *Explanation) answer() string {
	if e.Loads {
		return "takes it"
	}
	return "refuses it whole"
}

func (h *Hook) text(b *strings.Builder) {
	fmt.Fprintln(b)
	wrapped(b, h.Path+":", "when "+h.When)
	if h.Message != "" {
		item(b, "message", h.Message)
	}
	if len(h.Tags) > 0 {
		item(b, "tags", strings.Join(h.Tags, ", "))
	}
	for _, r := range h.Reads {
		item(b, "reads", r)
	}
	for i, s := range h.Selectors {
		s.text(b, i)
	}
	for _, m := range h.Mechanisms {
		item(b, "by", m)
	}
	for _, g := range h.Guarantees {
		item(b, "promise", g)
	}
	if h.Absent != "" {
		item(b, "by", "nothing: "+h.Absent)
	}
}

// text writes a selector, the ith of its hook.
func (s *Selector) text(b *strings.Builder, i int) {
	name := fmt.Sprintf("rule %d", i)
	switch {
	case s.Never:
		item(b, name, "never: no value satisfies "+join(s.Conditions, "and"))
		return
	case len(s.Conditions) == 0 && i == 0:
		item(b, name, "always")
	case len(s.Conditions) == 0:
		item(b, name, "otherwise")
	default:
		item(b, name, "if "+join(s.Conditions, "and"))
	}
	item(b, "", "then "+join(s.Actions, "and"))
	if len(s.ReturnConditions) > 0 {
		item(b, "", "and when it returns, reported only if "+join(s.ReturnConditions, "and"))
	}
	if len(s.ReturnActions) > 0 {
		item(b, "", "and then, when it returns, "+join(s.ReturnActions, "and"))
	}
	if s.Label != "" {
		item(b, "", "counted as "+s.Label)
	}
}

// column is where the texts of items begin.
const column = 12

// item writes a titled text, broken into lines below each other.
func item(b *strings.Builder, title, text string) {
	const indent, room = "  ", column - 2
	head := fmt.Sprintf("%s%-*s", indent, room, title)
	if len(title) > room-2 {
		fmt.Fprintf(b, "%s%s\n", indent, title)
		head = strings.Repeat(" ", column)
	}
	wrapped(b, head, text)
}

// wrapped writes a text after a head, broken into lines.
func wrapped(b *strings.Builder, head, text string) {
	line, words := head, 0
	for word := range strings.FieldsSeq(quote.Text(strings.ReplaceAll(text, "\n", " "))) {
		if words > 0 && len(line)+1+len(word) > width {
			fmt.Fprintln(b, strings.TrimRight(line, " "))
			line, words = strings.Repeat(" ", column), 0
		}
		if words > 0 || strings.HasSuffix(line, ":") {
			line += " "
		}
		line += word
		words++
	}
	fmt.Fprintln(b, strings.TrimRight(line, " "))
}
