// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

// TestMatrix proves every cell of every way into every engine, or why there is none.
func TestMatrix(t *testing.T) {
	release(t)
	for _, w := range ways() {
		t.Run(w.String(), func(t *testing.T) {
			if reason := w.missing(t); reason != "" {
				testenv.Report(t, "matrix: %s | none: %s", w, reason)
				return
			}
			row(t, newRig(t, w))
		})
	}
}

// Why a cell proves nothing.
var (
	errEmpty     = errors.New("neither proven nor explained")
	errUnchecked = errors.New("the reason is not checked")
	errBoth      = errors.New("both proven and explained")
)

// proof returns what proves the cell of an engine, or that there is none, and what is to
// be said of it then.
func (c cell) proof(is own, found bool) (prove func(t *testing.T, r *rig), became string, err error) {
	switch {
	case is.prove != nil && (is.because != "" || is.check != nil):
		return nil, "", errBoth
	case is.prove != nil:
		return is.prove, "held", nil
	case found && is.because == "":
		return nil, "", errEmpty
	case found && is.check == nil:
		return nil, "", errUnchecked
	case found:
		return is.check, "none: " + is.because, nil
	case c.prove == nil:
		return nil, "", errEmpty
	}
	return c.prove, "held", nil
}

// TestNoCellIsSilent needs no room: a cell is proven, or explained with a check of the
// reason, and anything else is an error.
func TestNoCellIsSilent(t *testing.T) {
	t.Parallel()
	proof := func(*testing.T, *rig) {}
	for name, test := range map[string]struct {
		cell  cell
		own   own
		found bool
		want  string
		err   error
	}{
		"proven as usual":        {cell: cell{prove: proof}, want: "held"},
		"proven otherwise":       {own: own{prove: proof}, found: true, want: "held"},
		"explained":              {cell: cell{prove: proof}, own: own{because: "no plugin", check: proof}, found: true, want: "none: no plugin"},
		"nothing":                {err: errEmpty},
		"its own, and nothing":   {cell: cell{prove: proof}, found: true, err: errEmpty},
		"a reason without check": {own: own{because: "no plugin"}, found: true, err: errUnchecked},
		"a check without reason": {own: own{check: proof}, found: true, err: errEmpty},
		"proven and explained":   {own: own{prove: proof, because: "no plugin", check: proof}, found: true, err: errBoth},
	} {
		prove, became, err := test.cell.proof(test.own, test.found)
		if became != test.want || !errors.Is(err, test.err) || (prove != nil) != (err == nil) {
			t.Errorf("%s: %q, %v", name, became, err)
		}
	}
	before := map[string]string{"/a": "1", "/b": "1", "/c": "1"}
	after := map[string]string{"/a": "1", "/b": "2", "/d": "1"}
	if got := changes(before, after); !slices.Equal(got, []string{"/b", "/c", "/d"}) {
		t.Errorf("changes %q", got)
	}
}

// eachWay does something with each way that the release has: what it lacks and why is
// in the matrix.
func eachWay(t *testing.T, do func(t *testing.T, w way)) {
	t.Helper()
	for _, w := range ways() {
		if w.missing(t) == "" {
			t.Run(w.String(), func(t *testing.T) { do(t, w) })
		}
	}
}

// cells are those of a row.
func (r *rig) cells() []cell {
	if e, ok := r.engine.(extended); ok {
		return append(e.more(), cells()...)
	}
	return cells()
}

// row proves the cells of a way and reports what became of each. A cell that is
// neither proven nor explained fails.
func row(t *testing.T, r *rig) {
	t.Helper()
	own := r.own()
	var line []string
	for _, c := range r.cells() {
		is, found := own[c.name]
		delete(own, c.name)
		became := ""
		// Spaces in names of tests become underscores.
		passed := t.Run(strings.ReplaceAll(c.name, ":", ""), func(t *testing.T) {
			if c.away {
				r.away(t)
			} else {
				r.up(t)
			}
			prove, word, err := c.proof(is, found)
			if err != nil {
				t.Fatal(err)
			}
			prove(t, r)
			became = word
		})
		if !passed || became == "" { // a skip is no proof
			became = "FAILED"
			t.Errorf("%s: neither held nor explained", c.name)
		}
		line = append(line, c.name+" = "+became)
	}
	for name := range own {
		t.Errorf("the engine has a cell %q, which is in no row", name)
	}
	r.up(t)
	testenv.Report(t, "matrix: %s %s | %s", r.way, r.title(), strings.Join(line, " | "))
}
