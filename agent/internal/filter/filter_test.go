// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func exec(binary, args, namespace, pod, container string, pid uint32) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExec{ProcessExec: &tetragon.ProcessExec{
		Process: &tetragon.Process{
			Pid: wrapperspb.UInt32(pid), Binary: binary, Arguments: args, Docker: container[:min(31, len(container))],
			Pod: &tetragon.Pod{Name: pod, Namespace: namespace, Container: &tetragon.Container{Id: container, Name: "n-" + container}},
		},
		Parent: &tetragon.Process{Binary: "/bin/parent", Arguments: "of " + binary},
	}}}
}

func tracepoint(policy string) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessTracepoint{
		ProcessTracepoint: &tetragon.ProcessTracepoint{Process: &tetragon.Process{Binary: "/bin/cat"}, PolicyName: policy},
	}}
}

func TestFields(t *testing.T) {
	t.Parallel()
	cat := exec("/bin/cat", "/etc/shadow", "prod", "web-1", "0123456789abcdef", 7)
	for _, c := range []struct {
		name   string
		filter *tetragon.Filter
		event  *tetragon.GetEventsResponse
		want   bool
	}{
		{"event set holds", &tetragon.Filter{EventSet: []tetragon.EventType{tetragon.EventType_PROCESS_EXEC}}, cat, true},
		{"event set of another type", &tetragon.Filter{EventSet: []tetragon.EventType{tetragon.EventType_PROCESS_EXIT}}, cat, false},
		{"tracepoint type", &tetragon.Filter{EventSet: []tetragon.EventType{tetragon.EventType_PROCESS_TRACEPOINT}}, tracepoint("p"), true},
		{"pid", &tetragon.Filter{Pid: []uint32{6, 7}}, cat, true},
		{"other pid", &tetragon.Filter{Pid: []uint32{6}}, cat, false},
		{"no pid known", &tetragon.Filter{Pid: []uint32{0}}, &tetragon.GetEventsResponse{}, false},
		{"namespace", &tetragon.Filter{Namespace: []string{"prod"}}, cat, true},
		{"outside of pods", &tetragon.Filter{Namespace: []string{""}}, tracepoint("p"), true},
		{"container id prefix", &tetragon.Filter{ContainerId: []string{"01234"}}, cat, true},
		{"other container", &tetragon.Filter{ContainerId: []string{"1234"}}, cat, false},
		{"no container", &tetragon.Filter{ContainerId: []string{""}}, cat, false},
		{"policy", &tetragon.Filter{PolicyNames: []string{"p"}}, tracepoint("p"), true},
		{"other policy", &tetragon.Filter{PolicyNames: []string{"p"}}, tracepoint("q"), false},
		{"binary", &tetragon.Filter{BinaryRegex: []string{"^/sbin/", "cat$"}}, cat, true},
		{"other binary", &tetragon.Filter{BinaryRegex: []string{"^cat"}}, cat, false},
		{"arguments", &tetragon.Filter{ArgumentsRegex: []string{"shadow"}}, cat, true},
		{"pod", &tetragon.Filter{PodRegex: []string{"^web-"}}, cat, true},
		{"parent", &tetragon.Filter{ParentBinaryRegex: []string{"parent$"}}, cat, true},
		{"parent's arguments", &tetragon.Filter{ParentArgumentsRegex: []string{"of /bin"}}, cat, true},
		{"namespace expression", &tetragon.Filter{NamespaceRegex: []string{"^pr"}}, cat, true},
		{"container name", &tetragon.Filter{ContainerNameRegex: []string{"^n-0123"}}, cat, true},
		{"all fields must hold", &tetragon.Filter{Pid: []uint32{7}, Namespace: []string{"dev"}}, cat, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, err := Compile([]*tetragon.Filter{c.filter}, nil)
			if err != nil {
				t.Fatalf("compile: %v", err)
			}
			if got := f.Passes(c.event); got != c.want {
				t.Errorf("allowed: passes = %v, want %v", got, c.want)
			}
			if f, err = Compile(nil, []*tetragon.Filter{c.filter}); err != nil {
				t.Fatalf("compile: %v", err)
			}
			if got := f.Passes(c.event); got == c.want {
				t.Errorf("denied: passes = %v, want %v", got, !c.want)
			}
		})
	}
}

func TestDenyWins(t *testing.T) {
	t.Parallel()
	all := []*tetragon.Filter{{PolicyNames: []string{"p"}}}
	f, err := Compile(all, all)
	if err != nil {
		t.Fatal(err)
	}
	if f.Passes(tracepoint("p")) {
		t.Error("an event that both lists name passes")
	}
}

func TestEveryFieldIsReadOrRefused(t *testing.T) {
	t.Parallel()
	known := supported()
	fields := (&tetragon.Filter{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if known[field.Name()] != nil {
			continue
		}
		object := &tetragon.Filter{}
		m := object.ProtoReflect()
		if field.IsList() {
			list := m.Mutable(field).List()
			list.Append(list.NewElement())
		} else {
			m.Mutable(field)
		}
		_, err := Compile(nil, []*tetragon.Filter{object})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "deny_list[0]."+string(field.Name())) {
			t.Errorf("%s set: error %v, want one that names it", field.Name(), err)
		}
	}
}

func TestCompileNamesAllFaults(t *testing.T) {
	t.Parallel()
	_, err := Compile([]*tetragon.Filter{{}, {BinaryRegex: []string{"ok", "("}, CelExpression: []string{"x"}}}, nil)
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{"allow_list[1].", "binary_regex[1]: ", "cel_expression: not supported"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	seed, err := proto.Marshal(&tetragon.Filter{BinaryRegex: []string{"^/bin"}, Pid: []uint32{1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{0x0a, 0x01, '('})
	event := exec("/bin/cat", "x", "", "", "c", 1)
	f.Fuzz(func(t *testing.T, raw []byte) {
		object := &tetragon.Filter{}
		if proto.Unmarshal(raw, object) != nil {
			return
		}
		if c, err := Compile([]*tetragon.Filter{object}, nil); err == nil {
			c.Passes(event)
		}
	})
}
