// SPDX-License-Identifier: Apache-2.0

// Package summary reads the events of go test -json and tells what ran, what
// did not and why: a skip without a reason is a failure.
package summary

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ReportPrefix begins what a test logs to be shown also when all is well.
const ReportPrefix = "report: "

// Module is the path of the project's Module, which is left out where packages
// are named.
const Module = "github.com/boltseal/boltseal"

// event is one line of go test -json.
type event struct {
	Action, Package, Test, Output, ImportPath, FailedBuild string

	Elapsed float64
}

// Key names a test, or with no test a package.
type Key struct{ Package, Test string }

// String returns the package below the module, and the test.
func (k Key) String() string {
	return strings.TrimPrefix(strings.TrimPrefix(k.Package, Module), "/") + " " + k.Test
}

// Summary is what is known about the tests so far. Several streams may be read at the
// same time, of other packages each; all else is not safe for use at the same time.
type Summary struct {
	reading sync.Mutex

	results map[Key]string           // pass, fail or skip
	output  map[Key]*strings.Builder // of what has not ended, and of skips
	builds  map[string]*strings.Builder
	reports []string
	unrun   []string
	took    map[Key]float64 // seconds
}

// New returns a summary of no tests.
func New() *Summary {
	return &Summary{results: map[Key]string{}, output: map[Key]*strings.Builder{}, builds: map[string]*strings.Builder{}, took: map[Key]float64{}}
}

// Read takes a stream of events in, and writes what failed, and a line for each
// package that has ended, to w.
func (s *Summary) Read(r io.Reader, w io.Writer) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if bad := json.Unmarshal(line, &e); bad != nil {
				fmt.Fprintf(w, "%s", line) // go test itself speaks
			} else {
				s.reading.Lock()
				s.take(e, w)
				s.reading.Unlock()
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read go test: %w", err)
		}
	}
}

func (s *Summary) take(e event, w io.Writer) {
	k := Key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		add(s.builds, e.ImportPath, e.Output)
	case "output":
		add(s.output, k, e.Output)
		if _, text, found := strings.Cut(e.Output, ": "+ReportPrefix); found {
			s.reports = append(s.reports, k.String()+": "+strings.TrimSpace(text))
		}
	case "pass", "fail", "skip":
		if e.Test != "" {
			s.ended(k, e, w)
		} else {
			s.packageEnded(k, e, w)
		}
	}
}

func add[K comparable](m map[K]*strings.Builder, k K, text string) {
	b := m[k]
	if b == nil {
		b = &strings.Builder{}
		m[k] = b
	}
	b.WriteString(text)
}

func (s *Summary) ended(k Key, e event, w io.Writer) {
	s.results[k] = e.Action
	if !strings.Contains(k.Test, "/") {
		s.took[k] += e.Elapsed
	}
	if e.Action == "skip" && s.Reason(k) == "" {
		s.results[k] = "fail"
		fmt.Fprintf(w, "--- %s was skipped without a reason\n", k)
	}
	if e.Action == "fail" {
		fmt.Fprint(w, s.text(k))
	}
	if e.Action != "skip" {
		delete(s.output, k)
	}
}

func (s *Summary) packageEnded(k Key, e event, w io.Writer) {
	if e.Action == "skip" {
		return // a package without tests
	}
	if e.Action == "fail" {
		if b := s.builds[e.FailedBuild]; b != nil {
			fmt.Fprint(w, b.String())
		}
		s.failOpen(k.Package, w)
		fmt.Fprint(w, s.text(k))
		if !s.hasFailed(k.Package) {
			s.results[k] = "fail" // not a test: the build, TestMain, or a race outside of tests
		}
	}
	passed := 0
	for t, result := range s.results {
		if t.Package == k.Package && result == "pass" {
			passed++
		}
	}
	fmt.Fprintf(w, "%-4s %s: %d passed, %.1fs\n", map[string]string{"pass": "ok", "fail": "FAIL"}[e.Action], strings.TrimPrefix(k.Package, Module+"/"), passed, e.Elapsed)
}

func (s *Summary) text(k Key) string {
	if b := s.output[k]; b != nil {
		return b.String()
	}
	return ""
}

// Reason returns what a skipped test said, without the lines of the framework.
func (s *Summary) Reason(k Key) string {
	var said []string
	for line := range strings.Lines(s.text(k)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		// file_test.go:12: text
		if _, text, found := strings.Cut(line, ": "); found && strings.Contains(line[:len(line)-len(text)], ".go:") {
			line = text
		} else if strings.HasSuffix(line, ":") && strings.Contains(line, ".go:") {
			continue // a place and no text
		}
		said = append(said, line)
	}
	return strings.Join(said, " ")
}

// slowest is how many tests are named for the time that they took.
const slowest = 10

// Slowest returns the tests that took longest, and how long, with their subtests.
func (s *Summary) Slowest(n int) []string {
	all := slices.SortedFunc(maps.Keys(s.took), func(a, b Key) int { return cmp.Compare(s.took[b], s.took[a]) })
	var lines []string
	for _, k := range all[:min(n, len(all))] {
		lines = append(lines, fmt.Sprintf("%s: %.1f s", k, s.took[k]))
	}
	return lines
}

// MustRun counts each package below test/ in which no test passed as a failure:
// a run without its kernel tests proves nothing.
func (s *Summary) MustRun(packages []string) {
	for _, pkg := range packages {
		some, passed := false, false
		for k, result := range s.results {
			if k.Package == pkg {
				some = true
				passed = passed || result == "pass"
			}
		}
		if some && !passed {
			s.unrun = append(s.unrun, strings.TrimPrefix(pkg, Module+"/"))
		}
	}
}

// Counts returns how many tests had each result. A test with subtests counts by
// them, unless it failed and none of them did.
func (s *Summary) Counts() map[string]int {
	parents := map[Key]bool{}     // tests that have subtests
	failedBelow := map[Key]bool{} // and those of them with a failed one
	for k, result := range s.results {
		for i := strings.LastIndexByte(k.Test, '/'); i > 0; i = strings.LastIndexByte(k.Test[:i], '/') {
			parent := Key{k.Package, k.Test[:i]}
			parents[parent] = true
			failedBelow[parent] = failedBelow[parent] || result == "fail"
		}
	}
	counts := map[string]int{}
	for k, result := range s.results {
		if !parents[k] || result == "fail" && !failedBelow[k] {
			counts[result]++
		}
	}
	return counts
}

// Failed returns how many tests failed, and packages of [Summary.MustRun].
func (s *Summary) Failed() int { return s.Counts()["fail"] + len(s.unrun) }

// Print writes the figures that tests reported, the skips by reason, what
// failed, and the sum as the last line.
func (s *Summary) Print(w io.Writer) {
	skips := map[string][]string{}
	var failures []string
	for k, result := range s.results {
		switch result {
		case "skip":
			skips[s.Reason(k)] = append(skips[s.Reason(k)], k.String())
		case "fail":
			failures = append(failures, k.String())
		}
	}
	for _, pkg := range s.unrun {
		failures = append(failures, pkg+": none of its tests ran, and this machine is able to run them")
	}
	list(w, "slowest", s.Slowest(slowest))
	list(w, "reported", slices.Sorted(slices.Values(s.reports)))
	for _, reason := range slices.Sorted(maps.Keys(skips)) {
		list(w, "skipped: "+reason, slices.Sorted(slices.Values(skips[reason])))
	}
	list(w, "failed", slices.Sorted(slices.Values(failures)))
	counts := s.Counts()
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", counts["pass"], s.Failed(), counts["skip"])
}

func list(w io.Writer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, line := range lines {
		fmt.Fprintf(w, "  %s\n", line)
	}
}

// Reports returns the figures that tests reported, each behind the test's name.
func (s *Summary) Reports() []string { return slices.Clone(s.reports) }

// Results returns pass, fail or skip for each test that has ended, and fail for
// packages that failed without one of their tests.
func (s *Summary) Results() map[Key]string { return maps.Clone(s.results) }

// MustFail counts a failure of a package's process, whose reason its tests do
// not tell: tests that were running have failed, or else the package has.
func (s *Summary) MustFail(pkg, reason string, w io.Writer) {
	s.failOpen(pkg, w)
	if !s.hasFailed(pkg) {
		s.results[Key{Package: pkg, Test: "(" + reason + ")"}] = "fail"
	}
}

// failOpen counts tests that have begun and not ended as failures: they were
// running when the process died.
func (s *Summary) failOpen(pkg string, w io.Writer) {
	for open := range s.output {
		if _, ended := s.results[open]; open.Package == pkg && open.Test != "" && !ended {
			s.results[open] = "fail"
			fmt.Fprint(w, s.text(open))
		}
	}
}

func (s *Summary) hasFailed(pkg string) bool {
	for k, result := range s.results {
		if k.Package == pkg && result == "fail" {
			return true
		}
	}
	return false
}
