// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// answer is what a request to a method has to be answered with.
type answer struct {
	request proto.Message
	// fail is what all that the server asks fails with.
	fail error
	want codes.Code
}

// answers are by method. The first of each is what a client rightly asks.
func answers() map[string][]answer {
	const invalid, missing, internal, fixed = codes.InvalidArgument, codes.NotFound, codes.Internal, codes.FailedPrecondition
	broken := errors.New("broken")
	created := &tetragon.RuntimeHookRequest_CreateContainer{CreateContainer: &tetragon.CreateContainer{ContainerID: "x"}}
	fatal, low := tetragon.LogLevel(7), tetragon.LogLevel(-1)
	cache, unknown := tetragon.ConfigFlag_CONFIG_FLAG_DUMP_PROCESS_CACHE, tetragon.ConfigFlag(2)
	level := func(l tetragon.LogLevel) *tetragon.SetDebugRequest_Level {
		return &tetragon.SetDebugRequest_Level{Level: l}
	}
	compatible := map[string][]answer{
		"GetEvents": {
			{&tetragon.GetEventsRequest{}, nil, codes.OK},
			{&tetragon.GetEventsRequest{}, fmt.Errorf("%w: x", ErrFilter), invalid},
			{&tetragon.GetEventsRequest{}, broken, internal},
		},
		"GetHealth":        {{&tetragon.GetHealthStatusRequest{}, nil, codes.OK}},
		"AddTracingPolicy": {{&tetragon.AddTracingPolicyRequest{}, nil, codes.OK}, {&tetragon.AddTracingPolicyRequest{Domain: "k8s"}, nil, invalid}, {&tetragon.AddTracingPolicyRequest{}, control.ErrInvalid, invalid}, {&tetragon.AddTracingPolicyRequest{}, control.ErrOwned, fixed}},
		"DeleteTracingPolicy": {
			{&tetragon.DeleteTracingPolicyRequest{}, nil, codes.OK}, {&tetragon.DeleteTracingPolicyRequest{Domain: "k8s"}, nil, invalid},
			{&tetragon.DeleteTracingPolicyRequest{}, control.ErrNotFound, missing}, {&tetragon.DeleteTracingPolicyRequest{}, control.ErrOwned, fixed},
		},
		"ListTracingPolicies": {
			{&tetragon.ListTracingPoliciesRequest{}, nil, codes.OK}, {&tetragon.ListTracingPoliciesRequest{Domain: "k8s"}, nil, codes.OK},
			{&tetragon.ListTracingPoliciesRequest{}, broken, internal},
		},
		"ConfigureTracingPolicy": {
			{&tetragon.ConfigureTracingPolicyRequest{}, nil, codes.OK}, {&tetragon.ConfigureTracingPolicyRequest{Domain: "k8s"}, nil, invalid},
			{&tetragon.ConfigureTracingPolicyRequest{Mode: new(tetragon.TracingPolicyMode_TP_MODE_UNKNOWN)}, nil, invalid},
			{&tetragon.ConfigureTracingPolicyRequest{}, control.ErrNotFound, missing},
		},
		"EnableTracingPolicy": {
			{&tetragon.EnableTracingPolicyRequest{}, nil, codes.OK}, {&tetragon.EnableTracingPolicyRequest{Domain: "k8s"}, nil, invalid},
			{&tetragon.EnableTracingPolicyRequest{}, control.ErrNotFound, missing},
		},
		"DisableTracingPolicy": {
			{&tetragon.DisableTracingPolicyRequest{}, nil, codes.OK}, {&tetragon.DisableTracingPolicyRequest{Domain: "k8s"}, nil, invalid},
			{&tetragon.DisableTracingPolicyRequest{}, control.ErrNotFound, missing},
		},
		"ListSensors": {{&tetragon.ListSensorsRequest{}, nil, codes.OK}, {&tetragon.ListSensorsRequest{}, broken, internal}},
		"EnableSensor": {
			{&tetragon.EnableSensorRequest{Name: "n/p"}, nil, codes.OK}, {&tetragon.EnableSensorRequest{Name: "__base__"}, nil, codes.OK},
			{&tetragon.EnableSensorRequest{Name: "p"}, nil, missing}, {&tetragon.EnableSensorRequest{Name: "n/p"}, broken, internal},
		},
		"DisableSensor": {
			{&tetragon.DisableSensorRequest{Name: "a/b"}, nil, codes.OK}, {&tetragon.DisableSensorRequest{Name: "__base__"}, nil, fixed},
			{&tetragon.DisableSensorRequest{Name: "p"}, nil, missing},
		},
		"RemoveSensor": {
			{&tetragon.RemoveSensorRequest{Name: "n/p"}, nil, codes.OK}, {&tetragon.RemoveSensorRequest{Name: "__base__"}, nil, fixed},
			{&tetragon.RemoveSensorRequest{}, nil, missing},
		},
		"GetStackTraceTree": {
			{&tetragon.GetStackTraceTreeRequest{Name: "n/stacks"}, nil, codes.OK}, {&tetragon.GetStackTraceTreeRequest{Name: "stacks"}, nil, missing},
			{&tetragon.GetStackTraceTreeRequest{Name: "n/p"}, nil, missing}, {&tetragon.GetStackTraceTreeRequest{}, broken, internal},
		},
		"GetVersion": {{&tetragon.GetVersionRequest{}, nil, codes.OK}},
		"RuntimeHook": {
			{&tetragon.RuntimeHookRequest{Event: created}, nil, codes.OK}, {&tetragon.RuntimeHookRequest{}, nil, invalid},
			{&tetragon.RuntimeHookRequest{Event: created}, control.ErrRefused, codes.PermissionDenied},
		},
		"GetDebug": {
			{&tetragon.GetDebugRequest{}, nil, codes.OK}, {&tetragon.GetDebugRequest{Flag: cache}, nil, codes.OK},
			{&tetragon.GetDebugRequest{Flag: unknown}, nil, invalid}, {&tetragon.GetDebugRequest{Flag: cache}, broken, internal},
			{&tetragon.GetDebugRequest{Arg: &tetragon.GetDebugRequest_Dump{}}, nil, invalid},
		},
		"SetDebug": {
			{&tetragon.SetDebugRequest{Arg: level(tetragon.LogLevel_LOG_LEVEL_PANIC)}, nil, codes.OK},
			{&tetragon.SetDebugRequest{}, nil, invalid}, {&tetragon.SetDebugRequest{Flag: cache, Arg: level(1)}, nil, invalid},
			{&tetragon.SetDebugRequest{Arg: level(fatal)}, nil, invalid}, {&tetragon.SetDebugRequest{Arg: level(low)}, nil, invalid},
			{&tetragon.SetDebugRequest{Flag: unknown, Arg: level(1)}, nil, invalid},
		},
		"GetInfo":     {{&tetragon.GetInfoRequest{}, nil, codes.OK}},
		"ListDomains": {{&tetragon.ListDomainsRequest{}, nil, codes.OK}},
	}
	all := map[string][]answer{
		"/boltseal.v1.Boltseal/ListContainers": {{&boltseal.ListContainersRequest{}, nil, codes.OK}},
		"/boltseal.v1.Boltseal/GetStatus":      {{&boltseal.GetStatusRequest{}, nil, codes.OK}, {&boltseal.GetStatusRequest{}, broken, internal}},
		"/boltseal.v1.Boltseal/EmitTestEvent":  {{&boltseal.EmitTestEventRequest{}, nil, codes.OK}},
	}
	all["/boltseal.v1.Boltseal/ExecNotice"] = []answer{
		{&boltseal.ExecNoticeRequest{ContainerId: "c", RuntimePid: 1}, nil, codes.OK},
		{&boltseal.ExecNoticeRequest{ContainerId: "other", RuntimePid: 1}, nil, missing},
		{&boltseal.ExecNoticeRequest{RuntimePid: 1}, nil, invalid}, {&boltseal.ExecNoticeRequest{ContainerId: "c"}, nil, invalid},
	}
	all["/tetragon.EventLogService/GetEventLogParams"] = []answer{
		{&tetragon.GetEventLogParamsRequest{}, nil, codes.OK}, {&tetragon.GetEventLogParamsRequest{}, ErrNoEventLog, fixed},
	}
	all["/tetragon.EventLogService/SetEventLogParams"] = []answer{
		{&tetragon.SetEventLogParamsRequest{}, nil, codes.OK}, {&tetragon.SetEventLogParamsRequest{RotationInterval: new("soon")}, nil, invalid},
		{&tetragon.SetEventLogParamsRequest{}, ErrEventLog, invalid}, {&tetragon.SetEventLogParamsRequest{}, ErrNoEventLog, fixed},
	}
	for method, rows := range compatible {
		all["/tetragon.FineGuidanceSensors/"+method] = rows
	}
	return all
}

// methods are those of all services that the API describes.
func methods(t *testing.T) map[string]protoreflect.MethodDescriptor {
	t.Helper()
	all := map[string]protoreflect.MethodDescriptor{}
	for _, name := range []protoreflect.FullName{"tetragon", "boltseal.v1"} {
		protoregistry.GlobalFiles.RangeFilesByPackage(name, func(f protoreflect.FileDescriptor) bool {
			for i := range f.Services().Len() {
				service := f.Services().Get(i)
				for j := range service.Methods().Len() {
					m := service.Methods().Get(j)
					all[fmt.Sprintf("/%s/%s", service.FullName(), m.Name())] = m
				}
			}
			return true
		})
	}
	if len(all) < 22 {
		t.Fatalf("the API describes %d methods only", len(all))
	}
	return all
}

// call calls any method.
func call(ctx context.Context, conn *grpc.ClientConn, path string, m protoreflect.MethodDescriptor, request proto.Message) error {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	if err != nil {
		return err
	}
	response := kind.New().Interface()
	if !m.IsStreamingServer() {
		return conn.Invoke(ctx, path, request, response)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
	if err != nil {
		return err
	}
	// EOF: it was refused already, and RecvMsg says why.
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.RecvMsg(response); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// TestEveryMethodAnswers calls each method that the API describes, rightly and in
// every way that it has an error for. One that is new has to be told of here.
func TestEveryMethodAnswers(t *testing.T) {
	needRoot(t)
	stacked := &policy.Policy{Name: "stacks", Namespace: "n", Hooks: []policy.Hook{{Selectors: []policy.Selector{{Actions: []policy.Action{{KernelStack: true}}}}}}}
	f := &fake{policies: []control.PolicyStatus{
		{Policy: &policy.Policy{Name: "p", Namespace: "n"}, Sites: []string{"a/b"}}, {Policy: stacked},
	}}
	registry := container.New(0)
	if err := registry.Put(&container.Container{ID: "c"}); err != nil {
		t.Fatal(err)
	}
	conn := serve(t, f, registry)
	known := answers()
	for path, method := range methods(t) {
		rows := known[path]
		if len(rows) == 0 || rows[0].want != codes.OK {
			t.Errorf("%s: nothing here says how it is called rightly", path)
		}
		delete(known, path)
		for _, row := range rows {
			f.fail = row.fail
			err := call(t.Context(), conn, path, method, row.request)
			if status.Code(err) != row.want {
				t.Errorf("%s of {%v}, all failing with %v: %v, want %s", path, row.request, row.fail, err, row.want)
			}
			if row.want != codes.OK && strings.TrimSpace(status.Convert(err).Message()) == "" {
				t.Errorf("%s of {%v}: no reason", path, row.request)
			}
		}
	}
	for path := range known {
		t.Errorf("%s is no method of the API", path)
	}
}
