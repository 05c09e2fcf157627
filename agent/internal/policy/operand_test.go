// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parseFilter(t *testing.T, item string) ArgFilter {
	t.Helper()
	p, err := Parse([]byte(filter(item)))
	if err != nil {
		t.Fatal(err)
	}
	return p.Hooks[0].Selectors[0].Args[0]
}

// TestRanges holds what the values of integer filters mean, at the ends of the
// types above all.
func TestRanges(t *testing.T) {
	t.Parallel()
	s := func(lo, hi int64) Range { return Range{uint64(lo), uint64(hi)} }
	for _, c := range []struct {
		typ, op, values string
		want            []Range
	}{
		{"int", "Equal", "[-1, 1, 1, 0x7fffffff]", []Range{s(-1, -1), s(1, 1), s(math.MaxInt32, math.MaxInt32)}},
		{"int", "NotEqual", "[3, 2]", []Range{s(2, 2), s(3, 3)}},
		{"int8", "GT", "[-3, 5]", []Range{s(-2, 127)}},
		{"sint8", "GreaterThan", "[127]", []Range{}},
		{"sint16", "LT", "[-32768]", []Range{}},
		{"int16", "LessThan", "[0]", []Range{s(-32768, -1)}},
		{"long", "LT", "[-9223372036854775807]", []Range{s(math.MinInt64, math.MinInt64)}},
		{"int64", "InRange", `["-9223372036854775808:9223372036854775807", "1:2"]`, []Range{s(math.MinInt64, math.MaxInt64)}},
		{"uint8", "GT", "[254]", []Range{{255, 255}}},
		{"uint16", "LT", "[0]", []Range{}},
		{"uint32", "Equal", "[0xffffffff, '+1']", []Range{{1, 1}, {math.MaxUint32, math.MaxUint32}}},
		{"size_t", "InRange", `["5:9", "1:3", "4:4", "11:12"]`, []Range{{1, 9}, {11, 12}}},
		{"ulong", "NotInRange", `["18446744073709551615:18446744073709551615", "0:0", "0:1"]`, []Range{{0, 1}, {math.MaxUint64, math.MaxUint64}}},
		{"uint64", "GT", "[18446744073709551614, 18446744073709551615]", []Range{{math.MaxUint64, math.MaxUint64}}},
	} {
		t.Run(fmt.Sprint(c.typ, " ", c.op, " ", c.values), func(t *testing.T) {
			t.Parallel()
			text := hookWith(fmt.Sprintf("    - {index: 1, type: %s}\n    selectors: [{matchArgs: [{index: 1, operator: %s, values: %s}]}]\n",
				c.typ, c.op, c.values))
			p, err := Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, p.Hooks[0].Selectors[0].Args[0].Ranges); diff != "" {
				t.Error("ranges (-want +got):\n", diff)
			}
		})
	}
}

func TestStringValues(t *testing.T) {
	t.Parallel()
	got := parseFilter(t, `{index: 6, operator: NotEqual, values: ["/b\0", /a, /b, true, 0x10]}`)
	if diff := cmp.Diff([]string{"/a", "/b", "0x10", "true"}, got.Strings); diff != "" {
		t.Error("strings (-want +got):\n", diff)
	}
	longest := strings.Repeat("x", maxString)
	for op, max := range map[string]int{"Equal": maxString, "Prefix": maxPrefix, "NotPostfix": maxPostfix} {
		got := parseFilter(t, fmt.Sprintf("{index: 6, operator: %s, values: [%s]}", op, longest[:max]))
		if len(got.Strings) != 1 || len(got.Strings[0]) != max {
			t.Errorf("%s of %d bytes: %.50q", op, max, got.Strings)
		}
	}
}

func TestArgumentReferences(t *testing.T) {
	t.Parallel()
	for item, want := range map[string]int{
		"{index: 6, operator: Equal, values: [1]}":            1,
		"{args: [2], operator: Equal, values: [1]}":           2,
		"{args: [2], index: 6, operator: Equal, values: [1]}": 2,
		"{args: [], index: 6, operator: Equal, values: [1]}":  1,
	} {
		if got := parseFilter(t, item).Arg; got != want {
			t.Errorf("%s is the argument at position %d, want %d", item, got, want)
		}
	}
	p, err := Parse([]byte(wrap("  tracepoints: [{subsystem: s, event: e, args: [{index: 0, type: int}], " +
		"selectors: [{matchArgs: [{operator: Equal, values: [1]}]}]}]\n")))
	if err != nil || p.Hooks[0].Selectors[0].Args[0].Arg != 0 {
		t.Errorf("index 0 by default: %v", err)
	}
}

func TestWithTypes(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(hookWith(`    selectors:
    - matchArgs:
      - {index: 5, operator: Equal, values: [1]}
      - {index: 8, operator: Prefix, values: [/a, /b, ""]}
    - matchArgs:
      - {index: 8, operator: GT, values: [1, x]}
`)))
	if err != nil {
		t.Fatal(err)
	}
	hook := p.Hooks[0]
	before := hook.Selectors[0].Args[1]
	if before.Strings != nil || len(before.Values) != 3 {
		t.Fatalf("filter on an auto argument: %+v", before)
	}
	none := make([]ArgType, 4)
	for _, c := range []struct {
		name  string
		types []ArgType
		want  []string
	}{
		{"string", []ArgType{0, 0, 0, ArgString}, []string{
			"line 17: spec.tracepoints[0].selectors[0].matchArgs[1].values[2]: is empty",
			"line 19: spec.tracepoints[0].selectors[1].matchArgs[0].operator: GreaterThan compares integers, and the argument is of type string",
		}},
		{"uint16", []ArgType{0, 0, 0, ArgUint16}, []string{
			"line 17: spec.tracepoints[0].selectors[0].matchArgs[1].operator: Prefix compares strings, and the argument is of type uint16",
			`line 19: spec.tracepoints[0].selectors[1].matchArgs[0].values[1]: "x" is no integer`,
		}},
		{"not told", none, []string{"line 7: spec.tracepoints[0].args[3].type: cannot be told: name a type"}},
	} {
		_, err := hook.WithTypes(c.types)
		var got []string
		for _, f := range Faults(err) {
			got = append(got, f.Error())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s", c.name, diff)
		}
	}
	if _, err := hook.WithTypes(none[:3]); err == nil {
		t.Error("three types for four arguments")
	}

	p, err = Parse([]byte(filter("{index: 8, operator: Prefix, values: [/b, /a]}")))
	if err != nil {
		t.Fatal(err)
	}
	typed, err := p.Hooks[0].WithTypes([]ArgType{ArgString, ArgInt8, ArgInt8, ArgString})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/a", "/b"}, typed.Selectors[0].Args[0].Strings); diff != "" || typed.Args[3].Type != ArgString || typed.Args[0].Type != ArgInt32 {
		t.Error("typed hook:\n", diff, typed.Args)
	}
	if p.Hooks[0].Args[3].Type != ArgAuto || p.Hooks[0].Selectors[0].Args[0].Strings != nil {
		t.Error("WithTypes changed the policy")
	}
}

func TestTypesAndOperators(t *testing.T) {
	t.Parallel()
	if got := ArgInt8.Limits(); int64(got.Lo) != -128 || got.Hi != 127 {
		t.Errorf("int8: %v", got)
	}
	if got := ArgInt64.Limits(); int64(got.Lo) != math.MinInt64 || got.Hi != math.MaxInt64 {
		t.Errorf("int64: %v", got)
	}
	if got := ArgUint64.Limits(); got.Lo != 0 || got.Hi != math.MaxUint64 {
		t.Errorf("uint64: %v", got)
	}
	if ArgString.Integer() || ArgString.Size() != 0 || ArgAuto.Integer() || !ArgUint64.Integer() || ArgUint8.Signed() {
		t.Error("kinds of types")
	}
	var negated []string
	for op := OpEqual; op <= OpState; op++ {
		if op.Negated() {
			negated = append(negated, op.String()+" of "+op.Positive().String())
		}
	}
	want := []string{
		"NotEqual of Equal", "NotPrefix of Prefix", "NotPostfix of Postfix", "NotInRange of InRange", "NotIn of Equal",
		"NotInMap of InMap", "NotSPort of SPort", "NotSPortPriv of SPortPriv", "NotDPort of DPort",
		"NotDPortPriv of DPortPriv", "NotSAddr of SAddr", "NotDAddr of DAddr",
	}
	if diff := cmp.Diff(want, negated); diff != "" {
		t.Error("negated operators (-want +got):\n", diff)
	}
}
