// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"errors"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

const (
	argInt    = bpf.WireReadKindREAD_INT
	argUser   = bpf.WireReadKindREAD_USER_STRING
	argKernel = bpf.WireReadKindREAD_KERNEL_STRING
	argLoc    = bpf.WireReadKindREAD_DATA_LOC
	argInline = bpf.WireReadKindREAD_INLINE_STRING
)

// compileField compiles a hook that reads one field, which is at offset 16.
func compileField(subsystem string, f compile.Field, typ policy.ArgType, selectors ...policy.Selector) (*compile.Hook, error) {
	f.Name = "it"
	if f.Offset == 0 {
		f.Offset = 16
	}
	p := &policy.Policy{Name: "p", Hooks: []policy.Hook{{
		Section: policy.Tracepoints, Subsystem: subsystem, Event: "sys_enter_it", Args: []policy.Arg{{Index: 1, Type: typ}}, Selectors: selectors,
	}}}
	k := compiletest.Kernel{Events: map[string][]compile.Field{subsystem + "/sys_enter_it": {{}, f}}}
	c, err := compile.Compile(p, k)
	if err != nil {
		return nil, err
	}
	return &c.Hooks[0], nil
}

func TestTypesOfFields(t *testing.T) {
	t.Parallel()
	sized := func(t string, size int, signed bool) compile.Field {
		return compile.Field{Type: t, Size: size, Signed: signed}
	}
	chars := compile.Field{Type: "char", Size: 16, Array: 16}
	loc := compile.Field{Type: "char", Size: 4, DataLoc: true, Array: -1}
	read := func(kind bpf.WireReadKind, size uint16, signed bool) compile.Read {
		return compile.Read{Offset: 16, Kind: kind, Size: size, Signed: signed}
	}
	for name, c := range map[string]struct {
		subsystem string
		field     compile.Field
		asked     policy.ArgType
		want      compile.Read
		typ       policy.ArgType
	}{
		"auto int":            {"sched", sized("pid_t", 4, true), policy.ArgAuto, read(argInt, 4, true), policy.ArgInt32},
		"auto unsigned":       {"sched", sized("u16", 2, false), policy.ArgAuto, read(argInt, 2, false), policy.ArgUint16},
		"auto byte":           {"sched", sized("s8", 1, true), policy.ArgAuto, read(argInt, 1, true), policy.ArgInt8},
		"auto long":           {"sched", sized("long", 8, true), policy.ArgAuto, read(argInt, 8, true), policy.ArgInt64},
		"auto pointer":        {"sched", sized("void *", 8, false), policy.ArgAuto, read(argInt, 8, false), policy.ArgUint64},
		"auto argv":           {"syscalls", sized("const char *const *", 8, false), policy.ArgAuto, read(argInt, 8, false), policy.ArgUint64},
		"auto user string":    {"syscalls", sized("const char *", 8, false), policy.ArgAuto, read(argUser, 8, false), policy.ArgString},
		"auto kernel string":  {"sched", sized("const char *", 8, false), policy.ArgAuto, read(argKernel, 8, false), policy.ArgString},
		"auto characters":     {"sched", chars, policy.ArgAuto, read(argInline, 16, false), policy.ArgString},
		"auto data loc":       {"sched", loc, policy.ArgAuto, read(argLoc, 4, false), policy.ArgString},
		"string at void":      {"syscalls", sized("void *", 8, false), policy.ArgString, read(argUser, 8, false), policy.ArgString},
		"characters untold":   {"sched", compile.Field{Type: "char", Size: 32, Array: -1}, policy.ArgString, read(argInline, 32, false), policy.ArgString},
		"data loc of bytes":   {"sched", compile.Field{Type: "u8", Size: 4, DataLoc: true, Array: -1}, policy.ArgString, read(argLoc, 4, false), policy.ArgString},
		"int in a word":       {"syscalls", sized("int", 8, true), policy.ArgInt32, read(argInt, 4, true), policy.ArgInt32},
		"long of an int":      {"sched", sized("int", 4, true), policy.ArgInt64, read(argInt, 4, true), policy.ArgInt64},
		"unsigned of signed":  {"sched", sized("int", 4, true), policy.ArgUint32, read(argInt, 4, false), policy.ArgUint32},
		"signed of unsigned":  {"sched", sized("u8", 1, false), policy.ArgInt8, read(argInt, 1, true), policy.ArgInt8},
		"number of a pointer": {"syscalls", sized("const char *", 8, false), policy.ArgUint64, read(argInt, 8, false), policy.ArgUint64},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hook, err := compileField(c.subsystem, c.field, c.asked)
			if err != nil {
				t.Fatal(err)
			}
			if hook.Reads[0] != c.want || hook.Types[0] != c.typ {
				t.Errorf("read %+v as %s, want %+v as %s", hook.Reads[0], hook.Types[0], c.want, c.typ)
			}
		})
	}
}

func TestTypesThatDoNotFit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		field compile.Field
		asked policy.ArgType
		say   string
	}{
		"string of an int":      {compile.Field{Type: "int", Size: 4}, policy.ArgString, "not a string"},
		"string of argv":        {compile.Field{Type: "const char *const *", Size: 8}, policy.ArgString, "not a string"},
		"string of numbers":     {compile.Field{Type: "u32", Size: 16, Array: 4}, policy.ArgString, "not a string"},
		"string without length": {compile.Field{Type: "char", Array: -1}, policy.ArgString, "not a string"},
		"relative location":     {compile.Field{Type: "__rel_loc char", Size: 4, DataLoc: true}, policy.ArgString, "not supported"},
		"relative, by itself":   {compile.Field{Type: "__rel_loc char", Size: 4, DataLoc: true}, policy.ArgAuto, "not supported"},
		"int of characters":     {compile.Field{Type: "char", Size: 16, Array: 16}, policy.ArgInt32, "no integer"},
		"int of untold array":   {compile.Field{Type: "u8", Size: 4, Array: -1}, policy.ArgInt32, "no integer"},
		"int of data loc":       {compile.Field{Type: "char", Size: 4, DataLoc: true}, policy.ArgInt32, "no integer"},
		"int of a structure":    {compile.Field{Type: "struct x", Size: 24}, policy.ArgInt32, "no integer"},
		"int of three bytes":    {compile.Field{Type: "u24", Size: 3}, policy.ArgInt8, "no integer"},
		"auto array":            {compile.Field{Type: "u32", Size: 16, Array: 4}, policy.ArgAuto, "name one"},
		"auto data loc":         {compile.Field{Type: "u64", Size: 4, DataLoc: true, Array: -1}, policy.ArgAuto, "name one"},
		"auto structure":        {compile.Field{Type: "struct x", Size: 24}, policy.ArgAuto, "name one"},
		"common field":          {compile.Field{Type: "int", Offset: 4, Size: 4}, policy.ArgInt32, "not shown"},
		"outside the record":    {compile.Field{Type: "int", Offset: 1<<16 - 2, Size: 4}, policy.ArgInt32, "outside"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := compileField("sched", c.field, c.asked)
			const path = "spec.tracepoints[0].args[0].type: "
			if err == nil || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), c.say) {
				t.Errorf("error is %v, want one about %s with %q", err, path, c.say)
			}
		})
	}
}

// Every fault is reported, each with the field it is in, and nothing comes back.
func TestCompileReportsAllFaults(t *testing.T) {
	t.Parallel()
	parsed, err := policy.Parse([]byte(`apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: x}
spec:
  tracepoints:
  - subsystem: syscalls
    event: sys_enter_gone
  - subsystem: syscalls
    event: sys_enter_it
    args: [{index: 9}, {index: 0, type: int}, {index: 1, type: string}]
  - subsystem: syscalls
    event: sys_enter_it
    args: [{index: 1}, {index: 2}]
    selectors:
    - matchArgs: [{index: 1, operator: Prefix, values: ["x"]}, {index: 2, operator: GT, values: ["1"]}]
  - subsystem: syscalls
    event: sys_enter_it
    args: [{index: 1, type: int}]
    selectors:
    - matchArgs: [{index: 1, operator: Equal, values: ["1"]}]
      matchActions: [{action: Signal, argSig: 10}, {action: Signal, argSig: 12}]
`))
	if err != nil {
		t.Fatal(err)
	}
	k := compiletest.Kernel{Events: map[string][]compile.Field{"syscalls/sys_enter_it": {
		{Name: "common_type", Type: "short", Size: 2},
		{Name: "fd", Type: "int", Offset: 16, Size: 8, Signed: true},
		{Name: "path", Type: "const char *", Offset: 24, Size: 8},
	}}}
	compiled, err := compile.Compile(parsed, k)
	if compiled != nil {
		t.Error("a policy with faults was compiled")
	}
	if !errors.Is(err, compile.ErrNoCall) || !errors.Is(err, policy.ErrUnsupported) {
		t.Errorf("error wraps no %v, or no %v", compile.ErrNoCall, policy.ErrUnsupported)
	}
	faults := policy.Faults(err)
	want := []string{
		"spec.tracepoints[0]",
		"spec.tracepoints[1].args[0].index",
		"spec.tracepoints[1].args[1].type",
		"spec.tracepoints[1].args[2].type",
		"spec.tracepoints[2].selectors[0].matchArgs[0].operator",
		"spec.tracepoints[2].selectors[0].matchArgs[1].operator",
		"spec.tracepoints[3].selectors[0].matchActions[1]",
	}
	if len(faults) != len(want) {
		t.Fatalf("%d faults, want %d:\n%v", len(faults), len(want), err)
	}
	for i, f := range faults {
		if f.Path != want[i] {
			t.Errorf("fault %d is at %s, want %s: %v", i, f.Path, want[i], f)
		}
	}
}

func TestSites(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		site compile.Site
		exit string
		exec bool
	}{
		{compile.Site{Kind: compile.Kprobe, Name: "__x64_sys_a,__x64_sys_b", Exits: "sys_exit_a,sys_exit_b"}, "sys_exit_a,sys_exit_b", false},
		{compile.Site{Kind: compile.Tracepoint, Subsystem: "syscalls", Name: "sys_enter_openat"}, "sys_exit_openat", false},
		{compile.Site{Kind: compile.Tracepoint, Subsystem: "syscalls", Name: "sys_enter_execve"}, "sys_exit_execve", true},
		{compile.Site{Kind: compile.Tracepoint, Subsystem: "syscalls", Name: "sys_enter_execveat"}, "sys_exit_execveat", true},
		{compile.Site{Kind: compile.Tracepoint, Subsystem: "syscalls", Name: "sys_exit_execve"}, "", false},
		{compile.Site{Kind: compile.Tracepoint, Subsystem: "raw_syscalls", Name: "sys_enter"}, "", false},
		{compile.Site{Kind: compile.Tracepoint, Subsystem: "sched", Name: "sys_enter_execve"}, "", false},
		{compile.Site{Kind: compile.Tracepoint, Subsystem: "sched", Name: "sched_process_exec"}, "", true},
	} {
		if exit := strings.Join(c.site.ExitEvents(), ","); exit != c.exit {
			t.Errorf("%s: exit %q", c.site, exit)
		}
		if exec := c.site.IsExec(); exec != c.exec {
			t.Errorf("%s: exec: %v", c.site, exec)
		}
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	kill, post, noPost := policy.Action{Kind: policy.Sigkill}, policy.Action{Kind: policy.Post}, policy.Action{Kind: policy.NoPost}
	signal := func(n uint8) policy.Action { return policy.Action{Kind: policy.Signal, Signal: n} }
	for name, c := range map[string]struct {
		actions []policy.Action
		post    bool
		signal  uint8
	}{
		"post":                {[]policy.Action{post}, true, 0},
		"no post":             {[]policy.Action{noPost}, false, 0},
		"kill":                {[]policy.Action{kill}, true, 9},
		"kill without event":  {[]policy.Action{kill, noPost}, false, 9},
		"signal":              {[]policy.Action{signal(64)}, true, 64},
		"the same twice":      {[]policy.Action{signal(10), signal(10)}, true, 10},
		"kill after a signal": {[]policy.Action{signal(10), kill}, true, 9},
		"a signal after kill": {[]policy.Action{kill, signal(10)}, true, 9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hook, err := compileField("sched", compile.Field{Type: "int", Size: 4, Signed: true}, policy.ArgInt32,
				policy.Selector{Actions: c.actions})
			if err != nil {
				t.Fatal(err)
			}
			if r := hook.Rules[0]; r.Post != c.post || r.Signal != c.signal || r.Enforces() != (c.signal != 0) {
				t.Errorf("rule %+v, want post %v and signal %d", r, c.post, c.signal)
			}
		})
	}
}
