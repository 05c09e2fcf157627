// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"

	"github.com/boltseal/boltseal/bpf"
)

// Certainty is how sure an answer is.
type Certainty uint8

// The certainties, in the order of how much speaks for a match.
const (
	// No: whatever the unknown values are, there is no match.
	No Certainty = iota
	// Maybe: the unknown values decide.
	Maybe
	// Yes: whatever they are, there is one.
	Yes
)

// Judge is Matches for an event of which only some values are known: known is in
// the order of values, and of reads that are computed from others not looked at; a
// mode of 0 is not known. The process's lineage is not judged.
// missing are the reads that decide where the answer is Maybe.
func (r *Rule) Judge(hook *Hook, values []Value, known []bool, enforce bool) (c Certainty, missing []int) {
	return r.judge(hook, values, known, enforce, false)
}

// JudgeReturn is the same for MatchesReturn.
func (r *Rule) JudgeReturn(hook *Hook, values []Value, known []bool, enforce bool) (c Certainty, missing []int) {
	return r.judge(hook, values, known, enforce, true)
}

func (r *Rule) judge(hook *Hook, values []Value, known []bool, enforce, returned bool) (c Certainty, missing []int) {
	for _, f := range r.Filters {
		if hook.Reads[f.Read].Returned() != returned {
			continue
		}
		unknown := f.unknown(hook, values, known)
		if len(unknown) == 0 && !f.matches(f.value(hook, values), hook.Reads[f.Read], enforce && r.Enforces()) {
			return No, nil
		}
		for _, read := range unknown {
			if !slices.Contains(missing, read) {
				missing = append(missing, read)
			}
		}
	}
	if len(missing) > 0 {
		return Maybe, missing
	}
	return Yes, nil
}

// unknown are the reads that the filter's answer depends on and that are not known.
func (f *Filter) unknown(hook *Hook, values []Value, known []bool) (reads []int) {
	of := []int{f.Read}
	if hook.Reads[f.Read].From != nil {
		of = hook.Reads[f.Read].operands(hook.Reads)
	}
	for _, read := range of {
		if !known[read] {
			reads = append(reads, read)
		}
	}
	// A path can be known without the file that it names.
	if hook.Reads[f.Read].Kind == bpf.WireReadKindREAD_FILE_TYPE && len(reads) == 0 && values[of[0]].Mode == 0 {
		reads = of
	}
	return reads
}

// operands are the positions of the reads that a read is computed from.
func (r Read) operands(reads []Read) (of []int) {
	for _, operand := range r.computed().Of {
		if operand != (Read{}) {
			of = append(of, slices.Index(reads, operand))
		}
	}
	return of
}
