// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Everything that the language has about the return of a function.
func TestReturns(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(wrap(`  kprobes:
  - call: inet_csk_accept
    syscall: false
    return: true
    returnArg: {index: 2, type: sock, label: accepted}
    returnArgAction: tracksock
    args: [{index: 0, type: sock}, {index: 1, type: int}]
    selectors:
    - matchArgs: [{index: 1, operator: Equal, values: [1]}]
      matchReturnArgs:
      - {index: 2, operator: SPort, values: [80]}
      - {index: 0, operator: NotSPort, values: [81]}
      - {args: [0], operator: Family, values: [AF_INET]}
      matchActions: [{action: UntrackSock}]
      matchReturnActions: [{action: Sigkill}, {action: TrackSock, argSock: 2}, {action: NoPost}]
    - matchReturnActions: [{action: UntrackSock, argSock: 0}]
  - call: sys_read
    return: true
    returnArg: {index: 0, type: int}
    returnArgAction: Post
    args: [{index: 1, type: char_buf, returnCopy: true}, {index: 1, type: char_buf, returnCopy: true, sizeArgIndex: 3}]
  - {call: sys_getcwd, args: [{index: 0, type: string, returnCopy: true}], selectors: [{matchReturnActions: [{action: Post}]}]}
  - {call: sys_close, returnArg: {index: 0, type: int}}
`)))
	if err != nil {
		t.Fatal(err)
	}
	post := []Selector{{Actions: []Action{{Kind: Post}}}}
	want := []Hook{
		{
			Section: Kprobes, Calls: []string{"inet_csk_accept"}, Return: true,
			ReturnArg: &Arg{Index: 2, Type: ArgSock, Label: "accepted"},
			Args:      []Arg{{Type: ArgSock}, {Index: 1, Type: ArgInt32}},
			Selectors: []Selector{
				{
					Args: []ArgFilter{{Arg: 1, Op: OpEqual, Ranges: []Range{{1, 1}}, Values: []string{"1"}}},
					ReturnArgs: []ArgFilter{
						{Op: OpSPort, Ranges: []Range{{80, 80}}, Values: []string{"80"}},
						{Op: OpNotSPort, Ranges: []Range{{81, 81}}, Values: []string{"81"}},
						{Op: OpFamily, Ranges: []Range{{2, 2}}, Values: []string{"AF_INET"}},
					},
					Actions: []Action{{Kind: UntrackSock}},
					ReturnActions: []Action{
						{Kind: Sigkill}, {Kind: TrackSock, Sock: ReturnValue}, {Kind: NoPost}, {Kind: TrackSock, Sock: ReturnValue},
					},
				},
				{
					Actions:       []Action{{Kind: Post}},
					ReturnActions: []Action{{Kind: UntrackSock}, {Kind: TrackSock, Sock: ReturnValue}},
				},
			},
		},
		{
			Section: Kprobes, Index: 1, Calls: []string{"sys_read"}, Syscall: true, Return: true, ReturnArg: &Arg{Type: ArgInt32},
			Args: []Arg{
				{Index: 1, Type: ArgCharBuf, ReturnCopy: true}, {Index: 1, Type: ArgCharBuf, ReturnCopy: true, SizeArg: 3},
			},
			Selectors: post,
		},
		{
			Section: Kprobes, Index: 2, Calls: []string{"sys_getcwd"}, Syscall: true, Args: []Arg{{Type: ArgString, ReturnCopy: true}},
			Selectors: []Selector{{Actions: []Action{{Kind: Post}}, ReturnActions: []Action{{Kind: Post}}}},
		},
		{Section: Kprobes, Index: 3, Calls: []string{"sys_close"}, Syscall: true, Selectors: post},
	}
	if diff := cmp.Diff(want, p.Hooks, cmpopts.IgnoreUnexported(Hook{}, ArgFilter{}), cmpopts.EquateEmpty()); diff != "" {
		t.Error("hooks (-want +got):\n", diff)
	}
	for i, returns := range []bool{true, true, true, false} {
		if got := p.Hooks[i].Returns(); got != returns {
			t.Errorf("hook %d waits for the return: %v", i, got)
		}
	}
	if p.Mode != Enforce {
		t.Errorf("mode %s of a policy that kills at the return", p.Mode)
	}
	if p.Hooks[0].Selectors[0].Posts() {
		t.Error("a selector with NoPost at the return posts")
	}
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Error(), "spec.kprobes[3].returnArg: does nothing without return: true") {
		t.Errorf("warnings %v", p.Warnings)
	}
}

func TestReturnFaults(t *testing.T) {
	t.Parallel()
	kprobe := func(s string) string { return wrap("  kprobes:\n  - {call: f, syscall: false, " + s + "}\n") }
	const at = "spec.kprobes[0]"
	returning := func(s string) string {
		return kprobe("return: true, returnArg: {index: 0, type: int}, args: [{index: 0, type: sock}, {index: 1, type: int}], " + s)
	}
	selector := func(s string) string { return returning("selectors: [{" + s + "}]") }
	for _, c := range []faultCase{
		{name: "no returnArg", text: kprobe("return: true"), path: at, line: 7, reason: "return needs returnArg"},
		{name: "returnArg without index", text: kprobe("return: true, returnArg: {type: int}"), path: at + ".returnArg", line: 7, reason: "index is required"},
		{name: "returnArg is vectors", text: kprobe("return: true, returnArg: {index: 0, type: char_iovec, sizeArgIndex: 1}"), path: at + ".returnArg", line: 7, reason: "nothing tells how many"},
		{name: "returnArg is bytes", text: kprobe("return: true, returnArg: {index: 0, type: char_buf, sizeArgIndex: 1}"), path: at + ".returnArg", line: 7, reason: "nothing tells the length"},
		{name: "returnArg is a copy", text: kprobe("return: true, returnArg: {index: 0, type: string, returnCopy: true}"), path: at + ".returnArg", line: 7, reason: "returnCopy is for arguments"},
		{
			name: "system call returns a file", text: wrap("  kprobes: [{call: sys_read, return: true, returnArg: {index: 0, type: file}}]\n"),
			path: at + ".returnArg", line: 6, reason: "a system call returns a number or a descriptor",
		},
		{name: "return is a number", text: kprobe("return: 1"), path: at + ".return", line: 7, reason: "true or false"},
		{name: "unknown returnArgAction", text: returning("returnArgAction: Sigkill"), path: at + ".returnArgAction", line: 7, reason: "there are TrackSock and UntrackSock"},
		{name: "returnArgAction on a number", text: returning("returnArgAction: TrackSock"), path: at + ".returnArgAction", line: 7, reason: "needs a returnArg of type sock or socket"},
		{name: "returnArgAction without return", text: kprobe("returnArgAction: TrackSock"), path: at + ".returnArgAction", line: 7, reason: "needs return and returnArg"},
		{name: "filter without return", text: kprobe("selectors: [{matchReturnArgs: [{operator: Equal, values: [1]}]}]"), path: at + ".selectors[0].matchReturnArgs[0]", line: 7, reason: "needs return: true and returnArg"},
		{
			name: "filter with a copy alone",
			text: kprobe("args: [{index: 0, type: string, returnCopy: true}], selectors: [{matchReturnArgs: [{operator: Equal, values: [1]}]}]"),
			path: at + ".selectors[0].matchReturnArgs[0]", line: 7, reason: "needs return: true and returnArg",
		},
		{name: "filter of another index", text: selector("matchReturnArgs: [{index: 1, operator: Equal, values: [1]}]"), path: at + ".selectors[0].matchReturnArgs[0].index", line: 7, reason: "no argument has index 1"},
		{name: "filter of another position", text: selector("matchReturnArgs: [{args: [1], operator: Equal, values: [1]}]"), path: at + ".selectors[0].matchReturnArgs[0].args", line: 7, reason: "no argument at position 1"},
		{name: "filter of another type", text: selector("matchReturnArgs: [{operator: Equal, values: [x]}]"), path: at + ".selectors[0].matchReturnArgs[0].values[0]", line: 7, reason: "is no integer"},
		{name: "filter at a tracepoint", text: hookWith("    selectors: [{matchReturnArgs: [{operator: Equal, values: [1]}]}]\n"), path: "spec.tracepoints[0].selectors[0].matchReturnArgs[0]", line: 14, reason: "tracepoints have no return; kprobes and fentries have"},
		{name: "action at a hook", text: wrap("  lsmhooks: [{hook: file_open, selectors: [{matchReturnActions: [{action: Post}]}]}]\n"), path: "spec.lsmhooks[0].selectors[0].matchReturnActions", line: 6, reason: "lsmhooks have no return"},
		{name: "denial at the return", text: selector("matchReturnActions: [{action: Override, argError: -1}]"), path: at + ".selectors[0].matchReturnActions[0].action", line: 7, reason: "the function has returned"},
		{name: "socket is a number", text: selector("matchActions: [{action: TrackSock, argSock: 1}]"), path: at + ".selectors[0].matchActions[0].argSock", line: 7, reason: "argument 1 is of type int32, not sock or socket"},
		{name: "socket is not there", text: selector("matchActions: [{action: UntrackSock, argSock: 2}]"), path: at + ".selectors[0].matchActions[0].argSock", line: 7, reason: "no argument has index 2"},
		{name: "socket of a signal", text: selector("matchActions: [{action: Sigkill, argSock: 1}]"), path: at + ".selectors[0].matchActions[0].argSock", line: 7, reason: "Sigkill takes no socket"},
		{
			name: "filter on a copy", text: kprobe("args: [{index: 0, type: string, returnCopy: true}], selectors: [{matchArgs: [{index: 0, operator: Equal, values: [x]}]}]"),
			path: at + ".selectors[0].matchArgs[0]", line: 7, reason: "write the argument a second time without returnCopy",
		},
		{name: "copy of a number", text: kprobe("args: [{index: 0, type: int, returnCopy: true}]"), path: at + ".args[0].returnCopy", line: 7, reason: "returnCopy is for string, char_buf and int32_arr"},
		{name: "copy of more", text: kprobe("args: [{index: 0, type: char_buf, sizeArgIndex: 2, maxData: true, returnCopy: true}]"), path: at + ".args[0].returnCopy", line: 7, reason: "leave one of them out"},
		{name: "copy at a tracepoint", text: hookWith("    - {index: 1, type: string, returnCopy: true}\n"), path: "spec.tracepoints[0].args[4].returnCopy", line: 14, reason: "tracepoints have no return"},
	} {
		t.Run(c.name, c.run)
	}
}
