// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
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

func kprobe(policy string) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessKprobe{
		ProcessKprobe: &tetragon.ProcessKprobe{Process: &tetragon.Process{Binary: "/bin/cat"}, PolicyName: policy},
	}}
}

func lsm(policy string) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessLsm{
		ProcessLsm: &tetragon.ProcessLsm{Parent: &tetragon.Process{Binary: "/bin/sh"}, PolicyName: policy},
	}}
}

func types(set ...tetragon.EventType) *tetragon.Filter { return &tetragon.Filter{EventSet: set} }

func TestFields(t *testing.T) {
	t.Parallel()
	exit := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExit{ProcessExit: &tetragon.ProcessExit{
		Process: &tetragon.Process{Binary: "/bin/sleep"}, Parent: &tetragon.Process{Binary: "/sbin/init"},
	}}}
	lost := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_RateLimitInfo{RateLimitInfo: &tetragon.RateLimitInfo{}}}
	old := exec("/bin/cat", "", "", "", "", 7)
	old.GetProcessExec().Process.Docker = "0123456789abcdef"
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
		{"other namespace", &tetragon.Filter{Namespace: []string{""}}, cat, false},
		{"not about a process", &tetragon.Filter{Namespace: []string{""}}, lost, false},
		{"not about a process, expression", &tetragon.Filter{BinaryRegex: []string{""}}, lost, false},
		{"parent not known", &tetragon.Filter{ParentBinaryRegex: []string{""}}, tracepoint("p"), false},
		{"exit", &tetragon.Filter{EventSet: []tetragon.EventType{tetragon.EventType_PROCESS_EXIT}}, exit, true},
		{"process of an exit", &tetragon.Filter{BinaryRegex: []string{"sleep"}, ParentBinaryRegex: []string{"init"}}, exit, true},
		{"loss", &tetragon.Filter{EventSet: []tetragon.EventType{tetragon.EventType_RATE_LIMIT_INFO}}, lost, true},
		{"no fields", &tetragon.Filter{}, lost, true},
		{"type that is not made", &tetragon.Filter{EventSet: []tetragon.EventType{tetragon.EventType_PROCESS_LSM}}, lost, false},
		{"container id prefix", &tetragon.Filter{ContainerId: []string{"01234"}}, cat, true},
		{"container id of the old field", &tetragon.Filter{ContainerId: []string{"0123"}}, old, true},
		{"other container", &tetragon.Filter{ContainerId: []string{"1234"}}, cat, false},
		{"no container", &tetragon.Filter{ContainerId: []string{""}}, cat, false},
		{"policy", &tetragon.Filter{PolicyNames: []string{"p"}}, tracepoint("p"), true},
		{"policy at a function", &tetragon.Filter{PolicyNames: []string{"p"}, BinaryRegex: []string{"^/bin/cat$"}}, kprobe("p"), true},
		{"policy at a security hook", &tetragon.Filter{PolicyNames: []string{"p"}, ParentBinaryRegex: []string{"^/bin/sh$"}}, lsm("p"), true},
		{"type of a function", types(tetragon.EventType_PROCESS_KPROBE), kprobe("p"), true},
		{"type of a security hook", types(tetragon.EventType_PROCESS_LSM), lsm("p"), true},
		{"another type", types(tetragon.EventType_PROCESS_LSM), kprobe("p"), false},
		{"no policy", &tetragon.Filter{PolicyNames: []string{""}}, cat, false},
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

func TestCompileNamesAllFaults(t *testing.T) {
	t.Parallel()
	newer := &tetragon.Filter{}
	newer.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 77, protowire.VarintType), 1))
	f, err := Compile([]*tetragon.Filter{{}, {
		BinaryRegex: []string{"ok", "(", "["}, CelExpression: []string{"true", "x", "1"}, EventSet: []tetragon.EventType{1, 1234},
	}}, []*tetragon.Filter{{}, {}, newer})
	if f != nil || !errors.Is(err, ErrInvalid) {
		t.Fatalf("%v, error %v", f, err)
	}
	for _, want := range []string{
		"allow_list[1].binary_regex[1]: ", "allow_list[1].binary_regex[2]: ", "allow_list[1].cel_expression[1]: undeclared reference to 'x'",
		"allow_list[1].cel_expression[2]: is of type int: write a condition",
		"allow_list[1].event_set[1]: 1234: no such", "deny_list[2].field 77: not known",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, r := range rows() {
		for _, object := range append(r.holds, r.not...) {
			seed, err := proto.Marshal(object)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(seed)
		}
	}
	f.Add([]byte{0x0a, 0x01, '('})
	event := whole()
	f.Fuzz(func(t *testing.T, raw []byte) {
		object := &tetragon.Filter{}
		if proto.Unmarshal(raw, object) != nil {
			return
		}
		allowed, err := Compiler{Lineage: forebears()}.Compile([]*tetragon.Filter{object}, nil)
		if err != nil {
			return
		}
		denied, err := Compiler{Lineage: forebears()}.Compile(nil, []*tetragon.Filter{object})
		if err != nil || allowed.Passes(event) == denied.Passes(event) {
			t.Errorf("%v: in both lists alike, error %v", object, err)
		}
	})
}
