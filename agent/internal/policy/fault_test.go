// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestEnvelopeFaults(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\n"
	const tail = "spec:\n" + hookTail
	for _, c := range []faultCase{
		{name: "empty", text: "", reason: "holds no policy"},
		{name: "only a comment", text: "# nothing\n---\n", reason: "holds no policy"},
		{name: "not an object", text: "- a\n", line: 1, reason: "needs an object, not a list"},
		{name: "not yaml", text: "a: b\nc: d: e\n", line: 2, reason: "not YAML: mapping values"},
		{name: "unknown anchor", text: "a: *b\n", reason: "not YAML: unknown anchor"},
		{name: "second document", text: full + "---\na: b\n", line: 48, reason: "second document"},
		{name: "second document is broken", text: full + "---\na: [\n", line: 48, reason: "not YAML"},
		{name: "not UTF-8", text: head + "metadata: {name: \"\xff\"}\n" + tail, line: 3, reason: "not UTF-8"},
		{name: "UTF-16", text: "\xff\xfea\x00", line: 1, reason: "not UTF-8"},
		{name: "no apiVersion", text: "kind: TracingPolicy\nmetadata: {name: a}\n" + tail, line: 1, reason: "apiVersion is required"},
		{
			name: "other apiVersion", text: strings.Replace(wrap(hookTail), "v1alpha1", "v1", 1),
			path: "apiVersion", line: 1, reason: `is "cilium.io/v1", not cilium.io/v1alpha1`,
		},
		{
			name: "other kind", text: strings.Replace(wrap(hookTail), "TracingPolicy", "Pod", 1),
			path: "kind", line: 2, reason: `is "Pod", neither`,
		},
		{name: "no metadata", text: head + tail, line: 1, reason: "metadata is required"},
		{name: "no spec", text: head + "metadata: {name: a}\n", line: 1, reason: "spec is required"},
		{name: "spec is null", text: head + "metadata: {name: a}\nspec:\n", line: 1, reason: "spec is required"},
		{name: "no name", text: head + "metadata: {}\n" + tail, path: "metadata", line: 3, reason: "name is required"},
		{
			name: "name with capitals", text: head + "metadata: {name: Aa}\n" + tail,
			path: "metadata.name", line: 3, reason: "DNS-1123 subdomain",
		},
		{
			name: "name too long", text: head + "metadata: {name: " + strings.Repeat("a", 254) + "}\n" + tail,
			path: "metadata.name", line: 3, reason: "DNS-1123 subdomain",
		},
		{
			name: "name is a list", text: head + "metadata: {name: [a], labels: {}}\n" + tail,
			path: "metadata.name", line: 3, reason: "needs text, not a list",
		},
		{
			name: "cluster policy with namespace", text: head + "metadata:\n  name: a\n  namespace: b\n" + tail,
			path: "metadata.namespace", line: 5, reason: "must be absent",
		},
		{
			name: "namespaced without namespace", text: strings.Replace(wrap(hookTail), "TracingPolicy", "TracingPolicyNamespaced", 1),
			path: "metadata", line: 4, reason: "namespace is required",
		},
		{
			name: "namespace with a dot",
			text: "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicyNamespaced\nmetadata: {name: a, namespace: a.b}\n" + tail,
			path: "metadata.namespace", line: 3, reason: "DNS-1123 label",
		},
		{
			name: "label is a list", text: head + "metadata: {name: a, labels: {k.x/y: []}}\n" + tail,
			path: `metadata.labels["k.x/y"]`, line: 3, reason: "needs text",
		},
		{
			name: "unknown key of metadata", text: head + "metadata: {name: a, nmaespace: b}\n" + tail,
			path: "metadata.nmaespace", line: 3, reason: "unknown key",
		},
		{
			name: "unknown key at the top", text: head + "metadata: {name: a}\nSpec: {}\n" + tail,
			path: "Spec", line: 4, reason: "unknown key (did you mean spec?)",
		},
		{
			name: "duplicate key", text: head + "metadata: {name: a}\n" + tail + "kind: TracingPolicy\n",
			path: "kind", line: 6, reason: "duplicate key, first at line 2",
		},
		{
			name: "key is a list", text: head + "metadata: {name: a}\n[a]: b\n" + tail,
			line: 4, reason: "a key must be text, not a list",
		},
		{
			name: "key of another type", text: head + "metadata: !foo {name: a}\n" + tail,
			path: "metadata", line: 3, reason: "needs an object",
		},
		{
			name: "binary text", text: head + "metadata: {name: !!binary YQ==}\n" + tail,
			path: "metadata.name", line: 3, reason: `needs text, not a value of type "!!binary"`,
		},
	} {
		t.Run(c.name, c.run)
	}
}

func TestSpecFaults(t *testing.T) {
	t.Parallel()
	selector := func(s string) string { return wrap("  podSelector:\n    " + s + "\n" + hookTail) }
	option := func(s string) string { return wrap("  options:\n  - " + s + "\n" + hookTail) }
	for _, c := range []faultCase{
		{name: "no hook", text: wrap("  podSelector: {}\n"), path: "spec", line: 6, reason: "has no hook"},
		{name: "empty hooks", text: wrap("  tracepoints: []\n"), path: "spec", line: 6, reason: "has no hook"},
		{name: "hooks are no list", text: wrap("  tracepoints: {}\n"), path: "spec.tracepoints", line: 6, reason: "needs a list, not an object"},
		{
			name: "too many hooks", text: wrap("  tracepoints: [" + strings.Repeat("{}, ", maxHooks) + "{}]\n"),
			path: "spec.tracepoints", line: 6, reason: "has 1025 items, more than 1024",
		},
		{name: "unknown key", text: wrap("  tracepoint: []\n" + hookTail), path: "spec.tracepoint", line: 6, reason: "unknown key"},
		{name: "hostSelector with labels", text: wrap("  hostSelector: {matchLabels: {}}\n" + hookTail), path: "spec.hostSelector", line: 6, reason: "null or {}"},
		{name: "hostSelector is text", text: wrap("  hostSelector: all\n" + hookTail), path: "spec.hostSelector", line: 6, reason: "needs an object"},
		{
			name: "hostSelector of a namespaced policy",
			text: "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicyNamespaced\nmetadata: {name: a, namespace: b}\nspec:\n  hostSelector: {}\n" + hookTail,
			path: "spec.hostSelector", line: 5, reason: "must be absent",
		},
		{name: "unknown option", text: option("{name: fast, value: yes}"), path: "spec.options[0].name", line: 7, reason: `unknown option "fast"`},
		{name: "option without name", text: option("{value: enforce}"), path: "spec.options[0]", line: 7, reason: "name is required"},
		{name: "option twice", text: option("{name: policy-mode, value: enforce}\n  - {name: policy-mode, value: monitor}"), path: "spec.options[1].name", line: 8, reason: "given twice"},
		{name: "mode without value", text: option("{name: policy-mode}"), path: "spec.options[0]", line: 7, reason: "value is required"},
		{name: "unknown mode", text: option("{name: policy-mode, value: monitor_only}"), path: "spec.options[0].value", line: 7, reason: "neither enforce nor monitor"},
		{name: "label selector is a list", text: selector("[]"), path: "spec.podSelector", line: 7, reason: "needs an object"},
		{name: "label selector with another key", text: selector("labels: {}"), path: "spec.podSelector.labels", line: 7, reason: "unknown key"},
		{name: "label value is an object", text: selector("matchLabels: {a: {}}"), path: "spec.podSelector.matchLabels.a", line: 7, reason: "needs text"},
		{name: "label key twice", text: selector("matchLabels: {a: b, a: c}"), path: "spec.podSelector.matchLabels.a", line: 7, reason: "duplicate"},
		{name: "label key with white space", text: selector("matchLabels: {a b: c}"), path: `spec.podSelector.matchLabels["a b"]`, line: 7, reason: "white space"},
		{name: "label key empty", text: selector("matchLabels: {'': c}"), path: `spec.podSelector.matchLabels[""]`, line: 7, reason: "key is empty"},
		{name: "label key long", text: selector("matchExpressions: [{key: " + strings.Repeat("k", 318) + ", operator: Exists}]"), path: "spec.podSelector.matchExpressions[0]", line: 7, reason: "more than 317"},
		{name: "label value long", text: selector("matchLabels: {a: " + strings.Repeat("k", 4097) + "}"), path: "spec.podSelector.matchLabels.a", line: 7, reason: "more than 4096"},
		{name: "requirement without key", text: selector("matchExpressions: [{operator: Exists}]"), path: "spec.podSelector.matchExpressions[0]", line: 7, reason: "key is required"},
		{name: "requirement with empty key", text: selector("matchExpressions: [{key: '', operator: Exists}]"), path: "spec.podSelector.matchExpressions[0]", line: 7, reason: "key is empty"},
		{name: "requirement without operator", text: selector("matchExpressions: [{key: a}]"), path: "spec.podSelector.matchExpressions[0]", line: 7, reason: "operator is required"},
		{name: "requirement with another operator", text: selector("matchExpressions: [{key: a, operator: in, values: [b]}]"), path: "spec.podSelector.matchExpressions[0].operator", line: 7, reason: `unknown operator "in"`},
		{name: "In without values", text: selector("matchExpressions: [{key: a, operator: In}]"), path: "spec.podSelector.matchExpressions[0]", line: 7, reason: "In needs at least one value"},
		{name: "Exists with values", text: selector("matchExpressions: [{key: a, operator: Exists, values: [b]}]"), path: "spec.podSelector.matchExpressions[0]", line: 7, reason: "Exists takes no values"},
		{name: "requirement's value is null", text: selector("matchExpressions: [{key: a, operator: In, values: [~]}]"), path: "spec.podSelector.matchExpressions[0].values[0]", line: 7, reason: "needs text, not null"},
	} {
		t.Run(c.name, c.run)
	}
}

// TestLaterParts holds that what the language has and this version has not is
// refused by its name, and that its defaults are not.
func TestLaterParts(t *testing.T) {
	t.Parallel()
	spec := func(s string) string { return wrap(hookTail + "  " + s + "\n") }
	for _, c := range []struct{ text, path, on, off string }{
		{spec("uprobes: %s"), "spec.uprobes", "[{path: x}]", "[]"},
		{spec("usdts: %s"), "spec.usdts", "[{path: x}]", "[]"},
		{spec("loader: %s"), "spec.loader", "true", "false"},
	} {
		t.Run(c.path+" "+c.on, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(fmt.Appendf(nil, c.text, c.on))
			faults := Faults(err)
			if len(faults) != 1 || faults[0].Path != c.path || !errors.Is(faults[0], ErrUnsupported) {
				t.Errorf("refusal: %v", err)
			}
			if _, err := Parse(fmt.Appendf(nil, c.text, c.off)); err != nil {
				t.Errorf("default: %v", err)
			}
		})
	}
}

func TestHookFaults(t *testing.T) {
	t.Parallel()
	hook := func(s string) string { return wrap("  tracepoints:\n  - {" + s + "}\n") }
	tags := strings.TrimSuffix(strings.Repeat("tag, ", 17), ", ")
	for _, c := range []faultCase{
		{name: "no subsystem", text: hook("event: a"), path: "spec.tracepoints[0]", line: 7, reason: "subsystem is required"},
		{name: "no event", text: hook("subsystem: a"), path: "spec.tracepoints[0]", line: 7, reason: "event is required"},
		{name: "event is empty", text: hook("subsystem: a, event: ''"), path: "spec.tracepoints[0].event", line: 7, reason: "is empty"},
		{name: "event leads out", text: hook("subsystem: .., event: a"), path: "spec.tracepoints[0].subsystem", line: 7, reason: "other than letters"},
		{name: "event is long", text: hook("subsystem: a, event: " + strings.Repeat("e", 128)), path: "spec.tracepoints[0].event", line: 7, reason: "more than 127"},
		{name: "unknown key", text: hook("subsystem: a, event: a, call: b"), path: "spec.tracepoints[0].call", line: 7, reason: "unknown key"},
		{name: "raw is a number", text: hook("subsystem: a, event: a, raw: 1"), path: "spec.tracepoints[0].raw", line: 7, reason: `needs true or false, not "1"`},
		{name: "raw is quoted", text: hook("subsystem: a, event: a, raw: 'true'"), path: "spec.tracepoints[0].raw", line: 7, reason: "needs true or false"},
		{name: "message is short", text: hook("subsystem: a, event: a, message: m"), path: "spec.tracepoints[0].message", line: 7, reason: "shorter than 2"},
		{name: "tag is short", text: hook("subsystem: a, event: a, tags: [ab, c]"), path: "spec.tracepoints[0].tags[1]", line: 7, reason: "shorter than 2"},
		{name: "many tags", text: hook("subsystem: a, event: a, tags: [" + tags + "]"), path: "spec.tracepoints[0].tags", line: 7, reason: "has 17 items, more than 16"},
		{name: "many args", text: hookWith("    - {index: 1}\n    - {index: 2}\n"), path: "spec.tracepoints[0].args", line: 10, reason: "has 6 items, more than 5"},
		{name: "arg without index", text: hookWith("    - {type: int}\n"), path: "spec.tracepoints[0].args[4]", line: 14, reason: "index is required"},
		{name: "arg index is negative", text: hookWith("    - {index: -1}\n"), path: "spec.tracepoints[0].args[4].index", line: 14, reason: "not from 0 to"},
		{name: "arg index is text", text: hookWith("    - {index: '1'}\n"), path: "spec.tracepoints[0].args[4].index", line: 14, reason: "whole number"},
		{name: "arg index is huge", text: hookWith("    - {index: 99999999999999999999}\n"), path: "spec.tracepoints[0].args[4].index", line: 14},
		{name: "unknown type", text: hookWith("    - {index: 1, type: float}\n"), path: "spec.tracepoints[0].args[4].type", line: 14, reason: `unknown type "float"`},
		{name: "label is long", text: hookWith("    - {index: 1, label: " + strings.Repeat("l", 257) + "}\n"), path: "spec.tracepoints[0].args[4].label", line: 14, reason: "more than 256"},
		{name: "many selectors", text: hookWith("    selectors: [" + strings.Repeat("{}, ", 32) + "{}]\n"), path: "spec.tracepoints[0].selectors", line: 14, reason: "more than 32"},
		{name: "selector is text", text: hookWith("    selectors: [all]\n"), path: "spec.tracepoints[0].selectors[0]", line: 14, reason: "needs an object"},
		{name: "unknown filter", text: hookWith("    selectors: [{matchCurrentCred: []}]\n"), path: "spec.tracepoints[0].selectors[0].matchCurrentCred", line: 14, reason: "unknown key"},
	} {
		t.Run(c.name, c.run)
	}
}

func TestFilterFaults(t *testing.T) {
	t.Parallel()
	f := func(s string) string { return filter("{" + s + "}") }
	long := strings.Repeat("x", 4097)
	for _, c := range []faultCase{
		{name: "no operator", text: f("index: 5, values: [1]"), path: filterPath, line: 16, reason: "operator is required"},
		{name: "operator of another case", text: f("index: 5, operator: equal, values: [1]"), path: filterPath + ".operator", line: 16, reason: `unknown operator "equal"`},
		{name: "operator of binaries", text: f("index: 5, operator: In, values: [1]"), path: filterPath + ".operator", line: 16, reason: "unknown operator"},
		{name: "no values", text: f("index: 5, operator: Equal"), path: filterPath, line: 16, reason: "Equal needs at least one value"},
		{name: "empty values", text: f("index: 5, operator: Equal, values: []"), path: filterPath, line: 16, reason: "Equal needs at least one value"},
		{name: "values are text", text: f("index: 5, operator: Equal, values: 1"), path: filterPath + ".values", line: 16, reason: "needs a list"},
		{name: "null value", text: f("index: 5, operator: Equal, values: [1, ~]"), path: filterPath + ".values[1]", line: 16, reason: "not null"},
		{name: "undeclared index", text: f("index: 4, operator: Equal, values: [1]"), path: filterPath + ".index", line: 16, reason: "no argument has index 4"},
		{name: "no argument at all", text: f("operator: Equal, values: [1]"), path: filterPath, line: 16, reason: "needs index or args"},
		{name: "index is text", text: f("index: a, operator: Equal, values: [1]"), path: filterPath + ".index", line: 16, reason: "whole number"},
		{name: "position out of the list", text: f("args: [4], operator: Equal, values: [1]"), path: filterPath + ".args", line: 16, reason: "no argument at position 4"},
		{name: "position beyond any list", text: f("args: [5], operator: Equal, values: [1]"), path: filterPath + ".args[0]", line: 16, reason: "not from 0 to 4"},
		{name: "positions are text", text: f("args: '', operator: Equal, values: [1]"), path: filterPath + ".args", line: 16, reason: "needs a list"},
		{name: "two positions", text: f("args: [0, 1], operator: Equal, values: [1]"), path: filterPath + ".args", line: 16, reason: "names 2 arguments"},
		{name: "unknown key", text: f("index: 5, operator: Equal, value: [1], values: [1]"), path: filterPath + ".value", line: 16, reason: "unknown key"},
		{name: "prefix of an integer", text: f("index: 5, operator: Prefix, values: [1]"), path: filterPath + ".operator", line: 16, reason: "Prefix compares strings, and the argument is of type int32"},
		{name: "order of a string", text: f("index: 6, operator: GT, values: [1]"), path: filterPath + ".operator", line: 16, reason: "GreaterThan compares integers"},
		{name: "range of a string", text: f("index: 6, operator: NotInRange, values: ['1:2']"), path: filterPath + ".operator", line: 16, reason: "NotInRange compares integers"},
		{name: "word for an integer", text: f("index: 5, operator: Equal, values: [1, O_RDONLY]"), path: filterPath + ".values[1]", line: 16, reason: `"O_RDONLY" is no integer`},
		{name: "float for an integer", text: f("index: 5, operator: Equal, values: [1.5]"), path: filterPath + ".values[0]", line: 16, reason: "no integer"},
		{name: "empty integer", text: f("index: 5, operator: Equal, values: ['']"), path: filterPath + ".values[0]", line: 16, reason: "no integer"},
		{name: "overflow of int32", text: f("index: 5, operator: Equal, values: [2147483648]"), path: filterPath + ".values[0]", line: 16, reason: "outside int32, -2147483648 to 2147483647"},
		{name: "overflow of uint8", text: f("index: 7, operator: LT, values: [0x100]"), path: filterPath + ".values[0]", line: 16, reason: "outside uint8, 0 to 255"},
		{name: "negative unsigned", text: f("index: 7, operator: Equal, values: [-1]"), path: filterPath + ".values[0]", line: 16, reason: "-1 is outside uint8"},
		{name: "no range", text: f("index: 5, operator: InRange, values: [1]"), path: filterPath + ".values[0]", line: 16, reason: "write min:max"},
		{name: "range backwards", text: f("index: 5, operator: InRange, values: ['1:-1']"), path: filterPath + ".values[0]", line: 16, reason: "end is before its start"},
		{name: "half a range", text: f("index: 5, operator: InRange, values: ['1:']"), path: filterPath + ".values[0]", line: 16, reason: "no integer"},
		{name: "empty string", text: f("index: 6, operator: Equal, values: ['']"), path: filterPath + ".values[0]", line: 16, reason: "is empty"},
		{name: "long string", text: f("index: 6, operator: Equal, values: [" + long + "]"), path: filterPath + ".values[0]", line: 16, reason: "at most 4096"},
		{name: "long prefix", text: f("index: 6, operator: NotPrefix, values: [" + long[:257] + "]"), path: filterPath + ".values[0]", line: 16, reason: "at most 256"},
		{name: "long postfix", text: f("index: 6, operator: Postfix, values: [" + long[:129] + "]"), path: filterPath + ".values[0]", line: 16, reason: "at most 128"},
		{name: "NUL inside", text: f(`index: 6, operator: Equal, values: ["a\0b"]`), path: filterPath + ".values[0]", line: 16, reason: "NUL"},
		{name: "NUL at the end of a prefix", text: f(`index: 6, operator: Prefix, values: ["a\0"]`), path: filterPath + ".values[0]", line: 16, reason: "NUL"},
		{name: "many filters", text: hookWith("    selectors: [{matchArgs: [" + strings.Repeat("{}, ", 6) + "]}]\n"), path: "spec.tracepoints[0].selectors[0].matchArgs", line: 14, reason: "has 6 items, more than 5"},
		{name: "many values", text: f("index: 5, operator: Equal, values: [" + strings.Repeat("1, ", MaxValues) + "1]"), path: filterPath + ".values", line: 16, reason: "has 100001 items, more than 100000"},
	} {
		t.Run(c.name, c.run)
	}
}

func TestBinaryAndActionFaults(t *testing.T) {
	t.Parallel()
	b := func(s string) string { return binaries("{" + s + "}") }
	a := func(s string) string { return action("{" + s + "}") }
	for _, c := range []faultCase{
		{name: "two binary filters", text: hookWith("    selectors: [{matchBinaries: [{}, {}]}]\n"), path: "spec.tracepoints[0].selectors[0].matchBinaries", line: 14, reason: "has 2 items, more than 1"},
		{name: "no operator", text: b("values: [/a]"), path: binaryPath, line: 16, reason: "operator is required"},
		{name: "no values", text: b("operator: In"), path: binaryPath, line: 16, reason: "values is required"},
		{name: "empty values", text: b("operator: In, values: []"), path: binaryPath + ".values", line: 16, reason: "at least one value"},
		{name: "operator of arguments", text: b("operator: Equal, values: [/a]"), path: binaryPath + ".operator", line: 16, reason: "unknown operator"},
		{name: "operator is empty", text: b("operator: '', values: [/a]"), path: binaryPath + ".operator", line: 16, reason: "unknown operator"},
		{name: "operator is a list", text: b("operator: [], values: [/a]"), path: binaryPath + ".operator", line: 16, reason: "needs text"},
		{name: "relative path", text: b("operator: NotIn, values: [/a, bin/sh]"), path: binaryPath + ".values[1]", line: 16, reason: "no absolute path"},
		{name: "empty path", text: b("operator: Prefix, values: ['']"), path: binaryPath + ".values[0]", line: 16, reason: "is empty"},
		{name: "long postfix", text: b("operator: NotPostfix, values: [" + strings.Repeat("x", 129) + "]"), path: binaryPath + ".values[0]", line: 16, reason: "at most 128"},
		{name: "followChildren is text", text: b("operator: In, values: [/a], followChildren: maybe"), path: binaryPath + ".followChildren", line: 16, reason: "true or false"},
		{name: "no action", text: a("argSig: 9"), path: actionPath, line: 16, reason: "action is required"},
		{name: "unknown action", text: a("action: Kill"), path: actionPath + ".action", line: 16, reason: `unknown action "Kill"`},
		{name: "withdrawn action", text: a("action: FollowFD"), path: actionPath + ".action", line: 16, reason: "was withdrawn"},
		{name: "Signal without signal", text: a("action: Signal"), path: actionPath, line: 16, reason: "Signal needs argSig, 1 to 64"},
		{name: "signal 0", text: a("action: Signal, argSig: 0"), path: actionPath + ".argSig", line: 16, reason: "not from 1 to 64"},
		{name: "signal 65", text: a("action: Signal, argSig: 65"), path: actionPath + ".argSig", line: 16, reason: "not from 1 to 64"},
		{name: "signal by name", text: a("action: Signal, argSig: SIGTERM"), path: actionPath + ".argSig", line: 16, reason: "whole number"},
		{name: "signal of another action", text: a("action: sigkill, argSig: 9"), path: actionPath + ".argSig", line: 16, reason: "Sigkill takes no signal"},
		{name: "many actions", text: hookWith("    selectors: [{matchActions: [{action: Post}, {action: Post}, {action: Post}, {action: Post}]}]\n"), path: "spec.tracepoints[0].selectors[0].matchActions", line: 14, reason: "more than 3"},
		{name: "unknown key", text: a("action: Signal, argsig: 9, argSig: 9"), path: actionPath + ".argsig", line: 16, reason: "unknown key"},
	} {
		t.Run(c.name, c.run)
	}
}
