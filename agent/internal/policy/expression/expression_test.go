// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// run is the machine that the code is for.
func run(t testing.TB, code []Instruction, args []uint64) bool {
	t.Helper()
	var stack []uint64
	if len(code) > MaxCode {
		t.Fatalf("%d instructions", len(code))
	}
	for _, in := range code {
		switch in.Op {
		case OpConstant:
			stack = append(stack, in.Value)
		case OpArg:
			stack = append(stack, args[in.Value])
		case OpSigned32:
			stack[len(stack)-1] = uint64(int64(int32(stack[len(stack)-1])))
		case OpUnsigned32:
			stack[len(stack)-1] = uint64(uint32(stack[len(stack)-1]))
		default:
			a, b := stack[len(stack)-2], stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			stack[len(stack)-1] = step(in.Op, a, b)
		}
		if len(stack) > MaxStack {
			t.Fatalf("%d words on the stack", len(stack))
		}
	}
	if len(stack) != 1 || stack[0] > 1 {
		t.Fatalf("left on the stack: %v", stack)
	}
	return stack[0] == 1
}

func step(op Op, a, b uint64) uint64 {
	return map[Op]func() uint64{
		OpAdd: func() uint64 { return a + b }, OpSubtract: func() uint64 { return a - b },
		OpAnd: func() uint64 { return a & b }, OpOr: func() uint64 { return a | b }, OpXor: func() uint64 { return a ^ b },
		OpEqual: func() uint64 { return truth(a == b) }, OpNotEqual: func() uint64 { return truth(a != b) },
		OpLess: func() uint64 { return truth(a < b) }, OpLessEqual: func() uint64 { return truth(a <= b) },
		OpLessSigned:      func() uint64 { return truth(int64(a) < int64(b)) },
		OpLessEqualSigned: func() uint64 { return truth(int64(a) <= int64(b)) },
	}[op]()
}

// fourTypes are arguments of each type, and the fifth is no integer.
func fourTypes() []Type { return []Type{Int32, Uint32, Int64, Uint64, 0} }

func compile(text string) (*Program, error) {
	c, err := NewCompiler(fourTypes())
	if err != nil {
		return nil, err
	}
	return c.Compile(text)
}

func TestEvaluate(t *testing.T) {
	t.Parallel()
	minus := func(v int64) uint64 { return uint64(-v) }
	for _, c := range []struct {
		text string
		args [5]uint64
		want bool
	}{
		{"true", [5]uint64{}, true},
		{"false || !true", [5]uint64{}, false},
		{"arg0 == int32(-1) && arg2 >= 1024", [5]uint64{minus(1), 0, 1024}, true},
		{"arg0 == int32(-1) && arg2 >= 1024", [5]uint64{minus(1), 0, 1023}, false},
		{"arg0 < int32(0)", [5]uint64{minus(1)}, true},
		{"arg1 < uint32(1)", [5]uint64{0, math.MaxUint32}, false},
		{"arg0 + int32(1) < arg0", [5]uint64{math.MaxInt32}, true},
		{"arg1 + uint32(1) == uint32(0)", [5]uint64{0, math.MaxUint32}, true},
		{"arg1 - uint32(1) == uint32(4294967295u)", [5]uint64{}, true},
		{"arg2 + 1 < 0", [5]uint64{0, 0, math.MaxInt64}, true},
		{"arg3 - 1u > arg3", [5]uint64{}, true},
		{"-arg0 == arg0", [5]uint64{minus(1 << 31)}, true},
		{"-arg2 == -9223372036854775807", [5]uint64{0, 0, math.MaxInt64}, true},
		{"arg2 == -9223372036854775808", [5]uint64{0, 0, 1 << 63}, true},
		{"uint64(arg0) == 18446744073709551615u", [5]uint64{minus(1)}, true},
		{"int64(uint32(arg0)) == 4294967295", [5]uint64{minus(1)}, true},
		{"int32(arg3) == int32(-2147483648)", [5]uint64{0, 0, 0, 5<<32 | 1<<31}, true},
		{"uint32(arg2) == uint32(7)", [5]uint64{0, 0, 1<<40 | 7}, true},
		{"and(arg3, 0xffu) == 0x12u", [5]uint64{0, 0, 0, 0x3412}, true},
		{"or(arg1, uint32(1)) == uint32(3)", [5]uint64{0, 2}, true},
		{"xor(arg0, int32(-1)) == not(arg0)", [5]uint64{77}, true},
		{"not(arg1) == uint32(4294967295)", [5]uint64{}, true},
		{"not(arg0) == int32(-1)", [5]uint64{}, true},
		{"(arg2 > 5) == (arg3 <= 5u)", [5]uint64{0, 0, 6, 5}, true},
		{"(arg2 > 5) != (arg3 >= 5u)", [5]uint64{0, 0, 5, 5}, true},
	} {
		p, err := compile(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := p.Evaluate(c.args[:]); got != c.want {
			t.Errorf("%s of %v is %v", c.text, c.args, got)
		}
		if got := run(t, p.Code(), c.args[:]); got != c.want {
			t.Errorf("code of %s of %v is %v", c.text, c.args, got)
		}
	}
}

// Faults say what is wrong, and where.
func TestRefused(t *testing.T) {
	t.Parallel()
	for text, reason := range map[string]string{
		"":                            "Syntax error",
		"arg0 ==":                     "Syntax error",
		"arg0":                        "is of type int32: write a condition",
		"arg0 == 1":                   "no matching overload for '_==_' applied to '(int32, int)' (column 6)",
		"arg0 == arg1":                "no matching overload",
		"arg4 == 1":                   "undeclared reference to 'arg4'",
		"arg9 == 1":                   "undeclared reference to 'arg9'",
		"arg2 * 2 == 4":               "undeclared reference to '_*_'",
		"arg2 == 1.0":                 "no matching overload",
		"'a' == 'a'":                  "no matching overload",
		"arg2 in [1, 2]":              "undeclared reference to '@in'",
		"arg2 > 0 ? true : false":     "undeclared reference to '_?_:_'",
		"has(arg2.x)":                 "undeclared reference to 'has'",
		"arg2.x":                      "does not support field selection",
		"[true][0]":                   "undeclared reference to '_[_]'",
		"{}":                          "",
		"null":                        "something other than integers",
		"dyn(arg2) == 1":              "undeclared reference to 'dyn'",
		"arg2 == 9223372036854775808": "invalid int literal",
		"-arg3 == 1u":                 "no matching overload",
		strings.Repeat("!", 2049):     "is 2049 bytes long, more than 2048",
		strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200):          "recursion",
		strings.Repeat("arg2 == 1 || ", 50) + "true":                          "steps, more than 128",
		strings.Repeat("1 + (", 17) + "1" + strings.Repeat(")", 17) + " == 1": "is nested too deeply: 18 values",
	} {
		_, err := compile(text)
		if err == nil || !strings.Contains(err.Error(), reason) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60s: %v, want %s", text, err, reason)
		}
	}
}

func TestArgs(t *testing.T) {
	t.Parallel()
	p, err := compile("arg3 > 1u || arg0 < int32(2) || arg3 == 7u")
	if err != nil {
		t.Fatal(err)
	}
	// In the order of the code: of a > b the second side comes first.
	if got := p.Args(); len(got) != 2 || got[0] != 3 || got[1] != 0 {
		t.Errorf("arguments %v", got)
	}
}

// The arguments of any number of programs together are what one may have.
func TestAny(t *testing.T) {
	t.Parallel()
	var programs []*Program
	for range 40 {
		p, err := compile("arg2 == 7")
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, p)
	}
	any, err := Any(programs[:20])
	if err != nil || !any.Evaluate([]uint64{0, 0, 7}) || any.Evaluate([]uint64{0, 0, 8}) {
		t.Errorf("20 programs: %v", err)
	}
	if _, err := Any(programs); err == nil || !strings.Contains(err.Error(), "together: takes 159 steps") {
		t.Errorf("40 programs: %v", err)
	}
}

// FuzzCompile holds that no text makes the compiler fail otherwise than by an error,
// and that code and expression agree.
func FuzzCompile(f *testing.F) {
	for _, text := range []string{
		"true", "arg0 == int32(-1) && arg2 >= 1024", "!(and(arg1, uint32(6)) != uint32(0)) || -arg2 < 3",
		"uint64(arg0) - arg3 > 0x10u", "xor(not(arg2), or(arg2, int64(arg1))) <= 5", "arg4", "arg0 ? 1 : 2", "a.b(c)[d]{e: f}", "'\\377'",
	} {
		f.Add(text, uint64(1))
	}
	c, err := NewCompiler(fourTypes())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		p, err := c.Compile(text)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		code := p.Code()
		r := rand.New(rand.NewPCG(seed, 1))
		for range 20 {
			edges := []uint64{0, 1, math.MaxUint64, math.MaxInt32, 1 << 31, math.MaxInt64, 1 << 63, r.Uint64()}
			args := make([]uint64, len(fourTypes()))
			for i, typ := range fourTypes() {
				args[i] = typ.wrap(edges[r.IntN(len(edges))])
			}
			if p.Evaluate(args) != run(t, code, args) {
				t.Fatalf("%q of %v: code and expression differ", text, args)
			}
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := compile("arg0 == int32(-1) && arg2 >= 1024"); err != nil {
			b.Fatal(err)
		}
	}
}
