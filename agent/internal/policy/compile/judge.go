// SPDX-License-Identifier: Apache-2.0

package compile

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
// the order of values. missing are the reads that decide where the answer is
// Maybe.
func (r *Rule) Judge(hook *Hook, values []Value, known []bool, enforce bool) (c Certainty, missing []int) {
	return r.judge(hook, values, known, enforce, false)
}

// JudgeReturn is the same for MatchesReturn.
func (r *Rule) JudgeReturn(hook *Hook, values []Value, known []bool, enforce bool) (c Certainty, missing []int) {
	return r.judge(hook, values, known, enforce, true)
}

func (r *Rule) judge(hook *Hook, values []Value, known []bool, enforce, returned bool) (c Certainty, missing []int) {
	for _, f := range r.Filters {
		switch {
		case hook.Reads[f.Read].Returned() != returned:
		case !known[f.Read]:
			missing = append(missing, f.Read)
		case !f.matches(values[f.Read], hook.Reads[f.Read], enforce && r.Enforces()):
			return No, nil
		}
	}
	if len(missing) > 0 {
		return Maybe, missing
	}
	return Yes, nil
}
