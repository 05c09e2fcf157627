// SPDX-License-Identifier: Apache-2.0

package kerneltest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

// collector notes what a test would say.
type collector struct {
	testing.TB
	errors []string
}

func (c *collector) Helper()              {}
func (c *collector) Logf(string, ...any)  {}
func (c *collector) Skipf(string, ...any) {}

func (c *collector) Errorf(format string, args ...any) {
	c.errors = append(c.errors, fmt.Sprintf(format, args...))
}

func (c *collector) Fatalf(format string, args ...any) { c.Errorf(format, args...) }

func TestBudget(t *testing.T) {
	t.Setenv("BOLTSEAL_LAB", "6.1-nobpf")
	saved := walked
	t.Cleanup(func() { walked = saved })
	walked = "program\t5.10\t6.1\na\t7\t1000\nb\t7\t-\nc\t7\n"
	for _, c := range []struct {
		program, log, says string
	}{
		{"a", "processed 1100 insns (limit 1000000)", ""},
		{"a", "processed 500 insns", ""},
		{"a", "processed 1101 insns", "walks 1101 instructions of a on 6.1, over 10 % more than the 1000"},
		{"b", "processed 5 insns", "no count of b on 6.1: it is 5"},
		{"d", "processed 5 insns", "no count of d on 6.1: it is 5"},
		{"c", "processed 5 insns", "line 4"},
		{"a", "nothing", "does not tell"},
	} {
		got := &collector{TB: t}
		CheckBudget(got, c.program, &ebpf.Program{VerifierLog: c.log})
		said := strings.Join(got.errors, "; ")
		if (said == "") != (c.says == "") || !strings.Contains(said, c.says) {
			t.Errorf("%s, %q: %q, want %q", c.program, c.log, said, c.says)
		}
	}
}

// Every kernel of the lab has a column, and every line as many.
func TestRecordIsWhole(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSpace(walked), "\n")
	head := strings.Split(lines[0], "\t")
	for _, line := range lines[1:] {
		cells := strings.Split(line, "\t")
		if len(cells) != len(head) {
			t.Errorf("%s has %d columns, want %d", cells[0], len(cells), len(head))
		}
		for _, column := range head[1:] {
			if _, _, err := record(walked, cells[0], column); err != nil {
				t.Error(err)
			}
		}
	}
}
