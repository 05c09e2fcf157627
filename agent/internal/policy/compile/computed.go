// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/expression"
	"github.com/boltseal/boltseal/bpf"
)

// MaxCode is how many instructions the expressions of one site have together.
const MaxCode = int(bpf.WireLimitsEXPRESSION_CODE)

// Computation is a [Computed], or nil: a read has other reads in it, and is compared
// with == all the same.
type Computation interface{ computation() Computed }

// Computed is what a read is computed from.
type Computed struct {
	// Of are other reads of the same hook, in an order that the kind of the read says;
	// those that are not used are zero.
	Of [expression.MaxArgs]Read
	// Code is the program of an expression; see [Computed.Instructions].
	Code string
}

func (c Computed) computation() Computed { return c }

// computed is what the read is computed from, zero for one that is not.
func (r Read) computed() Computed {
	if r.From == nil {
		return Computed{}
	}
	return r.From.computation()
}

// Search tells whether the read looks for substrings in the text of another one.
func (r Read) Search() bool {
	return r.Kind == bpf.WireReadKindREAD_SUBSTRING || r.Kind == bpf.WireReadKindREAD_SUBSTRING_FOLDED
}

// computedOf is a read that is computed from others, when they are read.
func computedOf(kind bpf.WireReadKind, of ...Read) Read {
	c := Computed{}
	copy(c.Of[:], of)
	return Read{Kind: kind, From: c, When: of[0].When}
}

const instructionSize = 9

// encode is code as text, so that reads with the same code are equal. Arguments are
// named by their position in args.
func encode(code []expression.Instruction, args []int) string {
	var b []byte
	for _, in := range code {
		if in.Op == expression.OpArg {
			in.Value = uint64(slices.Index(args, int(in.Value)))
		}
		b = binary.LittleEndian.AppendUint64(append(b, byte(in.Op)), in.Value)
	}
	return string(b)
}

// Steps is how many instructions the read's expression has.
func (r Read) Steps() int { return len(r.computed().Code) / instructionSize }

// Instructions is the read's expression, over reads that are in these dimensions.
func (r Read) Instructions(reads []Read) []bpf.WireInstruction {
	c := r.computed()
	code := make([]bpf.WireInstruction, 0, r.Steps())
	for rest := []byte(c.Code); len(rest) >= instructionSize; rest = rest[instructionSize:] {
		in := bpf.WireInstruction{Op: rest[0], Value: binary.LittleEndian.Uint64(rest[1:])}
		if expression.Op(in.Op) == expression.OpArg {
			in.Value = uint64(dimensionOf(reads, c.Of[in.Value]))
		}
		code = append(code, in)
	}
	return code
}

// Operands are the dimensions of the first two reads that the read is computed from.
func (r Read) Operands(reads []Read) (first, second uint16) {
	c := r.computed()
	return dimensionOf(reads, c.Of[0]), dimensionOf(reads, c.Of[1])
}

// dimensionOf is the dimension of a read. One that is no longer there, because no hook
// needs it, is none that a rule asks for: any will do.
func dimensionOf(reads []Read, r Read) uint16 { return uint16(max(0, slices.Index(reads, r))) }

// operands are what a list of filters compares.
type operands struct {
	reads []Read
	types []policy.ArgType
	// when is when they are compared.
	when bpf.WireReadWhen
}

// operands are those of the filters on what the hook's function is called with, or
// has returned.
func (h *Hook) operands(returned bool) operands {
	if !returned {
		return operands{reads: h.Reads[:len(h.Types)], types: h.Types}
	}
	return operands{
		reads: []Read{h.Reads[h.Result.Read]}, types: []policy.ArgType{h.Result.Type}, when: bpf.WireReadWhenREAD_RESULT,
	}
}

// addComputed adds a filter on something computed from arguments; ok is false for any
// other.
func (c *conjunction) addComputed(f policy.ArgFilter, on operands) (ok bool, err error) {
	switch f.Op {
	case policy.OpSubString, policy.OpSubStringIgnCase:
		c.addSubstrings(f, on)
	case policy.OpFileType, policy.OpNotFileType:
		read := c.hook.filterRead(computedOf(bpf.WireReadKindREAD_FILE_TYPE, on.reads[f.Arg]))
		c.addIntegers(read, f.Ranges, f.Op.Negated(), false)
	case policy.OpCapabilitiesGained:
		c.addGained(f, on)
	case policy.OpCelExpr:
		return true, c.addExpressions(f, on)
	default:
		return false, nil
	}
	return true, nil
}

// addGained adds a filter on the capabilities that one set has and another has not.
func (c *conjunction) addGained(f policy.ArgFilter, on operands) {
	read := c.hook.filterRead(gainedRead(on.reads[f.Arg], on.reads[f.Old]))
	if mask := f.Masks[0]; mask != math.MaxUint64 {
		c.addMask(read, mask)
		return
	}
	// Any at all: one lookup tells.
	c.addIntegers(read, []policy.Range{{}}, true, false)
}

// gainedRead is the capabilities that one set has and another has not.
func gainedRead(current, old Read) Read {
	return computedOf(bpf.WireReadKindREAD_GAINED, current, old)
}

// addSubstrings adds a search. A rule has one for a dimension: for another one the
// text is searched once more.
func (c *conjunction) addSubstrings(f policy.ArgFilter, on operands) {
	kind := bpf.WireReadKindREAD_SUBSTRING
	if f.Op == policy.OpSubStringIgnCase {
		kind = bpf.WireReadKindREAD_SUBSTRING_FOLDED
	}
	search := computedOf(kind, on.reads[f.Arg])
	for ; ; search.Copy++ {
		d := c.dim(c.hook.filterRead(search))
		if d.substrings == nil || slices.Equal(d.substrings, f.Strings) {
			d.substrings = f.Strings
			return
		}
	}
}

// addExpressions adds a filter that holds when one of its expressions is true: they
// are one program.
func (c *conjunction) addExpressions(f policy.ArgFilter, on operands) error {
	var first error
	programs := f.Expressions(on.types, func(value int, reason string) {
		if first == nil {
			first = fmt.Errorf("expression %d %s", value, reason)
		}
	})
	if first != nil {
		return first
	}
	any, err := expression.Any(programs)
	if err != nil {
		return err
	}
	// Arguments that are read alike are one operand.
	var args []int
	operand := map[int]int{}
	for _, arg := range any.Args() {
		operand[arg] = slices.Index(c.hook.Reads, on.reads[arg])
		if !slices.Contains(args, operand[arg]) {
			args = append(args, operand[arg])
		}
	}
	code := any.Code()
	for i, in := range code {
		if in.Op == expression.OpArg {
			code[i].Value = uint64(operand[int(in.Value)])
		}
	}
	computed := Computed{Code: encode(code, args)}
	for i, arg := range args {
		computed.Of[i] = c.hook.Reads[arg]
	}
	read := c.hook.filterRead(Read{Kind: bpf.WireReadKindREAD_EXPRESSION, From: computed, When: on.when})
	c.addIntegers(read, []policy.Range{{Lo: 1, Hi: 1}}, false, false)
	c.dim(read).expression = any
	return nil
}
