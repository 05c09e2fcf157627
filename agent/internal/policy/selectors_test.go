// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// withSelectors is a policy whose hook, at line 9, has these selectors from line 12
// on, and whose spec begins with something more.
func withSelectors(spec, selectors string) string {
	return wrap(spec + "  tracepoints:\n  - subsystem: s\n    event: e\n    args: [{index: 5, type: string}]\n    selectors:\n" + selectors)
}

const macros = `  selectorsMacros:
    shells:
      matchBinaries: [{operator: In, values: [/bin/sh]}]
    secrets:
      matchArgs: [{index: 5, operator: Prefix, values: [/secret]}]
      label: secrets
    kill:
      matchActions: [{action: Sigkill}]
    nothing: {matchArgs: [], macros: []}
    gone: ~
`

func selectorsOf(t *testing.T, text string) (*Policy, []Selector) {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	checkInvariants(t, p)
	return p, p.Hooks[0].Selectors
}

func TestMacrosAreTakenOver(t *testing.T) {
	t.Parallel()
	p, selectors := selectorsOf(t, withSelectors(macros, `    - {macros: [shells, secrets, kill]}
    - {matchArgs: [], macros: [secrets], matchPIDs: [{operator: In, values: [1]}]}
    - {macros: [], label: own}
    - {macros: ~}
    - {macros: [nothing, shells], matchArgs: [{index: 5, operator: Equal, values: [a]}]}
`))
	shells := []BinaryFilter{{Op: OpIn, Values: []string{"/bin/sh"}}}
	secrets := []ArgFilter{{Op: OpPrefix, Strings: []string{"/secret"}, Values: []string{"/secret"}}}
	post := []Action{{Kind: Post}}
	want := []Selector{
		{Binaries: shells, Args: secrets, Label: "secrets", Actions: []Action{{Kind: Sigkill}}},
		{Args: secrets, Label: "secrets", PIDs: []PIDFilter{{Values: []uint32{1}}}, Actions: post},
		{Label: "own", Actions: post},
		{Actions: post},
		{Binaries: shells, Args: []ArgFilter{{Op: OpEqual, Strings: []string{"a"}, Values: []string{"a"}}}, Actions: post},
	}
	if diff := cmp.Diff(want, selectors, cmpopts.IgnoreUnexported(ArgFilter{})); diff != "" {
		t.Errorf("selectors (-want +got):\n%s", diff)
	}
	if len(p.Warnings) > 0 {
		t.Errorf("warnings: %v", p.Warnings)
	}
}

// What nobody uses is said, and its keys are looked at all the same.
func TestMacroThatNobodyUses(t *testing.T) {
	t.Parallel()
	p, _ := selectorsOf(t, withSelectors("  selectorsMacros: {a: {matchArgs: [{index: 9}]}}\n", "    - {}\n"))
	if len(p.Warnings) != 1 || p.Warnings[0].Path != "spec.selectorsMacros.a" || p.Warnings[0].Line != 6 {
		t.Errorf("warnings: %v", p.Warnings)
	}
}

func TestMacroFaults(t *testing.T) {
	t.Parallel()
	macro := func(s string) string {
		return withSelectors("  selectorsMacros:\n    a: "+s+"\n    b: {matchArgs: [{index: 5, operator: Equal, values: [a]}]}\n",
			"    - macros: [a]\n    - macros:\n      - a\n")
	}
	uses := func(s string) string { return withSelectors(macros, "    - "+s+"\n") }
	const selector = "spec.tracepoints[0].selectors[0]"
	for _, c := range []faultCase{
		{name: "macros are a list", text: withSelectors("  selectorsMacros: [a]\n", "    - {}\n"), path: "spec.selectorsMacros", line: 6, reason: "needs an object"},
		{name: "macro is text", text: withSelectors("  selectorsMacros: {a: b}\n", "    - {}\n"), path: "spec.selectorsMacros.a", line: 6, reason: "needs an object"},
		{name: "macro twice", text: withSelectors("  selectorsMacros: {a: {}, a: {}}\n", "    - {}\n"), path: "spec.selectorsMacros.a", line: 6, reason: "duplicate"},
		{name: "unknown key", text: withSelectors("  selectorsMacros: {a: {matchArg: [1]}}\n", "    - {}\n"), path: "spec.selectorsMacros.a.matchArg", line: 6, reason: "unknown key"},
		{name: "key of another case", text: macro("{MatchPIDs: [1]}"), path: "spec.selectorsMacros.a.MatchPIDs", line: 7, reason: "did you mean matchPIDs"},
		{name: "nested", text: macro("{macros: [b]}"), path: "spec.selectorsMacros.a.macros", line: 7, reason: "cannot use macros"},
		{name: "fault that is used twice", text: macro("{matchPIDs: [{operator: In, values: [x]}]}"), path: "spec.selectorsMacros.a.matchPIDs[0].values[0]", line: 7, reason: "whole number"},
		{name: "argument that the hook has not", text: macro("{matchArgs: [{index: 6, operator: Equal, values: [x]}]}"), path: "spec.selectorsMacros.a.matchArgs[0].index", line: 7, reason: "no argument has index 6"},
		{name: "unknown", text: uses("{macros: [shell]}"), path: selector + ".macros[0]", line: 21, reason: `unknown macro "shell"; there are`},
		{name: "null", text: uses("{macros: [gone]}"), path: selector + ".macros[0]", line: 21, reason: `unknown macro "gone"`},
		{name: "none at all", text: withSelectors("", "    - {macros: [shell]}\n"), path: selector + ".macros[0]", line: 11, reason: "spec.selectorsMacros has them"},
		{name: "no list", text: uses("{macros: shells}"), path: selector + ".macros", line: 21, reason: "needs a list"},
		{name: "no text", text: uses("{macros: [{}]}"), path: selector + ".macros[0]", line: 21, reason: "needs text"},
		{name: "twice the same", text: uses("{macros: [shells, shells]}"), path: selector + ".macros[1]", line: 21, reason: `matchBinaries is set by the macros "shells" and "shells"`},
		{name: "field of both", text: uses("{macros: [secrets], label: mine}"), path: selector + ".label", line: 21, reason: `set by the macro "secrets" too`},
		{name: "list of both", text: uses("{macros: [shells], matchBinaries: [{operator: In, values: [/a]}]}"), path: selector + ".matchBinaries", line: 21, reason: `set by the macro "shells" too`},
		{name: "many", text: uses("{macros: [" + strings.Repeat("nothing, ", 65) + "]}"), path: selector + ".macros", line: 21, reason: "more than 64"},
	} {
		t.Run(c.name, c.run)
	}
}

func TestManyMacros(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range maxMacros + 1 {
		fmt.Fprintf(&text, "    m%d: {}\n", i)
	}
	_, err := Parse([]byte(withSelectors("  selectorsMacros:\n"+text.String(), "    - {}\n")))
	if faults := Faults(err); len(faults) != 1 || faults[0].Path != "spec.selectorsMacros" {
		t.Errorf("refusal: %v", err)
	}
}

// Each use of a macro counts as if it were written out.
func TestMacrosDoNotExplode(t *testing.T) {
	t.Parallel()
	pids := strings.TrimSuffix(strings.Repeat("1, ", 20_000), ", ")
	text := withSelectors("  selectorsMacros: {a: {matchPIDs: [{operator: In, values: ["+pids+"]}]}}\n", strings.Repeat("    - {macros: [a]}\n", 30))
	_, err := Parse([]byte(text))
	if err == nil || !strings.Contains(err.Error(), "aliases expand") {
		t.Errorf("refusal: %v", err)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	_, selectors := selectorsOf(t, withSelectors("", `    - matchNamespaceChanges: [{operator: In, values: [Net, mnt, Mnt]}, {operator: NotIn, values: [PIDFORCHILDREN]}]
    - matchCapabilityChanges:
      - {operator: In, values: [CAP_SETUID, CAP_CHOWN]}
      - {type: Inheritable, operator: NotIn, isNamespaceCapability: true, values: [CAP_SYS_ADMIN]}
`))
	post := []Action{{Kind: Post}}
	want := []Selector{
		{
			NamespaceChanges: []NamespaceChangeFilter{
				{Namespaces: []Namespace{NamespaceMnt, NamespaceNet}},
				{Negated: true, Namespaces: []Namespace{NamespacePidForChildren}},
			},
			Actions: post,
		},
		{
			CapabilityChanges: []CapabilityFilter{
				{Mask: 1<<7 | 1}, {Set: CapabilityInheritable, Negated: true, Namespaced: true, Mask: 1 << 21},
			},
			Actions: post,
		},
	}
	if diff := cmp.Diff(want, selectors); diff != "" {
		t.Errorf("selectors (-want +got):\n%s", diff)
	}
}

func TestChangesFaults(t *testing.T) {
	t.Parallel()
	at := func(s string) string { return withSelectors("", "    - {"+s+"}\n") }
	const namespaces, capabilities = "spec.tracepoints[0].selectors[0].matchNamespaceChanges", "spec.tracepoints[0].selectors[0].matchCapabilityChanges"
	for _, c := range []faultCase{
		{name: "unknown namespace", text: at("matchNamespaceChanges: [{operator: In, values: [Net, Nett]}]"), path: namespaces + "[0].values[1]", line: 11, reason: `unknown namespace "Nett"`},
		{name: "number", text: at("matchNamespaceChanges: [{operator: In, values: [1]}]"), path: namespaces + "[0].values[0]", line: 11, reason: "unknown namespace"},
		{name: "no values", text: at("matchNamespaceChanges: [{operator: In, values: []}]"), path: namespaces + "[0].values", line: 11, reason: "at least one value"},
		{name: "values are missing", text: at("matchNamespaceChanges: [{operator: In}]"), path: namespaces + "[0]", line: 11, reason: "values is required"},
		{name: "operator", text: at("matchNamespaceChanges: [{operator: Equal, values: [Net]}]"), path: namespaces + "[0].operator", line: 11, reason: "there are In and NotIn"},
		{name: "key of matchNamespaces", text: at("matchNamespaceChanges: [{operator: In, values: [Net], namespace: Net}]"), path: namespaces + "[0].namespace", line: 11, reason: "unknown key"},
		{name: "unknown capability", text: at("matchCapabilityChanges: [{operator: In, values: [CAP_NONE]}]"), path: capabilities + "[0].values[0]", line: 11, reason: "unknown capability"},
		{name: "unknown set", text: at("matchCapabilityChanges: [{type: Bounding, operator: In, values: [CAP_CHOWN]}]"), path: capabilities + "[0].type", line: 11, reason: "there are Effective, Inheritable, Permitted"},
		{name: "many", text: at("matchCapabilityChanges: [" + strings.Repeat("{}, ", 6) + "]"), path: capabilities, line: 11, reason: "more than 5"},
	} {
		t.Run(c.name, c.run)
	}
}

func TestWorkloadsAreNumbered(t *testing.T) {
	t.Parallel()
	p, selectors := selectorsOf(t, withSelectors("", `    - matchWorkloads: {containerSelector: {matchLabels: {name: a}}}
    - matchWorkloads: {hostSelector: {}, podSelector: {}}
    - matchWorkloads: {}
    - matchWorkloads: ~
    - matchWorkloads: {podSelector: ~, containerSelector: {matchExpressions: [{key: name, operator: In, values: [a]}]}}
    - {matchWorkloads: {hostSelector: {}}, label: "`+strings.Repeat("l", 300)+`"}
`))
	var got []int
	for _, s := range selectors {
		got = append(got, s.Workload)
	}
	if diff := cmp.Diff([]int{1, 2, 0, 0, 1, 3}, got); diff != "" {
		t.Errorf("workloads of selectors (-want +got):\n%s", diff)
	}
	want := []Workload{
		{ContainerSelector: &LabelSelector{[]Requirement{{"name", LabelIn, []string{"a"}}}}},
		{PodSelector: &LabelSelector{}, HostSelector: true},
		{HostSelector: true},
	}
	if diff := cmp.Diff(want, p.Workloads); diff != "" {
		t.Errorf("workloads (-want +got):\n%s", diff)
	}
	if len(selectors[5].Label) != maxSelectorLabel || len(p.Warnings) != 1 {
		t.Errorf("label of %d bytes, warnings %v", len(selectors[5].Label), p.Warnings)
	}
}

func TestWorkloadFaults(t *testing.T) {
	t.Parallel()
	at := func(s string) string { return withSelectors("", "    - {"+s+"}\n") }
	const path = "spec.tracepoints[0].selectors[0].matchWorkloads"
	many := ""
	for i := range MaxWorkloads + 1 {
		if i%32 == 0 {
			many += "  - subsystem: s\n    event: e\n    selectors:\n"
		}
		many += fmt.Sprintf("    - matchWorkloads: {containerSelector: {matchLabels: {name: a%d}}}\n", i)
	}
	for _, c := range []faultCase{
		{name: "text", text: at("matchWorkloads: all"), path: path, line: 11, reason: "needs an object"},
		{name: "unknown key", text: at("matchWorkloads: {nodeSelector: {}}"), path: path + ".nodeSelector", line: 11, reason: "unknown key"},
		{name: "host by labels", text: at("matchWorkloads: {hostSelector: {matchLabels: {}}}"), path: path + ".hostSelector", line: 11, reason: "null or {}"},
		{name: "labels", text: at("matchWorkloads: {podSelector: {matchLabels: {'': a}}}"), path: path + `.podSelector.matchLabels[""]`, line: 11, reason: "key is empty"},
		{
			name: "host of a namespaced policy",
			text: strings.NewReplacer("TracingPolicy\n", "TracingPolicyNamespaced\n", "  name: a\n", "  name: a\n  namespace: n\n").Replace(at("matchWorkloads: {hostSelector: {}}")),
			path: path + ".hostSelector", line: 12, reason: "never selects the host",
		},
		{name: "many", text: wrap("  tracepoints:\n" + many), path: "spec.tracepoints[4].selectors[0].matchWorkloads", line: 150, reason: "the 128 different ones"},
		{name: "label is a list", text: at("label: []"), path: "spec.tracepoints[0].selectors[0].label", line: 11, reason: "needs text"},
	} {
		t.Run(c.name, c.run)
	}
}
