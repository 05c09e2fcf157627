// SPDX-License-Identifier: Apache-2.0

package field

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/filter/subject"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const (
	execType = tetragon.EventType_PROCESS_EXEC
	exitType = tetragon.EventType_PROCESS_EXIT
)

func process(n uint32) *tetragon.Process {
	return &tetragon.Process{
		ExecId: "id", Pid: wrapperspb.UInt32(n), Binary: "/bin/cat", Arguments: "secret", Flags: "execve",
		Pod: &tetragon.Pod{
			Name: "web", Namespace: "prod", PodLabels: map[string]string{"app": "web"},
			Container: &tetragon.Container{Id: "c", Name: "nginx", Image: &tetragon.Image{Id: "i", Name: "nginx:1"}},
		},
		EnvironmentVariables: []*tetragon.EnvVar{{Key: "A", Value: "1"}, {Key: "B", Value: "2"}},
	}
}

func outer() *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{NodeName: "node", ClusterName: "c"}
}

func exec(of *tetragon.ProcessExec) *tetragon.GetEventsResponse {
	e := outer()
	e.Time = &timestamppb.Timestamp{Seconds: 7}
	e.Event = &tetragon.GetEventsResponse_ProcessExec{ProcessExec: of}
	return e
}

func full() *tetragon.GetEventsResponse {
	return exec(&tetragon.ProcessExec{Process: process(3), Parent: process(2), Ancestors: []*tetragon.Process{process(1), process(0)}})
}

func include(paths ...string) *tetragon.FieldFilter {
	return &tetragon.FieldFilter{Fields: &fieldmaskpb.FieldMask{Paths: paths}}
}

func exclude(paths ...string) *tetragon.FieldFilter {
	return &tetragon.FieldFilter{Fields: &fieldmaskpb.FieldMask{Paths: paths}, Action: tetragon.FieldFilterAction_EXCLUDE}
}

func of(f *tetragon.FieldFilter, types ...tetragon.EventType) *tetragon.FieldFilter {
	f.EventSet = types
	return f
}

func notOf(f *tetragon.FieldFilter, types ...tetragon.EventType) *tetragon.FieldFilter {
	f.EventSet, f.InvertEventSet = types, wrapperspb.Bool(true)
	return f
}

// changed is full() with a change of its own.
func changed(change func(*tetragon.ProcessExec)) *tetragon.GetEventsResponse {
	e := full()
	change(e.GetProcessExec())
	return e
}

func TestApply(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		list []*tetragon.FieldFilter
		want *tetragon.GetEventsResponse
	}{
		{"none", nil, full()},
		{"include a message", []*tetragon.FieldFilter{include("parent")}, exec(&tetragon.ProcessExec{Parent: process(2)})},
		{
			"include below", []*tetragon.FieldFilter{include("process.binary", "process.pod.container.image.name")},
			exec(&tetragon.ProcessExec{Process: &tetragon.Process{Binary: "/bin/cat", Pod: &tetragon.Pod{
				Container: &tetragon.Container{Image: &tetragon.Image{Name: "nginx:1"}},
			}}}),
		},
		{
			"includes add up, whole and below", []*tetragon.FieldFilter{include("parent.pid"), include("process.pid", "parent"), include("parent.uid")},
			exec(&tetragon.ProcessExec{Process: &tetragon.Process{Pid: wrapperspb.UInt32(3)}, Parent: process(2)}),
		},
		{
			"include below a list", []*tetragon.FieldFilter{include("ancestors.pid", "process.environment_variables.Key")},
			exec(&tetragon.ProcessExec{
				Process:   &tetragon.Process{EnvironmentVariables: []*tetragon.EnvVar{{Key: "A"}, {Key: "B"}}},
				Ancestors: []*tetragon.Process{{Pid: wrapperspb.UInt32(1)}, {Pid: wrapperspb.UInt32(0)}},
			}),
		},
		{"names of JSON", []*tetragon.FieldFilter{include("process.execId")}, exec(&tetragon.ProcessExec{Process: &tetragon.Process{ExecId: "id"}})},
		{"exclude", []*tetragon.FieldFilter{exclude("process.arguments", "parent")}, changed(func(e *tetragon.ProcessExec) {
			e.Process.Arguments, e.Parent = "", nil
		})},
		{"exclude below a list", []*tetragon.FieldFilter{exclude("process.environment_variables.Value", "ancestors.arguments")}, changed(func(e *tetragon.ProcessExec) {
			for _, v := range e.Process.EnvironmentVariables {
				v.Value = ""
			}
			for _, a := range e.Ancestors {
				a.Arguments = ""
			}
		})},
		{"exclude a map", []*tetragon.FieldFilter{exclude("process.pod.pod_labels")}, changed(func(e *tetragon.ProcessExec) {
			e.Process.Pod.PodLabels = nil
		})},
		{"exclude all there is", []*tetragon.FieldFilter{exclude("process", "parent", "ancestors")}, exec(&tetragon.ProcessExec{})},
		{"excludes add up", []*tetragon.FieldFilter{exclude("parent.pid"), exclude("parent.pod"), exclude("parent.pod.name")}, changed(func(e *tetragon.ProcessExec) {
			e.Parent.Pid, e.Parent.Pod = nil, nil
		})},
		{"include, then exclude", []*tetragon.FieldFilter{include("process"), exclude("process.arguments", "process.pod.name")}, changed(func(e *tetragon.ProcessExec) {
			e.Parent, e.Ancestors, e.Process.Arguments, e.Process.Pod.Name = nil, nil, "", ""
		})},
		{"exclude, then include", []*tetragon.FieldFilter{exclude("process.arguments", "process.pod.name"), include("process"), include("process.arguments")}, changed(func(e *tetragon.ProcessExec) {
			e.Parent, e.Ancestors, e.Process.Arguments, e.Process.Pod.Name = nil, nil, "", ""
		})},
		{"exclude what is not included", []*tetragon.FieldFilter{include("process.pid"), exclude("parent.pid", "process.pod")}, exec(&tetragon.ProcessExec{
			Process: &tetragon.Process{Pid: wrapperspb.UInt32(3)},
		})},
		{"of another type", []*tetragon.FieldFilter{of(include("process.pid"), exitType), of(exclude("process"), exitType)}, full()},
		{"of this type", []*tetragon.FieldFilter{of(exclude("process"), exitType, execType)}, changed(func(e *tetragon.ProcessExec) { e.Process = nil })},
		{"of all but another type", []*tetragon.FieldFilter{notOf(exclude("process"), exitType)}, changed(func(e *tetragon.ProcessExec) { e.Process = nil })},
		{"of all but this type", []*tetragon.FieldFilter{notOf(exclude("process"), execType)}, full()},
		{"inverted set of none is all", []*tetragon.FieldFilter{notOf(exclude("process"))}, changed(func(e *tetragon.ProcessExec) { e.Process = nil })},
		{"exists in other types only", []*tetragon.FieldFilter{exclude("function_name")}, full()},
		{"includes nothing of this type", []*tetragon.FieldFilter{include("function_name")}, exec(&tetragon.ProcessExec{})},
		{"not there", []*tetragon.FieldFilter{include("process.process_credentials.caps.permitted", "parent.in_init_tree")}, exec(&tetragon.ProcessExec{
			Process: &tetragon.Process{}, Parent: &tetragon.Process{},
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, err := Compile(c.list)
			if err != nil {
				t.Fatal(err)
			}
			e := full()
			if diff := cmp.Diff(c.want, f.Apply(e), protocmp.Transform()); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(full(), e, protocmp.Transform()); diff != "" {
				t.Errorf("the shared event was changed:\n%s", diff)
			}
		})
	}
}

// TestSharing holds that an event that is kept whole is not copied, nor a message in it.
func TestSharing(t *testing.T) {
	t.Parallel()
	e := full()
	f, err := Compile([]*tetragon.FieldFilter{of(include("process"), exitType), of(exclude("parent"), execType)})
	if err != nil {
		t.Fatal(err)
	}
	got := f.Apply(e)
	if got == e || got.GetProcessExec() == e.GetProcessExec() || got.GetProcessExec().Process != e.GetProcessExec().Process {
		t.Error("copied too little or too much")
	}
	other := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessLoader{ProcessLoader: &tetragon.ProcessLoader{}}}
	none := &tetragon.GetEventsResponse{NodeName: "n"}
	if f.Apply(other) != other || f.Apply(none) != none || f.Apply(nil) != nil {
		t.Error("copied events that it has nothing to do with")
	}
}

func TestOneofsBelow(t *testing.T) {
	t.Parallel()
	e := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessKprobe{ProcessKprobe: &tetragon.ProcessKprobe{
		FunctionName: "f", Args: []*tetragon.KprobeArgument{
			{Label: "a", Arg: &tetragon.KprobeArgument_FileArg{FileArg: &tetragon.KprobeFile{Path: "/etc/shadow", Permission: "-rw-"}}},
			{Label: "b", Arg: &tetragon.KprobeArgument_IntArg{IntArg: 0}},
		},
	}}}
	f, err := Compile([]*tetragon.FieldFilter{include("args.file_arg.path", "args.int_arg")})
	if err != nil {
		t.Fatal(err)
	}
	want := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessKprobe{ProcessKprobe: &tetragon.ProcessKprobe{
		Args: []*tetragon.KprobeArgument{
			{Arg: &tetragon.KprobeArgument_FileArg{FileArg: &tetragon.KprobeFile{Path: "/etc/shadow"}}},
			{Arg: &tetragon.KprobeArgument_IntArg{IntArg: 0}},
		},
	}}}
	if diff := cmp.Diff(want, f.Apply(e), protocmp.Transform()); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	newer := include("process")
	newer.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1))
	all := make([]tetragon.EventType, 0)
	for _, f := range subject.Fields() {
		all = append(all, tetragon.EventType(f.Number()))
	}
	unknownAction := include("process")
	unknownAction.Action = 7
	f, err := Compile([]*tetragon.FieldFilter{
		include("process.pid"), // nothing is wrong with it
		include("process.pids", "process.pid", "proc"),
		exclude("process.pod.pod_labels.app", "process.pid.value.x", "process..pid", "", "process."),
		of(include("function_name"), execType, exitType),
		of(include("process"), 1, 2),
		unknownAction,
		{},
		newer,
		notOf(exclude("process"), all...),
		include(strings.Repeat("process.", 40) + "pid"),
		of(include("process"), tetragon.EventType_UNDEF),
		include("process_exec.process"),
	})
	if f != nil || !errors.Is(err, ErrInvalid) {
		t.Fatalf("%v, error %v", f, err)
	}
	got := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		`field_filters[1].fields.paths[0]: "process.pids": Process has no field "pids"`,
		`field_filters[1].fields.paths[2]: "proc": ProcessExec has no field "proc"`,
		`field_filters[2].fields.paths[0]: "process.pod.pod_labels.app": Pod.pod_labels is no message: there is nothing below it`,
		`field_filters[2].fields.paths[1]: "process.pid.value.x": UInt32Value.value is no message`,
		`field_filters[2].fields.paths[2]: "process..pid": Process has no field ""`,
		`field_filters[2].fields.paths[3]: "": ProcessExec has no field ""`,
		`field_filters[2].fields.paths[4]: "process.": Process has no field ""`,
		`field_filters[3].fields.paths[0]: "function_name": ProcessExec has no field "function_name"`,
		`field_filters[4].event_set[1]: 2: no such event type`,
		`field_filters[5].action: 7: no such action`,
		`field_filters[6].fields: there is none`,
		`field_filters[7].field 9: not known to this version`,
		`field_filters[8].event_set: is for no event`,
		`has more than 32 names`,
		`field_filters[10].event_set: is for no event`,
		`field_filters[11].fields.paths[0]: "process_exec.process": ProcessExec has no field "process_exec"`,
	} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Fatalf("fault %d of %q is not %q", i, got, want)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	e := full()
	for name, list := range map[string][]*tetragon.FieldFilter{
		"include two":    {include("process.binary", "parent.binary")},
		"exclude two":    {exclude("process.arguments", "parent.arguments")},
		"of other types": {of(include("process.binary"), exitType)},
	} {
		f, err := Compile(list)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Apply(e)
			}
		})
	}
	b.Run("baseline proto.Clone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			proto.Clone(e)
		}
	})
}

func FuzzFields(f *testing.F) {
	for _, paths := range []string{"process.pid", "process.pod.pod_labels,parent", "ancestors.environment_variables.Key", "args.sock_arg.daddr"} {
		f.Add(paths, paths, uint32(1), true)
	}
	f.Fuzz(func(t *testing.T, included, excluded string, set uint32, invert bool) {
		list := []*tetragon.FieldFilter{
			include(strings.Split(included, ",")...), of(exclude(strings.Split(excluded, ",")...), tetragon.EventType(set)),
		}
		list[1].InvertEventSet = wrapperspb.Bool(invert)
		if included == "" {
			list = list[1:]
		}
		c, err := Compile(list)
		if err != nil {
			return
		}
		e := full()
		got := c.Apply(e)
		if !proto.Equal(e, full()) {
			t.Error("the shared event was changed")
		}
		if !proto.Equal(got, c.Apply(got)) {
			t.Error("what is kept is not kept the second time")
		}
		if got.GetNodeName() != e.GetNodeName() || subject.Type(got) != subject.Type(e) {
			t.Errorf("%v of %v", got, e)
		}
	})
}
