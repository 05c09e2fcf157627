// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inSid is the column of a room whose tests reported lines.
func inSid(t *testing.T, reports ...string) *Outcome {
	t.Helper()
	output := "\x16=== RUN   TestA\n"
	for _, r := range reports {
		output += "    a_test.go:1: report: " + r + "\n"
	}
	o := ran(t, "room-sid", []string{enginesPackage}, []string{output + "\x16--- PASS: TestA (0.00s)\n\x16PASS\n"}, []int{0})
	o.Column.Room = "sid"
	return o
}

func TestMatrixIsATable(t *testing.T) {
	t.Parallel()
	o := inSid(t,
		"matrix: ship by sea 1.2 | start sealed = held | agent down: block = held | plugin dies = none: it has no plugin",
		"matrix: ship by air | none: ships do not fly",
		"matrix: boat by sea 3 | start sealed = FAILED | agent down: block = held | plugin dies = none: it has no plugin | another = held",
		"ship by sea 1.2: 300 containers: 0 survived")
	var out bytes.Buffer
	if !report(&out, nil, []*Outcome{o}, o.Time) {
		t.Errorf("not well")
	}
	var lines []string // without the spaces that fill columns up
	for line := range strings.Lines(out.String()) {
		if words := strings.Join(strings.Fields(line), " "); words != "" {
			lines = append(lines, words)
		}
	}
	want := []string{
		"start agent plugin another",
		"sealed down: dies",
		"block",
		"ship by sea 1.2 (room-sid) held held (1) ?",
		"ship by air (room-sid) (2) (2) (2) (2)",
		"boat by sea 3 (room-sid) FAILED held (1) held",
		"(1) it has no plugin",
		"(2) ships do not fly",
		"reported:",
		"room-sid: ship by sea 1.2: 300 containers: 0 survived",
		"room-sid 1 passed, 0 failed, 0 skipped, 1 s",
		"1 columns, 0 things wrong, in 0 min 01 s",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

// TestRoomsTakeTurns: there is a column for each release, and they do not keep the
// kernels' columns waiting while they wait for each other.
func TestRoomsTakeTurns(t *testing.T) {
	t.Parallel()
	columns := Columns()
	var rooms []string
	for _, i := range turns(columns)[0] {
		rooms = append(rooms, columns[i].Name)
		if columns[i].Name == host {
			continue
		}
		part := columns[i].Parts[0]
		if many := part.Skip == ""; many != (columns[i].Name == "room-sid") {
			t.Errorf("%s starts hundreds of containers: %v", columns[i].Name, many)
		}
	}
	if diff := cmp.Diff([]string{host, "room-bookworm", "room-trixie", "room-sid"}, rooms); diff != "" {
		t.Error(diff)
	}
	seen := slices.Concat(turns(columns)...)
	slices.Sort(seen)
	for i := range columns {
		if i >= len(seen) || seen[i] != i {
			t.Fatalf("not each column once: %v", seen)
		}
	}
	if n := len(turns(columns)); n != len(columns)-len(rooms)+1 {
		t.Errorf("%d turns of %d columns", n, len(columns))
	}
}
