// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/agent/internal/policy/conformance"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// returningKernel has the registers of calls where a test run has room for them.
type returningKernel struct{ conformanceKernel }

// Registers are those that the programs of the test look at.
func (returningKernel) Registers() compile.Registers {
	return compile.Registers{Args: []uint16{16, 24, 32}, Result: compiletest.ResultOffset, Stack: compiletest.StackOffset, Popped: popped}
}

// returningFunction is a function that returns what types are of. Of the selectors of
// a hook the first decides about the return, so that each filter has a hook.
type returningFunction struct {
	name  string
	types []argument
	hooks []string
	cells []returnCell
}

// returnCell is what a hook is to show for the result that types[of] is of.
type returnCell struct {
	cell
	of int
}

// add adds hooks for all operators that take a type, false where there is no room.
func (f *returningFunction) add(t *testing.T, a argument, operators []conformance.Operator) bool {
	t.Helper()
	const typesOfFunction, hooksOfFunction = 4, 200
	var hooks []string
	var cells []returnCell
	for _, op := range operators {
		if !takesResult(a.Type, op) {
			continue
		}
		filters, err := a.Filters(op.Name, 0)
		if err != nil {
			t.Fatalf("%s: %v", a.Type, err)
		}
		for _, filter := range filters {
			hook := f.hook(a, filter.YAML(op.Name, 0))
			hooks = append(hooks, hook)
			cells = append(cells, returnCell{cell{a.Type.String(), op.Name, hook, filter.Holds, len(filter.Values) == 0}, len(f.types)})
		}
	}
	if len(f.types) > 0 && (len(f.types) == typesOfFunction || len(f.hooks)+len(hooks) > hooksOfFunction) {
		return false
	}
	f.types, f.hooks, f.cells = append(f.types, a), append(f.hooks, hooks...), append(f.cells, cells...)
	return true
}

// hook is an item of kprobes with a filter on what is returned.
func (f *returningFunction) hook(a argument, filter string) string {
	return fmt.Sprintf("{call: %s, syscall: false, return: true, returnArg: {index: 0, type: %s, %s}, selectors: [{matchReturnArgs: [%s]}]}", f.name, a.Name, a.extra, filter)
}

// takesResult tells whether an operator compares what is returned when it is of a type:
// two values are never returned.
func takesResult(typ conformance.Type, op conformance.Operator) bool {
	return typ.Takes(op) && op.Operands != "gained"
}

// resultTypes are the types of what functions return, as far as there are samples.
func resultTypes(s *samples, types []conformance.Type) (all []argument) {
	s.t.Helper()
	for _, typ := range types {
		if typ.Place != "raw" || typ.Name == "char_buf" || typ.Name == "char_iovec" || typ.Name == "nop" {
			continue // policy refuses the two of which nothing tells the length; nop is nothing
		}
		if of, ok := s.of(typ); ok {
			all = append(all, argument{Type: typ, sample: of})
		} else {
			testenv.Report(s.t, "conformance: return of %s: this kernel lacks the structure; shown by %s", typ, strings.Join(typ.Shown, ", "))
		}
	}
	return all
}

// Every operator compares what functions return of each type that it is for, and is
// refused for the others.
func TestConformanceOfReturns(t *testing.T) {
	types, operators := tables(t)
	s, j := newSamples(t), newJudges(t)
	results := resultTypes(s, types)
	functions := []*returningFunction{{name: "conformance_0"}}
	for _, a := range results {
		if f := functions[len(functions)-1]; f.add(t, a, operators) {
			continue
		}
		f := &returningFunction{name: fmt.Sprint("conformance_", len(functions))}
		f.add(t, a, operators)
		functions = append(functions, f)
	}
	shown, refused := shown{}, refused{}
	for _, f := range functions {
		j.showsReturns(t, f, shown)
	}
	for _, a := range results {
		refused.tried(t, a, operators, takesResult, j.refusesReturn)
	}
	runtime.KeepAlive(s)
	listed := make([]conformance.Type, len(results))
	for i, a := range results {
		listed[i] = a.Type
	}
	report(t, "matchReturnArgs: ", listed, operators, shown, refused)
}

// showsReturns has the filters about what a function returns judged.
func (j *judges) showsReturns(t *testing.T, f *returningFunction, shown shown) {
	t.Helper()
	if len(f.hooks) == 0 {
		return
	}
	prototype := compile.Prototype{Known: true}
	for _, a := range f.types {
		if a.Name == policy.ArgAuto.String() {
			prototype.Result = a.param
		}
	}
	j.kernel.Prototypes[f.name] = prototype
	id := j.loadFor(t, returningKernel{j.kernel}, document("kprobes", f.hooks...), trial{})
	hooks := j.hooksOf(id)
	j.site = hooks[0].site
	j.loadReturnOf(t)
	defer j.returned.Close()
	for at, a := range f.types {
		j.returnsWith(t, a.words[0])
		for i, c := range f.cells {
			if c.of == at {
				shown.judged(t, c.cell, j.returnVerdict(&hooks[i], a))
			}
		}
		if a.sample.other == nil {
			continue
		}
		a.sample = *a.sample.other
		j.returnsWith(t, a.words[0])
		for i, c := range f.cells {
			if c.of == at && c.valueless {
				c.holds = !c.holds
				shown.judged(t, c.cell, j.returnVerdict(&hooks[i], a))
			}
		}
	}
}

// returnsWith calls the function of j.site, which returns a word.
func (j *judges) returnsWith(t *testing.T, word uint64) {
	t.Helper()
	context := make([]byte, compiletest.RecordSize)
	binary.LittleEndian.PutUint64(context[compiletest.StackOffset:], someFrame)
	for _, step := range []struct {
		program *ebpf.Program
		frame   uint64
	}{
		{j.site.program.coll.Programs[bpf.SiteProgRawEvent], someFrame},
		{j.returned.Programs[bpf.SiteProgFunctionReturn], someFrame + popped},
	} {
		binary.LittleEndian.PutUint64(context[compiletest.StackOffset:], step.frame)
		if _, err := step.program.Run(&ebpf.RunOptions{Context: context}); err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint64(context[compiletest.ResultOffset:], word)
	}
	if calls, _ := j.remembered(t); calls != 0 {
		t.Fatalf("%d calls are remembered after they have returned", calls)
	}
	for j.event() != nil { // that the ring does not fill
	}
}

// returnVerdict is how the one rule of a hook was judged when a was returned.
func (j *judges) returnVerdict(h *loadedHook, a argument) verdict {
	values := make([]compile.Value, len(h.hook.Reads))
	for i, read := range h.hook.Reads {
		if read.When == bpf.WireReadWhenREAD_RESULT {
			read.Offset = uint16((&testSite{place: "raw"}).offset(0))
			values[i] = a.value(read)
		}
	}
	rule := &h.hook.Rules[0]
	plain := rule.Returns && rule.Matches(h.hook, values, false) && rule.MatchesReturn(h.hook, values, false)
	return verdict{plain, compile.Has(j.matching(), h.first)}
}

// refusesReturn is nil when a filter is refused for what it compares.
func (j *judges) refusesReturn(of argument, op conformance.Operator) error {
	const name = "conformance_alone"
	j.kernel.Prototypes[name] = compile.Prototype{Known: true, Result: of.param}
	p, err := policy.Parse([]byte(document("kprobes", (&returningFunction{name: name}).hook(of, filterOf(op).YAML(op.Name, 0)))))
	if err == nil && of.Name == policy.ArgAuto.String() {
		_, err = compile.Compile(p, returningKernel{j.kernel})
	}
	const filterPath = "spec.kprobes[0].selectors[0].matchReturnArgs[0]."
	if op.Operands == "gained" {
		if faults := policy.Faults(err); len(faults) != 1 || faults[0].Path != filterPath+"args" {
			return fmt.Errorf("not refused by one fault about the second value: %v", err)
		}
		return nil
	}
	return refusedFor(err, filterPath, op)
}
