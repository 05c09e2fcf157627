// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/lab/truth"
	"github.com/boltseal/boltseal/test/testenv"
)

// What is asked for is known, and what is known is asked for.
func TestTruthIsWhole(t *testing.T) {
	t.Parallel()
	var asked []string
	for _, q := range (&prober{}).questions() {
		asked = append(asked, string(q.feature))
	}
	slices.Sort(asked)
	for _, c := range truth.Columns() {
		var known []string
		for _, f := range c.Facts() {
			known = append(known, f.Feature)
		}
		slices.Sort(known)
		if !slices.Equal(asked, known) {
			t.Errorf("%s: probes ask for %q, known is %q", c.Name, asked, known)
		}
	}
}

func TestProbesMatchTruth(t *testing.T) {
	testenv.Require(t, testenv.Optional("a kernel of the lab", func() error {
		if os.Getenv(truth.Variable) == "" {
			return errors.New(truth.Variable + " does not name one")
		}
		return nil
	}))
	column, err := truth.Named(os.Getenv(truth.Variable))
	if err != nil {
		t.Fatalf("%s: %v", truth.Variable, err)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(uts.Release[:])
	f := Probe(t.Context(), Options{})
	for _, fault := range faults(column, release, f) {
		t.Error(fault)
	}
}

// faults says where a kernel and what was found out about it are not as they
// are known to be.
func faults(column truth.Column, release string, f Features) (found []string) {
	fault := func(parts ...string) { found = append(found, column.Name+": "+strings.Join(parts, "")) }
	if !strings.HasPrefix(release, column.Release) {
		fault("the running kernel is ", release, ", want ", column.Release, "*")
	}
	if f.Lockdown != "none" {
		fault(`lockdown mode "`, f.Lockdown, `", want "none"`)
	}
	modules := strings.Join(f.SecurityModules, ",")
	switch active := slices.Contains(f.SecurityModules, "bpf"); {
	case column.BPF && !active:
		fault("bpf is not in the list of active security modules (", modules, "): was the kernel booted without bpf in lsm=?")
	case !column.BPF && active:
		fault("bpf is in the list of active security modules (", modules, "), and should not be: lsm= names it, or is missing")
	}
	for _, fact := range column.Facts() {
		answer := f.Err(Feature(fact.Feature))
		var no *UnsupportedError
		switch {
		case answer == nil && fact.Has:
		case answer == nil:
			fault(fact.Feature, ": the probe says that the kernel has it, known is that it has not (", fact.Because, ")")
		case fact.Has:
			fault(fact.Feature, ": known is that the kernel has it (", fact.Because, "), the probe says: ", answer.Error())
		case !errors.As(answer, &no):
			fault(fact.Feature, ": known is that the kernel has it not (", fact.Because, "), the probe cannot tell: ", answer.Error())
		case no.Feature != Feature(fact.Feature) || strings.TrimSpace(no.Reason) == "":
			fault(fact.Feature, ": the probe gives no reason why the kernel has it not: ", answer.Error())
		}
	}
	return found
}

// The comparison itself: each way of being wrong is seen and named.
func TestTruthFindsFaults(t *testing.T) {
	t.Parallel()
	column, err := truth.Named("5.10")
	if err != nil {
		t.Fatal(err)
	}
	// as is what a right probe answers, but for the feature in place of which
	// another answer is given.
	as := func(instead Feature, answer error) Features {
		var answers []Answer
		for _, fact := range column.Facts() {
			a := Answer{Feature: Feature(fact.Feature)}
			switch {
			case a.Feature == instead:
				a.Err = answer
			case !fact.Has:
				a.Err = &UnsupportedError{Feature: a.Feature, Reason: "it is not there"}
			}
			answers = append(answers, a)
		}
		f := NewFeatures(answers...)
		f.Lockdown, f.SecurityModules = "none", []string{"yama", "bpf"}
		return f
	}
	const release = "5.10.0-46-cloud-amd64"
	if got := faults(column, release, as("", nil)); got != nil {
		t.Errorf("faults where there are none: %q", got)
	}
	noModule, locked, partial := as("", nil), as("", nil), as("", nil)
	noModule.SecurityModules = []string{"lockdown", "yama"}
	locked.Lockdown = "integrity"
	partial.answers = partial.answers[1:]
	for _, tt := range []struct {
		name, release string
		f             Features
		want          []string
	}{
		{"claimed", release, as(TaskStorage, nil), []string{"5.10: task_storage: the probe says that the kernel has it"}},
		{"denied", release, as(Kprobe, &UnsupportedError{Feature: Kprobe, Reason: "who knows"}),
			[]string{"5.10: kprobe: known is that the kernel has it (", "kprobe is not supported by this kernel: who knows"}},
		{"unknown", release, as(TaskStorage, errors.New("lost")), []string{"task_storage: known is that the kernel has it not", "the probe cannot tell: lost"}},
		{"no_reason", release, as(TaskStorage, &UnsupportedError{Feature: TaskStorage}), []string{"task_storage: the probe gives no reason"}},
		{"not_probed", release, partial, []string{"btf: known is that the kernel has it", "btf: not probed"}},
		{"other_kernel", "6.1.0-56-cloud-amd64", as("", nil), []string{"the running kernel is 6.1.0-56-cloud-amd64, want 5.10.*"}},
		{"no_module", release, noModule, []string{"bpf is not in the list of active security modules (lockdown,yama)", "lsm="}},
		{"locked", release, locked, []string{`lockdown mode "integrity"`}},
	} {
		got := faults(column, tt.release, tt.f)
		if len(got) != 1 {
			t.Errorf("%s: faults %q, want one", tt.name, got)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(got[0], want) {
				t.Errorf("%s: %q, want %q in it", tt.name, got[0], want)
			}
		}
	}
	column.BPF = false
	if got := faults(column, release, as(LSM, &UnsupportedError{Feature: LSM, Reason: "it is not there"})); len(got) != 1 || !strings.Contains(got[0], "and should not be") {
		t.Errorf("with a security module too many: %q", got)
	}
}
