// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
)

// ErrUnsupported marks a fault whose field the language knows and this version
// does not support.
var ErrUnsupported = errors.New("not supported by this version")

// FieldError is one fault of a policy.
type FieldError struct {
	// Path is the field, e.g. "spec.tracepoints[0].args[1].type"; empty when the
	// fault is the text's as a whole.
	Path string
	// Line is the line of the fault, counted from 1; 0 when there is none.
	Line int
	// Reason says what is wrong, and where it helps what would be right.
	Reason string
	// Err is ErrUnsupported or nil.
	Err error
}

// Error is "line 7: spec.tracepoints[0].event: reason".
func (e *FieldError) Error() string {
	text := e.Reason
	if e.Path != "" {
		text = e.Path + ": " + text
	}
	if e.Line > 0 {
		text = fmt.Sprintf("line %d: %s", e.Line, text)
	}
	return text
}

// Unwrap is Err, so that errors.Is finds ErrUnsupported.
func (e *FieldError) Unwrap() error { return e.Err }

// Faults are all faults in an error of this package, also in a wrapped one, in
// the order of the text; nil when err holds none.
func Faults(err error) []*FieldError {
	// Not errors.As, which stops at the first of them.
	switch e := err.(type) { //nolint:errorlint // this walks the tree of wrapped errors itself
	case *FieldError:
		return []*FieldError{e}
	case interface{ Unwrap() []error }:
		var all []*FieldError
		for _, one := range e.Unwrap() {
			all = append(all, Faults(one)...)
		}
		return all
	case interface{ Unwrap() error }:
		return Faults(e.Unwrap())
	}
	return nil
}

// position is where a field stands in a text.
type position struct {
	path string
	line int
}

func (p position) fault(format string, args ...any) *FieldError {
	return &FieldError{Path: p.path, Line: p.line, Reason: fmt.Sprintf(format, args...)}
}

// below is a field inside the one at p, whose own line is not known any more.
func (p position) below(format string, args ...any) position {
	return position{path: p.path + fmt.Sprintf(format, args...), line: p.line}
}
