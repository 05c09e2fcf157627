// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// readmeTable is the table of README.md.
func readmeTable() string {
	var b strings.Builder
	b.WriteString("| `" + prefix + "` | type | labels | also `" + compatiblePrefix + "` | what |\n|---|---|---|---|---|\n")
	for _, m := range Table() {
		labels := strings.Join(m.Labels, ", ")
		switch m.Workloads {
		case WholeWorkload:
			labels += ", *workload*"
		case WorkloadOnly:
			labels = "*workload*, without binary"
		}
		also := m.Alias.Name
		if m.Alias.Where != "" {
			also += " (" + m.Alias.Is + ")"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", m.Name, m.Kind, labels, also, m.Help)
	}
	return b.String()
}

// TestReadmeHasEveryMetric: the table of README.md is that of the code.
func TestReadmeHasEveryMetric(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := readmeTable(); !strings.Contains(string(text), want) {
		t.Errorf("README.md does not have this table:\n%s", want)
	}
}
