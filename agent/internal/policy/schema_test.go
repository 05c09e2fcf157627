// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"strings"
	"testing"
)

// TestSpecIsTakenOrRefused holds that every key of the language outside of hooks is
// taken, or refused by its name: none is passed over.
func TestSpecIsTakenOrRefused(t *testing.T) {
	t.Parallel()
	const hook = "  tracepoints: [{subsystem: s, event: e}]\n"
	with := func(s string) string { return wrap("  " + s + "\n" + hook) }
	for _, text := range []string{
		with("lists: [{name: a, type: '', values: [do_exit]}]"),
		with("lists: [{name: a, values: [do_exit], validated: false}]"),
		with("lists: [{name: a, type: syscalls, values: [sys_a, i386/sys_b], pattern: '', validated: true}]"),
		with("lists: [{name: a, type: generated_syscalls}]"),
		with("lists: [{name: a, type: generated_syscalls, pattern: ^sys_, values: []}]"),
		with("lists: [{name: a, type: generated_ftrace, pattern: ^tcp_}]"),
		with("options: [{name: policy-mode, value: monitor}]"),
		with("options: [{name: policy-mode, value: enforce}]"),
		with("options: [{name: disable-kprobe-multi, value: '1'}]"),
		with("options: [{name: disable-uprobe-multi, value: 'true'}]"),
		with("options: [{name: override-method, value: fmod-ret}]"),
		with("options: [{name: sleepable-preload-size, value: '10'}]"),
		with("enforcers: [{calls: [sys_a, security_b]}]"),
		with("loader: false"), with("uprobes: []"), with("usdts: ~"),
	} {
		if _, err := Parse([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	refused := map[string][]string{"spec.loader": {with("loader: true")}}
	for _, field := range []string{
		"symbols: [a]", "offsets: [1]", "addrs: [1]", "refCtrOffsets: [1]", "args: [{index: 0, type: int}]", "data: [{index: 0}]",
		"return: true", "returnArg: {index: 0, type: int}", "btfPath: /b", "binaryDigests: ['sha1:a']", "ignore: {digestVerificationFailure: true}",
		"message: aa", "tags: [aa]", "selectors: [{matchActions: [{action: GetUrl, argUrl: 'http://a/'}]}]",
	} {
		refused["spec.uprobes"] = append(refused["spec.uprobes"], with("uprobes: [{path: /a, "+field+"}]"))
	}
	for _, field := range []string{
		"args: [{index: 0, type: int}]", "btfPath: /b", "message: aa", "tags: [aa]",
		"selectors: [{matchActions: [{action: Set, argIndex: 1, argValue: 2}]}]",
		"selectors: [{matchActions: [{action: DnsLookup, argFqdn: a.org}]}]",
	} {
		refused["spec.usdts"] = append(refused["spec.usdts"], with("usdts: [{path: /a, provider: p, name: n, "+field+"}]"))
	}
	for path, texts := range refused {
		for _, text := range texts {
			_, err := Parse([]byte(text))
			if faults := Faults(err); len(faults) != 1 || faults[0].Path != path || faults[0].Line != 6 || !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
	// What is nowhere in the language is told apart from what is refused.
	for path, text := range map[string]string{
		"spec.lists[0].kind":        with("lists: [{name: a, values: [b], kind: c}]"),
		"spec.options[0].values":    with("options: [{name: policy-mode, value: enforce, values: []}]"),
		"spec.options[0].name":      with("options: [{name: disable-lsm-multi, value: 'true'}]"),
		"spec.enforcers[0].symbols": with("enforcers: [{calls: [sys_a], symbols: []}]"),
		"spec.loaders":              with("loaders: true"),
	} {
		_, err := Parse([]byte(text))
		if faults := Faults(err); len(faults) != 1 || faults[0].Path != path || errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "unknown") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
