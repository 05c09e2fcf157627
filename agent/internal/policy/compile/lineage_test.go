// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// Lineages are shared where they are equal, and a rule that asks for several asks
// for all of them.
func TestLineages(t *testing.T) {
	t.Parallel()
	parsed, err := policy.Parse([]byte(`apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: x}
spec:
  tracepoints:
  - subsystem: test
    event: event
    selectors:
    - matchBinaries: [{operator: In, values: ["/b", "/a"], followChildren: true}]
      matchPIDs:
      - {operator: NotIn, values: [7], followForks: true}
      - {operator: In, values: [7], followForks: true, isNamespacePID: true}
    - matchBinaries: [{operator: NotIn, values: ["/a", "/b"], followChildren: true}]
    - matchBinaries: [{operator: In, values: ["/a"]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	k := compiletest.Kernel{Events: map[string][]compile.Field{"test/event": nil}}
	compiled, err := compile.Compile(parsed, k)
	if err != nil {
		t.Fatal(err)
	}
	wanted := compiled.Lineages()
	if len(wanted) != 3 {
		t.Fatalf("%d lineages %+v, want 3", len(wanted), wanted)
	}
	bits := map[string]int{wanted[0].Key(): 3, wanted[1].Key(): 5, wanted[2].Key(): 70}
	h := &compiled.WithLineages(bits).Hooks[0]
	if len(compiled.Hooks[0].Rules[0].Filters) != 0 {
		t.Error("WithLineages changed the policy that it was asked of")
	}
	const binaries, pid, namespacePID = 1 << 3, 1 << 5, 1 << (70 - 64)
	for _, c := range []struct {
		low, high uint64
		want      int
	}{
		{binaries, namespacePID, 0},
		{binaries | pid, namespacePID, -1},
		{binaries, 0, -1},
		{0, namespacePID, 1},
		{0, 0, 1},
		{1 << 4, 1 << 5, 1},
	} {
		values := make([]compile.Value, len(h.Reads))
		for i, r := range h.Reads {
			switch {
			case r.Kind != bpf.WireReadKindREAD_LINEAGE:
				values[i].String = "/c"
			case r.Offset == 0:
				values[i].Number = c.low
			default:
				values[i].Number = c.high
			}
		}
		if got := h.First(values, true); got != c.want {
			t.Errorf("a process with bits %b and %b above: rule %d, want %d", c.low, c.high, got, c.want)
		}
	}
	for _, l := range wanted {
		if r := l.Begins(); len(r.Filters) != 1 || len(r.Filters[0].Strings)+len(r.Filters[0].Numbers) == 0 {
			t.Errorf("who begins %+v: %+v", l, r)
		}
	}
}
