// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMemberPath(t *testing.T) {
	t.Parallel()
	member := func(name string) MemberStep { return MemberStep{Member: name} }
	element := func(i int) MemberStep { return MemberStep{Index: i} }
	for text, want := range map[string][]MemberStep{
		"comm":              {member("comm")},
		"mm.owner.comm":     {member("mm"), member("owner"), member("comm")},
		"a[2].b":            {member("a"), element(2), member("b")},
		"a.[2].b":           {member("a"), element(2), member("b")},
		"a[2][0]":           {member("a"), element(2), element(0)},
		"[1].a":             {element(1), member("a")},
		"a.b.c.d.e.f.g.h.i": strings2steps("a.b.c.d.e.f.g.h.i"),
	} {
		got, err := ParseMemberPath(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", text, err, diff)
		}
	}
	for text, reason := range map[string]string{
		"":                                    "empty name",
		".a":                                  "empty name",
		"a.":                                  "empty name",
		"a..b":                                "empty name",
		"a->b":                                `"a->b" is no name of a member`,
		"a b":                                 "is no name of a member",
		"a[b]":                                `index "b" is not from 0`,
		"a[-1]":                               `index "-1" is not from 0`,
		"a[16777216]":                         "is not from 0 to 16777215",
		"a[1":                                 `"[1" is no index`,
		"a]":                                  "is no name of a member",
		"a[1]b":                               `"[1]b" is no index`,
		"a[]":                                 `index "" is not`,
		"a.b.c.d.e.f.g.h.i.j.k":               "names 11 members, more than 10",
		"a" + strings.Repeat("[0]", 20):       "more than 10",
		strings.Repeat("a", maxPathText+1):    "more than 1024",
		"../../etc":                           "empty name",
		"a\x00":                               "is no name of a member",
		strings.Repeat("[", maxPathText):      "is no index",
		"a." + strings.Repeat("[1]", 2) + "x": "is no index",
	} {
		if _, err := ParseMemberPath(text); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%.40q: %v, want %q", text, err, reason)
		}
	}
}

func strings2steps(text string) (steps []MemberStep) {
	for name := range strings.SplitSeq(text, ".") {
		steps = append(steps, MemberStep{Member: name})
	}
	return steps
}

const dataSites = `apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: data}
spec:
  kprobes:
  - call: vfs_read
    syscall: false
    args:
    - {index: 0, type: file}
    - {index: 0, type: auto, resolve: f_inode.i_ino, label: inode}
    - {index: 1, type: string, resolve: name, btfType: thing, btfTypeModule: a-module}
    data:
    - {index: 3, type: string, source: current_task, resolve: comm}
    - {index: 0, type: uint64, source: pt_regs, resolve: rdi}
    selectors:
    - matchArgs:
      - {index: 1, operator: Equal, values: [x]}
      matchData:
      - {index: 3, operator: Prefix, values: [ba]}
      - {args: [1], operator: GT, values: ["7"]}
`

func TestData(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(dataSites))
	if err != nil {
		t.Fatal(err)
	}
	h := p.Hooks[0]
	want := []Arg{
		{Type: ArgFile},
		{Resolve: "f_inode.i_ino", Label: "inode"},
		{Index: 1, Type: ArgString, Resolve: "name", BTFType: "thing", BTFModule: "a-module"},
		{Index: 3, Type: ArgString, Source: SourceTask, Resolve: "comm"},
		{Type: ArgUint64, Source: SourceRegister, Resolve: "rdi"},
	}
	if diff := cmp.Diff(want, h.Args); diff != "" {
		t.Error(diff)
	}
	data := h.Selectors[0].Data
	if len(data) != 2 || data[0].Arg != 3 || data[0].Strings[0] != "ba" || data[1].Arg != 4 || data[1].Ranges[0].Lo != 8 {
		t.Errorf("matchData: %+v", data)
	}
	if args := h.Selectors[0].Args; len(args) != 1 || args[0].Arg != 2 {
		t.Errorf("matchArgs: %+v", args)
	}
	if a, d := h.ArgPath(2), h.ArgPath(3); a != "spec.kprobes[0].args[2]" || d != "spec.kprobes[0].data[0]" {
		t.Errorf("paths %q and %q", a, d)
	}
}

func TestDataFaults(t *testing.T) {
	t.Parallel()
	item := func(section, head string) func(string) string {
		return func(s string) string { return wrap("  " + section + ":\n  - {" + head + s + "}\n") }
	}
	k, sys := item("kprobes", "call: a, syscall: false, "), item("kprobes", "call: sys_a, ")
	f, lsm := item("fentries", "call: a, syscall: false, "), item("lsmhooks", "hook: a, ")
	tp, raw := item("tracepoints", "subsystem: a, event: b, "), item("tracepoints", "subsystem: a, event: b, raw: true, ")
	calls := item("tracepoints", "subsystem: syscalls, event: b, ")
	const kprobe = "spec.kprobes[0]"
	arg := func(s string) string { return "args: [{index: 0, type: int, " + s + "}]" }
	data := func(s string) string { return "data: [{index: 0, type: int, " + s + "}]" }
	const comm = "{index: 0, type: string, source: current_task, resolve: comm}"
	match := func(s string) string { return "data: [" + comm + "], selectors: [{matchData: [" + s + "]}]" }
	fault := func(name, text, path, reason string) faultCase {
		return faultCase{name: name, text: text, path: path, line: 7, reason: reason}
	}
	for _, c := range []faultCase{
		fault("source of an argument", k(arg("source: current_task, resolve: comm")), kprobe+".args[0].source", "is for items of data"),
		fault("no source", k(data("resolve: comm")), kprobe+".data[0]", "source is required: current_task or pt_regs"),
		fault("no resolve", k(data("source: current_task")), kprobe+".data[0]", "resolve is required"),
		fault("unknown source", k(data("source: parent_task, resolve: comm")), kprobe+".data[0].source", `unknown source "parent_task"; there are current_task and pt_regs`),
		fault("empty name", k(arg("resolve: a..b")), kprobe+".args[0].resolve", "empty name"),
		fault("too deep", k(arg("resolve: a.b.c.d.e.f.g.h.i.j.k")), kprobe+".args[0].resolve", "more than 10"),
		fault("path is a list", k(arg("resolve: [a]")), kprobe+".args[0].resolve", "needs text"),
		fault("type without path", k(arg("btfType: file")), kprobe+".args[0].btfType", "needs resolve"),
		fault("type with its keyword", k(arg("btfType: struct file, resolve: a")), kprobe+".args[0].btfType", `write the name alone: "file"`),
		fault("type leads out", k(arg("btfType: ../a, resolve: a")), kprobe+".args[0].btfType", "is no name of a structure"),
		fault("module without type", k(arg("btfTypeModule: m, resolve: a")), kprobe+".args[0].btfTypeModule", "needs btfType"),
		fault("module leads out", k(arg("btfTypeModule: ../m, btfType: a, resolve: a")), kprobe+".args[0].btfTypeModule", "characters other than"),
		fault("current task of another type", k(data("source: current_task, resolve: a, btfType: file")), kprobe+".data[0].btfType", "current_task is a task_struct"),
		fault("system call", sys(arg("resolve: a")), kprobe+".args[0].resolve", "in the memory of the process"),
		fault("system call's tracepoint", calls(arg("resolve: a, btfType: file")), "spec.tracepoints[0].args[0].resolve", "in the memory of the process"),
		fault("record", tp(arg("resolve: a")), "spec.tracepoints[0].args[0].resolve", "use raw: true, or name btfType"),
		fault("system call's number", raw("args: [{index: 0, type: syscall64, resolve: a}]"), "spec.tracepoints[0].args[0].type", "and not for what resolve leads to"),
		fault("registers of a trampoline", f(data("source: pt_regs, resolve: rdi")), "spec.fentries[0].data[0].source", "pt_regs is for kprobes"),
		fault("member of a register", k(data("source: pt_regs, resolve: rdi.a")), kprobe+".data[0].resolve", "is no name of a register"),
		fault("register of a type", k(data("source: pt_regs, resolve: rdi, btfType: file")), kprobe+".data[0].resolve", "leave btfType out"),
		fault("data of a security hook", lsm("data: ["+comm+"]"), "spec.lsmhooks[0].data", "unknown key"),
		fault("data of a tracepoint", raw("data: ["+comm+"]"), "spec.tracepoints[0].data", "unknown key"),
		fault("six in all", k("args: [{index: 0, type: int}, {index: 1, type: int}, {index: 2, type: int}], data: ["+comm+", "+comm+", "+comm+"]"), kprobe+".data", "6 items together, more than 5"),
		fault("no such item", k(match("{index: 1, operator: Equal, values: [a]}")), kprobe+".selectors[0].matchData[0].index", "no item of data has index 1"),
		fault("no such position", k(match("{args: [1], operator: Equal, values: [a]}")), kprobe+".selectors[0].matchData[0].args", "no item of data at position 1: the hook has 1"),
		fault("data of a hook without", lsm("selectors: [{matchData: [{operator: Equal, values: [a]}]}]"), "spec.lsmhooks[0].selectors[0].matchData[0]", "no item of data has index 0"),
		fault("operator of another type", k(match("{operator: GT, values: ['1']}")), kprobe+".selectors[0].matchData[0].operator", "the argument is of type string"),
		fault("six filters", k("args: [{index: 0, type: int}], data: ["+comm+"], selectors: [{matchArgs: ["+strings.Repeat("{operator: Equal, values: ['1']}, ", 3)+"], matchData: ["+strings.Repeat("{operator: Equal, values: [a]}, ", 3)+"]}]"), kprobe+".selectors[0].matchData", "6 filters together, more than 5"),
	} {
		t.Run(c.name, c.run)
	}
}
