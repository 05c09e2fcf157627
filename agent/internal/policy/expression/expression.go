// SPDX-License-Identifier: Apache-2.0

// Package expression compiles the expressions of the operator CelExpr for the
// programs of sites, which run them on a stack of 64-bit words. It is pure.
//
// An expression is a text in CEL (the Common Expression Language) whose value is
// true or false. It knows the variables arg0, arg1, ... , which are integers; the
// literals of integers and bool; && || ! == != < <= > >= + - and the minus sign;
// the functions and(a, b), or(a, b), xor(a, b) and not(a) on bits; and int32(a),
// uint32(a), int64(a) and uint64(a). What else CEL has is refused.
//
// There are four types of integers. An argument of at most 32 bits is an int32 or a
// uint32, a wider one an int64 or a uint64; the literal 1 is an int64 and 1u a
// uint64. Both sides of an operator have the same type, so that a comparison of an
// int with 1 is written arg0 == int32(1). Sums and differences wrap around, as those
// of the machine do. A conversion takes the value to 64 bits, by its own sign, and
// then the lowest bits that the new type has: uint32(-1) is 4294967295 and
// int64(uint32(-1)) is that too. An expression cannot fail, and what it costs does not
// depend on the arguments.
package expression

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Limits of an expression.
const (
	// MaxText is the most bytes of one.
	MaxText = 2048
	// MaxCode is the most instructions of a program.
	MaxCode = 128
	// MaxStack is the most words that a program has on its stack.
	MaxStack = 16
	// MaxArgs is how many arguments there can be.
	MaxArgs = 8

	maxNesting = 50
)

// Type is the type of a value.
type Type uint8

// The types of values. Arguments are integers.
const (
	Bool Type = iota + 1
	Int32
	Uint32
	Int64
	Uint64
)

// String is the type's name in expressions.
func (t Type) String() string {
	switch t {
	case Bool:
		return "bool"
	case Int32:
		return "int32"
	case Uint32:
		return "uint32"
	case Int64:
		return "int64"
	case Uint64:
		return "uint64"
	}
	return "Type(" + strconv.Itoa(int(t)) + ")"
}

// Signed tells whether the type is a signed integer.
func (t Type) Signed() bool { return t == Int32 || t == Int64 }

// Program is an expression, ready to be evaluated. It is immutable.
type Program struct {
	root node
}

// Compiler compiles expressions over the same arguments. Safe for concurrent use.
type Compiler struct {
	env       *cel.Env
	args      []Type
	functions map[string][]signature
}

// NewCompiler is for arguments of these types; 0 is one that is no integer, and cannot
// be used.
func NewCompiler(args []Type) (*Compiler, error) {
	c := &Compiler{args: args, functions: functions()}
	var err error
	c.env, err = c.environment()
	return c, err
}

// Compile compiles an expression.
func (c *Compiler) Compile(text string) (*Program, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("is %d bytes long, more than %d", len(text), MaxText)
	}
	checked, issues := c.env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, oneLine(issues)
	}
	w := walk{Compiler: c, ast: checked.NativeRep()}
	root, err := w.node(w.ast.Expr())
	if err != nil {
		return nil, err
	}
	if root.typ != Bool {
		return nil, fmt.Errorf("is of type %s: write a condition", root.typ)
	}
	p := &Program{root: root}
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, nil
}

// Any is true when one of some programs over the same arguments is.
func Any(programs []*Program) (*Program, error) {
	any := programs[0]
	for _, p := range programs[1:] {
		any = &Program{root: node{typ: Bool, name: operators.LogicalOr, of: []node{any.root, p.root}}}
	}
	if err := any.check(); err != nil {
		return nil, fmt.Errorf("together: %w", err)
	}
	return any, nil
}

func (p *Program) check() error {
	code := p.Code()
	switch {
	case len(code) > MaxCode:
		return fmt.Errorf("takes %d steps, more than %d", len(code), MaxCode)
	case depth(code) > MaxStack:
		return fmt.Errorf("is nested too deeply: %d values are open at once, more than %d", depth(code), MaxStack)
	}
	return nil
}

// oneLine is the first of the faults that CEL found, without its picture.
func oneLine(issues *cel.Issues) error {
	for _, e := range issues.Errors() {
		message, _, _ := strings.Cut(e.Message, "\n")
		return fmt.Errorf("%s (column %d)", message, e.Location.Column()+1)
	}
	return issues.Err()
}

// environment declares what expressions know.
func (c *Compiler) environment() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.ClearMacros(), cel.ParserRecursionLimit(maxNesting), cel.ParserExpressionSizeLimit(MaxText),
	}
	for i, t := range c.args {
		if t != 0 {
			options = append(options, cel.Variable(argName(i), t.cel()))
		}
	}
	for name, signatures := range c.functions {
		var overloads []cel.FunctionOpt
		for _, s := range signatures {
			takes := make([]*cel.Type, len(s.takes))
			for i, t := range s.takes {
				takes[i] = t.cel()
			}
			id := fmt.Sprint(name, s.takes)
			overloads = append(overloads, cel.Overload(id, takes, s.gives.cel()))
		}
		options = append(options, cel.Function(name, overloads...))
	}
	return cel.NewCustomEnv(options...)
}

func argName(i int) string { return "arg" + strconv.Itoa(i) }

// cel is the type as CEL knows it.
func (t Type) cel() *cel.Type {
	switch t {
	case Bool:
		return cel.BoolType
	case Int64:
		return cel.IntType
	case Uint64:
		return cel.UintType
	}
	return cel.OpaqueType(t.String())
}

type signature struct {
	takes []Type
	gives Type
}

// functions are all that expressions can call, operators included.
func functions() map[string][]signature {
	all := map[string][]signature{
		operators.LogicalAnd: {{[]Type{Bool, Bool}, Bool}},
		operators.LogicalOr:  {{[]Type{Bool, Bool}, Bool}},
		operators.LogicalNot: {{[]Type{Bool}, Bool}},
		operators.Equals:     {{[]Type{Bool, Bool}, Bool}},
		operators.NotEquals:  {{[]Type{Bool, Bool}, Bool}},
	}
	integers := []Type{Int32, Uint32, Int64, Uint64}
	for _, t := range integers {
		both := []Type{t, t}
		for _, name := range []string{
			operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater,
			operators.GreaterEquals,
		} {
			all[name] = append(all[name], signature{both, Bool})
		}
		for _, name := range []string{operators.Add, operators.Subtract, "and", "or", "xor"} {
			all[name] = append(all[name], signature{both, t})
		}
		all["not"] = append(all["not"], signature{[]Type{t}, t})
		if t.Signed() {
			all[operators.Negate] = append(all[operators.Negate], signature{[]Type{t}, t})
		}
		for _, from := range integers {
			all[t.String()] = append(all[t.String()], signature{[]Type{from}, t})
		}
	}
	return all
}

// node is one operation, a literal or an argument.
type node struct {
	typ  Type
	name string // of the function; empty for a literal and for an argument
	// value is a literal's, as 64 bits by its own sign; arg is an argument's position.
	value uint64
	arg   int
	isArg bool
	of    []node
}

// walk makes nodes of one expression.
type walk struct {
	*Compiler
	ast *ast.AST
}

// node is an expression that CEL has checked: it is of declared functions and
// variables, and of the types that they take.
func (w walk) node(e ast.Expr) (node, error) {
	switch e.Kind() {
	case ast.LiteralKind:
		switch v := e.AsLiteral().(type) {
		case types.Bool:
			n := node{typ: Bool}
			if v {
				n.value = 1
			}
			return n, nil
		case types.Int:
			return node{typ: Int64, value: uint64(v)}, nil
		case types.Uint:
			return node{typ: Uint64, value: uint64(v)}, nil
		}
	case ast.IdentKind:
		for i, t := range w.args {
			if t != 0 && argName(i) == e.AsIdent() {
				return node{typ: t, arg: i, isArg: true}, nil
			}
		}
	case ast.CallKind:
		return w.call(e.AsCall())
	}
	return node{}, fmt.Errorf("has something other than integers, true, false and arguments (column %d)", w.column(e))
}

func (w walk) column(e ast.Expr) int {
	return w.ast.SourceInfo().GetStartLocation(e.ID()).Column() + 1
}

func (w walk) call(call ast.CallExpr) (node, error) {
	n := node{name: call.FunctionName()}
	for _, arg := range call.Args() {
		of, err := w.node(arg)
		if err != nil {
			return n, err
		}
		n.of = append(n.of, of)
	}
	for _, s := range w.functions[n.name] {
		if len(s.takes) != len(n.of) {
			continue
		}
		fits := true
		for i, t := range s.takes {
			fits = fits && n.of[i].typ == t
		}
		if fits {
			n.typ = s.gives
			return n, nil
		}
	}
	return n, fmt.Errorf("calls %s with other types than it takes", n.name)
}

// Evaluate is the value of the expression for arguments; those of up to 32 bits are
// extended to 64 by their sign. Unused ones may be missing.
func (p *Program) Evaluate(args []uint64) bool { return p.root.evaluate(args) != 0 }

func (n *node) evaluate(args []uint64) uint64 {
	switch {
	case n.isArg:
		return args[n.arg]
	case n.name == "":
		return n.value
	}
	a := n.of[0].evaluate(args)
	if len(n.of) == 1 {
		return n.unary(a)
	}
	return n.binary(a, n.of[1].evaluate(args))
}

func (n *node) unary(a uint64) uint64 {
	switch n.name {
	case operators.LogicalNot:
		return truth(a == 0)
	case operators.Negate:
		return n.typ.wrap(-a)
	case "not":
		return n.typ.wrap(^a)
	}
	return n.typ.wrap(a) // a conversion
}

func (n *node) binary(a, b uint64) uint64 {
	less := a < b
	if n.of[0].typ.Signed() {
		less = int64(a) < int64(b)
	}
	switch n.name {
	case operators.LogicalAnd, "and":
		return a & b
	case operators.LogicalOr, "or":
		return a | b
	case "xor":
		return a ^ b
	case operators.Add:
		return n.typ.wrap(a + b)
	case operators.Subtract:
		return n.typ.wrap(a - b)
	case operators.Equals:
		return truth(a == b)
	case operators.NotEquals:
		return truth(a != b)
	case operators.Less:
		return truth(less)
	case operators.LessEquals:
		return truth(less || a == b)
	case operators.Greater:
		return truth(!less && a != b)
	}
	return truth(!less) // operators.GreaterEquals
}

func truth(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

// wrap is what a value of the type has of a number, as 64 bits.
func (t Type) wrap(v uint64) uint64 {
	switch t {
	case Int32:
		return uint64(int64(int32(v)))
	case Uint32:
		return v & math.MaxUint32
	}
	return v
}
