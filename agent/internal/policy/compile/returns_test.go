// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// returningKernel has functions that return, and tells of the return of two calls.
func returningKernel() compiletest.Kernel {
	sock := compile.Param{Name: "sk", Struct: "sock"}
	number := compile.Param{Name: "n", Size: 4, Signed: true}
	call := compile.Prototype{Known: true, Params: []compile.Param{{Struct: "pt_regs"}}, Result: compile.Param{Size: 8, Signed: true}}
	return compiletest.Kernel{
		Events: map[string][]compile.Field{"syscalls/sys_exit_read": {}, "syscalls/sys_exit_write": {}},
		Prototypes: map[string]compile.Prototype{
			"accept":           {Known: true, Params: []compile.Param{sock, number}, Result: sock},
			"nothing":          {Known: true, Params: []compile.Param{sock}, Void: true},
			"opaque":           {Known: true, Result: compile.Param{Struct: "opaque"}},
			"security_it":      {Known: true, Params: []compile.Param{number, number, number}, Result: number},
			"undescribed":      {},
			"__x64_sys_read":   call,
			"__x64_sys_write":  call,
			"__x64_sys_other":  call,
			"__ia32_sys_read":  call,
			"__arm64_sys_read": call, "__arm64_sys_write": call, "__arm64_sys_other": call, "__arm64_compat_sys_read": call,
		},
	}
}

// parsed compiles the hooks of a spec.
func parsed(t *testing.T, k compile.Kernel, spec string) ([]compile.Hook, error) {
	t.Helper()
	p, err := policy.Parse([]byte("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n" + spec))
	if err != nil {
		t.Fatal(err)
	}
	c, err := compile.Compile(p, k)
	if err != nil {
		return nil, err
	}
	return c.Hooks, nil
}

// Where the return of calls is seen, and how they are known again.
func TestPlacesOfReturns(t *testing.T) {
	t.Parallel()
	const result = ", return: true, returnArg: {index: 0, type: int}}\n"
	for name, c := range map[string]struct {
		spec   string
		exits  string
		offset uint16
		frame  bpf.WireCallFrame
		multi  bool
	}{
		"function":               {"  kprobes:\n  - {call: accept, syscall: false" + result, "", 80, bpf.WireCallFrameFRAME_STACK, false},
		"trampoline":             {"  fentries:\n  - {call: accept, syscall: false" + result, "", 16, bpf.WireCallFrameFRAME_CONTEXT, false},
		"system call":            {"  kprobes:\n  - {call: sys_read" + result, "sys_exit_read", 16, bpf.WireCallFrameFRAME_SYSCALL, false},
		"by a trampoline":        {"  fentries:\n  - {call: sys_read" + result, "sys_exit_read", 16, bpf.WireCallFrameFRAME_SYSCALL, false},
		"one without tracepoint": {"  kprobes:\n  - {call: sys_other" + result, "", 80, bpf.WireCallFrameFRAME_SYSCALL, false},
		"of the other ABI":       {"  kprobes:\n  - {call: i386/sys_read" + result, "", 80, bpf.WireCallFrameFRAME_SYSCALL, false},
		"several": {
			"  lists: [{name: l, values: [sys_write, sys_read]}]\n  kprobes:\n  - {call: 'list:l'" + result,
			"sys_exit_read,sys_exit_write", 16, bpf.WireCallFrameFRAME_SYSCALL, true,
		},
		"several functions": {
			"  lists: [{name: l, values: [accept, nothing]}]\n  kprobes:\n  - {call: 'list:l', syscall: false" + result,
			"", 80, bpf.WireCallFrameFRAME_STACK, false,
		},
		"denial": {
			"  kprobes:\n  - {call: security_it, syscall: false, selectors: [{matchActions: [{action: Override, argError: -1}]}]" + result,
			"", 24, bpf.WireCallFrameFRAME_CONTEXT, false,
		},
	} {
		hooks, err := parsed(t, returningKernel(), c.spec)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		h := hooks[0]
		if h.Site.Exits != c.exits || h.ResultOffset != c.offset || h.Frame.Kind != c.frame || h.Site.Multi != c.multi || !h.Returns || h.Result == nil {
			t.Errorf("%s: %+v", name, h)
		}
		if h.Frame.Kind == bpf.WireCallFrameFRAME_STACK && (h.Frame.StackOffset != 152 || h.Frame.StackPopped != 8) {
			t.Errorf("%s: frame %+v", name, h.Frame)
		}
	}
}

// What rules ask for at the return, of reads that are made then.
func TestRulesOfReturns(t *testing.T) {
	t.Parallel()
	hooks, err := parsed(t, returningKernel(), `  fentries:
  - call: accept
    syscall: false
    return: true
    returnArg: {index: 0, label: l}
    returnArgAction: TrackSock
    args: [{index: 0, type: sock}]
    selectors:
    - matchArgs: [{index: 0, operator: SPort, values: [80]}]
      matchReturnArgs: [{index: 0, operator: DPort, values: [90]}, {index: 0, operator: DPort, values: ["80:90"]}]
      matchActions: [{action: UntrackSock}]
      matchReturnActions: [{action: Signal, argSig: 10}]
    - matchReturnArgs: [{index: 0, operator: DPort, values: [1]}, {index: 0, operator: DPort, values: [2]}]
      matchActions: [{action: Sigkill}]
  - {call: accept, syscall: false, args: [{index: 1}]}
`)
	if err != nil {
		t.Fatal(err)
	}
	at := bpf.WireReadWhenREAD_RESULT
	port := func(kind bpf.WireReadKind, when bpf.WireReadWhen) compile.Read {
		return compile.Read{Kind: kind, Size: uint16(bpf.WireReadKindREAD_SOCK), When: when}
	}
	h := hooks[0]
	want := compile.Hook{
		Reads: []compile.Read{
			{Kind: bpf.WireReadKindREAD_SOCK, Size: 8},
			{Kind: bpf.WireReadKindREAD_SOCK, Size: 8, When: at},
			port(bpf.WireReadKindREAD_SOURCE_PORT, 0),
			port(bpf.WireReadKindREAD_TARGET_PORT, at),
		},
		Result: &compile.Result{Read: 1, Type: policy.ArgSock, Label: "l"},
		Rules: []compile.Rule{
			{
				Filters: []compile.Filter{
					{Read: 2, Numbers: []uint64{80}}, {Read: 3, Numbers: []uint64{90}},
				},
				Post: true, Returns: true, ReturnSignal: 10,
				Track: compile.Track{Do: bpf.WireTrackUNTRACK_SOCK}, TrackReturn: compile.Track{Do: bpf.WireTrackTRACK_SOCK, Read: 1},
			},
			// Nothing returns two ports: what is done at the entry is done.
			{Selector: 1, Signal: 9},
		},
	}
	got := compile.Hook{Reads: h.Reads, Result: h.Result, Rules: h.Rules}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("hook (-want +got):\n", diff)
	}
	if whole := h.Reads[3].Whole(); whole != h.Reads[1] {
		t.Errorf("the port is a part of %+v", whole)
	}
	values := func(source, target uint64) []compile.Value {
		return []compile.Value{{}, {}, {Number: source}, {Number: target}}
	}
	for _, c := range []struct {
		source, target uint64
		first          int
		returns        bool
	}{{80, 90, 0, true}, {80, 91, 0, false}, {81, 90, 1, false}} {
		v := values(c.source, c.target)
		if first := h.First(v, true); first != c.first {
			t.Errorf("ports %d and %d: rule %d, want %d", c.source, c.target, first, c.first)
		}
		if returns := h.Rules[0].MatchesReturn(&h, v, true); returns != (c.target == 90) {
			t.Errorf("port %d: holds at the return: %v", c.target, returns)
		}
	}
	if hooks[1].Returns || hooks[1].Rules[0].Returns {
		t.Error("a hook waits for a return that it did not ask for")
	}
}

func TestReturnsThatCannotBeSeen(t *testing.T) {
	t.Parallel()
	errNo := errors.New("no trampolines")
	for name, c := range map[string]struct{ spec, field, reason string }{
		"void":        {"  kprobes:\n  - {call: nothing, syscall: false, return: true, returnArg: {index: 0, type: int}}\n", "spec.kprobes[0].returnArg", "returns nothing"},
		"no type":     {"  fentries:\n  - {call: opaque, syscall: false, return: true, returnArg: {index: 0}}\n", "spec.fentries[0].returnArg", "no type of its own"},
		"undescribed": {"  fentries:\n  - {call: undescribed, syscall: false, return: true, returnArg: {index: 0}}\n", "spec.fentries[0].returnArg", "does not tell the type"},
		"type": {
			"  fentries:\n  - {call: accept, syscall: false, return: true, returnArg: {index: 0}, selectors: [{matchReturnArgs: [{operator: Equal, values: [1]}]}]}\n",
			"spec.fentries[0].selectors[0].matchReturnArgs[0].operator", "sock",
		},
		"socket": {
			"  fentries:\n  - {call: accept, syscall: false, args: [{index: 1}], selectors: [{matchActions: [{action: TrackSock, argSock: 1}]}]}\n",
			"spec.fentries[0].selectors[0].matchActions[0]", "no socket",
		},
		"two of them": {
			"  kprobes:\n  - {call: accept, syscall: false, args: [{index: 0, type: sock}], selectors: [{matchActions: [{action: TrackSock}, {action: UntrackSock}]}]}\n",
			"spec.kprobes[0].selectors[0].matchActions[1]", "a second one",
		},
		"denial without trampoline at the end": {
			"  kprobes:\n  - {call: security_it, syscall: false, return: true, returnArg: {index: 0, type: int}, selectors: [{matchActions: [{action: Override, argError: -1}]}]}\n",
			"spec.kprobes[0].return", "no trampolines",
		},
	} {
		k := returningKernel()
		if strings.Contains(name, "without") {
			k.Cannot = map[compile.Mechanism]error{compile.CanFentry: errNo}
		}
		_, err := parsed(t, k, c.spec)
		faults := policy.Faults(err)
		if len(faults) != 1 || faults[0].Path != c.field || !strings.Contains(faults[0].Error(), c.reason) {
			t.Errorf("%s: %v, want one fault at %s: %s", name, err, c.field, c.reason)
		}
	}
}
