// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/test/lab"
	"github.com/boltseal/boltseal/test/lab/job"
	"github.com/boltseal/boltseal/test/testenv/summary"
)

// ran returns what came of a column, of which the parts wrote the given output
// and ended with the given statuses; a negative status is a machine that died.
func ran(t *testing.T, name string, part []string, output []string, status []int) *Outcome {
	t.Helper()
	o := &Outcome{Column: Column{Name: name}, Summary: summary.New(), Time: time.Second}
	for _, p := range part {
		o.Column.Parts = append(o.Column.Parts, Part{Package: p})
	}
	var out bytes.Buffer
	p := &parts{column: o.Column, summary: o.Summary, out: &out}
	for i := range output {
		p.take(job.Event{Step: i, Output: []byte(output[i])})
		if status[i] >= 0 {
			p.take(job.Event{Step: i, Exit: &job.Exit{Status: status[i]}})
		}
	}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	return o
}

// Output of test binaries, as -test.v=test2json writes it.
const (
	passes = "\x16=== RUN   TestA\n\x16--- PASS: TestA (0.00s)\n\x16PASS\n"
	fails  = "\x16=== RUN   TestA\n    a_test.go:1: broken\n\x16--- FAIL: TestA (0.00s)\n\x16FAIL\n"
	skipsA = "\x16=== RUN   TestA\n    a_test.go:1: needs luck: none\n\x16--- SKIP: TestA (0.00s)\n\x16PASS\n"
	dies   = "\x16=== RUN   TestA\n"
)

func TestVerdict(t *testing.T) {
	t.Parallel()
	p := []string{"agent/internal/kernel/mechanism"}
	for _, test := range []struct {
		name     string
		outcomes func(t *testing.T) []*Outcome
		rows     []row
		ok       bool
		says     []string
	}{
		{
			name: "all pass", ok: true,
			outcomes: func(t *testing.T) []*Outcome {
				return []*Outcome{ran(t, "5.10", p, []string{passes}, []int{0}), ran(t, host, p, []string{passes}, []int{0})}
			},
			says: []string{"2 columns, 0 things wrong"},
		},
		{
			name: "one fails",
			outcomes: func(t *testing.T) []*Outcome {
				return []*Outcome{ran(t, "5.10", p, []string{fails}, []int{1}), ran(t, host, p, []string{passes}, []int{0})}
			},
			says: []string{"wrong:\n  5.10: agent/internal/kernel/mechanism TestA\n"},
		},
		{
			name: "a skip somewhere", ok: true,
			outcomes: func(t *testing.T) []*Outcome {
				return []*Outcome{ran(t, "5.10", p, []string{skipsA}, []int{0}), ran(t, host, p, []string{passes}, []int{0})}
			},
			says: []string{"skipped: needs luck: none:\n  agent/internal/kernel/mechanism TestA (5.10)\n"},
		},
		{
			name: "a skip everywhere",
			outcomes: func(t *testing.T) []*Outcome {
				return []*Outcome{ran(t, "5.10", p, []string{skipsA}, []int{0}), ran(t, host, p, []string{skipsA}, []int{0})}
			},
			says: []string{"agent/internal/kernel/mechanism TestA: neither this machine nor any kernel of the lab can run it"},
		},
		{
			name: "the machine dies in a test",
			outcomes: func(t *testing.T) []*Outcome {
				return []*Outcome{ran(t, "5.10", p, []string{dies}, []int{-1})}
			},
			says: []string{"5.10: agent/internal/kernel/mechanism TestA\n"},
		},
		{
			name: "the tests pass and the binary fails",
			outcomes: func(t *testing.T) []*Outcome {
				return []*Outcome{ran(t, "5.10", p, []string{passes}, []int{1})}
			},
			says: []string{"5.10: agent/internal/kernel/mechanism (exit status 1)\n"},
		},
		{
			name: "no test is run",
			outcomes: func(t *testing.T) []*Outcome {
				return []*Outcome{ran(t, "5.10", p, []string{"\x16PASS\n"}, []int{0})}
			},
			says: []string{"5.10: none of the tests of agent/internal/kernel/mechanism ran"},
		},
		{
			name: "a row about no test", rows: rows(),
			outcomes: func(t *testing.T) []*Outcome {
				return []*Outcome{ran(t, "5.10", p, []string{passes}, []int{0})}
			},
			says: []string{`5.10: nothing was heard of "kill by signal, per container" (agent/internal/kernel/mechanism TestSignalKill)`},
		},
		{
			name: "the machine does not boot",
			outcomes: func(t *testing.T) []*Outcome {
				o := ran(t, "5.10", p, nil, nil)
				o.Err = errors.New("the guest died while it booted")
				return []*Outcome{o}
			},
			says: []string{"5.10: the guest died while it booted"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if ok := report(&out, test.rows, test.outcomes(t), 65*time.Second); ok != test.ok {
				t.Errorf("verdict is %v:\n%s", ok, out.String())
			}
			for _, words := range append(test.says, "in 1 min 05 s") {
				if !strings.Contains(out.String(), words) {
					t.Errorf("%q is not in:\n%s", words, out.String())
				}
			}
		})
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	part := []string{"agent/internal/kernel/mechanism"}
	result := func(text string) string { return strings.ReplaceAll(text, "TestA", "TestFmodRetDeny") }
	outcomes := []*Outcome{
		ran(t, host, part, []string{result(skipsA)}, []int{0}),
		ran(t, "5.10", part, []string{result(fails)}, []int{1}),
		ran(t, "5.10"+withoutBPF, part, []string{result(passes)}, []int{0}),
	}
	var out bytes.Buffer
	Report(&out, outcomes, false, 0)
	for _, line := range []string{
		`(?m)^ +this machine +5\.10$`,
		`(?m)^fmod_ret denies, per container, without bpf in lsm= +- +ok$`,
		`(?m)^crun *$`,
	} {
		if !regexp.MustCompile(line).MatchString(out.String()) {
			t.Errorf("%s is not in:\n%s", line, out.String())
		}
	}
}

// TestColumns holds that every kernel has both columns, and that the table's rows
// are about tests that are run.
func TestColumns(t *testing.T) {
	t.Parallel()
	var names []string
	packages := map[string]bool{}
	for _, c := range Columns() {
		names = append(names, c.Name)
	}
	for _, c := range slices.Concat(Columns(), LongColumns()) {
		for _, p := range c.Parts {
			packages[p.Package] = true
		}
	}
	for _, k := range lab.Kernels() {
		if !slices.Contains(names, k.Name) || !slices.Contains(names, k.Name+withoutBPF) {
			t.Errorf("kernel %s is not in %q", k.Name, names)
		}
	}
	for _, r := range slices.Concat(rows(), longRows()) {
		if !packages[r.pkg] {
			t.Errorf("row %q is about %s, which is not run", r.promise, r.pkg)
		}
	}
	if _, err := choose(Options{Columns: []string{"2.4"}}); err == nil {
		t.Error("an unknown column was chosen")
	}
}
