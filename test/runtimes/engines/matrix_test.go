// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
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
			switch {
			case is.prove != nil:
				is.prove(t, r)
				became = "held"
			case found:
				is.check(t, r)
				became = "none: " + is.because
			case c.prove != nil:
				c.prove(t, r)
				became = "held"
			default:
				t.Fatal("neither proven nor explained")
			}
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
