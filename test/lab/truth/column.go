// SPDX-License-Identifier: Apache-2.0

package truth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Variable is the environment variable that tells a test which column it runs
// on. Outside of the lab it is not set.
const Variable = "BOLTSEAL_LAB"

// withoutBPF ends the names of columns whose parameter lsm= leaves bpf out.
const withoutBPF = "-nobpf"

// ErrUnknown is what Named returns for a column that is not in the table.
var ErrUnknown = errors.New("not a kernel of the lab")

// Column is a kernel of the lab as it was booted.
type Column struct {
	// Name is the value of Variable.
	Name string
	// Release is what the kernel's release, as uname -r prints it, begins with.
	Release string
	// BPF tells whether bpf is among the active security modules.
	BPF bool

	index int // in a fact's list
}

// Kernel is the name of the kernel, however it was booted.
func (c Column) Kernel() string { return strings.TrimSuffix(c.Name, withoutBPF) }

// Fact is something known of a kernel.
type Fact struct {
	// Feature is what it is about, by the name that the probes have for it.
	Feature string
	// Has tells whether the kernel has the feature.
	Has bool
	// Because says how it is known.
	Because string
}

// Columns returns all columns, each kernel first with BPF and then without.
func Columns() []Column {
	var columns []Column
	for i, k := range []struct{ name, release string }{
		{"5.10", "5.10."}, {"6.1", "6.1."}, {"6.12", "6.12."}, {"7", "7."}, {"6.12-inject", "6.12."},
	} {
		columns = append(columns, Column{k.name, k.release, true, i}, Column{k.name + withoutBPF, k.release, false, i})
	}
	return columns
}

// Named returns the column of a name, or an error that is ErrUnknown.
func Named(name string) (Column, error) {
	columns := Columns()
	i := slices.IndexFunc(columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		var names []string
		for _, c := range columns {
			names = append(names, c.Name)
		}
		return Column{}, fmt.Errorf("%q: %w: they are %s", name, ErrUnknown, strings.Join(names, ", "))
	}
	return columns[i], nil
}

// Facts returns all that is known of the kernel, a fact for each feature.
func (c Column) Facts() []Fact {
	var facts []Fact
	for _, r := range rows() {
		cell := strings.Fields(r.kernels)[c.index]
		facts = append(facts, Fact{r.feature, cell == has || cell == withModule && c.BPF, r.because})
	}
	return facts
}
