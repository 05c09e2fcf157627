// SPDX-License-Identifier: Apache-2.0

package kerneltest

import (
	_ "embed"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// walked is how many instructions the verifier has walked of each program on each
// kernel: a line for each program, after the first, with a column for each kernel.
// A count of "-" is a program that the kernel does not take.
//
//go:embed verifier.tsv
var walked string

// labVariable names the machine of the lab that a test runs on; with a suffix
// where it was booted without BPF among the security modules.
const labVariable = "BOLTSEAL_LAB"

// growth is by how much more than recorded a program may cost the verifier before
// somebody has to look, in percent. It is what a kernel to come may add at any
// time: a program that is near the limit of a million instructions does not load
// there.
const growth = 10

// CheckBudget fails the test when the verifier walked more than a tenth more of a
// program than is recorded for this kernel. The program was loaded with
// [ebpf.LogLevelStats]. A kernel of the lab has a record of every program; of
// others those that there are count.
func CheckBudget(tb interface {
	TB
	Errorf(format string, args ...any)
}, program string, loaded *ebpf.Program,
) int {
	tb.Helper()
	n, err := Walked(loaded)
	if err != nil {
		tb.Fatalf("%s: %v", program, err)
	}
	on, inLab := budgetColumn(tb)
	tb.Logf("report: verifier: %s on %s: %d", program, on, n)
	recorded, ok, err := record(walked, program, on)
	switch {
	case err != nil:
		tb.Fatalf("%v", err)
	case !ok && inLab:
		tb.Errorf("verifier.tsv has no count of %s on %s: it is %d", program, on, n)
	case ok && n*100 > recorded*(100+growth):
		tb.Errorf("the verifier walks %d instructions of %s on %s, over %d %% more than the %d recorded", n, program, on, growth, recorded)
	}
	return n
}

// Walked is how many instructions the verifier says that it walked.
func Walked(loaded *ebpf.Program) (int, error) {
	found := regexp.MustCompile(`processed (\d+) insns`).FindStringSubmatch(loaded.VerifierLog)
	if found == nil {
		return 0, fmt.Errorf("the verifier does not tell what it did: %q", loaded.VerifierLog)
	}
	return strconv.Atoi(found[1])
}

// budgetColumn is the column of this kernel: in the lab that of the machine,
// elsewhere the version.
func budgetColumn(tb TB) (name string, inLab bool) {
	tb.Helper()
	if name, ok := os.LookupEnv(labVariable); ok && name != "" {
		return strings.TrimSuffix(name, "-nobpf"), true
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		tb.Fatalf("read version of the kernel: %v", err)
	}
	version := strings.SplitN(unix.ByteSliceToString(uts.Release[:]), ".", 3)
	return strings.Join(version[:min(2, len(version))], "."), false
}

// record is the count in a table, if there is one.
func record(table, program, column string) (count int, ok bool, err error) {
	var at int
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		cells := strings.Split(line, "\t")
		if i == 0 {
			for j, name := range cells {
				if j > 0 && name == column {
					at = j
				}
			}
			continue
		}
		if cells[0] != program || at == 0 {
			continue
		}
		if at >= len(cells) {
			return 0, false, fmt.Errorf("verifier.tsv, line %d: %d columns", i+1, len(cells))
		}
		if cells[at] == "-" {
			return 0, false, nil
		}
		count, err := strconv.Atoi(cells[at])
		if err != nil {
			return 0, false, fmt.Errorf("verifier.tsv, line %d: %w", i+1, err)
		}
		return count, true, nil
	}
	return 0, false, nil
}
