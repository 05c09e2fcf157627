// SPDX-License-Identifier: Apache-2.0

package summary

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
)

// stream makes what go test -json would write.
func stream(t *testing.T, events ...event) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return &b
}

func result(action, test string) event { return event{Action: action, Package: "p", Test: test} }

func output(test, text string) event {
	return event{Action: "output", Package: "p", Test: test, Output: text + "\n"}
}

func TestSum(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		events []event
		last   string
		says   []string
	}{
		{
			name:   "a pass, a skip with its reason, a failure with its output",
			events: []event{result("pass", "A"), output("B", "    x_test.go:3: needs root: running as uid 1"), result("skip", "B"), output("C", "    x_test.go:9: broken"), result("fail", "C"), result("fail", "")},
			last:   "1 passed, 1 failed, 1 skipped",
			says:   []string{"skipped: needs root: running as uid 1:\n  p B\n", "x_test.go:9: broken", "failed:\n  p C\n"},
		},
		{
			name:   "a skip without a reason fails",
			events: []event{output("B", "=== RUN   B"), output("B", "    x_test.go:3: "), output("B", "--- SKIP: B (0.00s)"), result("skip", "B"), result("pass", "")},
			last:   "0 passed, 1 failed, 0 skipped",
			says:   []string{"p B was skipped without a reason"},
		},
		{
			name:   "a test counts by its subtests",
			events: []event{result("pass", "A/x"), result("fail", "A/y"), result("fail", "A"), result("fail", "")},
			last:   "1 passed, 1 failed, 0 skipped",
		},
		{
			name:   "a test that failed beside its subtests counts too",
			events: []event{result("pass", "A/x"), result("fail", "A"), result("fail", "")},
			last:   "1 passed, 1 failed, 0 skipped",
		},
		{
			name: "a package that does not build",
			events: []event{
				{Action: "build-output", ImportPath: "p [p.test]", Output: "x.go:1: syntax error\n"},
				{Action: "fail", Package: "p", FailedBuild: "p [p.test]"},
			},
			last: "0 passed, 1 failed, 0 skipped",
			says: []string{"x.go:1: syntax error"},
		},
		{
			name:   "a process that died in a test",
			events: []event{result("pass", "A"), output("B", "=== RUN   B"), output("B", "panic: test timed out"), result("fail", "")},
			last:   "1 passed, 1 failed, 0 skipped",
			says:   []string{"panic: test timed out", "failed:\n  p B\n"},
		},
		{
			name:   "a package that failed with all tests passed",
			events: []event{result("pass", "A"), output("", "testenv: close the session: left behind"), result("fail", "")},
			last:   "1 passed, 1 failed, 0 skipped",
			says:   []string{"left behind"},
		},
		{
			name:   "a report is shown",
			events: []event{output("A", "    x_test.go:3: report: 1000 started, 0 survived"), result("pass", "A"), result("pass", "")},
			last:   "1 passed, 0 failed, 0 skipped",
			says:   []string{"reported:\n  p A: 1000 started, 0 survived\n"},
		},
		{
			name:   "no tests in the package",
			events: []event{result("skip", "")},
			last:   "0 passed, 0 failed, 0 skipped",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := New()
			var out bytes.Buffer
			if err := s.Read(stream(t, test.events...), &out); err != nil {
				t.Fatal(err)
			}
			s.Print(&out)
			text := out.String()
			if !strings.HasSuffix(text, "\n"+test.last+"\n") && text != test.last+"\n" {
				t.Errorf("the last line is not %q:\n%s", test.last, text)
			}
			for _, want := range test.says {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in:\n%s", want, text)
				}
			}
		})
	}
}

func TestPackagesMustRun(t *testing.T) {
	t.Parallel()
	s := New()
	var out bytes.Buffer
	events := stream(t, output("A", "    x_test.go:3: needs luck: none"), result("skip", "A"), result("pass", ""))
	if err := s.Read(events, &out); err != nil {
		t.Fatal(err)
	}
	s.MustRun([]string{"p", "no-tests"})
	s.Print(&out)
	if !strings.HasSuffix(out.String(), "\n0 passed, 1 failed, 1 skipped\n") || !strings.Contains(out.String(), "p: none of its tests ran") {
		t.Errorf("%s", out.String())
	}
}

func TestWordsOfGoTestAreKept(t *testing.T) {
	t.Parallel()
	s := New()
	var out bytes.Buffer
	if err := s.Read(strings.NewReader("go: no such tool\n"), &out); err != nil || out.String() != "go: no such tool\n" {
		t.Errorf("%v, %q", err, out.String())
	}
}

func TestSlowest(t *testing.T) {
	t.Parallel()
	s := New()
	for _, e := range []event{
		{Action: "pass", Package: Module + "/a", Test: "TestQuick", Elapsed: 0.2},
		{Action: "pass", Package: Module + "/a", Test: "TestSlow/part", Elapsed: 30},
		{Action: "pass", Package: Module + "/a", Test: "TestSlow", Elapsed: 30.5},
		{Action: "fail", Package: Module + "/b", Test: "TestWrong", Elapsed: 2},
	} {
		s.take(e, io.Discard)
	}
	if got, want := s.Slowest(2), []string{"a TestSlow: 30.5 s", "b TestWrong: 2.0 s"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
