// SPDX-License-Identifier: Apache-2.0

// Package redact hides parts of the arguments and environments of processes in
// events. It is pure.
//
// A redaction has regular expressions with groups: what their groups match is
// replaced by [Mark]. They look at the arguments of a process, at the value of
// each variable of its environment, and at the variable written as KEY=VALUE. All see
// the text as it was, so that none depends on what another one hides; parts that overlap are
// hidden as one. A redaction with binary_regex is for processes of
// these binaries only, be it the event's process, its parent or an ancestor, and one with
// match for events that pass one of these filters.
package redact

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/boltseal/boltseal/agent/internal/filter"
	"github.com/boltseal/boltseal/agent/internal/filter/subject"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Mark is what stands for what was hidden.
const Mark = "*****"

// ErrInvalid is wrapped by all errors of Compile.
var ErrInvalid = errors.New("invalid redaction")

// Redactions are compiled redactions. They are safe for concurrent use.
type Redactions struct {
	all []redaction
}

type redaction struct {
	match    *filter.Filter // nil: all events
	binaries []*regexp.Regexp
	redact   []*regexp.Regexp
}

// Compile compiles redactions. The error tells of all faults, each with the path of
// its field.
func Compile(list []*tetragon.RedactionFilter) (*Redactions, error) {
	r := &Redactions{}
	var errs []error
	for i, f := range list {
		one, faults := compile(f)
		for _, fault := range faults {
			errs = append(errs, fmt.Errorf("%w: [%d].%w", ErrInvalid, i, fault))
		}
		r.all = append(r.all, one)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

func compile(f *tetragon.RedactionFilter) (r redaction, errs []error) {
	if unknown := f.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		number, _, _ := protowire.ConsumeTag(unknown)
		errs = append(errs, fmt.Errorf("field %d: not known to this version", number))
	}
	if len(f.GetMatch()) > 0 {
		var err error
		if r.match, err = filter.Compile(f.GetMatch(), nil); err != nil {
			errs = append(errs, fmt.Errorf("match: %w", err))
		}
	}
	if len(f.GetRedact()) == 0 {
		errs = append(errs, errors.New("redact: there is no expression"))
	}
	for i, text := range f.GetRedact() {
		e, err := regexp.Compile(text)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("redact[%d]: %w", i, err))
		case e.NumSubexp() == 0:
			errs = append(errs, fmt.Errorf("redact[%d]: has no group, and so nothing to hide: put what is to be hidden in parentheses", i))
		}
		r.redact = append(r.redact, e)
	}
	for i, text := range f.GetBinaryRegex() {
		e, err := regexp.Compile(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("binary_regex[%d]: %w", i, err))
		}
		r.binaries = append(r.binaries, e)
	}
	return r, errs
}

// Apply is an event with what is to be hidden replaced: the event itself if there is
// nothing, else a copy, which shares the rest with it.
func (r *Redactions) Apply(e *tetragon.GetEventsResponse) *tetragon.GetEventsResponse {
	if len(r.all) == 0 || subject.Process(e) == nil && subject.Parent(e) == nil && len(subject.Ancestors(e)) == 0 {
		return e
	}
	var applies []*redaction
	for i := range r.all {
		if m := r.all[i].match; m == nil || m.Passes(e) {
			applies = append(applies, &r.all[i])
		}
	}
	if len(applies) == 0 {
		return e
	}
	process, changed := of(subject.Process(e), applies)
	parent, parentChanged := of(subject.Parent(e), applies)
	var ancestors []*tetragon.Process
	for i, a := range subject.Ancestors(e) {
		if other, changed := of(a, applies); changed {
			if ancestors == nil {
				ancestors = slices.Clone(subject.Ancestors(e))
			}
			ancestors[i] = other
		}
	}
	if !changed && !parentChanged && ancestors == nil {
		return e
	}
	return subject.With(e, process, parent, ancestors)
}

// of is a process without what is to be hidden, and whether there was anything.
func of(p *tetragon.Process, applies []*redaction) (*tetragon.Process, bool) {
	if p == nil || p.GetArguments() == "" && len(p.GetEnvironmentVariables()) == 0 {
		return p, false
	}
	var room [8]*regexp.Regexp
	expressions := room[:0]
	for _, r := range applies {
		if r.isFor(p.GetBinary()) {
			expressions = append(expressions, r.redact...)
		}
	}
	if len(expressions) == 0 {
		return p, false
	}
	arguments, changed := hide(p.GetArguments(), find(nil, p.GetArguments(), 0, expressions))
	var environment []*tetragon.EnvVar
	for i, v := range p.GetEnvironmentVariables() {
		if other, changed := variable(v, expressions); changed {
			if environment == nil {
				environment = slices.Clone(p.GetEnvironmentVariables())
			}
			environment[i] = other
		}
	}
	if !changed && environment == nil {
		return p, false
	}
	out := subject.Shallow(p)
	out.Arguments = arguments
	if environment != nil {
		out.EnvironmentVariables = environment
	}
	return out, true
}

func (r *redaction) isFor(binary string) bool {
	return len(r.binaries) == 0 || slices.ContainsFunc(r.binaries, func(e *regexp.Regexp) bool { return e.MatchString(binary) })
}

// variable hides parts of the key, too, if groups match them.
func variable(v *tetragon.EnvVar, expressions []*regexp.Regexp) (*tetragon.EnvVar, bool) {
	whole := v.GetKey() + "=" + v.GetValue()
	value := len(v.GetKey()) + 1 // where it begins
	found := find(find(nil, whole, 0, expressions), v.GetValue(), value, expressions)
	if len(found) == 0 {
		return v, false
	}
	var ofKey, ofValue []span
	for _, s := range found {
		ofKey = append(ofKey, span{s.from, min(s.to, value-1)})
		ofValue = append(ofValue, span{max(s.from, value) - value, s.to - value})
	}
	key, keyChanged := hide(v.GetKey(), ofKey)
	hidden, valueChanged := hide(v.GetValue(), ofValue)
	if !keyChanged && !valueChanged {
		return v, false // it was the sign between them
	}
	out := subject.Shallow(v)
	out.Key, out.Value = key, hidden
	return out, true
}

// span is a part of a text, in bytes.
type span struct{ from, to int }

// find adds what groups match in a text. at is added to its positions.
func find(found []span, text string, at int, expressions []*regexp.Regexp) []span {
	for _, e := range expressions {
		for _, m := range e.FindAllStringSubmatchIndex(text, -1) {
			for g := 2; g < len(m); g += 2 {
				if m[g] < m[g+1] {
					found = append(found, span{at + m[g], at + m[g+1]})
				}
			}
		}
	}
	return found
}

// hide replaces parts of a text; those that overlap are one, those that are empty none.
func hide(text string, parts []span) (string, bool) {
	parts = slices.DeleteFunc(parts, func(s span) bool { return s.from >= s.to })
	if len(parts) == 0 {
		return text, false
	}
	slices.SortFunc(parts, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var out strings.Builder
	done := 0 // of the text
	for i := 0; i < len(parts); {
		s := parts[i]
		for i++; i < len(parts) && parts[i].from < s.to; i++ {
			s.to = max(s.to, parts[i].to)
		}
		out.WriteString(text[done:s.from])
		out.WriteString(Mark)
		done = s.to
	}
	out.WriteString(text[done:])
	return out.String(), true
}
