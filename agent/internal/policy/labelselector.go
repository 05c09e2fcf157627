// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

// RequirementOp is the operator of one requirement of a label selector.
type RequirementOp uint8

// The operators of requirements. As in Kubernetes, NotIn also holds for what
// has no such key.
const (
	LabelIn RequirementOp = iota + 1
	LabelNotIn
	LabelExists
	LabelDoesNotExist
)

// Labels is what a label selector is asked about.
type Labels interface {
	// Lookup is the value under key, and whether there is one.
	Lookup(key string) (string, bool)
}

// Requirement is one condition of a label selector.
type Requirement struct {
	// Key is the label's key.
	Key string
	// Op is how the label's value is compared.
	Op RequirementOp
	// Values are sorted and unique; empty for Exists and DoesNotExist.
	Values []string
}

// LabelSelector selects by labels: all of its requirements must hold, so that
// an empty one selects everything. It is not the one of Kubernetes' library,
// whose syntax for keys and values refuses the keys of pod namespaces, the
// names of image repositories, and most OCI annotations.
type LabelSelector struct {
	// Requirements are ANDed.
	Requirements []Requirement
}

// Matches tells whether all requirements hold for l. A nil selector matches
// nothing.
func (s *LabelSelector) Matches(l Labels) bool {
	if s == nil {
		return false
	}
	for i := range s.Requirements {
		if !s.Requirements[i].holds(l) {
			return false
		}
	}
	return true
}

// Empty tells whether the selector has no requirement.
func (s *LabelSelector) Empty() bool { return s == nil || len(s.Requirements) == 0 }

func (r *Requirement) holds(l Labels) bool {
	value, found := l.Lookup(r.Key)
	switch r.Op {
	case LabelIn:
		return found && r.has(value)
	case LabelNotIn:
		return !found || !r.has(value)
	case LabelExists:
		return found
	case LabelDoesNotExist:
		return !found
	}
	return false
}

func (r *Requirement) has(value string) bool {
	_, found := slices.BinarySearch(r.Values, value)
	return found
}
