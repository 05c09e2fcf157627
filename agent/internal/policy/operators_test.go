// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const filterOf = "spec.kprobes[0].selectors[0].matchArgs[0]"

// comparing is a hook on a function of these arguments with one filter.
func comparing(types, filter string) string {
	var args []string
	for i, typ := range strings.Fields(types) {
		args = append(args, fmt.Sprintf("{index: %d, type: %s}", i+1, typ))
	}
	return wrap("  kprobes:\n  - call: f\n    syscall: false\n    args: [" + strings.Join(args, ", ") +
		"]\n    selectors:\n    - matchArgs:\n      - " + filter + "\n")
}

// What filters that search, compute, and look at files and capabilities mean.
func TestFiltersThatCompute(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		types, filter string
		want          ArgFilter
	}{
		{"string", "{index: 1, operator: SubString, values: [b, 'A b', b]}", ArgFilter{Op: OpSubString, Strings: []string{"A b", "b"}}},
		{"int file", "{index: 2, operator: SubStringIgnCase, values: [SeCret, secreT, 'ÄZ']}",
			ArgFilter{Op: OpSubStringIgnCase, Arg: 1, Strings: []string{"secret", "Äz"}}},
		{"path", "{index: 1, operator: FileType, values: [sock, fifo, pipe, reg, socket]}",
			ArgFilter{Op: OpFileType, Ranges: []Range{{1, 1}, {8, 8}, {12, 12}}}},
		{"fd", "{index: 1, operator: NotFileType, values: [lnk, link, blk, block, dir, chr, char, regular]}",
			ArgFilter{Op: OpNotFileType, Ranges: []Range{{2, 2}, {4, 4}, {6, 6}, {8, 8}, {10, 10}}}},
		{"int uint64 uint64", "{args: [2, 1], operator: CapabilitiesGained}",
			ArgFilter{Op: OpCapabilitiesGained, Arg: 2, Old: 1, Masks: []uint64{^uint64(0)}}},
		{"uint64 uint64", "{args: [0, 1], operator: CapabilitiesGained, values: [CAP_CHOWN, cap_sys_admin, 63]}",
			ArgFilter{Op: OpCapabilitiesGained, Arg: 0, Old: 1, Masks: []uint64{1 | 1<<21 | 1<<63}}},
		{"kernel_cap_t cap_effective", "{args: [1, 0], operator: CapabilitiesGained}",
			ArgFilter{Op: OpCapabilitiesGained, Arg: 1, Masks: []uint64{^uint64(0)}}},
		{"cap_permitted uint64 cap_inheritable", "{args: [2, 1], operator: CapabilitiesGained, values: [CAP_CHOWN]}",
			ArgFilter{Op: OpCapabilitiesGained, Arg: 2, Old: 1, Masks: []uint64{1}}},
		{"kiocb", "{index: 1, operator: FileType, values: [reg]}", ArgFilter{Op: OpFileType, Ranges: []Range{{8, 8}}}},
		{"int long", `{operator: CelExpr, values: ["arg0 == int32(-1) && arg1 >= 1024"]}`, ArgFilter{Op: OpCelExpr}},
		{"int string", `{args: [0, 1], operator: CelExpr, values: ["arg0 == int32(-1)", "true"]}`, ArgFilter{Op: OpCelExpr}},
	} {
		p, err := Parse([]byte(comparing(c.types, c.filter)))
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
			continue
		}
		checkInvariants(t, p)
		got := p.Hooks[0].Selectors[0].Args[0]
		got.Values, got.at = nil, position{}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(ArgFilter{}, position{})); diff != "" {
			t.Errorf("%s: %s", c.filter, diff)
		}
	}
}

func TestFaultsOfFiltersThatCompute(t *testing.T) {
	t.Parallel()
	items := func(n int, item string) string { return strings.Repeat(item+", ", n-1) + item }
	for _, c := range []struct{ types, filter, field, reason string }{
		{"string", "{index: 1, operator: SubString, values: [" + strings.Repeat("x", 100) + "]}", ".values[0]", "is 100 bytes long; SubString takes at most 99"},
		{"string", "{index: 1, operator: SubString, values: ['']}", ".values[0]", "is empty"},
		{"string", `{index: 1, operator: SubStringIgnCase, values: ["a\0"]}`, ".values[0]", "has a NUL"},
		{"string", "{index: 1, operator: SubString, values: [" + items(101, "x") + "]}", ".values", "has 101 values; SubString takes at most 100"},
		{"int", "{index: 1, operator: SubString, values: [x]}", ".operator", "SubString compares strings, and the argument is of type int32"},
		{"string", "{index: 1, operator: SubStringIgnoreCase, values: [x]}", ".operator", "unknown operator"},
		{"string", "{index: 1, operator: NotSubString, values: [x]}", ".operator", "unknown operator"},
		{"string", "{index: 1, operator: FileType, values: [reg]}", ".operator", "FileType compares what file, path, dentry, fd, kiocb and linux_binprm name, and"},
		{"file", "{index: 1, operator: FileType, values: [file]}", ".values[0]", `"file" is no type of files`},
		{"file", "{index: 1, operator: FileType}", "", "FileType needs at least one value"},
		{"uint64 uint64", "{index: 1, operator: CapabilitiesGained}", "", "needs args: the positions of the new set and of the old one"},
		{"uint64 uint64", "{args: [0], operator: CapabilitiesGained}", ".args", "names 1 arguments; the operator compares 2"},
		{"uint64 uint64", "{args: [0, 2], operator: CapabilitiesGained}", ".args", "no argument at position 2"},
		{"uint64 int", "{args: [0, 1], operator: CapabilitiesGained}", ".operator", "compares two sets of capabilities, also as uint64, and the argument is of type int32"},
		{"int uint64", "{args: [0, 1], operator: CapabilitiesGained}", ".operator", "compares two sets of capabilities, also as uint64, and the argument is of type int32"},
		{"uint64 uint64", "{args: [0, 1], operator: CapabilitiesGained, values: [64]}", ".values[0]", "64 is no capability"},
		{"uint64 uint64", "{args: [0, 1], operator: CapabilitiesGained, values: [CAP_NONE]}", ".values[0]", "no CAP_ name"},
		{"int", "{operator: CelExpr, values: ['arg0 == 1']}", ".values[0]", "no matching overload for '_==_' applied to '(int32, int)'"},
		{"int string", "{operator: CelExpr, values: ['true', 'arg1 == 1']}", ".values[1]", "undeclared reference to 'arg1'"},
		{"int", "{operator: CelExpr, values: [" + items(9, "'true'") + "]}", ".values", "has 9 values; CelExpr takes at most 8"},
		{"int", "{operator: CelExpr, args: [1], values: ['true']}", ".args", "no argument at position 1"},
		{"int", "{operator: CelExpr, index: 7, values: ['true']}", ".index", "no argument has index 7"},
		{"int", "{operator: CelExpr}", "", "CelExpr needs at least one value"},
		{"", "{operator: CelExpr, values: ['true']}", "", "CelExpr needs a hook with arguments"},
	} {
		_, err := Parse([]byte(comparing(c.types, c.filter)))
		faults := Faults(err)
		if len(faults) != 1 || faults[0].Path != filterOf+c.field || faults[0].Line == 0 || !strings.Contains(faults[0].Reason, c.reason) {
			t.Errorf("%.80s: %v", c.filter, err)
		}
	}
}

// Expressions over arguments whose types the policy leaves open are judged when they
// are known.
func TestExpressionsOfUntypedArguments(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(wrap("  tracepoints:\n  - {subsystem: a, event: b, args: [{index: 5}, {index: 6}], selectors: [{matchArgs: [" +
		"{operator: CelExpr, values: ['arg0 == arg1']}]}, {matchArgs: [{operator: CapabilitiesGained, args: [0, 1]}]}]}\n")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Hooks[0].WithTypes([]ArgType{ArgUint64, ArgUint64}); err != nil {
		t.Errorf("of one type: %v", err)
	}
	_, err = p.Hooks[0].WithTypes([]ArgType{ArgUint64, ArgInt32})
	paths := []string{}
	for _, f := range Faults(err) {
		paths = append(paths, f.Path)
	}
	if want := []string{
		"spec.tracepoints[0].selectors[0].matchArgs[0].values[0]", "spec.tracepoints[0].selectors[1].matchArgs[0].operator",
	}; !slices.Equal(paths, want) {
		t.Errorf("of two types: %v", err)
	}
}

// A text cannot ask for any number of compilations.
func TestExpressionBudget(t *testing.T) {
	t.Parallel()
	hook := "  - {call: f, syscall: false, args: [{index: 0, type: int}], selectors: [{matchArgs: [{operator: CelExpr, values: ['true', 'true', 'true', 'true', 'true', 'true', 'true', 'true']}]}]}\n"
	if _, err := Parse([]byte(wrap("  kprobes:\n" + strings.Repeat(hook, 32)))); err != nil {
		t.Errorf("256 expressions: %v", err)
	}
	_, err := Parse([]byte(wrap("  kprobes:\n" + strings.Repeat(hook, 1000))))
	if faults := Faults(err); len(faults) == 0 || !strings.Contains(faults[0].Reason, "more than 256 expressions") {
		t.Errorf("8000 expressions: %v", err)
	}
}
