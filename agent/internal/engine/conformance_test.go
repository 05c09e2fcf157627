// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/agent/internal/policy/conformance"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

var triedTypes = flag.String("boltseal.types", ".", "names of the types whose arguments are tried with every operator")

// wordsOfSite is how many words a raw tracepoint gives a program that asks for it.
const wordsOfSite = 5

// argument is an argument of a site's event.
type argument struct {
	conformance.Type
	sample
	// word is the position of its first word in the event, at that in the hook's args.
	word, at int
}

// testSite is an event of which arguments are judged.
type testSite struct {
	name, place string
	args        []argument
	words       []uint64
	// items are those of args.
	items []string
}

// sitesOf puts types into few sites: each is a program of its own.
func sitesOf(s *samples, types []conformance.Type) (sites []*testSite) {
	for _, typ := range types {
		sample, ok := s.of(typ)
		if !ok {
			testenv.Report(s.t, "conformance: %s -> %s: this kernel lacks the structure; shown by %s", typ, typ.Field, strings.Join(typ.Shown, ", "))
			continue
		}
		i := slices.IndexFunc(sites, func(site *testSite) bool {
			return site.place == typ.Place && len(site.words)+len(sample.words) <= wordsOfSite && len(site.items)+len(sample.words) <= wordsOfSite
		})
		if i < 0 {
			i = len(sites)
			sites = append(sites, &testSite{name: fmt.Sprintf("conformance_%d", i), place: typ.Place})
		}
		sites[i].add(typ, sample)
	}
	return sites
}

func (s *testSite) add(typ conformance.Type, of sample) {
	a := argument{Type: typ, sample: of, word: len(s.words), at: len(s.items)}
	s.args = append(s.args, a)
	s.words = append(s.words, of.words...)
	item := func(word int) string {
		extra := strings.ReplaceAll(of.extra, "$SIZE", fmt.Sprint(word+2))
		return fmt.Sprintf("{index: %d, type: %s, %s}", word, typ.Name, extra)
	}
	s.items = append(s.items, item(a.word))
	if of.located {
		s.words[a.word] |= uint64(s.offset(a.word + 1))
	}
	if of.pair {
		s.items = append(s.items, item(a.word+1))
	}
}

// offset is where in the event's record a word is: the first 8 bytes are not for
// programs.
func (s *testSite) offset(word int) int {
	if s.place == "raw" {
		return 8 * word
	}
	return 8 + 8*word
}

// hook is an item of tracepoints with these selectors.
func (s *testSite) hook(selectors []string) string {
	raw, subsystem := "", "syscalls"
	if s.place == "raw" {
		raw, subsystem = "raw: true, ", "none"
	}
	return fmt.Sprintf("{subsystem: %s, event: %s, %sargs: [%s], selectors: [%s]}", subsystem, s.name, raw, strings.Join(s.items, ", "), strings.Join(selectors, ", "))
}

// describe tells a kernel of the site's event.
func (s *testSite) describe(k *compiletest.Kernel) {
	p := compile.Prototype{Known: true, Params: make([]compile.Param, wordsOfSite)}
	for _, a := range s.args {
		p.Params[a.word] = a.param
	}
	if s.place == "raw" {
		k.Prototypes["raw/"+s.name] = p
		return
	}
	fields := make([]compile.Field, len(s.words))
	for i := range fields {
		fields[i] = compile.Field{Name: fmt.Sprint("word", i), Type: "const char *", Offset: s.offset(i), Size: 8}
	}
	for _, a := range s.args {
		if f := a.field; f.Type != "" {
			f.Name, f.Offset = fields[a.word].Name, s.offset(a.word)
			fields[a.word] = f
		}
	}
	k.Events["syscalls/"+s.name] = fields
}

// context is what a program is run with.
func (s *testSite) context() []uint64 {
	context := make([]uint64, 1+wordsOfSite)
	copy(context[s.offset(0)/8:], s.words)
	return context
}

// other is the same event with the other samples, nil when none has another.
func (s *testSite) other() *testSite {
	o := *s
	o.args, o.words = slices.Clone(s.args), slices.Clone(s.words)
	others := 0
	for i := range o.args {
		if a := &o.args[i]; a.sample.other != nil {
			a.sample = *a.sample.other
			copy(o.words[a.word:], a.words)
			others++
		}
	}
	if others == 0 {
		return nil
	}
	return &o
}

// value is what a read of the site gives.
func (s *testSite) value(read compile.Read) compile.Value {
	for _, a := range s.args {
		switch int(read.Offset) {
		case s.offset(a.word):
			return a.value(read)
		case s.offset(a.word + 1):
			if a.pair {
				return compile.Value{Number: a.Old}
			}
		}
	}
	return compile.Value{}
}

// value is what a read of the argument gives.
func (a *argument) value(read compile.Read) compile.Value {
	switch read.Kind {
	case bpf.WireReadKindREAD_SOURCE_ADDRESS:
		return compile.Value{Address: a.Source.Addr()}
	case bpf.WireReadKindREAD_TARGET_ADDRESS:
		return compile.Value{Address: a.Target.Addr()}
	case bpf.WireReadKindREAD_SOURCE_PORT:
		return compile.Value{Number: uint64(a.Source.Port())}
	case bpf.WireReadKindREAD_TARGET_PORT:
		return compile.Value{Number: uint64(a.Target.Port())}
	case bpf.WireReadKindREAD_PROTOCOL:
		return compile.Value{Number: uint64(a.Protocol)}
	case bpf.WireReadKindREAD_FAMILY, bpf.WireReadKindREAD_UNIX_FAMILY, bpf.WireReadKindREAD_USER_UNIX_FAMILY:
		return compile.Value{Number: uint64(a.Family)}
	case bpf.WireReadKindREAD_STATE:
		return compile.Value{Number: uint64(a.State)}
	}
	v := compile.Value{Number: a.Number, String: a.Text}
	if a.FileType == "reg" {
		v.Mode = 0o100644
	}
	return v
}

// cell is what a selector of a site's policy is to show.
type cell struct {
	typ, operator, selector string
	// holds tells whether the filter does. One that has no values does for one of two
	// events only.
	holds, valueless bool
}

// cells are the selectors for all operators that arguments of the site take.
func (s *testSite) cells(t *testing.T, operators []conformance.Operator) (selectors []string, cells []cell) {
	t.Helper()
	for _, a := range s.args {
		for _, op := range operators {
			if !a.Takes(op) {
				continue
			}
			filters, err := a.Filters(op.Name, a.at)
			if err != nil {
				t.Fatalf("%s: %v", a.Type, err)
			}
			for _, f := range filters {
				selector := "{matchArgs: [" + f.YAML(op.Name, a.at) + "]}"
				selectors = append(selectors, selector)
				cells = append(cells, cell{a.Type.String(), op.Name, selector, f.Holds, len(f.Values) == 0})
			}
		}
	}
	return selectors, cells
}

// selectorsOfHook is how many a hook takes.
const selectorsOfHook = 32

// hooks spreads selectors over hooks.
func (s *testSite) hooks(selectors []string) (hooks []string) {
	for chunk := range slices.Chunk(selectors, selectorsOfHook) {
		hooks = append(hooks, s.hook(chunk))
	}
	if len(hooks) == 0 {
		hooks = []string{s.hook(nil)}
	}
	return hooks
}

// shown is how many filters of a type and an operator held, and did not hold.
type shown map[[2]string]*struct{ hold, fail int }

// judged holds a verdict against what a cell is to show.
func (s shown) judged(t *testing.T, c cell, got verdict) {
	t.Helper()
	if got != (verdict{c.holds, c.holds}) {
		t.Errorf("%s %s: the plain evaluation says %v and the kernel %v of %s, want %v", c.typ, c.operator, got.plain, got.kernel, c.selector, c.holds)
	}
	key := [2]string{c.typ, c.operator}
	if s[key] == nil {
		s[key] = &struct{ hold, fail int }{}
	}
	if c.holds {
		s[key].hold++
	} else {
		s[key].fail++
	}
}

// refused is the operators that a type does not take.
type refused map[[2]string]bool

// tried has each of them refused.
func (r refused) tried(t *testing.T, a argument, operators []conformance.Operator, takes func(conformance.Type, conformance.Operator) bool, refuses func(argument, conformance.Operator) error) {
	t.Helper()
	for _, op := range operators {
		if takes(a.Type, op) {
			continue
		}
		if err := refuses(a, op); err != nil {
			t.Errorf("%s %s: %v", a.Type, op.Name, err)
		}
		r[[2]string{a.Type.String(), op.Name}] = true
	}
}

// tables are the types that are tried, and all operators.
func tables(t *testing.T) ([]conformance.Type, []conformance.Operator) {
	t.Helper()
	types, err := conformance.Types()
	operators, errOperators := conformance.Operators()
	if err = errors.Join(err, errOperators); err != nil {
		t.Fatal(err)
	}
	tried := regexp.MustCompile(*triedTypes)
	return slices.DeleteFunc(types, func(typ conformance.Type) bool { return !tried.MatchString(typ.String()) }), operators
}

// Every operator compares arguments of each type that it is for, and is refused for
// the others.
func TestConformance(t *testing.T) {
	types, operators := tables(t)
	s, j := newSamples(t), newJudges(t)
	shown, refused := shown{}, refused{}
	for _, site := range sitesOf(s, types) {
		site.describe(&j.kernel.Kernel)
		j.shows(t, site, operators, shown)
	}
	for _, typ := range types {
		a := argument{Type: typ, sample: s.made[typ.String()]}
		if len(a.words) == 0 {
			a.words = []uint64{0}
		}
		refused.tried(t, a, operators, conformance.Type.Takes, j.refuses)
	}
	runtime.KeepAlive(s)
	report(t, "", types, operators, shown, refused)
}

// shows has the filters about a site's arguments judged.
func (j *judges) shows(t *testing.T, site *testSite, operators []conformance.Operator, shown shown) {
	t.Helper()
	selectors, cells := site.cells(t, operators)
	of := trial{context: site.context(), value: site.value}
	id := j.load(t, document("tracepoints", site.hooks(selectors)...), of)
	j.try(t, id, of.context)
	for i, got := range j.verdicts(id, of)[:len(cells)] {
		shown.judged(t, cells[i], got)
	}
	fields := j.fields(t)
	for _, a := range site.args {
		if fields[a.at] != a.Field && (a.Field != "-" || fields[a.at] != "") {
			t.Errorf("%s is in field %q of events, want %s", a.Type, fields[a.at], a.Field)
		}
	}
	other := site.other()
	if other == nil {
		return
	}
	of.context, of.value = other.context(), other.value
	j.try(t, id, of.context)
	j.event() // it is of the same fields
	for i, got := range j.verdicts(id, of) {
		if c := cells[i]; c.valueless {
			c.holds = !c.holds
			shown.judged(t, c, got)
		}
	}
}

// refuses is nil when a filter is refused for what it compares.
func (j *judges) refuses(of argument, op conformance.Operator) error {
	alone := &testSite{name: "conformance_alone", place: of.Place}
	alone.add(of.Type, of.sample)
	f := filterOf(op)
	if len(alone.items) == 1 {
		alone.items = append(alone.items, alone.items[0]) // for operators of two
	}
	alone.describe(&j.kernel.Kernel)
	p, err := policy.Parse([]byte(document("tracepoints", alone.hook([]string{"{matchArgs: [" + f.YAML(op.Name, 0) + "]}"}))))
	if err == nil && of.Name == policy.ArgAuto.String() {
		// What it is of is known when the kernel is.
		_, err = compile.Compile(p, j.kernel)
	}
	return refusedFor(err, "spec.tracepoints[0].selectors[0].matchArgs[0].", op)
}

// filterOf has nothing wrong with it but what it compares.
func filterOf(op conformance.Operator) conformance.Filter {
	switch {
	case strings.HasSuffix(strings.ToLower(op.Name), "portpriv"):
		return conformance.Filter{}
	case op.Operands == "cel":
		return conformance.Filter{Values: []string{"arg0 == 1"}}
	}
	return conformance.Filter{Values: []string{"1"}}
}

// refusedFor is nil for the error that refuses the operator of a filter.
func refusedFor(err error, filter string, op conformance.Operator) error {
	faults := policy.Faults(err)
	if len(faults) != 1 {
		return fmt.Errorf("not refused by one fault: %v", err)
	}
	if at := faults[0].Path; at != filter+"operator" && (at != filter+"values[0]" || op.Operands != "cel") {
		return fmt.Errorf("the fault is at %s: %w", at, faults[0])
	}
	return nil
}

// report prints the table: "+-" where a filter that holds and one that does not were
// judged by both, and refused operators by their number.
func report(t *testing.T, what string, types []conformance.Type, operators []conformance.Operator, shown shown, refused refused) {
	t.Helper()
	hold, fail := 0, 0
	for _, typ := range types {
		line, without := "", 0
		for _, op := range operators {
			key := [2]string{typ.String(), op.Name}
			switch n := shown[key]; {
			case refused[key]:
				without++
			case n == nil || n.hold == 0 || n.fail == 0:
				t.Errorf("%s %s: nothing shows that it holds, or that it does not: %+v", typ, op.Name, n)
			default:
				hold, fail = hold+n.hold, fail+n.fail
				line += " " + op.Name
			}
		}
		testenv.Report(t, "conformance: %s%s -> %s:%s; %d refused", what, typ, typ.Field, line, without)
	}
	testenv.Report(t, "conformance: %s%d types x %d operators: %d shown, by %d filters that hold and %d that do not; %d refused; none empty",
		what, len(types), len(operators), len(shown), hold, fail, len(refused))
}
