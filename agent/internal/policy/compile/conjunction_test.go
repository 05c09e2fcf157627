// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/agent/internal/policy/expression"
	"github.com/boltseal/boltseal/bpf"
)

const (
	exact      = bpf.WireMatchKindMATCH_EXACT
	prefix     = bpf.WireMatchKindMATCH_PREFIX
	notPrefix  = bpf.WireMatchKindMATCH_NOT_PREFIX
	postfix    = bpf.WireMatchKindMATCH_POSTFIX
	notPostfix = bpf.WireMatchKindMATCH_NOT_POSTFIX
	inRange    = bpf.WireMatchKindMATCH_RANGE
)

func text(op policy.Operator, values ...string) policy.ArgFilter {
	return policy.ArgFilter{Op: op, Strings: values}
}

func number(op policy.Operator, ends ...int64) policy.ArgFilter {
	f := policy.ArgFilter{Op: op}
	for i := 0; i < len(ends); i += 2 {
		f.Ranges = append(f.Ranges, policy.Range{Lo: uint64(ends[i]), Hi: uint64(ends[i+1])})
	}
	return f
}

// hookOf compiles a hook with one argument and one selector.
func hookOf(t *testing.T, arg policy.Arg, s policy.Selector) *compile.Hook {
	t.Helper()
	s.Actions = []policy.Action{{Kind: policy.Post}}
	return compileHook(t, policy.Hook{Section: policy.Tracepoints,
		Subsystem: compiletest.Subsystem, Event: compiletest.Event,
		Args: []policy.Arg{arg}, Selectors: []policy.Selector{s},
	})
}

func compileHook(t *testing.T, point policy.Hook) *compile.Hook {
	t.Helper()
	p, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{point}}, compiletest.Kernel{})
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return &p.Hooks[0]
}

// index finds a field of the test event.
func index(name string) uint32 {
	return uint32(slices.IndexFunc(compiletest.Fields(), func(f compile.Field) bool { return f.Name == name }))
}

func TestConjunctionOfStrings(t *testing.T) {
	t.Parallel()
	const eq, ne = policy.OpEqual, policy.OpNotEqual
	const pre, notPre, post, notPost = policy.OpPrefix, policy.OpNotPrefix, policy.OpPostfix, policy.OpNotPostfix
	for name, c := range map[string]struct {
		ask  []policy.ArgFilter
		want []compile.Filter
		none bool
	}{
		"nothing": {},
		"equal": {
			ask:  []policy.ArgFilter{text(eq, "a", "b")},
			want: []compile.Filter{{Kind: exact, Strings: []string{"a", "b"}}},
		},
		"equal and equal": {
			ask:  []policy.ArgFilter{text(eq, "a", "b"), text(eq, "b", "c")},
			want: []compile.Filter{{Kind: exact, Strings: []string{"b"}}},
		},
		"equal to nothing in common": {ask: []policy.ArgFilter{text(eq, "a"), text(eq, "b")}, none: true},
		"equal and not equal": {
			ask:  []policy.ArgFilter{text(eq, "a", "b"), text(ne, "a")},
			want: []compile.Filter{{Kind: exact, Strings: []string{"b"}}},
		},
		"not equal and equal": {
			ask:  []policy.ArgFilter{text(ne, "a"), text(eq, "a", "b")},
			want: []compile.Filter{{Kind: exact, Strings: []string{"b"}}},
		},
		"equal but not equal": {ask: []policy.ArgFilter{text(eq, "a"), text(ne, "a", "b")}, none: true},
		"not equal twice": {
			ask:  []policy.ArgFilter{text(ne, "a"), text(ne, "b", "a")},
			want: []compile.Filter{{Kind: exact, Negated: true, Strings: []string{"a", "b"}}},
		},
		"prefixes of which one holds the other": {
			ask:  []policy.ArgFilter{text(pre, "/etc/", "/var/"), text(pre, "/etc/ssl", "/usr")},
			want: []compile.Filter{{Kind: prefix, Strings: []string{"/etc/ssl"}}},
		},
		"the shorter prefix last": {
			ask:  []policy.ArgFilter{text(pre, "/etc/ssl/", "/etc/ssh/"), text(pre, "/etc/")},
			want: []compile.Filter{{Kind: prefix, Strings: []string{"/etc/ssh/", "/etc/ssl/"}}},
		},
		"prefixes that exclude each other": {ask: []policy.ArgFilter{text(pre, "/a"), text(pre, "/b")}, none: true},
		"prefix and not prefix": {
			ask: []policy.ArgFilter{text(pre, "/a"), text(notPre, "/a/b", "/a/c"), text(notPre, "/a/d")},
			want: []compile.Filter{
				{Kind: prefix, Strings: []string{"/a"}},
				{Kind: notPrefix, Strings: []string{"/a/b", "/a/c", "/a/d"}},
			},
		},
		"postfixes of which one holds the other": {
			ask:  []policy.ArgFilter{text(post, ".so", ".txt"), text(post, "lib.so")},
			want: []compile.Filter{{Kind: postfix, Strings: []string{"lib.so"}}},
		},
		"postfixes that exclude each other": {ask: []policy.ArgFilter{text(post, ".a"), text(post, ".b")}, none: true},
		"all kinds": {
			ask: []policy.ArgFilter{
				text(notPost, "z"), text(post, "y"), text(notPre, "x"), text(pre, "w"), text(ne, "v"),
			},
			want: []compile.Filter{
				{Kind: exact, Negated: true, Strings: []string{"v"}},
				{Kind: prefix, Strings: []string{"w"}},
				{Kind: notPrefix, Strings: []string{"x"}},
				{Kind: postfix, Strings: []string{"y"}},
				{Kind: notPostfix, Strings: []string{"z"}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hook := hookOf(t, policy.Arg{Index: index("path"), Type: policy.ArgString}, policy.Selector{Args: c.ask})
			checkRules(t, hook, c.want, c.none)
		})
	}
}

// checkRules checks that a hook has the one rule with the filters, or none.
func checkRules(t *testing.T, hook *compile.Hook, want []compile.Filter, none bool) {
	t.Helper()
	var rules []compile.Rule
	if !none {
		rules = []compile.Rule{{Post: true, Filters: want}}
	}
	if diff := cmp.Diff(rules, hook.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestConjunctionOfIntegers(t *testing.T) {
	t.Parallel()
	const eq, ne, gt, lt = policy.OpEqual, policy.OpNotEqual, policy.OpGreaterThan, policy.OpLessThan
	const in, notIn = policy.OpInRange, policy.OpNotInRange
	const lo, hi = math.MinInt64, math.MaxInt64
	flip := func(n int64) uint64 { return uint64(n) ^ 1<<63 }
	ranges := func(ends ...int64) []compile.Filter {
		f := compile.Filter{Kind: inRange}
		for i := 0; i < len(ends); i += 2 {
			f.Intervals = append(f.Intervals, compile.Interval{Lo: flip(ends[i]), Hi: flip(ends[i+1])})
		}
		return []compile.Filter{f}
	}
	points := func(negated bool, values ...int64) []compile.Filter {
		f := compile.Filter{Kind: exact, Negated: negated}
		for _, v := range values {
			f.Numbers = append(f.Numbers, uint64(v))
		}
		return []compile.Filter{f}
	}
	for name, c := range map[string]struct {
		ask  []policy.ArgFilter
		want []compile.Filter
		none bool
	}{
		"equal":                {ask: []policy.ArgFilter{number(eq, -1, -1, 0, 0, 7, 7)}, want: points(false, -1, 0, 7)},
		"equal and equal":      {ask: []policy.ArgFilter{number(eq, 1, 1, 2, 2), number(eq, 2, 2, 3, 3)}, want: points(false, 2)},
		"equal to two at once": {ask: []policy.ArgFilter{number(eq, 1, 1), number(eq, 2, 2)}, none: true},
		"not equal":            {ask: []policy.ArgFilter{number(ne, -1, -1, 1, 1)}, want: points(true, -1, 1)},
		"not equal twice":      {ask: []policy.ArgFilter{number(ne, 1, 1), number(ne, 3, 3)}, want: points(true, 1, 3)},
		"not equal to neighbours": {
			ask: []policy.ArgFilter{number(ne, 1, 1), number(ne, 2, 2)}, want: ranges(lo, 0, 3, hi),
		},
		"not equal to the ends": {
			ask: []policy.ArgFilter{number(ne, lo, lo, hi, hi)}, want: points(true, lo, hi),
		},
		"equal and not equal":       {ask: []policy.ArgFilter{number(eq, 1, 1, 2, 2), number(ne, 2, 2)}, want: points(false, 1)},
		"equal but not equal":       {ask: []policy.ArgFilter{number(eq, 1, 1), number(ne, 1, 1)}, none: true},
		"greater":                   {ask: []policy.ArgFilter{number(gt, 8, hi)}, want: ranges(8, hi)},
		"greater than the greatest": {ask: []policy.ArgFilter{number(gt)}, none: true},
		"between":                   {ask: []policy.ArgFilter{number(gt, 8, hi), number(lt, lo, 20)}, want: ranges(8, 20)},
		"between, and one of":       {ask: []policy.ArgFilter{number(gt, 8, hi), number(lt, lo, 20), number(eq, 1, 1, 9, 9)}, want: points(false, 9)},
		"between nothing":           {ask: []policy.ArgFilter{number(gt, 8, hi), number(lt, lo, 7)}, none: true},
		"between one":               {ask: []policy.ArgFilter{number(gt, 8, hi), number(lt, lo, 8)}, want: points(false, 8)},
		"not in ranges":             {ask: []policy.ArgFilter{number(notIn, -5, -1, 10, 20)}, want: ranges(lo, -6, 0, 9, 21, hi)},
		"not in the range to the ends": {
			ask: []policy.ArgFilter{number(notIn, lo, -1, 10, hi)}, want: ranges(0, 9),
		},
		"in and not in ranges": {ask: []policy.ArgFilter{number(in, 0, 100), number(notIn, 40, 60)}, want: ranges(0, 39, 61, 100)},
		"in ranges twice":      {ask: []policy.ArgFilter{number(in, 0, 10, 20, 30), number(in, 5, 25)}, want: ranges(5, 10, 20, 25)},
		"in all":               {ask: []policy.ArgFilter{number(in, lo, hi)}, want: nil},
		"in no":                {ask: []policy.ArgFilter{number(notIn, lo, hi)}, none: true},
		"in a range but one":   {ask: []policy.ArgFilter{number(in, lo, hi), number(ne, 3, 3)}, want: points(true, 3)},
		"in a range of one":    {ask: []policy.ArgFilter{number(in, 3, 3)}, want: points(false, 3)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hook := hookOf(t, policy.Arg{Index: index("i64"), Type: policy.ArgInt64}, policy.Selector{Args: c.ask})
			checkRules(t, hook, c.want, c.none)
		})
	}
}

func TestConjunctionOfBinaries(t *testing.T) {
	t.Parallel()
	arg := policy.Arg{Index: index("i64"), Type: policy.ArgInt64}
	in := policy.BinaryFilter{Op: policy.OpIn, Values: []string{"/a", "/b"}}
	notIn := policy.BinaryFilter{Op: policy.OpNotIn, Values: []string{"/b", "/c"}}
	hook := hookOf(t, arg, policy.Selector{Binaries: []policy.BinaryFilter{in, notIn}})
	checkRules(t, hook, []compile.Filter{{Read: 1, Kind: exact, Strings: []string{"/a"}}}, false)
	hook = hookOf(t, arg, policy.Selector{Binaries: []policy.BinaryFilter{notIn}})
	checkRules(t, hook, []compile.Filter{{Read: 1, Kind: exact, Negated: true, Strings: []string{"/b", "/c"}}}, false)
}

// Two arguments that are the same word of the record are one dimension: their
// filters must hold together, not either of them.
func TestConjunctionOfOneFieldReadTwice(t *testing.T) {
	t.Parallel()
	arg := policy.Arg{Index: index("path"), Type: policy.ArgString}
	second := text(policy.OpEqual, "b", "c")
	second.Arg = 1
	hook := compileHook(t, policy.Hook{Section: policy.Tracepoints,
		Subsystem: compiletest.Subsystem, Event: compiletest.Event, Args: []policy.Arg{arg, arg},
		Selectors: []policy.Selector{{
			Args:    []policy.ArgFilter{text(policy.OpEqual, "a", "b"), second},
			Actions: []policy.Action{{Kind: policy.Post}},
		}},
	})
	checkRules(t, hook, []compile.Filter{{Kind: exact, Strings: []string{"b"}}}, false)
}

// Rules of random selectors hold exactly when all filters of the selector hold,
// each by itself, as the language defines it.
func TestRulesAreWhatSelectorsSay(t *testing.T) {
	t.Parallel()
	held, failed := 0, 0
	for seed := range uint64(150) {
		source := compiletest.New(seed, "/the/binary")
		point := source.Hook(8)
		hook := followed(t, source, point)
		for range 30 {
			record := source.Record("/the/binary")
			values := record.Values(hook)
			for i, selector := range point.Selectors {
				if !readable(selector, hook, record) {
					continue
				}
				want := selectorHolds(selector, hook, record)
				at := slices.IndexFunc(hook.Rules, func(r compile.Rule) bool { return r.Selector == i })
				got := at >= 0 && hook.Rules[at].Matches(hook, values, false)
				if got != want {
					t.Fatalf("seed %d, selector %d is %v, its rule %v", seed, i, want, got)
				}
				if want {
					held++
				} else {
					failed++
				}
			}
		}
	}
	// A test of rules that never hold would show nothing.
	if held < 3000 || failed < 3000 {
		t.Errorf("%d held, %d did not: too few of one", held, failed)
	}
}

// followed compiles a hook for a process that descends from itself alone.
func followed(t *testing.T, source *compiletest.Source, point policy.Hook) *compile.Hook {
	t.Helper()
	p, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{point}}, compiletest.Kernel{})
	if err != nil {
		t.Fatal(err)
	}
	bits := map[string]int{}
	var has [2 * bpf.WireLimitsRULE_WORDS]uint64
	for i, l := range p.Lineages() {
		bit := 60 + i // in more than one word
		bits[l.Key()] = bit
		pid := source.Process.PID
		if l.NamespacePIDs {
			pid = source.Process.NamespacePID
		}
		if slices.Contains(l.Binaries, "/the/binary") || slices.Contains(l.PIDs, pid) {
			has[bit/64] |= 1 << (bit % 64)
		}
	}
	source.Process.Lineage = func(word uint16) uint64 { return has[word] }
	return &p.WithLineages(bits).Hooks[0]
}

// readable tells whether all that a selector asks for could be read: what cannot is
// not the language's.
func readable(s policy.Selector, hook *compile.Hook, record *compiletest.Record) bool {
	return !slices.ContainsFunc(s.Args, func(f policy.ArgFilter) bool {
		read := hook.Reads[f.Arg]
		if hook.Types[f.Arg] == policy.ArgSockaddr {
			return record.Users[int(read.Offset)].Unreadable
		}
		return record.Value(read).Unreadable || hook.Types[f.Arg] == policy.ArgFD && record.Value(read).Mode == 0
	})
}

func selectorHolds(s policy.Selector, hook *compile.Hook, record *compiletest.Record) bool {
	for _, f := range s.Args {
		read := hook.Reads[f.Arg]
		holds := false
		if ok, is := computedHolds(f, hook, record.Values(hook)); ok {
			holds = is
		} else if hook.Types[f.Arg] == policy.ArgSockaddr || f.Op == policy.OpFamily {
			holds = socketHolds(f, record.Users[int(read.Offset)].String)
		} else {
			holds = filterHolds(f, hook.Types[f.Arg], record.Value(read))
		}
		if holds == f.Op.Negated() {
			return false
		}
	}
	for _, f := range s.Binaries {
		compare := map[policy.Operator]func(s, value string) bool{
			policy.OpEqual:   func(s, value string) bool { return s == value },
			policy.OpPrefix:  strings.HasPrefix,
			policy.OpPostfix: strings.HasSuffix,
		}[f.Op.Positive()]
		if slices.ContainsFunc(f.Values, func(v string) bool { return compare(record.Binary.String, v) }) == f.Op.Negated() {
			return false
		}
	}
	return processHolds(s, record.Process)
}

// computedHolds is filterHolds for what is computed from arguments; ok is false for
// other filters.
func computedHolds(f policy.ArgFilter, hook *compile.Hook, values []compile.Value) (ok, holds bool) {
	v := values[f.Arg]
	switch f.Op.Positive() {
	case policy.OpSubString:
		return true, slices.ContainsFunc(f.Strings, func(s string) bool { return strings.Contains(v.String, s) })
	case policy.OpSubStringIgnCase:
		lower := []byte(v.String)
		for i, c := range lower {
			if c >= 'A' && c <= 'Z' {
				lower[i] |= 0x20
			}
		}
		return true, slices.ContainsFunc(f.Strings, func(s string) bool { return strings.Contains(string(lower), s) })
	case policy.OpFileType:
		return true, slices.ContainsFunc(f.Ranges, func(r policy.Range) bool { return r.Lo == uint64(v.Mode>>12) })
	case policy.OpCapabilitiesGained:
		return true, v.Number&^values[f.Old].Number&f.Masks[0] != 0
	case policy.OpCelExpr:
		args := make([]uint64, len(hook.Types))
		for i := range args {
			args[i] = values[i].Number
		}
		return true, slices.ContainsFunc(f.Expressions(hook.Types, nil), func(p *expression.Program) bool { return p.Evaluate(args) })
	}
	return false, false
}

func processHolds(s policy.Selector, p compiletest.Process) bool {
	for _, f := range s.PIDs {
		pid := p.PID
		if f.NamespacePID {
			pid = p.NamespacePID
		}
		if slices.Contains(f.Values, pid) == f.Negated {
			return false
		}
	}
	for _, f := range s.Namespaces {
		if slices.Contains(f.Values, p.Namespaces[f.Namespace]) == f.Negated {
			return false
		}
	}
	for _, f := range s.Capabilities {
		if (p.Capabilities[f.Set]&f.Mask != 0) == f.Negated {
			return false
		}
	}
	for _, f := range s.NamespaceChanges {
		any := slices.ContainsFunc(f.Namespaces, func(n policy.Namespace) bool { return p.NamespaceChanges>>n&1 == 1 })
		if any == f.Negated {
			return false
		}
	}
	for _, f := range s.CapabilityChanges {
		if (p.CapabilityChanges[f.Set]&f.Mask != 0) == f.Negated {
			return false
		}
	}
	return true
}

// socketHolds tells whether any value of the filter fits the bytes of a struct
// sockaddr, whatever its negation.
func socketHolds(f policy.ArgFilter, sockaddr string) bool {
	family := binary.LittleEndian.Uint16([]byte(sockaddr))
	number := uint64(family)
	var addr netip.Addr
	switch family {
	case 2:
		addr, _ = netip.AddrFromSlice([]byte(sockaddr[4:8]))
	case 10:
		addr, _ = netip.AddrFromSlice([]byte(sockaddr[8:24]))
	}
	switch f.Op.Positive() {
	case policy.OpSAddr:
		return slices.ContainsFunc(f.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	case policy.OpSPort:
		number = 0
		if addr.IsValid() {
			number = uint64(binary.BigEndian.Uint16([]byte(sockaddr[2:])))
		}
	}
	return slices.ContainsFunc(f.Ranges, func(r policy.Range) bool { return r.Lo <= number && number <= r.Hi })
}

// filterHolds tells whether any value of the filter fits, whatever its negation.
func filterHolds(f policy.ArgFilter, t policy.ArgType, v compile.Value) bool {
	if f.Op == policy.OpMask {
		return slices.ContainsFunc(f.Masks, func(m uint64) bool { return v.Number&m != 0 })
	}
	if !t.Text() {
		return slices.ContainsFunc(f.Ranges, func(r policy.Range) bool {
			if t.Signed() {
				return int64(r.Lo) <= int64(v.Number) && int64(v.Number) <= int64(r.Hi)
			}
			return r.Lo <= v.Number && v.Number <= r.Hi
		})
	}
	compare := map[policy.Operator]func(s, value string) bool{
		policy.OpEqual:   func(s, value string) bool { return s == value },
		policy.OpPrefix:  strings.HasPrefix,
		policy.OpPostfix: strings.HasSuffix,
	}[f.Op.Positive()]
	return slices.ContainsFunc(f.Strings, func(value string) bool { return compare(v.String, value) })
}
