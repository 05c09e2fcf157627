// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/boltseal/boltseal/test/testenv/summary"
)

// row is a promise, and the tests that hold it.
type row struct {
	promise string
	// pkg and test name a test, or with an empty test all of a package.
	pkg, test string
	// without is for mechanisms that are proven where BPF is not in lsm=.
	without bool
	// some: the tests are not run in every column that runs others of their package.
	some bool
}

func rows() []row {
	const kernel, mechanism, runtimes = kernelPackage, mechanismPackage, runtimesPackage
	return append([]row{
		{promise: "every probe tells the truth", pkg: kernel, test: "TestProbesMatchTruth"},
		{promise: "the same, without bpf in lsm=", pkg: kernel, test: "TestProbesMatchTruth", without: true},
		{promise: "kernel features, tracepoints, tracefs", pkg: kernel},
		{promise: "kill by signal, per container", pkg: mechanism, test: "TestSignalKill"},
		{promise: "BPF LSM denies, per container", pkg: mechanism, test: "TestLSMDeny"},
		{promise: "fmod_ret denies, per container, without bpf in lsm=", pkg: mechanism, test: "TestFmodRetDeny", without: true},
		{promise: "kprobe overrides a system call, per container", pkg: mechanism, test: "TestKprobeOverride"},
		{promise: "seals of cgroups and tasks", pkg: "agent/internal/seal"},
		{promise: "policies at sites", pkg: enginePackage},
		{promise: "a policy denies by BPF LSM", pkg: enginePackage, test: "TestOpenIsDenied/lsm"},
		{promise: "a policy denies by fmod_ret", pkg: enginePackage, test: "TestOpenIsDenied/fmod_ret"},
		{promise: "a policy denies a system call by fmod_ret", pkg: enginePackage, test: "TestOpenIsDenied/syscall"},
		{promise: "a policy denies by kprobe override", pkg: enginePackage, test: "TestOpenIsDenied/override"},
		{promise: "policies at functions", pkg: enginePackage, test: "TestFunctionsAreSeen"},
		{promise: "what functions return", pkg: enginePackage, test: "TestFunctionsReturn"},
		{promise: "what is done to sockets is their owner's", pkg: enginePackage, test: "TestSocketsHaveOwners"},
		{promise: "an enforcer denies what a rule leaves to it", pkg: enginePackage, test: "TestEnforcersDeny/security_function"},
		churnRow("security_hook", true),
		{promise: "what io_uring does for a process is denied to it", pkg: enginePackage, test: "TestWorkersOfIOUring", some: true},
		{promise: "sealed before the first task and exec, killed when selected", pkg: "test/e2e", test: "TestSealOrder", some: true},
	}, slices.Concat(verdictRows(true), []row{
		{promise: "runc", pkg: runtimes, test: "TestSealedBeforeTheFirstExec/runc"},
		{promise: "crun", pkg: runtimes, test: "TestSealedBeforeTheFirstExec/crun"},
		{promise: "podman", pkg: runtimes, test: "TestSealedBeforeTheFirstExec/podman"},
		{promise: "containerd with NRI", pkg: runtimes, test: "TestSealedBeforeTheFirstExec/containerd"},
	})...)
}

// verdictRows are about every act by each mechanism.
func verdictRows(some bool) []row {
	const e2e = "test/e2e"
	return []row{
		{promise: "BPF LSM denies seven acts in the selected container only", pkg: e2e, test: "TestVerdicts/lsm", some: some},
		{promise: "fmod_ret denies them", pkg: e2e, test: "TestVerdicts/fmod_ret", some: some},
		{promise: "fmod_ret or kprobe override denies them as system calls", pkg: e2e, test: "TestVerdicts/system_call_override", some: some},
		{promise: "a signal kills by kprobe", pkg: e2e, test: "TestVerdicts/kprobe_kill", some: some},
		{promise: "a signal kills by tracepoint", pkg: e2e, test: "TestVerdicts/tracepoint_kill", some: some},
	}
}

func churnRow(where string, some bool) row {
	return row{
		promise: "while rules change, verdicts at a " + strings.ReplaceAll(where, "_", " ") + " are those of one version",
		pkg:     enginePackage, test: "TestChurn/" + where, some: some,
	}
}

// longRows are the promises that LongColumns are about.
func longRows() []row {
	return append(verdictRows(false),
		churnRow("system_call", false), churnRow("security_hook", false),
		row{promise: "the language of policies, at real hooks", pkg: enginePackage},
		row{promise: "the scenarios of the library", pkg: "test/e2e", test: "TestScenarios"},
		row{promise: "the kernel is as described", pkg: describedPackage},
	)
}

// unheard is the cell of what did not run.
const unheard = "?"

// cell is what a table says of a row in a column: ok, "-" for what was skipped,
// FAIL, or unheard.
func (r row) cell(o *Outcome) string {
	worst := unheard
	for k, result := range o.Summary.Results() {
		if k.Package != summary.Module+"/"+r.pkg || r.test != "" && k.Test != r.test {
			continue
		}
		switch {
		case result == "fail":
			return "FAIL"
		case result == "pass":
			worst = "ok"
		case worst == unheard:
			worst = "-"
		}
	}
	return worst
}

// Report writes the table, what every column came to, what was skipped and why,
// and what failed, and reports whether all is well.
func Report(w io.Writer, outcomes []*Outcome, long bool, took time.Duration) bool {
	if long {
		return report(w, longRows(), outcomes, took)
	}
	return report(w, rows(), outcomes, took)
}

func report(w io.Writer, rows []row, outcomes []*Outcome, took time.Duration) bool {
	byName := map[string]*Outcome{}
	var names []string
	for _, o := range outcomes {
		byName[o.Column.Name] = o
		if o.Column.Room != "" {
			continue // they are about engines, which have a table of their own
		}
		if name := strings.TrimSuffix(o.Column.Name, withoutBPF); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\t"+strings.Join(names, "\t"))
	if len(names) == 0 {
		rows = nil // of rooms alone
	}
	for _, r := range rows {
		line := r.promise
		for _, name := range names {
			if r.without && name != host {
				name += withoutBPF
			}
			cell := ""
			if o := byName[name]; o != nil {
				cell = r.cell(o)
			}
			if o := byName[name]; cell == unheard && o != nil && (r.some || !o.runs(r.pkg)) {
				cell = ""
			}
			line += "\t" + cell
		}
		fmt.Fprintln(t, line)
	}
	_ = t.Flush() // to a writer that is told by its other users
	matrix(w, outcomes)
	reported(w, outcomes)
	skips(w, outcomes)
	fmt.Fprintln(w)
	for _, o := range outcomes {
		fmt.Fprintln(w, o)
	}
	return verdict(w, rows, outcomes, took)
}

// skips lists why tests were skipped, each reason once.
func skips(w io.Writer, outcomes []*Outcome) {
	type skip struct{ reason, test string }
	where := map[skip][]string{}
	for _, o := range outcomes {
		for k, result := range o.Summary.Results() {
			if result == "skip" {
				s := skip{o.Summary.Reason(k), k.String()}
				where[s] = append(where[s], o.Column.Name)
			}
		}
	}
	byReason := map[string][]string{}
	for s, columns := range where {
		byReason[s.reason] = append(byReason[s.reason], fmt.Sprintf("%s (%s)", s.test, strings.Join(columns, ", ")))
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		fmt.Fprintf(w, "\nskipped: %s:\n", reason)
		for _, test := range slices.Sorted(slices.Values(byReason[reason])) {
			fmt.Fprintf(w, "  %s\n", test)
		}
	}
}

// verdict lists what is wrong, and says in the last line whether anything is.
func verdict(w io.Writer, rows []row, outcomes []*Outcome, took time.Duration) bool {
	var wrong []string
	for _, o := range outcomes {
		for k, result := range o.Summary.Results() {
			if result == "fail" {
				wrong = append(wrong, o.Column.Name+": "+k.String())
			}
		}
		if o.Err != nil {
			wrong = append(wrong, o.Column.Name+": "+o.Err.Error())
		}
		for _, gap := range o.gaps(rows) {
			wrong = append(wrong, o.Column.Name+": "+gap)
		}
	}
	for _, k := range nowhere(outcomes) {
		wrong = append(wrong, k.String()+": neither this machine nor any kernel of the lab can run it")
	}
	slices.Sort(wrong)
	if len(wrong) > 0 {
		fmt.Fprintf(w, "\nwrong:\n  %s\n", strings.Join(wrong, "\n  "))
	}
	fmt.Fprintf(w, "\n%d columns, %d things wrong, in %d min %02d s\n", len(outcomes), len(wrong), int(took.Minutes()), int(took.Seconds())%60)
	return len(wrong) == 0
}

// runs tells whether the column runs tests of a package.
func (o *Outcome) runs(pkg string) bool {
	return slices.ContainsFunc(o.Column.Parts, func(p Part) bool { return p.Package == pkg })
}

// gaps returns what was to be run in a column and of which nothing was heard:
// the parts, and the tests that rows of the table are about.
func (o *Outcome) gaps(rows []row) []string {
	var gaps []string
	runs := map[string]bool{}
	for _, part := range o.Column.Parts {
		runs[part.Package] = true
		if (row{pkg: part.Package}).cell(o) == unheard {
			gaps = append(gaps, "none of the tests of "+part.Package+" ran")
			runs[part.Package] = false // its rows tell nothing more
		}
	}
	for _, r := range rows {
		if runs[r.pkg] && r.test != "" && !r.some && r.cell(o) == unheard {
			gaps = append(gaps, fmt.Sprintf("nothing was heard of %q (%s %s)", r.promise, r.pkg, r.test))
		}
	}
	return gaps
}

// nowhere returns the tests that were skipped wherever they were to run: a test
// that nobody can run proves nothing.
func nowhere(outcomes []*Outcome) []summary.Key {
	ran, skipped := map[summary.Key]bool{}, map[summary.Key]bool{}
	for _, o := range outcomes {
		for k, result := range o.Summary.Results() {
			if result == "skip" {
				skipped[k] = true
			} else {
				ran[k] = true
			}
		}
	}
	var keys []summary.Key
	for k := range skipped {
		if !ran[k] {
			keys = append(keys, k)
		}
	}
	return keys
}
