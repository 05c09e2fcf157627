// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// TestEventRequests looks at what the agent is asked.
func TestEventRequests(t *testing.T) {
	t.Parallel()
	fake := &fakeAgent{}
	socket := filepath.Join(t.TempDir(), "s")
	server := fake.serve()
	l := listener(t, socket)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)

	const tracepoint, exec = tetragon.EventType_PROCESS_TRACEPOINT, tetragon.EventType_PROCESS_EXEC
	asked := map[protoreflect.Name]bool{}
	for _, test := range []struct {
		flags string
		want  []*tetragon.Filter
	}{
		{"", nil},
		{"--policy a,b", []*tetragon.Filter{{PolicyNames: []string{"a", "b"}}}},
		{"-e tracepoint -e EXEC", []*tetragon.Filter{{EventSet: []tetragon.EventType{tracepoint, exec}}}},
		{"--pid 1 --pid 4294967295", []*tetragon.Filter{{Pid: []uint32{1, 4294967295}}}},
		{"--binary ^/bin/a,b$ -n x --pod y", []*tetragon.Filter{{
			BinaryRegex: []string{"^/bin/a,b$"}, Namespace: []string{"x"}, PodRegex: []string{"y"},
		}}},
		{"--container w.b --pid 7 -e exec", []*tetragon.Filter{
			{Pid: []uint32{7}, EventSet: []tetragon.EventType{exec}, ContainerNameRegex: []string{`^w\.b$`}},
			{Pid: []uint32{7}, EventSet: []tetragon.EventType{exec}, ContainerId: []string{"w.b"}},
		}},
		{"--policy-names a --process b --event-types test,PROCESS_LSM", []*tetragon.Filter{{
			PolicyNames: []string{"a"}, BinaryRegex: []string{"b"}, EventSet: []tetragon.EventType{tetragon.EventType_TEST, tetragon.EventType_PROCESS_LSM},
		}}},
		{"--host --namespace x", []*tetragon.Filter{{Namespace: []string{"x", ""}}}},
		{"--in-init-tree=false --health-check", []*tetragon.Filter{{InInitTree: wrapperspb.Bool(false), HealthCheck: wrapperspb.Bool(true)}}},
		{"--labels a=b,c!=d --arguments 1,2 --parent-binary 3 --parent-arguments 4 --ancestor-binary 5 --namespace-regex 6 --cel-expression x,y --pid-set 7", []*tetragon.Filter{{
			Labels: []string{"a=b,c!=d"}, ArgumentsRegex: []string{"1,2"}, ParentBinaryRegex: []string{"3"}, ParentArgumentsRegex: []string{"4"},
			AncestorBinaryRegex: []string{"5"}, NamespaceRegex: []string{"6"}, CelExpression: []string{"x,y"}, PidSet: []uint32{7},
		}}},
		{`--policy p --allow {"capabilities":{"effective":{"any":["CAP_SYS_ADMIN"]}}}`, []*tetragon.Filter{
			{PolicyNames: []string{"p"}},
			{Capabilities: &tetragon.CapFilter{Effective: &tetragon.CapFilterSet{Any: []tetragon.CapabilitiesType{tetragon.CapabilitiesType_CAP_SYS_ADMIN}}}},
		}},
	} {
		args := append([]string{"events", "--count", "1", "--server-address", socket}, strings.Fields(test.flags)...)
		if code, _, stderr := runWith(t.Context(), args, noEnv); code != 0 {
			t.Errorf("%s: exit code %d: %s", test.flags, code, stderr)
			continue
		}
		want := &tetragon.GetEventsRequest{AllowList: test.want}
		fake.mu.Lock()
		if diff := cmp.Diff(want, fake.request, protocmp.Transform()); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", test.flags, diff)
		}
		fake.mu.Unlock()
		for _, filter := range test.want {
			filter.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
				asked[field.Name()] = true
				return true
			})
		}
	}
	for fields, i := new(tetragon.Filter).ProtoReflect().Descriptor().Fields(), 0; i < fields.Len(); i++ {
		if !asked[fields.Get(i).Name()] {
			t.Errorf("no flag here asks for %s", fields.Get(i).Name())
		}
	}
	args := strings.Fields(`events --count 1 -f process.pid,process.binary -F parent --deny {"pid":[1]} --deny {} --aggregation-window 2s --aggregation-buffer 9 --server-address ` + socket)
	if code, _, stderr := runWith(t.Context(), args, noEnv); code != 0 {
		t.Fatalf("%q: exit code %d: %s", args, code, stderr)
	}
	want := &tetragon.GetEventsRequest{
		DenyList: []*tetragon.Filter{{Pid: []uint32{1}}, {}},
		FieldFilters: []*tetragon.FieldFilter{
			{Fields: &fieldmaskpb.FieldMask{Paths: []string{"process.pid", "process.binary"}}},
			{Fields: &fieldmaskpb.FieldMask{Paths: []string{"parent"}}, Action: tetragon.FieldFilterAction_EXCLUDE},
		},
		AggregationOptions: &tetragon.AggregationOptions{WindowSize: durationpb.New(2 * time.Second), ChannelBufferSize: 9},
	}
	fake.mu.Lock()
	defer fake.mu.Unlock()
	if diff := cmp.Diff(want, fake.request, protocmp.Transform()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}
