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

// TestBombs holds that the worst texts are refused in bounded time and memory.
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
			p, err := Parse([]byte(text))
			took := processorTime(t) - start
			runtime.ReadMemStats(&after)
			if p != nil || len(Faults(err)) == 0 {
				t.Errorf("parsed: %v, %v", p, err)
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
	f.Add([]byte(wrap("  tracepoints: &a [*a, {<<: *a}]\n")))
	f.Add([]byte("%TAG ! tag:x,\n---\n? !!binary [a\n"))
	f.Add([]byte(binaries("{operator: NotPrefix, values: [/usr/, /opt/]}")))
	f.Add([]byte(action("{action: Signal, argSig: 0x10}")))
	f.Add([]byte(fullSites))
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

// checkInvariants holds what the readers of a Policy rely on.
func checkInvariants(t *testing.T, p *Policy) {
	t.Helper()
	if p.Name == "" || p.Kind == 0 || p.Mode == 0 || (p.Kind == Namespaced) != (p.Namespace != "") {
		t.Errorf("envelope: %+v", p)
	}
	if (p.Mode == MonitorOnly) == p.Enforces() || p.Kind == Namespaced && p.HostSelector {
		t.Errorf("mode %s, enforces %v, host %v", p.Mode, p.Enforces(), p.HostSelector)
	}
	if len(p.Hooks) == 0 {
		t.Error("no hook")
	}
	for _, tp := range p.Hooks {
		checkHook(t, p, tp)
		checkWithTypes(t, tp)
		for _, s := range tp.Selectors {
			checkProcessFilters(t, s)
			if len(s.Actions) == 0 {
				t.Error("selector without actions")
			}
			for _, a := range s.Actions {
				checkAction(t, p, tp, a)
			}
			for _, f := range s.Args {
				checkFilter(t, tp, f)
			}
		}
	}
}

func checkHook(t *testing.T, p *Policy, h Hook) {
	t.Helper()
	tracepoint := h.Section == Tracepoints
	if h.Section == 0 || len(h.Selectors) == 0 || len(h.Args) > maxArgs || h.Path() != h.at.path && !strings.Contains(p.Text, "*") {
		t.Errorf("hook: %+v", h)
	}
	if tracepoint != (h.Subsystem != "") || tracepoint != (h.Event != "") || tracepoint == (len(h.Calls) > 0) {
		t.Errorf("place of hook: %+v", h)
	}
	if len(h.Calls) > 1 && h.List == "" || h.Syscall && (tracepoint || h.Section == LSMHooks) {
		t.Errorf("calls of hook: %+v", h)
	}
	for _, call := range h.Calls {
		if name, reason := callName(call, h.Syscall); name != call || reason != "" {
			t.Errorf("call %q: %q %s", call, name, reason)
		}
	}
	for _, a := range h.Args {
		if a.Type == ArgAuto && h.Section == Kprobes || (a.SizeArg > 0) != (a.Type == ArgCharBuf) || int64(a.Index) > lastArg(&h) {
			t.Errorf("argument: %+v", a)
		}
	}
}

// checkWithTypes gives arguments that the policy does not type each type there is.
func checkWithTypes(t *testing.T, h Hook) {
	t.Helper()
	for typ := ArgInt8; typ <= ArgSyscall64; typ++ {
		typed, err := h.WithTypes(slices.Repeat([]ArgType{typ}, len(h.Args)))
		if err != nil {
			if len(Faults(err)) == 0 {
				t.Errorf("types refused with %v", err)
			}
			continue
		}
		for i, a := range typed.Args {
			if want := h.Args[i].Type; a.Type == ArgAuto || want != ArgAuto && a.Type != want {
				t.Errorf("argument %+v, given %s", a, typ)
			}
		}
		for _, s := range typed.Selectors {
			for _, f := range s.Args {
				checkFilter(t, typed, f)
			}
		}
	}
}

func checkAction(t *testing.T, p *Policy, h Hook, a Action) {
	t.Helper()
	notify := a.Kind == NotifyEnforcer
	switch {
	case a.Kind == 0, a.Signal > maxSignal, a.Kind == Signal && a.Signal == 0:
	case a.Signal > 0 && a.Kind != Signal && !notify, a.Error != 0 && a.Kind != Override && !notify:
	case notify && (a.Signal == 0 && a.Error == 0 || len(p.Enforcers) == 0):
	case a.Kind == Override && h.Section == LSMHooks && (a.Error >= 0 || a.Error < -maxErrno):
	case (a.Kind == Override || notify) && h.Section == Fentries:
	default:
		return
	}
	t.Errorf("action: %+v", a)
}

func checkProcessFilters(t *testing.T, s Selector) {
	t.Helper()
	for _, b := range s.Binaries {
		if b.Op == 0 || len(b.Values) == 0 || b.FollowChildren && b.Op.Positive() != OpEqual {
			t.Errorf("binary filter: %+v", b)
		}
	}
	for _, f := range s.PIDs {
		if len(f.Values) == 0 {
			t.Errorf("pid filter: %+v", f)
		}
	}
	for _, f := range s.Namespaces {
		if len(f.Values) == 0 && !f.Host || f.Namespace > NamespaceUser {
			t.Errorf("namespace filter: %+v", f)
		}
	}
	for _, f := range s.Capabilities {
		if f.Mask == 0 || f.Set > CapabilityPermitted {
			t.Errorf("capability filter: %+v", f)
		}
	}
}

func checkFilter(t *testing.T, h Hook, f ArgFilter) {
	t.Helper()
	if f.Arg < 0 || f.Arg >= len(h.Args) || f.Op == 0 || (len(f.Values) == 0) != f.Op.valueless() {
		t.Fatalf("filter: %+v", f)
	}
	typ := h.Args[f.Arg].Type
	if typ == ArgAuto {
		if f.Strings != nil || f.Ranges != nil || f.Masks != nil || f.Prefixes != nil {
			t.Errorf("typed values of an untyped argument: %+v", f)
		}
		return
	}
	address := f.Op.Positive() == OpSAddr || f.Op.Positive() == OpDAddr
	mask := f.Op == OpMask
	if (f.Strings != nil) != typ.Text() || (f.Prefixes != nil) != address || (f.Masks != nil) != mask ||
		(f.Ranges != nil) != (!typ.Text() && !address && !mask) || !typ.takes(f.Op) {
		t.Errorf("values of a filter on %s: %+v", typ, f)
	}
	if f.Op != OpGreaterThan && f.Op != OpLessThan && len(f.Strings)+len(f.Ranges)+len(f.Masks)+len(f.Prefixes) == 0 {
		t.Errorf("filter without values: %+v", f)
	}
	for _, p := range f.Prefixes {
		if p != p.Masked() || p.Addr().Is4In6() && p.Bits() >= 96 {
			t.Errorf("network %s", p)
		}
	}
	checkRanges(t, rangeType(typ), f)
}

// rangeType is the integer that ranges of a filter on the type are about.
func rangeType(t ArgType) ArgType {
	switch {
	case t == ArgCapability:
		return ArgInt32
	case t == ArgSyscall64:
		return ArgUint64
	case t.Socket():
		return ArgUint16
	}
	return t
}

func checkRanges(t *testing.T, typ ArgType, f ArgFilter) {
	t.Helper()
	before := compareUnsigned
	if typ.Signed() {
		before = compareSigned
	}
	for i, r := range f.Ranges {
		if before(r.Lo, r.Hi) > 0 || before(r.Lo, typ.Limits().Lo) < 0 || before(r.Hi, typ.Limits().Hi) > 0 {
			t.Errorf("range %v of %s", r, typ)
		}
		if i > 0 && before(f.Ranges[i-1].Hi, r.Lo) >= 0 {
			t.Errorf("ranges %v overlap or are not sorted", f.Ranges)
		}
	}
}
