// SPDX-License-Identifier: Apache-2.0

package tetragon_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The tables in testdata are the contract; the descriptors follow them, never
// the other way round. wire, enums, services, reserved and files are what every
// client knows, later-* what newer ones know too, and own-fields is ours.

// none is the name of the field in the row of a message that has none.
const none = "(empty)"

// row is a line of a table by the names of its columns.
type row map[string]string

// facts says one thing of each name, such as a field's number, type and label.
type facts map[string]string

// add notes a fact; nothing may be said twice.
func (f facts) add(tb testing.TB, name string, fact ...string) {
	tb.Helper()
	if old, ok := f[name]; ok {
		tb.Fatalf("%s is there twice: %s; %s", name, old, strings.Join(fact, " "))
	}
	f[name] = strings.Join(fact, " ")
}

// table reads one table, which must have these columns.
func table(tb testing.TB, name string, columns ...string) []row {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".tsv"))
	if err != nil {
		tb.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if got := strings.Split(lines[0], "\t"); !slices.Equal(got, columns) {
		tb.Fatalf("%s: columns %q, want %q", name, got, columns)
	}
	var rows []row
	for i, line := range lines[1:] {
		cells := strings.Split(line, "\t")
		if slices.Contains(cells, none) && len(cells) < len(columns) {
			cells = append(cells, make([]string, len(columns)-len(cells))...) // such rows end early
		}
		if len(cells) != len(columns) {
			tb.Fatalf("%s:%d: %d cells, want %d", name, i+2, len(cells), len(columns))
		}
		r := row{}
		for c, column := range columns {
			r[column] = cells[c]
		}
		rows = append(rows, r)
	}
	return rows
}

// fieldRows reads tables of fields, with the rows of messages that have none.
func fieldRows(tb testing.TB, names ...string) []row {
	tb.Helper()
	var rows []row
	for _, name := range names {
		rows = append(rows, table(tb, name, "file", "message", "field", "number", "type", "kind", "label",
			"oneof", "packed", "deprecated", "json_name")...)
	}
	return rows
}

func enumRows(tb testing.TB, names ...string) []row {
	tb.Helper()
	var rows []row
	for _, name := range names {
		rows = append(rows, table(tb, name, "file", "enum", "value", "number", "deprecated", "options")...)
	}
	return rows
}

func serviceRows(tb testing.TB, names ...string) []row {
	tb.Helper()
	var rows []row
	for _, name := range names {
		rows = append(rows, table(tb, name, "file", "service", "method", "path", "request", "response",
			"in", "out", "deprecated")...)
	}
	return rows
}

// fileImports is the imports of each file. The rows of later-files add to those
// of files.
func fileImports(tb testing.TB) map[string][]string {
	tb.Helper()
	imports := map[string][]string{}
	for _, name := range []string{"files", "later-files"} {
		for _, r := range table(tb, name, "file", "package", "go_package", "syntax", "imports") {
			if r["package"] != "tetragon" || r["syntax"] != "proto3" {
				tb.Fatalf("%s: %s: package %s, syntax %s", name, r["file"], r["package"], r["syntax"])
			}
			list := strings.FieldsFunc(r["imports"], func(c rune) bool { return c == ',' })
			imports[r["file"]] = append(imports[r["file"]], list...)
		}
	}
	return imports
}

// distinct counts the different values of a column.
func distinct(rows []row, column string) int {
	values := map[string]bool{}
	for _, r := range rows {
		values[r[column]] = true
	}
	return len(values)
}

// check compares both ways.
func check(t *testing.T, what string, want, got facts) {
	t.Helper()
	if len(want) == 0 {
		t.Fatalf("the tables know no %s", what)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if fact, ok := got[name]; !ok {
			t.Errorf("%s %s: only in the tables: %s", what, name, want[name])
		} else if fact != want[name] {
			t.Errorf("%s %s:\n got: %s\nwant: %s", what, name, fact, want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s %s: not in the tables: %s", what, name, got[name])
		}
	}
}
