// SPDX-License-Identifier: Apache-2.0

package described

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/test/lab/truth"
)

// What the table says is what was measured in the lab without the probes.
func TestTableIsTruth(t *testing.T) {
	t.Parallel()
	var names []string
	for _, column := range truth.Columns() {
		names = append(names, column.Name)
		k, err := Named(column.Name)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(k.Features().All()), len(column.Facts()); got != want {
			t.Errorf("%s: %d features are described, %d are known", column.Name, got, want)
		}
		for _, fact := range column.Facts() {
			answer := k.Features().Err(kernel.Feature(fact.Feature))
			var no *kernel.UnsupportedError
			switch {
			case (answer == nil) != fact.Has:
				t.Errorf("%s: %s: described as %v, known is %v (%s)", column.Name, fact.Feature, answer, fact.Has, fact.Because)
			case answer != nil && (!errors.As(answer, &no) || no.Reason == "" || no.Since == ""):
				t.Errorf("%s: %s: %v gives no reason", column.Name, fact.Feature, answer)
			}
		}
	}
	if !slices.Equal(names, Names()) {
		t.Errorf("described are %q, the lab has %q", Names(), names)
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "6", "6.1-nobpf-nobpf", "-nobpf", "6.1 "} {
		if k, err := Named(name); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "6.12-inject-nobpf") {
			t.Errorf("%q: %v, %v", name, k, err)
		}
	}
}

// Every kernel has what policies are written for.
func TestHooksAreThere(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		k, err := Named(name)
		if err != nil {
			t.Fatal(err)
		}
		fields, err := k.Tracepoint("syscalls", "sys_enter_openat")
		if err != nil || len(fields) < 9 || fields[6].Name != "filename" || fields[6].Offset != 24 {
			t.Errorf("%s: sys_enter_openat is %+v, error %v", name, fields, err)
		}
		if fields, err := k.Tracepoint("syscalls", "sys_exit_openat"); err != nil || fields[5].Name != "ret" {
			t.Errorf("%s: sys_exit_openat is %+v, error %v", name, fields, err)
		}
		hook, err := k.Hook("file_open")
		if err != nil || !hook.Known || len(hook.Params) != 1 || hook.Params[0].Struct != "file" {
			t.Errorf("%s: file_open is %+v, error %v", name, hook, err)
		}
		if f, compat, err := k.SyscallFunction("i386/sys_openat"); err != nil || !compat || !strings.HasPrefix(f, "__ia32_") {
			t.Errorf("%s: i386/sys_openat is %s, %v, error %v", name, f, compat, err)
		}
		if raw, err := k.RawTracepoint("sched_process_exec"); err != nil || len(raw.Params) != 3 {
			t.Errorf("%s: sched_process_exec is %+v, error %v", name, raw, err)
		}
		for what, err := range map[string]error{
			"an event":         second(k.Tracepoint("syscalls", "sys_enter_nothing")),
			"a function":       second(k.Function("security_nothing")),
			"a security hook":  second(k.Hook("nothing")),
			"a raw tracepoint": second(k.RawTracepoint("nothing")),
		} {
			if !errors.Is(err, compile.ErrNoCall) {
				t.Errorf("%s: %s that is not there: %v", name, what, err)
			}
		}
		if err := second(k.Tracepoint("ext4", "ext4_sync_fs")); err == nil || errors.Is(err, compile.ErrNoCall) || !strings.Contains(err.Error(), "description of kernel "+name) {
			t.Errorf("%s: an event that is not described: %v", name, err)
		}
		if p, err := k.Function("fd_install"); err != nil || p.Known || k.Describes("fd_install") {
			t.Errorf("%s: a function that is not described: %+v, error %v", name, p, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// What is written is read again as it was.
func TestLines(t *testing.T) {
	t.Parallel()
	for _, p := range []compile.Prototype{
		{}, {Known: true}, {Known: true, Void: true, Ambiguous: true},
		{Known: true, Params: []compile.Param{{Name: "file", Struct: "file"}, {Name: "n", Size: 8, Signed: true}, {Name: "x"}, {Size: 4}}},
	} {
		got, err := parsePrototype(formatPrototype(p))
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%+v became %+v, error %v", p, got, err)
		}
	}
	for _, fields := range [][]compile.Field{commonFields(), exitFields(), append(commonFields(),
		compile.Field{Name: "comm", Type: "char", Offset: 8, Size: 16, Array: 16},
		compile.Field{Name: "filename", Type: "char", Offset: 24, Size: 4, Array: -1, DataLoc: true, Signed: true})} {
		got, err := parseFields(formatFields(fields))
		if err != nil || !reflect.DeepEqual(got, fields) {
			t.Errorf("%+v became %+v, error %v", fields, got, err)
		}
	}
	for _, line := range []string{"*\traw\tx", "*\tkind\tx\t", "*\traw\tx\ta", "*\traw\tx\ta:b", "*\tevent\tx\tint", "*\tevent\tx\tint a:1:2:c:"} {
		h := &hooks{events: map[string][]compile.Field{}, raw: map[string]compile.Prototype{}}
		if err := h.read(line, "7"); err == nil {
			t.Errorf("%q was read", line)
		}
	}
}
