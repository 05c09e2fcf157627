// SPDX-License-Identifier: Apache-2.0

package policy

import "fmt"

// Operator is how a filter compares.
type Operator uint8

// The operators.
const (
	OpEqual Operator = iota + 1
	OpNotEqual
	OpPrefix
	OpNotPrefix
	OpPostfix
	OpNotPostfix
	// OpGreaterThan is GT and GreaterThan.
	OpGreaterThan
	// OpLessThan is LT and LessThan.
	OpLessThan
	OpInRange
	OpNotInRange
	// OpIn and OpNotIn are the equality of matchBinaries.
	OpIn
	OpNotIn
)

// String is the operator as the language spells it.
func (o Operator) String() string {
	switch o {
	case OpEqual:
		return "Equal"
	case OpNotEqual:
		return "NotEqual"
	case OpPrefix:
		return "Prefix"
	case OpNotPrefix:
		return "NotPrefix"
	case OpPostfix:
		return "Postfix"
	case OpNotPostfix:
		return "NotPostfix"
	case OpGreaterThan:
		return "GreaterThan"
	case OpLessThan:
		return "LessThan"
	case OpInRange:
		return "InRange"
	case OpNotInRange:
		return "NotInRange"
	case OpIn:
		return "In"
	case OpNotIn:
		return "NotIn"
	}
	return fmt.Sprintf("Operator(%d)", uint8(o))
}

// Negated tells whether the operator holds when no value matches.
func (o Operator) Negated() bool { return o.Positive() != o && o != OpIn }

// Positive is the comparison without its negation: OpNotPrefix gives OpPrefix.
// OpIn and OpNotIn give OpEqual, as membership is equality with any value.
func (o Operator) Positive() Operator {
	switch o {
	case OpNotEqual, OpIn, OpNotIn:
		return OpEqual
	case OpNotPrefix:
		return OpPrefix
	case OpNotPostfix:
		return OpPostfix
	case OpNotInRange:
		return OpInRange
	}
	return o
}
