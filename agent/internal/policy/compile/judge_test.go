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

// What is computed is judged by what it is computed from.
func TestJudgeComputed(t *testing.T) {
	t.Parallel()
	first, second := Read{Kind: bpf.WireReadKindREAD_INT, Size: 8}, Read{Kind: bpf.WireReadKindREAD_INT, Offset: 8, Size: 8}
	file := Read{Kind: bpf.WireReadKindREAD_FILE, Offset: 16, Size: 8}
	hook := &Hook{Reads: []Read{
		first, second, file, gainedRead(first, second),
		computedOf(bpf.WireReadKindREAD_SUBSTRING, file), computedOf(bpf.WireReadKindREAD_FILE_TYPE, file),
	}}
	gained := Filter{Read: 3, Kind: bpf.WireMatchKindMATCH_MASK, Mask: 2}
	search := Filter{Read: 4, Kind: bpf.WireMatchKindMATCH_SUBSTRING, Substrings: []string{"cre"}}
	regular := Filter{Read: 5, Kind: bpf.WireMatchKindMATCH_EXACT, Numbers: []uint64{8}}
	values := []Value{{Number: 3}, {Number: 1}, {String: "/secret", Mode: 0o100600}, {}, {}, {}}
	pathAlone := []Value{{}, {}, {String: "/secret"}, {}, {}, {}}
	for name, tt := range map[string]struct {
		filter  Filter
		values  []Value
		known   []bool
		want    Certainty
		missing []int
	}{
		"gained":              {gained, values, []bool{true, true, false, false, false, false}, Yes, nil},
		"one set":             {gained, values, []bool{true, false, false, false, false, false}, Maybe, []int{1}},
		"no set":              {gained, values, make([]bool, 6), Maybe, []int{0, 1}},
		"found":               {search, values, []bool{false, false, true, false, false, false}, Yes, nil},
		"not found":           {Filter{Read: 4, Kind: search.Kind, Substrings: []string{"x"}}, values, []bool{false, false, true, false, false, false}, No, nil},
		"text unknown":        {search, values, make([]bool, 6), Maybe, []int{2}},
		"type":                {regular, values, []bool{false, false, true, false, false, false}, Yes, nil},
		"another type":        {Filter{Read: 5, Kind: regular.Kind, Numbers: []uint64{4}}, values, []bool{false, false, true, false, false, false}, No, nil},
		"path without a type": {regular, pathAlone, []bool{false, false, true, false, false, false}, Maybe, []int{2}},
	} {
		rule := &Rule{Filters: []Filter{tt.filter}}
		if got, missing := rule.Judge(hook, tt.values, tt.known, true); got != tt.want || !slices.Equal(missing, tt.missing) {
			t.Errorf("%s: %d, missing %v; want %d, %v", name, got, missing, tt.want, tt.missing)
		}
	}
}
