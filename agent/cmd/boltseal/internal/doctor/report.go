// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"strings"
)

// Verdict is the outcome of a check.
type Verdict string

// The verdicts.
const (
	OK        Verdict = "ok"
	Warn      Verdict = "warn"
	Fail      Verdict = "FAIL"
	NotProven Verdict = "not proven"
)

// Check is one thing that was looked at.
type Check struct {
	// Name is what was checked, as "kernel btf" or "runc sealed".
	Name    string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	// Found is what was seen, or why nothing could be.
	Found string `json:"found"`
	// Do is what to do about it; empty: nothing.
	Do string `json:"do,omitempty"`
}

// Report is all checks in their order.
type Report struct {
	Checks []Check `json:"checks"`
	// Failed is how many of them failed.
	Failed int `json:"failed"`
}

// finding is a check without its name.
type finding struct {
	verdict   Verdict
	found, do string
}

func ok(format string, args ...any) finding {
	return finding{verdict: OK, found: fmt.Sprintf(format, args...)}
}

func warn(format string, args ...any) finding {
	return finding{verdict: Warn, found: fmt.Sprintf(format, args...)}
}

func fail(format string, args ...any) finding {
	return finding{verdict: Fail, found: fmt.Sprintf(format, args...)}
}

func notProven(format string, args ...any) finding {
	return finding{verdict: NotProven, found: fmt.Sprintf(format, args...)}
}

// but says what to do about a finding.
func (f finding) but(format string, args ...any) finding {
	f.do = fmt.Sprintf(format, args...)
	return f
}

// tell adds a check to the report.
func (r *run) tell(name string, f finding) {
	c := Check{Name: name, Verdict: f.verdict, Found: flat(f.found), Do: flat(f.do)}
	r.report.Checks = append(r.report.Checks, c)
	if c.Verdict == Fail {
		r.report.Failed++
	}
	if r.Each != nil {
		r.Each(c)
	}
}

// flat is text of many lines in one.
func flat(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(c rune) bool { return c == '\n' || c == '\r' }), "; ")
}
