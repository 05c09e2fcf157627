// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// matrixRow is what the tests of engines report of one engine with one way in: "NAME |
// CELL = WHAT | ...", or "NAME | none: REASON" for a way that the engine does not have.
type matrixRow struct {
	name  string
	cells []string
	// became is by the cell's name what became of it.
	became map[string]string
}

// parseRow takes a report apart; false for one that is no row.
func parseRow(report string) (matrixRow, bool) {
	_, text, found := strings.Cut(report, ": matrix: ")
	if !found {
		return matrixRow{}, false
	}
	fields := strings.Split(text, " | ")
	r := matrixRow{name: fields[0], became: map[string]string{}}
	for _, field := range fields[1:] {
		cell, became, found := strings.Cut(field, " = ")
		if !found {
			cell, became = "", field
		}
		r.cells = append(r.cells, cell)
		r.became[cell] = became
	}
	return r, true
}

// matrix writes the rows as one table, and what its numbers stand for: reasons why
// there is nothing to hold.
func matrix(w io.Writer, outcomes []*Outcome) {
	var rows []matrixRow
	var cells, reasons []string
	for _, o := range outcomes {
		for _, report := range o.Summary.Reports() {
			r, found := parseRow(report)
			if !found {
				continue
			}
			r.name += " (" + o.Column.Name + ")"
			rows = append(rows, r)
			for _, cell := range r.cells {
				if cell != "" && !slices.Contains(cells, cell) {
					cells = append(cells, cell)
				}
			}
		}
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	heads(t, cells)
	for _, r := range rows {
		line := []string{r.name}
		for _, cell := range cells {
			became, found := r.became[cell]
			if !found {
				became = r.became[""] // of the whole row
			}
			if reason, none := strings.CutPrefix(became, "none: "); none {
				if !slices.Contains(reasons, reason) {
					reasons = append(reasons, reason)
				}
				became = fmt.Sprintf("(%d)", slices.Index(reasons, reason)+1)
			}
			if became == "" {
				became = unheard
			}
			line = append(line, became)
		}
		fmt.Fprintln(t, strings.Join(line, "\t"))
	}
	_ = t.Flush() // to a writer that is told by its other users
	for i, reason := range reasons {
		fmt.Fprintf(w, "(%d) %s\n", i+1, reason)
	}
}

// heads writes the names of cells, a word to a line, so that columns are narrow.
func heads(w io.Writer, cells []string) {
	for i := 0; ; i++ {
		line, some := "", false
		for _, cell := range cells {
			word := ""
			if words := strings.Fields(cell); i < len(words) {
				word, some = words[i], true
			}
			line += "\t" + word
		}
		if !some {
			return
		}
		fmt.Fprintln(w, line)
	}
}

// reported writes what else tests reported, each figure with its column.
func reported(w io.Writer, outcomes []*Outcome) {
	var lines []string
	for _, o := range outcomes {
		for _, report := range o.Summary.Reports() {
			if _, isRow := parseRow(report); !isRow && o.Column.Room != "" {
				_, figure, _ := strings.Cut(report, ": ")
				lines = append(lines, o.Column.Name+": "+figure)
			}
		}
	}
	if len(lines) == 0 {
		return
	}
	slices.Sort(lines)
	fmt.Fprintf(w, "\nreported:\n  %s\n", strings.Join(lines, "\n  "))
}
