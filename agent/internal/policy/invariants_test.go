// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

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
	for i, w := range p.Workloads {
		none := w.PodSelector == nil && w.ContainerSelector == nil && !w.HostSelector
		if none || w.HostSelector && p.Kind == Namespaced || i >= MaxWorkloads {
			t.Errorf("workload: %+v", w)
		}
	}
	for _, tp := range p.Hooks {
		checkHook(t, p, tp, slices.ContainsFunc(p.Generated, func(g Generated) bool { return g.Name == tp.List }))
		checkWithTypes(t, tp)
		for _, s := range tp.Selectors {
			checkProcessFilters(t, s)
			if s.Workload < 0 || s.Workload > len(p.Workloads) || len(s.Label) > maxSelectorLabel {
				t.Errorf("selector for workload %d of %d, label %q", s.Workload, len(p.Workloads), s.Label)
			}
			if len(s.Actions) == 0 {
				t.Error("selector without actions")
			}
			for _, a := range s.Actions {
				checkAction(t, p, tp, a)
			}
			for _, f := range slices.Concat(s.Args, s.Data) {
				checkFilter(t, tp, f)
			}
		}
	}
}

func checkHook(t *testing.T, p *Policy, h Hook, generated bool) {
	t.Helper()
	tracepoint := h.Section == Tracepoints
	if h.Section == 0 || len(h.Selectors) == 0 || len(h.Args) > maxArgs || h.Path() != h.at.path && !strings.Contains(p.Text, "*") {
		t.Errorf("hook: %+v", h)
	}
	if tracepoint != (h.Subsystem != "") || tracepoint != (h.Event != "") || tracepoint == (len(h.Calls) > 0 || generated) {
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
	for i, a := range h.Args {
		checkPlace(t, h, i)
		sized := a.Type == ArgCharBuf || a.Type == ArgIovec
		if sized && a.SizeArg == 0 || !sized && a.SizeArg > 0 && a.Type != ArgSockaddrUn || int64(a.Index) > lastArg(&h) {
			t.Errorf("argument: %+v", a)
		}
		if (a.Elements > 0) != (a.Type == ArgInt32Array) || a.Elements > MaxElements || a.MaxData && a.Type != ArgCharBuf {
			t.Errorf("argument: %+v", a)
		}
	}
}

// checkPlace checks where a value is: data comes last and leads somewhere, and paths
// can be followed.
func checkPlace(t *testing.T, h Hook, i int) {
	t.Helper()
	a := h.Args[i]
	_, err := ParseMemberPath(a.Resolve)
	data := a.Source != SourceArg
	if data != (i >= h.firstData()) || data && a.Resolve == "" || a.Resolve != "" && err != nil ||
		a.Resolve == "" && a.BTFType != "" || a.BTFType == "" && a.BTFModule != "" || a.Resolve != "" && !data && h.Syscall {
		t.Errorf("place of argument %d: %+v", i, a)
	}
}

// checkWithTypes gives arguments that the policy does not type each type there is.
func checkWithTypes(t *testing.T, h Hook) {
	t.Helper()
	for typ := ArgInt8; typ <= lastType; typ++ {
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
			for _, f := range slices.Concat(s.Args, s.Data) {
				checkFilter(t, typed, f)
			}
		}
	}
}

func checkAction(t *testing.T, p *Policy, h Hook, a Action) {
	t.Helper()
	notify := a.Kind == NotifyEnforcer
	switch {
	case a.Kind != Post && (a.RateLimit != 0 || a.RateScope != 0 || a.KernelStack || a.UserStack || a.Hash):
	case a.RateLimit < 0 || a.RateLimit%time.Second != 0 || a.RateLimit/time.Second > math.MaxUint32 || a.RateScope > RateGlobal:
	case (a.KernelStack || a.UserStack) && h.Section != Kprobes && h.Section != Fentries, a.Hash && h.Section != LSMHooks:
	case a.Kind == CleanupEnforcerNotification && len(p.Enforcers) == 0:
	case a.Kind == 0, a.Signal > maxSignal, a.Kind == Signal && a.Signal == 0:
	case a.Signal > 0 && a.Kind != Signal && !notify, a.Error != 0 && a.Kind != Override && !notify:
	case notify && (a.Signal == 0 && a.Error == 0 || len(p.Enforcers)+len(p.EnforcerLists) == 0):
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
	for _, f := range s.NamespaceChanges {
		if len(f.Namespaces) == 0 || slices.Max(f.Namespaces) > NamespaceUser || !slices.IsSorted(f.Namespaces) {
			t.Errorf("filter on changes of namespaces: %+v", f)
		}
	}
	for _, f := range slices.Concat(s.Capabilities, s.CapabilityChanges) {
		if f.Mask == 0 || f.Set > CapabilityPermitted {
			t.Errorf("capability filter: %+v", f)
		}
	}
}

func checkFilter(t *testing.T, h Hook, f ArgFilter) {
	t.Helper()
	if f.Arg < 0 || f.Arg >= len(h.Args) || f.Op == 0 || len(f.Values) == 0 && !f.Op.valueless() && f.Op != OpCapabilitiesGained || len(f.Values) > 0 && f.Op.valueless() {
		t.Fatalf("filter: %+v", f)
	}
	typ := h.Args[f.Arg].Type
	if f.Op == OpCelExpr {
		checkExpressions(t, h, f)
		return
	}
	if typ == ArgAuto || h.Args[f.Old].Type == ArgAuto {
		if f.Strings != nil || f.Ranges != nil || f.Masks != nil || f.Prefixes != nil {
			t.Errorf("typed values of an untyped argument: %+v", f)
		}
		return
	}
	address := f.Op.Positive() == OpSAddr || f.Op.Positive() == OpDAddr
	mask := f.Op == OpMask || f.Op == OpCapabilitiesGained
	text := typ.Text() && f.Op.Positive() != OpFileType && f.Op != OpFamily
	if (f.Strings != nil) != text || (f.Prefixes != nil) != address || (f.Masks != nil) != mask ||
		(f.Ranges != nil) != (!text && !address && !mask) || !typ.takes(f.Op) || !h.Args[f.Old].Type.takes(f.Op) && f.Op == OpCapabilitiesGained {
		t.Errorf("values of a filter on %s: %+v", typ, f)
	}
	if f.Op != OpGreaterThan && f.Op != OpLessThan && len(f.Strings)+len(f.Ranges)+len(f.Masks)+len(f.Prefixes)+len(f.Lists) == 0 {
		t.Errorf("filter without values: %+v", f)
	}
	for _, p := range f.Prefixes {
		if p != p.Masked() || p.Addr().Is4In6() && p.Bits() >= 96 {
			t.Errorf("network %s", p)
		}
	}
	checkRanges(t, rangeType(typ), f)
}

func checkExpressions(t *testing.T, h Hook, f ArgFilter) {
	t.Helper()
	if slices.Contains(h.argTypes(), ArgAuto) {
		return
	}
	programs := f.Expressions(h.argTypes(), func(i int, reason string) { t.Errorf("expression %s: %s", f.Values[i], reason) })
	if len(programs) != len(f.Values) || len(programs) > maxExpressions {
		t.Errorf("%d programs of %d expressions", len(programs), len(f.Values))
	}
}

// rangeType is the integer that ranges of a filter on the type are about.
func rangeType(t ArgType) ArgType {
	switch {
	case t == ArgCapability:
		return ArgInt32
	case t == ArgSyscall64, t.CapabilitySet():
		return ArgUint64
	case t.Socket(), t == ArgSockaddrUn:
		return ArgUint16
	case t.Text():
		return ArgUint8 // types of files
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
