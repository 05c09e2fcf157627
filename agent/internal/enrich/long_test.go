// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// longEvents are the events of an exec with long texts, as the programs send them.
func longEvents(args, env string) (all []event.Event) {
	e := &event.Exec{
		Header: head(201*second, 200, 5, 50), Parent: childOf(100), Cwd: "/x",
		ArgsSize: uint32(len(args)), EnvSize: uint32(len(env)),
	}
	const begin, chunk = int(bpf.WireLimitsSTRING_MAX) - 1, int(bpf.WireLimitsDATA_CHUNK)
	for text, s := range [...]string{bpf.WireExecTextEXEC_ARGS: args, bpf.WireExecTextEXEC_ENV: env} {
		for at := begin; at < len(s); at += chunk {
			e.Data = 9
			all = append(all, &event.Data{
				Header: e.Header, ID: 9, String: text, Offset: at, Bytes: s[at:min(len(s), at+chunk)],
			})
		}
	}
	e.Args, e.Env = event.Split(args[:min(begin, len(args))]), event.Split(env[:min(begin, len(env))])
	return append(all, e)
}

func repeated(s string, bytes int) string { return strings.Repeat(s+"\x00", bytes/(len(s)+1)) }

// exit has a process end, and is its message.
func (w *world) exit(t *testing.T) *tetragon.Process {
	t.Helper()
	w.Handle(&event.Exit{Header: head(301*second, 200, 5, 50)})
	return w.sink.take(t)[0].GetProcessExit().GetProcess()
}

// The event of an exec has all of the arguments and the environment; later ones have
// what is remembered of them, and say so.
func TestLongTexts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args, env    string
		flags, later string
	}{
		"arguments": {repeated("abc", 2<<20), "A=1\x00", "dataArgs", "truncArgs dataArgs"},
		"cut where the event ends": {
			"x\x00" + strings.Repeat("y", 4093) + "z\x00", "", "dataArgs", "dataArgs",
		},
		"cut before a NUL":      {"x\x00" + strings.Repeat("y", 4093) + "\x00", "", "dataArgs", "dataArgs"},
		"cut behind a NUL":      {"x\x00" + strings.Repeat("y", 4092) + "\x00zz\x00", "", "dataArgs", "dataArgs"},
		"a long argument":       {"sh\x00-c\x00" + strings.Repeat("y", 100_000) + "\x00", "", "dataArgs", "truncArgs dataArgs"},
		"environment":           {"x\x00y\x00", repeated("AB=cd", 1<<16), "dataArgs", "errorEnvs dataArgs"},
		"both":                  {repeated("abc", 1<<17), repeated("AB=cd", 1<<17), "dataArgs", "errorEnvs truncArgs dataArgs"},
		"empty arguments":       {repeated("", 100_000), "", "dataArgs", "truncArgs dataArgs"},
		"more than it may take": {repeated("", 2<<20), "", "truncArgs dataArgs", "truncArgs dataArgs"},
	} {
		w := newWorld(t)
		w.Life = Life{Environment: true}
		for _, e := range longEvents(c.args, c.env) {
			w.Handle(e)
		}
		m := w.sink.take(t)[0]
		got := m.GetProcessExec().GetProcess()
		if want := "execve " + c.flags; got.GetFlags() != want {
			t.Errorf("%s: flags %q, want %q", name, got.GetFlags(), want)
		}
		if n := proto.Size(m); n > 4<<20-100_000 {
			t.Errorf("%s: a message of %d bytes", name, n)
		}
		if want := arguments(event.Split(c.args)); !strings.Contains(c.flags, "truncArgs") && got.GetArguments() != want {
			t.Errorf("%s: %d bytes of arguments, want %d", name, len(got.GetArguments()), len(want))
		}
		want := event.Split(c.env)
		if len(got.GetEnvironmentVariables()) != len(want) {
			t.Errorf("%s: %d variables, want %d", name, len(got.GetEnvironmentVariables()), len(want))
		}
		for i, v := range got.GetEnvironmentVariables() {
			if v.GetKey()+"="+v.GetValue() != want[i] {
				t.Fatalf("%s: variable %d is %v, want %q", name, i, v, want[i])
			}
		}
		later := w.exit(t)
		if want := "execve " + c.later; later.GetFlags() != want || later.GetExecId() != got.GetExecId() {
			t.Errorf("%s: later flags %q, want %q", name, later.GetFlags(), want)
		}
		if n := proto.Size(later); n > 80<<10 || !strings.HasPrefix(got.GetArguments(), later.GetArguments()) {
			t.Errorf("%s: later %d bytes", name, n)
		}
	}
}

// Bytes that are missing are told to be.
func TestLongTextsThatLackSome(t *testing.T) {
	t.Parallel()
	args := "sh\x00" + strings.Repeat("y", 60_000) + "\x00"
	for name, change := range map[string]func([]event.Event) []event.Event{
		"first": func(all []event.Event) []event.Event { return all[1:] },
		"middle": func(all []event.Event) []event.Event {
			return append(append([]event.Event{}, all[0]), all[2:]...)
		},
		"all": func(all []event.Event) []event.Event { return all[len(all)-1:] },
		"as the programs say": func(all []event.Event) []event.Event {
			if e, ok := all[len(all)-1].(*event.Exec); ok {
				e.Flags |= bpf.WireExecFlagsEXEC_ARGS_TRUNCATED
			}
			return all
		},
	} {
		w := newWorld(t)
		for _, e := range change(longEvents(args, "")) {
			w.Handle(e)
		}
		got := w.sink.take(t)[0].GetProcessExec().GetProcess()
		if got.GetFlags() != "execve truncArgs dataArgs" || !strings.HasPrefix(strings.Repeat("y", 60_000), got.GetArguments()) || len(got.GetArguments()) < 4000 {
			t.Errorf("%s: flags %q, %d bytes of arguments", name, got.GetFlags(), len(got.GetArguments()))
		}
		if later := w.exit(t); later.GetFlags() != "execve truncArgs dataArgs" {
			t.Errorf("%s: later flags %q", name, later.GetFlags())
		}
	}
}

// Of long environments too only the variables are told that somebody asks for.
func TestVariablesOfLongEnvironments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Life = Life{Environment: true, Variables: []string{"Z"}}
	for _, e := range longEvents("x\x00", repeated("AB=cd", 1<<16)+"Z=1\x00") {
		w.Handle(e)
	}
	got := w.sink.take(t)[0].GetProcessExec().GetProcess()
	later := w.exit(t)
	for _, p := range []*tetragon.Process{got, later} {
		if all := p.GetEnvironmentVariables(); len(all) != 1 || all[0].GetKey() != "Z" || p.GetFlags() != "execve dataArgs" {
			t.Errorf("%v, flags %q", all, p.GetFlags())
		}
	}
}

// What long texts take that wait to be read has a bound; it ends when they are.
func TestLongTextsGiveWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	args := "x\x00" + repeated(strings.Repeat("y", 1000), 1<<20)
	whole := func() bool {
		for _, e := range longEvents(args, "") {
			w.Handle(e)
		}
		last := w.sink.messages[len(w.sink.messages)-1].GetProcessExec().GetProcess()
		return len(last.GetArguments()) > 1<<19
	}
	n := 0
	for ; whole(); n++ {
		if n > 2*maxLongBytes>>20 {
			t.Fatal("there is no bound")
		}
	}
	if n < maxLongBytes>>20 {
		t.Errorf("%d messages wait", n)
	}
	w.sink.messages = nil
	for deadline := time.Now().Add(30 * time.Second); !whole(); {
		w.sink.messages = nil
		runtime.GC()
		runtime.Gosched()
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are counted of messages that nobody has", w.longBytes.Load())
		}
	}
}
