// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
)

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
	// OpMask holds when the argument has a bit of a value.
	OpMask
	// OpInMap and OpNotInMap are OpInRange and OpNotInRange of any number of values.
	OpInMap
	OpNotInMap
	// The operators of sockets. Those of privileged ports have the ports 0 to 1023
	// as their range.
	OpSPort
	OpNotSPort
	OpSPortPriv
	OpNotSPortPriv
	OpDPort
	OpNotDPort
	OpDPortPriv
	OpNotDPortPriv
	OpSAddr
	OpNotSAddr
	OpDAddr
	OpNotDAddr
	OpProtocol
	OpFamily
	OpState
	// OpSubString and OpSubStringIgnCase hold when the text has a value somewhere; the
	// latter takes the ASCII letters of both for lower-case ones.
	OpSubString
	OpSubStringIgnCase
	// OpCapabilitiesGained compares two sets of capabilities: it holds when the new one
	// has a capability that the old one has not.
	OpCapabilitiesGained
	// OpFileType and OpNotFileType are about the type of the file, and not its path.
	OpFileType
	OpNotFileType
	// OpCelExpr computes with the hook's arguments, see package expression.
	OpCelExpr
)

// String is the operator as the language spells it.
func (o Operator) String() string {
	names := [...]string{
		OpEqual:        "Equal",
		OpNotEqual:     "NotEqual",
		OpPrefix:       "Prefix",
		OpNotPrefix:    "NotPrefix",
		OpPostfix:      "Postfix",
		OpNotPostfix:   "NotPostfix",
		OpGreaterThan:  "GreaterThan",
		OpLessThan:     "LessThan",
		OpInRange:      "InRange",
		OpNotInRange:   "NotInRange",
		OpIn:           "In",
		OpNotIn:        "NotIn",
		OpMask:         "Mask",
		OpInMap:        "InMap",
		OpNotInMap:     "NotInMap",
		OpSPort:        "SPort",
		OpNotSPort:     "NotSPort",
		OpSPortPriv:    "SPortPriv",
		OpNotSPortPriv: "NotSPortPriv",
		OpDPort:        "DPort",
		OpNotDPort:     "NotDPort",
		OpDPortPriv:    "DPortPriv",
		OpNotDPortPriv: "NotDPortPriv",
		OpSAddr:        "SAddr",
		OpNotSAddr:     "NotSAddr",
		OpDAddr:        "DAddr",
		OpNotDAddr:     "NotDAddr",
		OpProtocol:     "Protocol",
		OpFamily:       "Family",
		OpState:        "State",

		OpSubString:          "SubString",
		OpSubStringIgnCase:   "SubStringIgnCase",
		OpCapabilitiesGained: "CapabilitiesGained",
		OpFileType:           "FileType",
		OpNotFileType:        "NotFileType",
		OpCelExpr:            "CelExpr",
	}
	if int(o) < len(names) && names[o] != "" {
		return names[o]
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
	case OpNotInMap:
		return OpInMap
	case OpNotSPort:
		return OpSPort
	case OpNotSPortPriv:
		return OpSPortPriv
	case OpNotDPort:
		return OpDPort
	case OpNotDPortPriv:
		return OpDPortPriv
	case OpNotSAddr:
		return OpSAddr
	case OpNotDAddr:
		return OpDAddr
	case OpNotFileType:
		return OpFileType
	}
	return o
}

// operands says what the operator compares.
func (o Operator) operands() string {
	switch o.Positive() {
	case OpEqual:
		return "integers, strings and sets of capabilities"
	case OpPrefix, OpPostfix, OpSubString, OpSubStringIgnCase:
		return "strings"
	case OpFileType:
		return "what file, path, dentry, fd, kiocb and linux_binprm name"
	case OpCapabilitiesGained:
		return "two sets of capabilities, also as uint64"
	case OpSPort, OpSPortPriv, OpSAddr:
		return "what sock, socket, skb and sockaddr hold"
	case OpDPort, OpDPortPriv, OpDAddr, OpProtocol:
		return "what sock, socket and skb hold"
	case OpFamily:
		return "the family of sock, socket, skb, sockaddr and sockaddr_un"
	case OpState:
		return "the state of sock and socket"
	case OpMask:
		return "integers and sets of capabilities"
	}
	return "integers"
}

// valueless tells whether the operator says all by itself.
func (o Operator) valueless() bool {
	return o.Positive() == OpSPortPriv || o.Positive() == OpDPortPriv
}

// mostValues is how many values a filter with the operator may have.
func (o Operator) mostValues() int {
	switch o {
	case OpSubString, OpSubStringIgnCase:
		return maxSubStrings
	case OpCelExpr:
		return maxExpressions
	}
	return MaxValues
}

// takes tells whether arguments of the type can be compared by the operator.
func (t ArgType) takes(op Operator) bool {
	positive := op.Positive()
	switch {
	case t == ArgSockaddrUn && positive == OpFamily:
		return true
	case t.Text():
		return positive.ofText() || positive == OpFileType && t.File()
	case positive == OpCapabilitiesGained:
		return t.CapabilitySet() || t == ArgUint64
	case t.CapabilitySet():
		return positive == OpEqual || positive == OpMask
	case t.Integer(), t == ArgCapability:
		return slices.Contains([]Operator{OpEqual, OpGreaterThan, OpLessThan, OpInRange, OpMask, OpInMap}, positive)
	case t == ArgSyscall64:
		return positive == OpEqual || positive == OpInMap
	case t.Socket():
		return t.takesPart(positive)
	}
	return false
}

func (o Operator) ofText() bool {
	switch o {
	case OpEqual, OpPrefix, OpPostfix, OpSubString, OpSubStringIgnCase:
		return true
	}
	return false
}

// takesPart is takes for types with addresses.
func (t ArgType) takesPart(positive Operator) bool {
	switch positive {
	case OpSPort, OpSPortPriv, OpSAddr, OpFamily:
		return true
	case OpDPort, OpDPortPriv, OpDAddr, OpProtocol:
		return t != ArgSockaddr
	case OpState:
		return t == ArgSock || t == ArgSocket
	}
	return false
}

// argOperator is the operator of matchArgs with that name.
func argOperator(name string) (Operator, bool) {
	switch name {
	case "GT":
		return OpGreaterThan, true
	case "LT":
		return OpLessThan, true
	case "NotSportPriv":
		// The language's own spelling.
		return OpNotSPortPriv, true
	}
	for op := OpEqual; op <= OpCelExpr; op++ {
		if op != OpIn && op != OpNotIn && op.String() == name {
			return op, true
		}
	}
	return 0, false
}
