// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSiteFaults(t *testing.T) {
	t.Parallel()
	item := func(section string) func(string) string {
		return func(s string) string { return wrap("  " + section + ":\n  - {" + s + "}\n") }
	}
	k, l, f, raw := item("kprobes"), item("lsmhooks"), item("fentries"), item("tracepoints")
	const kprobe, lsm, fentry, tracepoint = "spec.kprobes[0]", "spec.lsmhooks[0]", "spec.fentries[0]", "spec.tracepoints[0]"
	plain := func(args string) string { return k("call: a, syscall: false, args: [" + args + "]") }
	for _, c := range []faultCase{
		{
			name: "too many hooks of all sections", text: wrap("  lsmhooks: [{hook: a}]\n  tracepoints: [" + strings.Repeat("{subsystem: a, event: b}, ", maxHooks) + "]\n"),
			path: "spec", line: 6, reason: "has 1025 hooks, more than 1024",
		},
		{name: "no call", text: k("syscall: false"), path: kprobe, line: 7, reason: "call is required"},
		{name: "call is empty", text: k("call: '', syscall: false"), path: kprobe + ".call", line: 7, reason: "is empty"},
		{name: "call is a list", text: k("call: [a]"), path: kprobe + ".call", line: 7, reason: "needs text"},
		{name: "call leads out", text: k("call: ../a, syscall: false"), path: kprobe + ".call", line: 7, reason: "is no function"},
		{name: "call with an offset", text: k("call: a+0x4, syscall: false"), path: kprobe + ".call", line: 7, reason: "is no function"},
		{name: "call is long", text: k("syscall: false, call: " + strings.Repeat("c", 128)), path: kprobe + ".call", line: 7, reason: "more than 127"},
		{name: "function as system call", text: k("call: security_file_open"), path: kprobe + ".call", line: 7, reason: "a function needs syscall: false"},
		{name: "nothing after sys_", text: k("call: sys_"), path: kprobe + ".call", line: 7, reason: "is no system call"},
		{name: "system call with a dot", text: k("call: sys_a.b"), path: kprobe + ".call", line: 7, reason: "characters other than"},
		{name: "unknown ABI", text: k("call: mips/sys_open"), path: kprobe + ".call", line: 7, reason: "unknown ABI; there are x64, i386, arm64, arm32"},
		{name: "ABI of a function", text: k("call: i386/sys_open, syscall: false"), path: kprobe + ".call", line: 7, reason: "is no function"},
		{name: "unknown list", text: k("call: 'list:x'"), path: kprobe + ".call", line: 7, reason: `there is no list "x"`},
		{name: "unknown key of ignore", text: k("call: sys_a, ignore: {callMissing: true}"), path: kprobe + ".ignore.callMissing", line: 7, reason: "unknown key"},
		{name: "ignore is a word", text: k("call: sys_a, ignore: {callNotFound: maybe}"), path: kprobe + ".ignore.callNotFound", line: 7, reason: "true or false"},
		{name: "key of a tracepoint", text: k("call: sys_a, event: b"), path: kprobe + ".event", line: 7, reason: "unknown key"},
		{name: "unknown type", text: plain("{index: 0, type: File}"), path: kprobe + ".args[0].type", line: 7, reason: `unknown type "File"`},
		{name: "data_loc of a function", text: plain("{index: 0, type: data_loc}"), path: kprobe + ".args[0].type", line: 7, reason: "data_loc is for tracepoints"},
		{name: "const_buf of a hook", text: l("hook: a, args: [{index: 0, type: const_buf}]"), path: lsm + ".args[0].type", line: 7, reason: "const_buf is for tracepoints"},
		{name: "data_loc of a raw tracepoint", text: raw("subsystem: a, event: b, raw: true, args: [{index: 0, type: data_loc}]"), path: tracepoint + ".args[0].type", line: 7, reason: "a raw one has none"},
		{name: "char_iovec without length", text: plain("{index: 0, type: char_iovec}"), path: kprobe + ".args[0]", line: 7, reason: "needs sizeArgIndex"},
		{name: "int32_arr without size", text: plain("{index: 0, type: int32_arr}"), path: kprobe + ".args[0]", line: 7, reason: "needs size, the number of its elements"},
		{name: "int32_arr of size 0", text: plain("{index: 0, type: int32_arr, size: 0}"), path: kprobe + ".args[0]", line: 7, reason: "needs size"},
		{name: "int32_arr that is too long", text: plain("{index: 0, type: int32_arr, size: 1024}"), path: kprobe + ".args[0].size", line: 7, reason: "not from 0 to 1023"},
		{name: "size of a file", text: plain("{index: 0, type: file, size: 2}"), path: kprobe + ".args[0].size", line: 7, reason: "size is for int32_arr"},
		{name: "length of an array", text: plain("{index: 0, type: int32_arr, size: 2, sizeArgIndex: 1}"), path: kprobe + ".args[0].sizeArgIndex", line: 7, reason: "int32_arr has no length"},
		{name: "maxData of a string", text: plain("{index: 0, type: string, maxData: true}"), path: kprobe + ".args[0].maxData", line: 7, reason: "maxData is for char_buf, and the argument is of type string"},
		{name: "maxData is a number", text: plain("{index: 0, type: char_buf, sizeArgIndex: 1, maxData: 5000}"), path: kprobe + ".args[0].maxData", line: 7, reason: "true or false"},
		{name: "length of what is auto", text: plain("{index: 0, sizeArgIndex: 1}"), path: kprobe + ".args[0].sizeArgIndex", line: 7, reason: "auto has no length"},
		{name: "index beyond registers", text: plain("{index: 15, type: int}"), path: kprobe + ".args[0].index", line: 7, reason: "not from 0 to 14"},
		{name: "syscall64 of a function", text: plain("{index: 0, type: syscall64}"), path: kprobe + ".args[0].type", line: 7, reason: "syscall64 is for tracepoints"},
		{name: "char_buf without length", text: plain("{index: 0, type: char_buf}"), path: kprobe + ".args[0]", line: 7, reason: "needs sizeArgIndex"},
		{name: "char_buf of length 0", text: plain("{index: 0, type: char_buf, sizeArgIndex: 0}"), path: kprobe + ".args[0]", line: 7, reason: "needs sizeArgIndex"},
		{name: "length out of range", text: plain("{index: 0, type: char_buf, sizeArgIndex: 16}"), path: kprobe + ".args[0].sizeArgIndex", line: 7, reason: "not from 0 to 15"},
		{name: "length is text", text: plain("{index: 0, type: char_buf, sizeArgIndex: one}"), path: kprobe + ".args[0].sizeArgIndex", line: 7, reason: "whole number"},
		{name: "length of a file", text: plain("{index: 0, type: file, sizeArgIndex: 1}"), path: kprobe + ".args[0].sizeArgIndex", line: 7, reason: "file has no length"},
		{name: "no hook", text: l("message: ab"), path: lsm, line: 7, reason: "hook is required"},
		{name: "hook by its function", text: l("hook: security_file_open"), path: lsm + ".hook", line: 7, reason: `the hook is called "file_open"`},
		{name: "hook by its program", text: l("hook: bpf_lsm_file_open"), path: lsm + ".hook", line: 7, reason: `the hook is called "file_open"`},
		{name: "hook leads out", text: l("hook: a/b"), path: lsm + ".hook", line: 7, reason: "other than letters"},
		{name: "hook has a system call", text: l("hook: a, syscall: true"), path: lsm + ".syscall", line: 7, reason: "unknown key"},
		{name: "index of a hook", text: l("hook: a, args: [{index: 5}]"), path: lsm + ".args[0].index", line: 7, reason: "not from 0 to 4"},
		{name: "fentry without call", text: f("syscall: true"), path: fentry, line: 7, reason: "call is required"},
		{name: "index of a raw tracepoint", text: raw("args: [{index: 5}], subsystem: a, event: b, raw: true"), path: tracepoint + ".args[0].index", line: 7, reason: "not from 0 to 4"},
	} {
		t.Run(c.name, c.run)
	}
}

func TestListFaults(t *testing.T) {
	t.Parallel()
	lists := func(items string) string { return wrap("  lists: [" + items + "]\n" + hookTail) }
	uses := func(list, hook string) string {
		return wrap("  lists: [" + list + "]\n  kprobes:\n  - {" + hook + "}\n")
	}
	enforcers := func(s string) string { return wrap("  enforcers: [" + s + "]\n" + hookTail) }
	const at = "spec.lists[0]"
	for _, c := range []faultCase{
		{name: "lists are an object", text: wrap("  lists: {}\n" + hookTail), path: "spec.lists", line: 6, reason: "needs a list"},
		{name: "no name", text: lists("{values: [a]}"), path: at, line: 6, reason: "name is required"},
		{name: "name is empty", text: lists("{name: '', values: [a]}"), path: at + ".name", line: 6, reason: "is empty"},
		{name: "name is a list", text: lists("{name: [], values: [a]}"), path: at + ".name", line: 6, reason: "needs text"},
		{name: "no values", text: lists("{name: a}"), path: at, line: 6, reason: "values is required"},
		{name: "values are empty", text: lists("{name: a, values: []}"), path: at + ".values", line: 6, reason: "has no value"},
		{name: "value is null", text: lists("{name: a, values: [b, ~]}"), path: at + ".values[1]", line: 6, reason: "not null"},
		{name: "value is no function", text: lists("{name: a, values: [b, 'c d']}"), path: at + ".values[1]", line: 6, reason: "is no function"},
		{name: "value is a list", text: lists("{name: a, values: ['list:b']}"), path: at + ".values[0]", line: 6, reason: "is no function"},
		{name: "value is no system call", text: lists("{name: a, type: syscalls, values: [open]}"), path: at + ".values[0]", line: 6, reason: "is no system call"},
		{name: "value of another ABI", text: lists("{name: a, values: [riscv/sys_open]}"), path: at + ".values[0]", line: 6, reason: "unknown ABI"},
		{name: "mixture", text: lists("{name: a, values: [do_exit, sys_open]}"), path: at + ".values", line: 6, reason: `mixes functions ("do_exit") and system calls ("sys_open")`},
		{name: "unknown type", text: lists("{name: a, type: calls, values: [b]}"), path: at + ".type", line: 6, reason: `unknown type "calls"`},
		{name: "pattern", text: lists("{name: a, values: [b], pattern: '^x'}"), path: at + ".pattern", line: 6, reason: "generated_"},
		{name: "validated", text: lists("{name: a, values: [b], validated: 1}"), path: at + ".validated", line: 6, reason: "true or false"},
		{name: "name twice", text: lists("{name: a, values: [b]}, {name: a, values: [c]}"), path: "spec.lists[1].name", line: 6, reason: "given twice"},
		{name: "functions for a system call", text: uses("{name: a, values: [do_exit]}", "call: 'list:a'"), path: "spec.kprobes[0].call", line: 8, reason: `list "a": "do_exit" is no system call`},
		{name: "system calls for a function", text: uses("{name: a, type: syscalls, values: [sys_a]}", "call: 'list:a', syscall: false"), path: "spec.kprobes[0].call", line: 8, reason: "is of system calls"},
		// The list's own fault is the only one.
		{name: "use of a list with faults", text: uses("{name: a, values: ['']}", "call: 'list:a'"), path: at + ".values[0]", line: 6, reason: "is empty"},
		{name: "wrong use of a list with faults", text: uses("{name: a, values: ['', do_exit]}", "call: 'list:a'"), path: at + ".values[0]", line: 6, reason: "is empty"},
		{
			name: "filter by a list with faults", text: wrap("  lists: [{name: a, values: ['', do_exit]}]\n  tracepoints: [{subsystem: a, event: b, " +
				"args: [{index: 0, type: syscall64}], selectors: [{matchArgs: [{operator: InMap, values: ['list:a']}]}]}]\n"),
			path: at + ".values[0]", line: 6, reason: "is empty",
		},
		{name: "two enforcers", text: enforcers("{calls: [sys_a]}, {calls: [sys_a]}"), path: "spec.enforcers", line: 6, reason: "has 2 items, more than 1"},
		{name: "enforcer without calls", text: enforcers("{}"), path: "spec.enforcers[0]", line: 6, reason: "calls is required"},
		{name: "enforcer with no call", text: enforcers("{calls: []}"), path: "spec.enforcers[0].calls", line: 6, reason: "has no call"},
		{name: "enforcer of a function", text: enforcers("{calls: [sys_a, do_exit]}"), path: "spec.enforcers[0].calls[1]", line: 6, reason: "neither a system call nor"},
		{name: "enforcer of an unknown list", text: enforcers("{calls: ['list:b']}"), path: "spec.enforcers[0].calls[0]", line: 6, reason: "there is no list"},
		{name: "enforcer's call is an object", text: enforcers("{calls: [{}]}"), path: "spec.enforcers[0].calls[0]", line: 6, reason: "needs text"},
		{
			name: "enforcer of a list of functions", text: wrap("  lists: [{name: a, values: [do_exit]}]\n  enforcers: [{calls: ['list:a']}]\n" + hookTail),
			path: "spec.enforcers[0].calls[0]", line: 7, reason: "neither a system call nor",
		},
	} {
		t.Run(c.name, c.run)
	}
}

func TestOptionFaults(t *testing.T) {
	t.Parallel()
	option := func(s string) string { return wrap("  options: [{" + s + "}]\n" + hookTail) }
	const at = "spec.options[0]"
	for _, c := range []faultCase{
		{name: "no switch", text: option("name: disable-kprobe-multi"), path: at, line: 6, reason: "value is required"},
		{name: "switch", text: option("name: disable-kprobe-multi, value: yes"), path: at + ".value", line: 6, reason: "true or false"},
		{name: "switch of uprobes", text: option("name: disable-uprobe-multi, value: 2"), path: at + ".value", line: 6, reason: "true or false"},
		{name: "no method", text: option("name: override-method"), path: at, line: 6, reason: "override-return or fmod-ret"},
		{name: "method", text: option("name: override-method, value: fmodret"), path: at + ".value", line: 6, reason: `is "fmodret", neither override-return nor fmod-ret`},
		{name: "no size", text: option("name: sleepable-preload-size"), path: at, line: 6, reason: "above 0"},
		{name: "size 0", text: option("name: sleepable-preload-size, value: 0"), path: at + ".value", line: 6, reason: "above 0"},
		{name: "value is a list", text: option("name: policy-mode, value: []"), path: at + ".value", line: 6, reason: "needs text"},
	} {
		t.Run(c.name, c.run)
	}
	p, err := Parse([]byte(wrap("  options: [{name: disable-uprobe-multi, value: true}, {name: sleepable-preload-size, value: 8}]\n" + hookTail)))
	if err != nil || len(p.Warnings) != 2 || !strings.Contains(p.Warnings[1].Error(), "sleepable-preload-size has no effect") {
		t.Errorf("options of uprobes: %v, warnings %v", err, p.Warnings)
	}
	p, err = Parse([]byte(wrap("  options: [{name: disable-uprobe-multi, value: false}]\n" + hookTail)))
	if err != nil || len(p.Warnings) > 0 || p.Options != (Options{}) {
		t.Errorf("default of an option: %v, %+v", err, p)
	}
}

func TestProcessFilterFaults(t *testing.T) {
	t.Parallel()
	filter := func(key, s string) string {
		return hookWith("    selectors:\n    - " + key + ":\n      - {" + s + "}\n")
	}
	pid := func(s string) string { return filter("matchPIDs", s) }
	ns := func(s string) string { return filter("matchNamespaces", s) }
	capability := func(s string) string { return filter("matchCapabilities", s) }
	const selector = "spec.tracepoints[0].selectors[0]."
	const pids, nss, caps = selector + "matchPIDs[0]", selector + "matchNamespaces[0]", selector + "matchCapabilities[0]"
	for _, c := range []faultCase{
		{name: "pid without operator", text: pid("values: [1]"), path: pids, line: 16, reason: "operator is required"},
		{name: "pid without values", text: pid("operator: In"), path: pids, line: 16, reason: "values is required"},
		{name: "pid with no values", text: pid("operator: NotIn, values: []"), path: pids + ".values", line: 16, reason: "NotIn needs at least one value"},
		{name: "pid with another operator", text: pid("operator: Equal, values: [1]"), path: pids + ".operator", line: 16, reason: "there are In and NotIn"},
		{name: "pid is text", text: pid("operator: In, values: [1, init]"), path: pids + ".values[1]", line: 16, reason: "whole number"},
		{name: "pid is negative", text: pid("operator: In, values: [-1]"), path: pids + ".values[0]", line: 16, reason: "not from 0 to"},
		{name: "followForks is a number", text: pid("operator: In, values: [1], followForks: 1"), path: pids + ".followForks", line: 16, reason: "true or false"},
		{name: "unknown key", text: pid("operator: In, values: [1], followChildren: true"), path: pids + ".followChildren", line: 16, reason: "unknown key"},
		{name: "no namespace", text: ns("operator: In, values: [1]"), path: nss, line: 16, reason: "namespace is required"},
		{name: "unknown namespace", text: ns("namespace: net, operator: In, values: [1]"), path: nss + ".namespace", line: 16, reason: `unknown namespace "net"; there are Uts, Ipc`},
		{name: "namespace by name", text: ns("namespace: Net, operator: In, values: [host]"), path: nss + ".values[0]", line: 16, reason: "or host_ns"},
		{name: "namespace out of range", text: ns("namespace: Net, operator: In, values: [4294967296]"), path: nss + ".values[0]", line: 16, reason: "outside uint32"},
		{name: "namespace with no values", text: ns("namespace: Net, operator: In, values: []"), path: nss + ".values", line: 16, reason: "at least one"},
		{name: "many namespaces", text: hookWith("    selectors: [{matchNamespaces: [" + strings.Repeat("{}, ", 11) + "]}]\n"), path: selector + "matchNamespaces", line: 14, reason: "more than 10"},
		{name: "unknown capability", text: capability("operator: In, values: [CAP_CHOWN, CAP_ROOT]"), path: caps + ".values[1]", line: 16, reason: `unknown capability "CAP_ROOT"`},
		{name: "unknown set", text: capability("type: Ambient, operator: In, values: [CAP_CHOWN]"), path: caps + ".type", line: 16, reason: "there are Effective, Inheritable, Permitted"},
		{name: "capability with no values", text: capability("operator: In, values: []"), path: caps + ".values", line: 16, reason: "at least one"},
		{name: "isNamespaceCapability is text", text: capability("operator: In, values: [CAP_BPF], isNamespaceCapability: x"), path: caps + ".isNamespaceCapability", line: 16, reason: "true or false"},
		{name: "followChildren of a prefix", text: binaries("{operator: Prefix, values: [/a], followChildren: true}"), path: binaryPath + ".followChildren", line: 16, reason: "is for In and NotIn, not for Prefix"},
	} {
		t.Run(c.name, c.run)
	}
}

// TestActionsHavePlaces holds which action can be done in which section.
func TestActionsHavePlaces(t *testing.T) {
	t.Parallel()
	hooks := map[Section]string{
		Tracepoints: "subsystem: a, event: b", Kprobes: "call: sys_a", LSMHooks: "hook: a", Fentries: "call: sys_a",
	}
	everywhere := []string{"{action: Post}", "{action: nopost}", "{action: Sigkill}", "{action: Signal, argSig: 64}"}
	const override, notify = "{action: Override, argError: -1}", "{action: NotifyEnforcer, argSig: 9}"
	for section, hook := range hooks {
		text := func(action string) []byte {
			return []byte(wrap("  enforcers: [{calls: [sys_a]}]\n  " + section.String() + ": [{" + hook +
				", selectors: [{matchActions: [" + action + "]}]}]\n"))
		}
		for _, action := range everywhere {
			if _, err := Parse(text(action)); err != nil {
				t.Errorf("%s in %s: %v", action, section, err)
			}
		}
		for action, in := range map[string][]Section{override: {Kprobes, LSMHooks}, notify: {Tracepoints, Kprobes}} {
			want := in[0] == section || in[1] == section
			p, err := Parse(text(action))
			if (err == nil) != want || want && (p.Mode != Enforce || !p.Enforces()) {
				t.Errorf("%s in %s: %v", action, section, err)
			}
			if at := section.String() + "[0].selectors[0].matchActions[0].action"; !want && !strings.HasSuffix(Faults(err)[0].Path, at) {
				t.Errorf("%s in %s: fault at %s", action, section, Faults(err)[0].Path)
			}
		}
	}
}

func TestActionFaults(t *testing.T) {
	t.Parallel()
	in := func(section, hook string) func(string) string {
		return func(action string) string {
			return wrap("  " + section + ":\n  - " + hook + "\n    selectors:\n    - matchActions:\n      - {" + action + "}\n")
		}
	}
	kprobe, lsm := in("kprobes", "call: sys_a"), in("lsmhooks", "hook: a")
	notify := func(s string) string {
		return strings.Replace(kprobe("action: NotifyEnforcer, "+s), "spec:\n", "spec:\n  enforcers: [{calls: [sys_a]}]\n", 1)
	}
	const k, l = "spec.kprobes[0].selectors[0].matchActions[0]", "spec.lsmhooks[0].selectors[0].matchActions[0]"
	for _, c := range []faultCase{
		{name: "no error", text: kprobe("action: Override"), path: k, line: 10, reason: "Override needs argError"},
		{name: "error by name", text: kprobe("action: Override, argError: EPERM"), path: k + ".argError", line: 10, reason: "whole number"},
		{name: "error out of range", text: kprobe("action: Override, argError: 2147483648"), path: k + ".argError", line: 10, reason: "not from -2147483648 to 2147483647"},
		{name: "no denial", text: lsm("action: Override, argError: 0"), path: l + ".argError", line: 10, reason: "not from -4095 to -1"},
		{name: "positive error of a hook", text: lsm("action: Override, argError: 1"), path: l + ".argError", line: 10, reason: "not from -4095 to -1"},
		{name: "large error of a hook", text: lsm("action: Override, argError: -4096"), path: l + ".argError", line: 10, reason: "not from -4095 to -1"},
		{name: "signal of Override", text: kprobe("action: Override, argError: -1, argSig: 9"), path: k + ".argSig", line: 10, reason: "Override takes no signal"},
		{name: "error of Sigkill", text: kprobe("action: Sigkill, argError: -1"), path: k + ".argError", line: 10, reason: "Sigkill takes no error"},
		{name: "nothing to notify", text: notify("argError: 0, argSig: 0"), path: k, line: 11, reason: "needs argError, argSig or both"},
		{name: "signal to notify", text: notify("argSig: 65"), path: k + ".argSig", line: 11, reason: "not from 0 to 64"},
		{
			name: "empty enforcers", text: strings.Replace(kprobe("action: NotifyEnforcer, argSig: 9"), "spec:\n", "spec:\n  enforcers: []\n", 1),
			path: k + ".action", line: 11, reason: "needs spec.enforcers",
		},
		{name: "no enforcers", text: kprobe("action: NotifyEnforcer, argSig: 9"), path: k + ".action", line: 10, reason: "needs spec.enforcers"},
	} {
		t.Run(c.name, c.run)
	}
}

// TestFaultsOfAllParts is what a user sees of a text with something wrong in every
// part: all of it at once, in the order of the text.
func TestFaultsOfAllParts(t *testing.T) {
	t.Parallel()
	_, err := Parse([]byte(wrap(`  lists:
  - {name: a, type: syscalls, values: [open]}
  enforcers: [{calls: [exit]}]
  options: [{name: override-method, value: x}]
  nodeSelector: {matchLabels: []}
  kprobes:
  - {call: do_exit, args: [{index: 0, type: file, size: 2}], selectors: [{matchArgs: [{index: 1, operator: Equal, values: [1]}]}]}
  - call: "list:a"
    return: true
    args: [{index: 0, type: sock}]
    selectors:
    - matchArgs:
      - {index: 0, operator: DAddr, values: [10.0.0.0/33, 1.2.3.4]}
      - {index: 0, operator: SPort, values: [http]}
      matchPIDs: [{operator: In, values: [x]}]
  lsmhooks:
  - hook: file_open
    selectors:
    - matchActions: [{action: Override}]
  tracepoints:
  - {subsystem: a, event: b, selectors: [{matchActions: [{action: Override, argError: -1}]}]}
`)))
	want := []string{
		`line 7: spec.lists[0].values[0]: "open" is no system call: those are written sys_name; a function needs syscall: false`,
		`line 8: spec.enforcers[0].calls[0]: "exit" is neither a system call nor a function that begins with security_`,
		`line 9: spec.options[0].value: is "x", neither override-return nor fmod-ret`,
		`line 10: spec.nodeSelector.matchLabels: needs an object, not a list`,
		`line 12: spec.kprobes[0].call: "do_exit" is no system call: those are written sys_name; a function needs syscall: false`,
		`line 12: spec.kprobes[0].args[0].size: file has no elements: size is for int32_arr`,
		`line 13: spec.kprobes[1]: return needs returnArg, the type of what the function returns`,
		`line 18: spec.kprobes[1].selectors[0].matchArgs[0].values[0]: "10.0.0.0/33" is neither an address nor a CIDR`,
		`line 19: spec.kprobes[1].selectors[0].matchArgs[1].values[0]: "http" is no integer`,
		`line 20: spec.kprobes[1].selectors[0].matchPIDs[0].values[0]: needs a whole number, not "x"`,
		`line 24: spec.lsmhooks[0].selectors[0].matchActions[0]: Override needs argError, what the call returns: -1 is EPERM`,
		`line 26: spec.tracepoints[0].selectors[0].matchActions[0].action: Override: a tracepoint only tells of an act and cannot stop it; lsmhooks and kprobes can`,
	}
	var got []string
	for _, f := range Faults(err) {
		got = append(got, fmt.Sprint(f))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("faults (-want +got):\n", diff)
	}
}
