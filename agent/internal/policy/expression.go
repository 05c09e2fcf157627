// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/boltseal/boltseal/agent/internal/policy/expression"

const (
	// maxExpressions is how many a filter has.
	maxExpressions = 8
	// maxPolicyExpressions bounds the work that a text asks for.
	maxPolicyExpressions = 256
)

// Expression is the type of an argument in expressions, 0 for one that is no integer.
func (t ArgType) Expression() expression.Type {
	switch {
	case t == ArgCapability:
		return expression.Int32
	case !t.Integer():
		return 0
	case t.Size() == 8 && t.Signed():
		return expression.Int64
	case t.Size() == 8:
		return expression.Uint64
	case t.Signed():
		return expression.Int32
	}
	return expression.Uint32
}

// Expressions compiles the values of OpCelExpr over arguments of these types. report
// gets what does not fit.
func (f *ArgFilter) Expressions(types []ArgType, report func(value int, reason string)) []*expression.Program {
	args := make([]expression.Type, len(types))
	for i, t := range types {
		args[i] = t.Expression()
	}
	compiler, err := expression.NewCompiler(args)
	if err != nil {
		report(-1, err.Error())
		return nil
	}
	programs := make([]*expression.Program, 0, len(f.Values))
	for i, text := range f.Values {
		p, err := compiler.Compile(text)
		if err != nil {
			report(i, err.Error())
			continue
		}
		programs = append(programs, p)
	}
	return programs
}
