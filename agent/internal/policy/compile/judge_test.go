// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"
	"testing"

	"github.com/boltseal/boltseal/bpf"
)

// What is known decides where it can, whatever the rest is.
func TestJudge(t *testing.T) {
	t.Parallel()
	hook := &Hook{Reads: []Read{{Kind: bpf.WireReadKindREAD_INT, Size: 4}, {Kind: bpf.WireReadKindREAD_INT, Offset: 8, Size: 4}}}
	rule := &Rule{Filters: []Filter{
		{Read: 0, Kind: bpf.WireMatchKindMATCH_EXACT, Numbers: []uint64{1}}, {Read: 1, Kind: bpf.WireMatchKindMATCH_EXACT, Numbers: []uint64{2}},
	}}
	for _, tt := range []struct {
		values  [2]uint64
		known   []bool
		want    Certainty
		missing []int
	}{
		{[2]uint64{1, 2}, []bool{true, true}, Yes, nil},
		{[2]uint64{1, 3}, []bool{true, true}, No, nil},
		{[2]uint64{1, 3}, []bool{true, false}, Maybe, []int{1}},
		{[2]uint64{0, 2}, []bool{true, false}, No, nil},
		{[2]uint64{0, 3}, []bool{false, true}, No, nil},
		{[2]uint64{0, 0}, []bool{false, false}, Maybe, []int{0, 1}},
	} {
		values := []Value{{Number: tt.values[0]}, {Number: tt.values[1]}}
		got, missing := rule.Judge(hook, values, tt.known, true)
		if got != tt.want || !slices.Equal(missing, tt.missing) {
			t.Errorf("%v known %v: %d, missing %v; want %d, %v", tt.values, tt.known, got, missing, tt.want, tt.missing)
		}
		if tt.known[0] && tt.known[1] && (got == Yes) != rule.Matches(hook, values, true) {
			t.Errorf("%v: %d is not what Matches says", tt.values, got)
		}
	}
}
