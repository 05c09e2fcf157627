// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// now is when all tests run.
func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// hostile is text as an attacker would choose it: it clears the screen, sets the
// title, and turns what follows around.
const hostile = "evil\x1b[2J\x1b]0;title\a\u202e\n$ fake"

const drawnID = "4f0c1d2e3b4a59687766554433221100ffeeddccbbaa99887766554433221100"

// fakeAgent answers as the agent does, with state but without a kernel.
type fakeAgent struct {
	tetragon.UnimplementedFineGuidanceSensorsServer
	tetragon.UnimplementedEventLogServiceServer
	boltseal.UnimplementedBoltsealServer

	// ill makes the health bad, old leaves methods out, empty leaves containers out.
	ill, old, empty bool

	mu       sync.Mutex
	policies []*tetragon.TracingPolicyStatus
	request  *tetragon.GetEventsRequest // the last
	level    tetragon.LogLevel
	rotation *tetragon.GetEventLogParamsResponse // nil: no file
}

func (f *fakeAgent) serve() *grpc.Server {
	s := grpc.NewServer()
	tetragon.RegisterFineGuidanceSensorsServer(s, f)
	tetragon.RegisterEventLogServiceServer(s, f)
	boltseal.RegisterBoltsealServer(s, f)
	return s
}

func (f *fakeAgent) GetEventLogParams(context.Context, *tetragon.GetEventLogParamsRequest) (*tetragon.GetEventLogParamsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ill {
		return nil, status.Error(codes.FailedPrecondition, "events are written to no file")
	}
	if f.rotation == nil {
		f.rotation = &tetragon.GetEventLogParamsResponse{MaxSize: 10, RotationInterval: "0s", MaxBackups: 5}
	}
	return f.rotation, nil
}

func (f *fakeAgent) SetEventLogParams(ctx context.Context, r *tetragon.SetEventLogParamsRequest) (*tetragon.SetEventLogParamsResponse, error) {
	is, err := f.GetEventLogParams(ctx, nil)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.MaxSize != nil {
		is.MaxSize = r.GetMaxSize()
	}
	if r.RotationInterval != nil {
		is.RotationInterval = r.GetRotationInterval()
	}
	if r.MaxBackups != nil {
		is.MaxBackups = r.GetMaxBackups()
	}
	return &tetragon.SetEventLogParamsResponse{}, nil
}

func (f *fakeAgent) GetHealth(context.Context, *tetragon.GetHealthStatusRequest) (*tetragon.GetHealthStatusResponse, error) {
	h := &tetragon.HealthStatus{Status: tetragon.HealthStatusResult_HEALTH_STATUS_RUNNING, Details: "running"}
	if f.ill {
		h.Status, h.Details = tetragon.HealthStatusResult_HEALTH_STATUS_ERROR, "ring reader stopped"
	}
	return &tetragon.GetHealthStatusResponse{HealthStatus: []*tetragon.HealthStatus{h}}, nil
}

func (f *fakeAgent) GetStatus(ctx context.Context, r *boltseal.GetStatusRequest) (*boltseal.GetStatusResponse, error) {
	if f.old {
		return f.UnimplementedBoltsealServer.GetStatus(ctx, r)
	}
	return &boltseal.GetStatusResponse{
		Version: "v1.2.3", GoVersion: "go1.26", KernelRelease: "6.12.0-amd64", Pid: 4711,
		StartedAt:  timestamppb.New(now().Add(-3723 * time.Second)),
		CgroupRoot: "/sys/fs/cgroup/unified", Containers: 2, Policies: uint32(len(f.policies)), SlotsUsed: 3, SlotsMax: 10000,
		KernelErrors: map[string]uint64{"ring_full": 7, "no_slot": 0},
		EventsLost:   new(uint64(7)), HostEventsLost: 2,
		Sites: []*boltseal.Site{
			{Name: "tracepoint:syscalls/sys_enter_openat", Rules: 2, Programs: 1},
			{Name: "tracepoint:syscalls/sys_enter_execve", Rules: 1, Programs: 1},
		},
		Features: []*boltseal.Feature{
			{Name: "ring_buffer", State: boltseal.FeatureState_FEATURE_STATE_AVAILABLE},
			{Name: "kprobe", State: boltseal.FeatureState_FEATURE_STATE_UNSUPPORTED, Reason: "kprobe is not supported by this kernel: attach: no such device\nmount tracefs"},
			{Name: "bpf_lsm", State: boltseal.FeatureState_FEATURE_STATE_UNKNOWN, Reason: "the canary was \x1b[31mkilled"},
		},
	}, nil
}

func (f *fakeAgent) ListContainers(_ context.Context, r *boltseal.ListContainersRequest) (*boltseal.ListContainersResponse, error) {
	response := &boltseal.ListContainersResponse{}
	for _, c := range containers() {
		if !f.empty && strings.HasPrefix(c.GetId(), r.GetIdPrefix()) {
			response.Containers = append(response.Containers, c)
		}
	}
	return response, nil
}

func containers() []*boltseal.Container {
	return []*boltseal.Container{
		{
			Id: drawnID, Name: "web", Image: "docker.io/library/nginx:1.27", Runtime: "docker", Namespace: "moby", CgroupId: 8812,
			CgroupPath: "/docker/" + drawnID, State: boltseal.ContainerState_CONTAINER_STATE_ARMED, InitPid: 321,
			Policies: []string{"no-shadow", "shop/watch-open"}, SealedBy: boltseal.SealedBy_SEALED_BY_RUNTIME_PATTERN,
			SealedNs: 81_000_000_500, FirstTaskNs: 81_000_100_500, FirstExecNs: 81_020_000_500, ArmedNs: 81_020_000_600, Tasks: 5,
			EventsLost: 5, EventsThrottled: 12,
		},
		{Id: "announced", State: boltseal.ContainerState_CONTAINER_STATE_EXPECTED},
		{
			Id: "made", Name: "made", CgroupId: 8814, State: boltseal.ContainerState_CONTAINER_STATE_MAPPED,
			SealedBy: boltseal.SealedBy_SEALED_BY_HOOK, SealedNs: 82_000_000_000, FirstTaskNs: 81_900_000_000, Tasks: 1, CgroupPath: "/made",
		},
		{
			Id: "old", Name: "old", CgroupId: 8815, State: boltseal.ContainerState_CONTAINER_STATE_LATE, CgroupPath: "/old",
			SealedBy: boltseal.SealedBy_SEALED_BY_ADOPTION, SealedNs: 90_000_000_000, Tasks: 3,
		},
		{
			Id: hostile, Name: hostile, Image: hostile, Runtime: hostile, CgroupPath: "/" + hostile, CgroupId: 8816,
			State: boltseal.ContainerState_CONTAINER_STATE_UNSEALED,
		},
	}
}

func (f *fakeAgent) AddTracingPolicy(_ context.Context, r *tetragon.AddTracingPolicyRequest) (*tetragon.AddTracingPolicyResponse, error) {
	p, err := policy.Parse([]byte(r.GetYaml()))
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "invalid policy: %v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	mode := tetragon.TracingPolicyMode_TP_MODE_ENFORCE
	if p.Mode == policy.MonitorOnly {
		mode = tetragon.TracingPolicyMode_TP_MODE_MONITOR_ONLY
	}
	f.policies = append(f.policies, &tetragon.TracingPolicyStatus{
		Id: uint64(len(f.policies) + 1), Name: p.Name, Namespace: p.Namespace, Mode: mode,
		State: tetragon.TracingPolicyState_TP_STATE_ENABLED, KernelMemoryBytes: 20 << 10,
		Sensors: []string{"tracepoint:syscalls/sys_enter_openat"},
		Stats: &tetragon.TracingPolicyStats{ActionCounters: &tetragon.TracingPolicyActionCounters{
			Post: 11, Override: 5, Signal: 7, MonitorSignal: 3, MonitorOverride: 2,
		}, SelectorActionCounters: []*tetragon.TracingPolicySelectorActionCounters{
			{
				Hook: "syscalls/sys_enter_openat", HookIndex: wrapperspb.UInt32(0), SelectorIndex: wrapperspb.UInt32(1), SelectorLabel: "secrets",
				ActionCounters: &tetragon.TracingPolicyActionCounters{Post: 6, Nopost: 1, Signal: 4, MonitorSignal: 2, Override: 3, NotifyEnforcer: 5},
			},
			{SelectorLabel: hostile},
		}},
		HookStatuses: []*tetragon.HookStatus{{Section: "tracepoints", HookDescription: "syscalls/sys_enter_openat: reported"}},
	})
	return &tetragon.AddTracingPolicyResponse{}, nil
}

func (f *fakeAgent) ListTracingPolicies(context.Context, *tetragon.ListTracingPoliciesRequest) (*tetragon.ListTracingPoliciesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &tetragon.ListTracingPoliciesResponse{Policies: slices.Clone(f.policies)}, nil
}

func (f *fakeAgent) find(namespace, name string) (int, error) {
	for i, p := range f.policies {
		if p.GetNamespace() == namespace && p.GetName() == name {
			return i, nil
		}
	}
	return 0, status.Errorf(codes.NotFound, "policy %q: not found", name)
}

func (f *fakeAgent) DeleteTracingPolicy(_ context.Context, r *tetragon.DeleteTracingPolicyRequest) (*tetragon.DeleteTracingPolicyResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := f.find(r.GetNamespace(), r.GetName())
	if err != nil {
		return nil, err
	}
	f.policies = slices.Delete(f.policies, i, i+1)
	return &tetragon.DeleteTracingPolicyResponse{}, nil
}

func (f *fakeAgent) ConfigureTracingPolicy(_ context.Context, r *tetragon.ConfigureTracingPolicyRequest) (*tetragon.ConfigureTracingPolicyResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := f.find(r.GetNamespace(), r.GetName())
	if err != nil {
		return nil, err
	}
	p := f.policies[i]
	if r.Mode != nil {
		if p.GetMode() == tetragon.TracingPolicyMode_TP_MODE_MONITOR_ONLY {
			return nil, status.Errorf(codes.InvalidArgument, "invalid: set mode of policy %s: %v", p.GetName(), policy.ErrMonitorOnly)
		}
		p.Mode = r.GetMode()
	}
	if r.Enable != nil {
		p.State = tetragon.TracingPolicyState_TP_STATE_DISABLED
		if r.GetEnable() {
			p.State = tetragon.TracingPolicyState_TP_STATE_ENABLED
		}
	}
	return &tetragon.ConfigureTracingPolicyResponse{}, nil
}

// GetEvents sends three events and ends, as an agent that stops.
func (f *fakeAgent) GetEvents(r *tetragon.GetEventsRequest, stream tetragon.FineGuidanceSensors_GetEventsServer) error {
	f.mu.Lock()
	f.request = r
	f.mu.Unlock()
	for _, regex := range r.GetAllowList() {
		for _, binary := range regex.GetBinaryRegex() {
			if binary == "(" {
				return status.Error(codes.InvalidArgument, "invalid request for events: allow_list[0].binary_regex[0]: missing closing )")
			}
		}
	}
	process := &tetragon.Process{
		Pid: wrapperspb.UInt32(4242), Binary: "/bin/cat", Arguments: "/etc/shadow " + hostile, Docker: "web",
	}
	at := timestamppb.New(now())
	for _, e := range []*tetragon.GetEventsResponse{
		{Time: at, Event: &tetragon.GetEventsResponse_ProcessExec{ProcessExec: &tetragon.ProcessExec{Process: process}}},
		{Time: at, Event: &tetragon.GetEventsResponse_ProcessTracepoint{ProcessTracepoint: &tetragon.ProcessTracepoint{
			Process: process, Subsys: "syscalls", Event: "sys_enter_openat", PolicyName: "no-shadow",
			Action: tetragon.KprobeAction_KPROBE_ACTION_SIGKILL, Message: "opens /etc/shadow",
			Args: []*tetragon.KprobeArgument{{Label: "filename", Arg: &tetragon.KprobeArgument_StringArg{StringArg: "/etc/shadow"}}},
		}}},
		{Time: at, Event: &tetragon.GetEventsResponse_ProcessExit{ProcessExit: &tetragon.ProcessExit{Process: process, Signal: "SIGKILL"}}},
	} {
		if err := stream.Send(e); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

func (f *fakeAgent) GetDebug(_ context.Context, r *tetragon.GetDebugRequest) (*tetragon.GetDebugResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	response := &tetragon.GetDebugResponse{Flag: r.GetFlag(), Arg: &tetragon.GetDebugResponse_Level{Level: f.level}}
	if r.GetFlag() == tetragon.ConfigFlag_CONFIG_FLAG_LOG_LEVEL {
		return response, nil
	}
	list := &tetragon.DumpProcessCacheResArgs{}
	if !r.GetDump().GetExcludeExecveMapProcesses() {
		list.Processes = append(list.Processes, &tetragon.ProcessInternal{
			Process: &tetragon.Process{
				Pid: wrapperspb.UInt32(4242), Binary: "/bin/cat", Arguments: hostile, Docker: hostile, StartTime: timestamppb.New(now()),
			},
			Color: "inUse", Refcnt: wrapperspb.UInt32(2), RefcntOps: map[string]int32{"process++": 1, "parent++": 1},
		})
	}
	if !r.GetDump().GetSkipZeroRefcnt() {
		list.Processes = append(list.Processes, &tetragon.ProcessInternal{Process: &tetragon.Process{}, Color: "deletePending", Refcnt: wrapperspb.UInt32(0)})
	}
	response.Arg = &tetragon.GetDebugResponse_Processes{Processes: list}
	return response, nil
}

func (f *fakeAgent) SetDebug(_ context.Context, r *tetragon.SetDebugRequest) (*tetragon.SetDebugResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.level = r.GetLevel()
	return &tetragon.SetDebugResponse{Flag: r.GetFlag(), Arg: &tetragon.SetDebugResponse_Level{Level: f.level}}, nil
}

func (f *fakeAgent) ListSensors(context.Context, *tetragon.ListSensorsRequest) (*tetragon.ListSensorsResponse, error) {
	return &tetragon.ListSensorsResponse{Sensors: []*tetragon.SensorStatus{
		{Name: "__base__", Enabled: true, Collection: "__base__"}, {Name: "lsm:file_open", Enabled: true, Collection: "shop/no-shadow"}, {Name: hostile, Collection: "p"},
	}}, nil
}

func (f *fakeAgent) GetStackTraceTree(_ context.Context, r *tetragon.GetStackTraceTreeRequest) (*tetragon.GetStackTraceTreeResponse, error) {
	if r.GetName() != "shop/stacks" {
		return nil, status.Errorf(codes.NotFound, "policy %q: not found", r.GetName())
	}
	node := func(symbol string, address, count uint64, labels []*tetragon.StackTraceLabel, children ...*tetragon.StackTraceNode) *tetragon.StackTraceNode {
		return &tetragon.StackTraceNode{Address: &tetragon.StackAddress{Symbol: symbol, Address: address}, Count: count, Labels: labels, Children: children}
	}
	label := func(key string, count uint64) []*tetragon.StackTraceLabel {
		return []*tetragon.StackTraceLabel{{Key: key, Count: count}}
	}
	return &tetragon.GetStackTraceTreeResponse{Root: &tetragon.StackTraceNode{Count: 4, Labels: label("<other>", 1), Children: []*tetragon.StackTraceNode{
		node("entry_SYSCALL_64", 0, 3, nil, node("do_open [fs]", 0xffff, 2, label(hostile, 2)), node("", 0, 1, label("/bin/cat", 1))),
	}}}, nil
}

func (f *fakeAgent) EmitTestEvent(_ context.Context, r *boltseal.EmitTestEventRequest) (*boltseal.EmitTestEventResponse, error) {
	if r.GetArg0() == 13 {
		return nil, status.Error(codes.Internal, "bad luck")
	}
	return &boltseal.EmitTestEventResponse{}, nil
}
