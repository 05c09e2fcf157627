// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"math"

	"cel.dev/cel-go/common/operators"
)

// Op is what an instruction does with the words on top of the stack: a below b.
type Op uint8

// The instructions; the programs of sites know them by these numbers.
const (
	// OpConstant pushes the instruction's value.
	OpConstant Op = iota
	// OpArg pushes the argument whose position is the value.
	OpArg
	// The next take a and b and leave one word: a number, or 1 for true and 0.
	OpAdd
	OpSubtract
	OpAnd
	OpOr
	OpXor
	OpEqual
	OpNotEqual
	OpLess
	OpLessEqual
	OpLessSigned
	OpLessEqualSigned
	// OpSigned32 and OpUnsigned32 take the lowest 32 bits of b.
	OpSigned32
	OpUnsigned32
)

// Instruction is one step of a program.
type Instruction struct {
	Op    Op
	Value uint64
}

// Code is the program for a machine with a stack, at most MaxCode instructions that
// need at most MaxStack words. What is left at the end is 1 or 0.
func (p *Program) Code() []Instruction { return p.root.code(nil) }

// Args are the positions of the arguments that the program uses, each once, in the
// order of its code.
func (p *Program) Args() []int {
	var used []int
	seen := map[int]bool{}
	for _, in := range p.Code() {
		if arg := int(in.Value); in.Op == OpArg && !seen[arg] {
			seen[arg] = true
			used = append(used, arg)
		}
	}
	return used
}

func (n *node) code(code []Instruction) []Instruction {
	switch {
	case n.isArg:
		return append(code, Instruction{OpArg, uint64(n.arg)})
	case n.name == "":
		return append(code, Instruction{OpConstant, n.value})
	case len(n.of) == 1:
		return n.unaryCode(code)
	}
	first, second := &n.of[0], &n.of[1]
	if n.name == operators.Greater || n.name == operators.GreaterEquals {
		first, second = second, first
	}
	code = append(second.code(first.code(code)), Instruction{Op: n.op()})
	if n.name == operators.Add || n.name == operators.Subtract {
		code = n.typ.wrapCode(code)
	}
	return code
}

func (n *node) unaryCode(code []Instruction) []Instruction {
	of := &n.of[0]
	switch n.name {
	case operators.LogicalNot:
		return append(of.code(code), Instruction{OpConstant, 1}, Instruction{Op: OpXor})
	case operators.Negate:
		code = of.code(append(code, Instruction{OpConstant, 0}))
		code = append(code, Instruction{Op: OpSubtract})
	case "not":
		code = append(of.code(code), Instruction{OpConstant, math.MaxUint64}, Instruction{Op: OpXor})
	default:
		code = of.code(code)
	}
	return n.typ.wrapCode(code)
}

// op is the instruction of a function of two values; > and >= are < and <= of the
// values in the other order.
func (n *node) op() Op {
	signed := n.of[0].typ.Signed()
	switch n.name {
	case operators.Add:
		return OpAdd
	case operators.Subtract:
		return OpSubtract
	case operators.LogicalAnd, "and":
		return OpAnd
	case operators.LogicalOr, "or":
		return OpOr
	case "xor":
		return OpXor
	case operators.Equals:
		return OpEqual
	case operators.NotEquals:
		return OpNotEqual
	case operators.Less, operators.Greater:
		if signed {
			return OpLessSigned
		}
		return OpLess
	}
	if signed {
		return OpLessEqualSigned
	}
	return OpLessEqual
}

func (t Type) wrapCode(code []Instruction) []Instruction {
	switch t {
	case Int32:
		return append(code, Instruction{Op: OpSigned32})
	case Uint32:
		return append(code, Instruction{Op: OpUnsigned32})
	}
	return code
}

// depth is how many words the code has on the stack at most.
func depth(code []Instruction) (most int) {
	words := 0
	for _, in := range code {
		switch in.Op {
		case OpConstant, OpArg:
			words++
		case OpSigned32, OpUnsigned32:
		default:
			words--
		}
		most = max(most, words)
	}
	return most
}
