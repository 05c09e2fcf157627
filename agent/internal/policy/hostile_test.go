// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func lines(n int, line func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(line(i))
	}
	return b.String()
}

// bombs are texts that are small for what they ask of a parser.
func bombs() map[string]string {
	const whole = MaxTextBytes - 100
	return map[string]string{
		"one byte too long": strings.Repeat("#", MaxTextBytes+1),
		"open brackets":     strings.Repeat("[", whole),
		"nested lists":      strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999),
		"short items":       "[" + strings.Repeat("a,", MaxNodes-2) + "]",
		"too many items":    "[" + strings.Repeat("a,", MaxNodes) + "]",
		"short pairs":       "{" + strings.Repeat("a:,", MaxNodes/3-1) + "}",
		"distinct keys":     lines(MaxNodes/2-1, func(i int) string { return fmt.Sprintf("k%d: x\n", i) }),
		"comments":          "a:\n" + strings.Repeat("- a # c\n# d\n\n", 100_000-1),
		"too many comments": "a:\n" + strings.Repeat("- a # c\n# d\n\n", 600_000),
		"blank lines":       strings.Repeat("\n", whole),
		"documents":         strings.Repeat("---\n", MaxNodes-1),
		"tag directives":    lines(100_000, func(i int) string { return fmt.Sprintf("%%TAG !a%d! tagx\n", i) }) + "---\na",
		"unicode line ends": strings.Repeat("%TAG !a! tagx\u0085", 100_000) + "---\na",
		"one long scalar":   "spec: " + strings.Repeat("x", whole),
		"one long number":   "spec: " + strings.Repeat("1", whole),
		"escapes":           "spec: \"" + strings.Repeat("\\\n", whole/2) + "\"",
		"indentation":       lines(4_000, func(i int) string { return strings.Repeat(" ", i) + "a:\n" }),
		"itself":            wrap("  tracepoints: &a [*a, *a, *a]\n"),
		"itself, merged":    wrap("  podSelector: &a {matchLabels: {<<: *a, b: c}, <<: *a}\n" + hookTail),
		"merged doubling": "a0: &a0 {x: y}\n" + lines(60, func(i int) string {
			return fmt.Sprintf("a%d: &a%d {<<: [*a%d, *a%d]}\n", i+1, i+1, i, i)
		}) + "metadata: *a60\nspec: *a60\n",
		"laughs": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + lines(20, func(i int) string {
			return fmt.Sprintf("a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i)
		}) + "spec: {tracepoints: *a20}\n",
		"values by alias":       valuesByAlias(64, 50_000),
		"calls by list":         usesOfList(1000, 100_000, "  - {call: 'list:l'}\n"),
		"values by list":        usesOfList(1000, 100_000, "  - {call: sys_a}\n"),
		"many names of numbers": namedValues(15_000, "IPPROTO_UNKNOWN"),
	}
}

// valuesByAlias is a sound policy but for its size: uses filters with the same values.
func valuesByAlias(uses, values int) string {
	hook := func(list string) string {
		return "  - {subsystem: s, event: e, args: [{index: 0, type: string}], " +
			"selectors: [{matchArgs: [{operator: Equal, values: " + list + "}]}]}\n"
	}
	first := hook("&v [" + strings.Repeat("x, ", values-1) + "x]")
	return wrap("  tracepoints:\n" + first + strings.Repeat(hook("*v"), uses-1))
}

// usesOfList is a policy with a list of calls, and with hooks and filters that use it.
func usesOfList(uses, calls int, hook string) string {
	return wrap("  lists: [{name: l, type: syscalls, values: [" +
		lines(calls, func(i int) string { return fmt.Sprintf("sys_c%d,", i) }) + "]}]\n" +
		"  enforcers: [{calls: [" + strings.Repeat("'list:l',", uses) + "]}]\n" +
		"  tracepoints:\n" + strings.Repeat("  - {subsystem: a, event: b, args: [{index: 0, type: syscall64}], "+
		"selectors: [{matchArgs: [{operator: InMap, values: ['list:l', 'list:l']}]}]}\n", uses) +
		"  kprobes:\n" + strings.Repeat(hook, uses))
}

// namedValues has many filters with a name for a value.
func namedValues(filters int, name string) string {
	return wrap("  tracepoints:\n" + strings.Repeat("  - {subsystem: a, event: b, args: [{index: 0, type: sock}], selectors: ["+
		strings.Repeat("{matchArgs: [{operator: Protocol, values: ["+name+"]}]},", 15)+"]}\n", filters/15))
}

// TestListBudget holds that what lists expand to is counted, and where.
func TestListBudget(t *testing.T) {
	t.Parallel()
	text := func(uses int) []byte {
		return []byte(wrap("  lists: [{name: l, values: [" + lines(100_000, func(i int) string { return fmt.Sprintf("c%d,", i) }) + "]}]\n" +
			"  kprobes:\n" + strings.Repeat("  - {call: 'list:l', syscall: false}\n", uses)))
	}
	p, err := Parse(text(3))
	if err != nil || len(p.Hooks[2].Calls) != 100_000 {
		t.Errorf("300,000 calls: %v", err)
	}
	_, err = Parse(text(40))
	faults := Faults(err)
	if len(faults) != 1 || faults[0].Path != "spec.kprobes[3].call" || !strings.Contains(faults[0].Reason, "lists expand the text to more than 500000 nodes") {
		t.Errorf("4,000,000 calls: %v", err)
	}
	_, err = Parse([]byte(usesOfList(3, 100_000, "  - {call: sys_a}\n")))
	if want := "spec.tracepoints[0].selectors[0].matchArgs[0].values[0]"; !slices.ContainsFunc(Faults(err), func(f *FieldError) bool {
		return f.Path == want && strings.Contains(f.Reason, "lists expand the text")
	}) {
		t.Errorf("500,000 values and calls: %v", err)
	}
}

// TestAliasBudget holds that what aliases expand to is counted, to the node.
func TestAliasBudget(t *testing.T) {
	if _, err := Parse([]byte(valuesByAlias(9, 50_000))); err != nil {
		t.Errorf("450,000 values: %v", err)
	}
	_, err := Parse([]byte(valuesByAlias(64, 50_000)))
	faults := Faults(err)
	if len(faults) != 1 || !strings.Contains(faults[0].Reason, "aliases expand the text to more than 500000 nodes") {
		t.Errorf("3,200,000 values: %v", err)
	}
}

// TestBounds holds that texts are measured before they are parsed.
func TestBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text              string
		nodes, directives int
	}{
		{"", 1, 0},
		{"a-b#c?d", 1, 0},
		{"[a, b]", 3, 0},
		{"{a: b}", 4, 0},
		{"- a\n-\n- ? b", 5, 0},
		{"a # c\n# d\n", 5, 0},
		{"%TAG a\n%YAML\n50 %\nb%", 1, 2},
		{"x\u0085%TAG", 1, 1},
	} {
		if nodes, directives := bounds([]byte(c.text)); nodes != c.nodes || directives != c.directives {
			t.Errorf("%q: %d nodes, %d directives; want %d, %d", c.text, nodes, directives, c.nodes, c.directives)
		}
	}
}

// TestBombs holds that the worst texts are refused in bounded steps, memory and time.
// What it hunts takes hours at 10 MiB, for it grows with the square of the size;
// the bound leaves room for the race detector, which makes the YAML library ten
// times slower. It is one of processor time, as the machine may be busy.
func TestBombs(t *testing.T) {
	const timeLimit, memoryLimit = 30 * time.Second, 600 << 20
	for name, text := range bombs() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := processorTime(t)
			d := &decoder{}
			p, err := d.parse([]byte(text))
			took := processorTime(t) - start
			runtime.ReadMemStats(&after)
			if p != nil || len(Faults(err)) == 0 {
				t.Errorf("parsed: %v, %v", p, err)
			}
			// The use of a list that goes too far is the last.
			if d.steps > MaxNodes+2*MaxValues || len(d.faults) > maxFaults+1 {
				t.Errorf("%d steps and %d faults", d.steps, len(d.faults))
			}
			if took > timeLimit {
				t.Errorf("took %v, more than %v", took, timeLimit)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > memoryLimit {
				t.Errorf("allocated %d MiB, more than %d", used>>20, memoryLimit>>20)
			}
			t.Logf("%d bytes, %v, %d MiB", len(text), took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20)
		})
	}
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// TestLargePolicy holds that what is meant to fit does.
func TestLargePolicy(t *testing.T) {
	var b strings.Builder
	b.WriteString(filter("{index: 6, operator: Equal, values: ["))
	text := strings.TrimSuffix(b.String(), "\n")
	b.Reset()
	b.WriteString(text)
	for i := range MaxValues {
		fmt.Fprintf(&b, "\n          /etc/some/directory/file-%d,", i)
	}
	b.WriteString("]}\n")
	p, err := Parse([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(p.Hooks[0].Selectors[0].Args[0].Strings); n != MaxValues {
		t.Errorf("%d values, want %d", n, MaxValues)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(wrap(hookTail)))
	f.Add([]byte(filter("{index: 8, operator: InRange, values: ['1:2', 0x10]}")))
	f.Add([]byte(comparing("int string", "{operator: CelExpr, values: ['arg0 + int32(1) > int32(7) || true', 'arg1']}")))
	f.Add([]byte(comparing("uint64 uint64 file", "{args: [1, 0], operator: CapabilitiesGained, values: [CAP_BPF, 3]}")))
	f.Add([]byte(comparing("file", "{index: 1, operator: NotFileType, values: [sock]}")))
	f.Add([]byte(comparing("path", "{index: 1, operator: SubStringIgnCase, values: [aB]}")))
	f.Add([]byte(wrap("  tracepoints: &a [*a, {<<: *a}]\n")))
	f.Add([]byte("%TAG ! tag:x,\n---\n? !!binary [a\n"))
	f.Add([]byte(binaries("{operator: NotPrefix, values: [/usr/, /opt/]}")))
	f.Add([]byte(action("{action: Signal, argSig: 0x10}")))
	f.Add([]byte(fullSites))
	f.Add([]byte(dataSites))
	f.Add([]byte(hookWith("    tags: [&a ab, *a]\n    message: >\n      two\n      lines\n")))
	f.Add([]byte("{\"apiVersion\": \"cilium.io/v1alpha1\", \"kind\": \"TracingPolicyNamespaced\", \"metadata\": " +
		"{\"name\": \"a\", \"namespace\": \"b\"}, \"spec\": {\"tracepoints\": [{\"subsystem\": \"s\", \"event\": \"e\"}]}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			if p != nil || len(Faults(err)) == 0 || err.Error() == "" {
				t.Fatalf("refused with %v, policy %v", err, p)
			}
			return
		}
		checkInvariants(t, p)
		again, err := Parse([]byte(p.Text))
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Errorf("parsed again: %v\n%+v\n%+v", err, p, again)
		}
	})
}
