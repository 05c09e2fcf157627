// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// TestPolicyListTellsFaults: a list of sound policies has no column for faults.
func TestPolicyListTellsFaults(t *testing.T) {
	t.Parallel()
	sound := &tetragon.TracingPolicyStatus{Name: "p", State: tetragon.TracingPolicyState_TP_STATE_ENABLED}
	faulty := &tetragon.TracingPolicyStatus{
		Name: "q.yaml", State: tetragon.TracingPolicyState_TP_STATE_LOAD_ERROR, Error: "file /q.yaml: line 1: \x1b[31m\nline 2: b\nline 3: c",
	}
	if rows := policyRows([]*tetragon.TracingPolicyStatus{sound}); strings.Contains(strings.Join(rows[0], " "), "ERROR") {
		t.Errorf("sound: %q", rows)
	}
	rows := policyRows([]*tetragon.TracingPolicyStatus{sound, faulty})
	last := func(row []string) string { return row[len(row)-1] }
	if last(rows[0]) != "ERROR" || last(rows[1]) != "" || rows[2][2] != "load_error" ||
		!strings.Contains(last(rows[2]), "line 1") || !strings.HasSuffix(last(rows[2]), "(and 2 more)") || strings.Contains(last(rows[2]), "\x1b") {
		t.Errorf("faulty: %q", rows)
	}
}
