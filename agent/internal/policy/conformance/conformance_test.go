// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/test/testenv"
)

// parserSource is the source of the parser, of which no more is known by its own words.
func parserSource(t *testing.T) []*ast.FuncDecl {
	t.Helper()
	names, err := filepath.Glob("../*.go")
	if err != nil || len(names) == 0 {
		t.Fatalf("%q, %v", names, err)
	}
	var all []*ast.FuncDecl
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				all = append(all, f)
			}
		}
	}
	return all
}

func text(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// isKeys tells whether a type is that of the keys of an object.
func isKeys(e ast.Expr) bool {
	m, ok := e.(*ast.MapType)
	if !ok {
		return false
	}
	f, ok := m.Value.(*ast.FuncType)
	return ok && len(f.Params.List) == 1 && f.Results == nil
}

// setsKeys tells whether a loop's body adds keys to those that are known.
func setsKeys(body *ast.BlockStmt) (sets bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		if assign, ok := n.(*ast.AssignStmt); ok {
			if index, ok := assign.Lhs[0].(*ast.IndexExpr); ok {
				known, ok := index.X.(*ast.Ident)
				sets = sets || ok && known.Name == "known"
			}
		}
		return !sets
	})
	return sets
}

// listed are the items of a list that is written where it is used, or of the lists in
// a map.
func listed(e ast.Expr) (items []ast.Expr) {
	l, ok := e.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	for _, item := range l.Elts {
		if pair, ok := item.(*ast.KeyValueExpr); ok {
			items = append(items, listed(pair.Value)...)
			continue
		}
		items = append(items, item)
	}
	return items
}

// wordsOf are the words that a function of the parser compares with.
func wordsOf(t *testing.T, functions []*ast.FuncDecl, name string) (words []string) {
	t.Helper()
	for _, f := range functions {
		if f.Name.Name != name {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			var from []ast.Expr
			switch n := n.(type) {
			case *ast.CaseClause:
				from = n.List
			case *ast.RangeStmt:
				from = listed(n.X)
			case *ast.CallExpr:
				if called, ok := n.Fun.(*ast.SelectorExpr); ok && called.Sel.Name == "EqualFold" {
					from = n.Args
				}
			}
			for _, e := range from {
				if s, ok := text(e); ok {
					words = append(words, s)
				}
			}
			return true
		})
	}
	return words
}

// keysOf are the keys that functions of the parser decode or refuse by name.
func keysOf(functions []*ast.FuncDecl) map[string]bool {
	keys := map[string]bool{}
	add := func(e ast.Expr) {
		if s, ok := text(e); ok {
			keys[s] = true
		}
	}
	for _, f := range functions {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if !isKeys(n.Type) {
					return true
				}
				for _, e := range n.Elts {
					add(e.(*ast.KeyValueExpr).Key)
				}
			case *ast.AssignStmt:
				// known["key"] = func(value) {...}
				if i, ok := n.Lhs[0].(*ast.IndexExpr); ok && len(n.Rhs) == 1 {
					if _, ok := n.Rhs[0].(*ast.FuncLit); ok {
						add(i.Index)
					}
				}
			case *ast.RangeStmt:
				if setsKeys(n.Body) {
					for _, e := range listed(n.X) {
						add(e)
					}
				}
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && (k.Name == "later" || k.Name == "laterObjects") {
					if l, ok := n.Value.(*ast.CompositeLit); ok {
						for _, e := range l.Elts {
							add(e)
						}
					}
				}
			}
			return true
		})
	}
	return keys
}

// named are the names of an enumeration from a first value on, up to one without a name.
func named[T ~uint8](first T, name func(T) string) (names []string) {
	for v := first; !strings.Contains(name(v), "("); v++ {
		names = append(names, name(v))
	}
	return names
}

// has holds that a table has everything that the parser knows.
func has(t *testing.T, what string, table map[string]bool, known ...string) {
	t.Helper()
	if len(known) == 0 {
		t.Errorf("the parser knows no %s: the test sees nothing", what)
	}
	for _, name := range known {
		if !table[name] {
			t.Errorf("the parser knows %s %s, and the tables do not", what, name)
		}
	}
}

// rows are a table's rows by a column.
func rows[T any](t *testing.T, table func() ([]T, error), column func(T) string) map[string]bool {
	t.Helper()
	all, err := table()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, row := range all {
		names[column(row)] = true
	}
	return names
}

// The tables have all types, operators, actions and keys that the parser has: one that
// is added to it without a row is missed here.
func TestTablesHaveTheLanguage(t *testing.T) {
	t.Parallel()
	source := parserSource(t)
	types := rows(t, Types, func(r Type) string { return r.Name })
	has(t, "type", types, named(policy.ArgAuto, policy.ArgType.String)...)
	has(t, "type", types, wordsOf(t, source, "typeNamed")...)
	operators := rows(t, Operators, func(r Operator) string { return r.Name })
	has(t, "operator", operators, named(policy.OpEqual, policy.Operator.String)...)
	has(t, "operator", operators, wordsOf(t, source, "argOperator")...)
	actions := rows(t, Actions, func(r Action) string { return r.Name })
	has(t, "action", actions, named(policy.Post, policy.ActionKind.String)...)
	has(t, "action", actions, wordsOf(t, source, "actionKind")...)
	keys := rows(t, Keys, func(r Key) string { return r.Name })
	has(t, "key", keys, slices.Sorted(maps.Keys(keysOf(source)))...)
	has(t, "section", keys, policy.Tracepoints.String(), policy.Kprobes.String(), policy.LSMHooks.String(), policy.Fentries.String(), policy.Enforcers.String())
	selectors := rows(t, Selectors, func(r Selector) string { return r.Key })
	for key := range keys {
		if strings.HasPrefix(key, "match") && !strings.HasPrefix(key, "matchLabels") && !strings.HasPrefix(key, "matchExpr") {
			has(t, "selector", selectors, key)
		}
	}
	for n := policy.NamespaceUts; n <= policy.NamespaceUser; n++ {
		forms := rows(t, Selectors, func(r Selector) string { return r.Key + " " + strings.Fields(r.Form + " -")[0] })
		has(t, "namespace", forms, "matchNamespaces "+n.String(), "matchNamespaceChanges "+n.String())
	}
}

// objects are policies with an object of each kind in the place of $.
func objects() map[string]string {
	spec := func(s string) string {
		return "{apiVersion: cilium.io/v1alpha1, kind: TracingPolicy, metadata: {name: a}, spec: {" + s + "}}"
	}
	selector := func(s string) string {
		return spec("tracepoints: [{subsystem: s, event: e, args: [{index: 5, type: int}], selectors: [{" + s + "}]}]")
	}
	const hook = ", tracepoints: [{subsystem: s, event: e}]"
	return map[string]string{
		"policy": "{$}", "metadata": "{apiVersion: cilium.io/v1alpha1, kind: TracingPolicy, metadata: {$}, spec: {tracepoints: [{subsystem: s, event: e}]}}",
		"spec": spec("$"), "list": spec("lists: [{$}]" + hook), "option": spec("options: [{$}]" + hook), "enforcer": spec("enforcers: [{$}]" + hook),
		"labels": spec("podSelector: {$}" + hook), "requirement": spec("podSelector: {matchExpressions: [{$}]}" + hook),
		"tracepoint": spec("tracepoints: [{$}]"), "function": spec("kprobes: [{$}]"), "fentry": spec("fentries: [{$}]"), "hook": spec("lsmhooks: [{$}]"),
		"arg": spec("kprobes: [{call: f, syscall: false, args: [{$}]}]"), "data": spec("kprobes: [{call: f, syscall: false, data: [{$}]}]"),
		"selector": selector("$"), "filter": selector("matchArgs: [{$}]"), "binary": selector("matchBinaries: [{$}]"), "pid": selector("matchPIDs: [{$}]"),
		"namespace": selector("matchNamespaces: [{$}]"), "capability": selector("matchCapabilities: [{$}]"),
		"namespaceChange": selector("matchNamespaceChanges: [{$}]"), "workload": selector("matchWorkloads: {$}"), "action": selector("matchActions: [{$}]"),
	}
}

// Every key is taken with a value of its own, and refused by its name with another.
func TestKeys(t *testing.T) {
	t.Parallel()
	keys, err := Keys()
	if err != nil {
		t.Fatal(err)
	}
	taken, refused, never := 0, 0, 0
	for _, key := range keys {
		object, ok := objects()[key.In]
		if !ok {
			t.Errorf("there is no object %s", key.In)
			continue
		}
		with := func(text string) error {
			_, err := policy.Parse([]byte(strings.Replace(object, "$", text, 1)))
			return err
		}
		if key.Good == "-" {
			never++
		} else if err := with(key.Good); err != nil {
			t.Errorf("%s of %s: %v", key.Name, key.In, err)
		} else {
			taken++
		}
		faults := policy.Faults(with(key.Bad))
		if len(faults) == 0 || !slices.ContainsFunc(faults, func(f *policy.FieldError) bool { return strings.Contains(f.Path+" "+f.Reason, key.Name) }) {
			t.Errorf("%s of %s: {%s} has the faults %v", key.Name, key.In, key.Bad, faults)
		}
		refused++
	}
	testenv.Report(t, "conformance: %d keys of objects taken, %d refused with another value, %d of them always", taken, refused, never)
}

// testsOf are the names of the project's tests.
func testsOf(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	err := filepath.WalkDir("../../../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllSubmatch(text, -1) {
			tests[string(name[1])] = true
		}
		return err
	})
	if err != nil || len(tests) < 100 {
		t.Fatalf("%d tests: %v", len(tests), err)
	}
	return tests
}

// What no test run can show is shown by tests that exist.
func TestRowsPointToTests(t *testing.T) {
	t.Parallel()
	tests := testsOf(t)
	point := func(row string, shown []string, alone bool) {
		if alone && len(shown) == 0 {
			t.Errorf("%s: nothing shows it", row)
		}
		for _, name := range shown {
			if !tests[name] {
				t.Errorf("%s: there is no test %s", row, name)
			}
		}
	}
	actions, err := Actions()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range actions {
		point(row.Name+" "+row.Form, row.Shown, row.Text != "-" && (row.Effect == "-" || strings.HasPrefix(row.Effect, "held")))
	}
	types, err := Types()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range types {
		point(row.String(), row.Shown, false)
	}
	selectors, err := Selectors()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range selectors {
		point(row.Key+" "+row.Form, row.Shown, row.Hit == "-")
	}
}
