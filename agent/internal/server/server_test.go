// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// fake is a controller and a kernel that answer as they are told.
type fake struct {
	fail      error
	yaml      string
	enable    *bool
	mode      *policy.Mode
	admitted  control.Admission
	withdrawn string
	slot      bpf.WireSlot
	sealedBy  bpf.WireSealedBy
	// policies are what is listed; one if nil. changed and deleted name what was.
	policies         []control.PolicyStatus
	changed, deleted string
	entries          []ProcessEntry
	tests            []*tetragon.Test
}

func (f *fake) AddPolicy(yaml []byte) (*policy.Policy, error) {
	f.yaml = string(yaml)
	return &policy.Policy{Name: "p", Mode: policy.Enforce}, f.fail
}
func (f *fake) DeletePolicy(namespace, name string) error {
	f.deleted = namespace + "/" + name
	return f.fail
}

func (f *fake) ConfigurePolicy(namespace, name string, enable *bool, mode *policy.Mode) error {
	f.changed, f.enable, f.mode = namespace+"/"+name, enable, mode
	return f.fail
}

func (f *fake) Policies() ([]control.PolicyStatus, error) {
	if f.policies != nil {
		return f.policies, f.fail
	}
	return []control.PolicyStatus{{
		ID: 3, Policy: &policy.Policy{Name: "p", Namespace: "n", Mode: policy.Monitor}, Enabled: true,
		Counters: engine.Counters{Post: 1, NoPost: 2, Signal: 3, MonitorSignal: 4, Override: 5, MonitorOverride: 6}, KernelMemory: 5, Sites: []string{"a/b"},
		Hooks: []control.HookStatus{{Section: policy.LSMHooks, Index: 2, Site: "lsm:x", Guarantee: "prevented"}},
	}}, f.fail
}
func (f *fake) Rotation() (EventLogRotation, error) { return EventLogRotation{}, f.fail }
func (f *fake) ChangeRotation(change func(*EventLogRotation)) error {
	change(&EventLogRotation{})
	return f.fail
}
func (f *fake) PoliciesOf(uint32) []string { return []string{"n/p"} }
func (f *fake) Admit(a control.Admission) (*container.Container, error) {
	f.admitted = a
	return &a.Container, f.fail
}
func (f *fake) Withdraw(id string) error {
	f.withdrawn = id
	return f.fail
}
func (f *fake) Slot(uint32) bpf.WireSlot { return f.slot }
func (f *fake) Slots() uint32            { return 4 }
func (f *fake) SealedAs(uint64) (bpf.WireCgroupSeal, bool, error) {
	return bpf.WireCgroupSeal{Slot: 2, By: uint32(f.sealedBy)}, f.sealedBy != 0, nil
}

func (f *fake) Lost(slot uint32) uint64 { return 100 + uint64(slot) }

func (f *fake) Errors() (counts [bpf.WireKernelErrorKERR_MAX]uint64, err error) {
	counts[bpf.WireKernelErrorKERR_SIGNAL] = 7
	return counts, f.fail
}

// Stream ends at once, having been subscribed.
func (f *fake) Stream(_ context.Context, _ *tetragon.GetEventsRequest, subscribed func() error, _ func(*tetragon.GetEventsResponse) error) error {
	return errors.Join(subscribed(), f.fail)
}
func (f *fake) Test(e *tetragon.Test)         { f.tests = append(f.tests, e) }
func (f *fake) Dump() ([]ProcessEntry, error) { return slices.Clone(f.entries), f.fail }
func (f *fake) Tree(key string) *tetragon.StackTraceNode {
	return &tetragon.StackTraceNode{Count: 1, Labels: []*tetragon.StackTraceLabel{{Key: key, Count: 1}}}
}

func serve(t *testing.T, f *fake, registry *container.Registry) *grpc.ClientConn {
	t.Helper()
	return serveWith(t, f, Options{Containers: registry})
}

// serveWith serves with some of the options; the others are the fake's.
func serveWith(t *testing.T, f *fake, o Options) *grpc.ClientConn {
	t.Helper()
	if o.Health == nil {
		o.Health = NewHealth()
		o.Health.Ready()
	}
	if o.Level == nil {
		o.Level = &slog.LevelVar{}
	}
	if o.EventLog == nil {
		o.EventLog = f
	}
	return serveAll(t, New(Options{
		Version: "v1", Control: f, Kernel: f, Containers: o.Containers, EventLog: o.EventLog, Log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		Events: f, Processes: f, Stacks: f, Settings: o.Settings, Health: o.Health, Reflection: o.Reflection, Level: o.Level,
		Throttled: func(slot uint32) uint64 { return 200 + uint64(slot) },
		Sites:     func() []engine.SiteInfo { return []engine.SiteInfo{{Name: "a/b", Rules: 1, Programs: 2, Missed: 3}} },
		Features:  []Feature{{Name: "yes"}, {Name: "no", Err: errors.New("too old"), Known: true}, {Name: "maybe", Err: errors.New("?")}},
		Probes:    map[string]bool{"signal": true, "lsm": false},
	}))
}

// serveAll serves until the test ends.
func serveAll(t *testing.T, s *Server) *grpc.ClientConn {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(listener) }()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.Stop()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return conn
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the server answers root alone, and this is not root")
	}
}

func TestErrorsHaveTheCodesThatHooksActBy(t *testing.T) {
	needRoot(t)
	f := &fake{}
	client := tetragon.NewFineGuidanceSensorsClient(serve(t, f, container.New(0)))
	request := &tetragon.RuntimeHookRequest{Event: &tetragon.RuntimeHookRequest_CreateContainer{
		CreateContainer: &tetragon.CreateContainer{ContainerID: "x"},
	}}
	for _, c := range []struct {
		err  error
		want codes.Code
	}{
		{nil, codes.OK},
		{control.ErrInvalid, codes.InvalidArgument},
		{control.ErrNotFound, codes.NotFound},
		{control.ErrRefused, codes.PermissionDenied},
		{seal.ErrOtherContainer, codes.PermissionDenied},
		{seal.ErrNoRoom, codes.ResourceExhausted},
		{compile.ErrNoRoom, codes.ResourceExhausted},
		{container.ErrFull, codes.ResourceExhausted},
		{seal.ErrReadBack, codes.Internal},
		{errors.New("other"), codes.Internal},
	} {
		f.fail = c.err
		if c.err != nil {
			f.fail = fmt.Errorf("wrapped: %w", c.err)
		}
		if _, err := client.RuntimeHook(t.Context(), request); status.Code(err) != c.want {
			t.Errorf("%v: code %v, want %v", c.err, status.Code(err), c.want)
		}
	}
	f.fail = nil
	if _, err := client.RuntimeHook(t.Context(), &tetragon.RuntimeHookRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("request without an event: %v", err)
	}
}

func TestRuntimeHookCarriesEverything(t *testing.T) {
	needRoot(t)
	f := &fake{}
	client := tetragon.NewFineGuidanceSensorsClient(serve(t, f, container.New(0)))
	_, err := client.RuntimeHook(t.Context(), &tetragon.RuntimeHookRequest{Event: &tetragon.RuntimeHookRequest_CreateContainer{
		CreateContainer: &tetragon.CreateContainer{
			CgroupsPath: "/a", RootDir: "/root", Annotations: map[string]string{"k": "v"}, ContainerName: "name",
			ContainerID: "id", PodName: "pod", PodUID: "uid", PodNamespace: "ns", ContainerImage: "image",
			Labels: map[string]string{"l": "1"}, PodLabels: map[string]string{"pl": "2"}, InitPid: 7, Runtime: "runc",
			Bundle: "/bundle", PodAnnotations: map[string]string{"pa": "3"}, Late: true, Sandbox: true,
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c := f.admitted.Container
	if f.admitted.CgroupsPath != "/a" || c.RootDir != "/root" || c.Annotations["k"] != "v" || c.Name != "name" || c.ID != "id" ||
		c.Image != "image" || c.Labels["l"] != "1" || c.InitPID != 7 || c.Runtime != "runc" || c.Bundle != "/bundle" || !c.Late || !c.Sandbox ||
		c.Pod == nil || c.Pod.Name != "pod" || c.Pod.UID != "uid" || c.Pod.Namespace != "ns" ||
		c.Pod.Labels["pl"] != "2" || c.Pod.Annotations["pa"] != "3" {
		t.Errorf("admitted %+v, pod %+v", f.admitted, c.Pod)
	}
}

// TestRuntimeHookOfWhatIsGone: it is withdrawn, and a pod's own container that has no
// name is called what it is.
func TestRuntimeHookOfWhatIsGone(t *testing.T) {
	needRoot(t)
	f := &fake{}
	client := tetragon.NewFineGuidanceSensorsClient(serve(t, f, container.New(0)))
	gone := &tetragon.RuntimeHookRequest{Event: &tetragon.RuntimeHookRequest_RemoveContainer{
		RemoveContainer: &tetragon.RemoveContainer{ContainerID: "id"},
	}}
	if _, err := client.RuntimeHook(t.Context(), gone); err != nil || f.withdrawn != "id" || f.admitted.Container.ID != "" {
		t.Errorf("%v, withdrawn %q, admitted %+v", err, f.withdrawn, f.admitted)
	}
	a, err := Admission(&tetragon.RuntimeHookRequest{Event: &tetragon.RuntimeHookRequest_CreateContainer{
		CreateContainer: &tetragon.CreateContainer{ContainerID: "id", CgroupsPath: "/a", Sandbox: true},
	}})
	if err != nil || a.Container.Name != "POD" || !a.Container.Sandbox {
		t.Errorf("%v, %+v", err, a.Container)
	}
}

func TestPolicyCalls(t *testing.T) {
	needRoot(t)
	f := &fake{}
	client := tetragon.NewFineGuidanceSensorsClient(serve(t, f, container.New(0)))
	if _, err := client.AddTracingPolicy(t.Context(), &tetragon.AddTracingPolicyRequest{Yaml: "text"}); err != nil || f.yaml != "text" {
		t.Errorf("add: %v, %q", err, f.yaml)
	}
	mode := tetragon.TracingPolicyMode_TP_MODE_MONITOR
	_, err := client.ConfigureTracingPolicy(t.Context(), &tetragon.ConfigureTracingPolicyRequest{Name: "p", Enable: new(false), Mode: &mode})
	if err != nil || *f.enable || *f.mode != policy.Monitor {
		t.Errorf("configure: %v, enable %v, mode %v", err, f.enable, f.mode)
	}
	if _, err := client.EnableTracingPolicy(t.Context(), &tetragon.EnableTracingPolicyRequest{Name: "p"}); err != nil || !*f.enable || f.mode != nil {
		t.Errorf("enable: %v, %v, %v", err, f.enable, f.mode)
	}
	mode = tetragon.TracingPolicyMode_TP_MODE_MONITOR_ONLY
	if _, err := client.ConfigureTracingPolicy(t.Context(), &tetragon.ConfigureTracingPolicyRequest{Mode: &mode}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("mode that cannot be chosen: %v", err)
	}
	if _, err := client.DeleteTracingPolicy(t.Context(), &tetragon.DeleteTracingPolicyRequest{Domain: "k8s"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("unknown domain: %v", err)
	}
	list, err := client.ListTracingPolicies(t.Context(), &tetragon.ListTracingPoliciesRequest{})
	want := &tetragon.TracingPolicyStatus{
		Id: 3, FilterId: 3, Name: "p", Namespace: "n", Domain: "grpc", State: tetragon.TracingPolicyState_TP_STATE_ENABLED,
		Mode: tetragon.TracingPolicyMode_TP_MODE_MONITOR, KernelMemoryBytes: 5, Sensors: []string{"a/b"},
		Stats: &tetragon.TracingPolicyStats{ActionCounters: &tetragon.TracingPolicyActionCounters{
			Post: 1, Nopost: 2, Signal: 3, MonitorSignal: 4, Override: 5, MonitorOverride: 6,
		}},
		HookStatuses: []*tetragon.HookStatus{{
			Section: "lsmhooks", HookIdx: 2, State: tetragon.HookState_STATUS_LOADED, HookDescription: "lsm:x: prevented",
		}},
	}
	want.Enabled = true //nolint:staticcheck // deprecated, and still read by clients
	if err != nil || len(list.GetPolicies()) != 1 || !proto.Equal(list.GetPolicies()[0], want) {
		t.Errorf("list: %v, %v", err, list)
	}
}

func TestContainerStates(t *testing.T) {
	needRoot(t)
	f := &fake{}
	registry := container.New(0)
	put := func(late bool) {
		if err := registry.Put(&container.Container{ID: "c", Slot: 2, CgroupID: 9, Late: late}); err != nil {
			t.Fatal(err)
		}
	}
	client := boltseal.NewBoltsealClient(serve(t, f, registry))
	for _, c := range []struct {
		slot bpf.WireSlotState
		by   bpf.WireSealedBy
		late bool
		want boltseal.ContainerState
	}{
		{bpf.WireSlotStateSLOT_EXPECTED, 0, false, boltseal.ContainerState_CONTAINER_STATE_EXPECTED},
		{bpf.WireSlotStateSLOT_MAPPED, bpf.WireSealedBySEALED_BY_PATH, false, boltseal.ContainerState_CONTAINER_STATE_MAPPED},
		{bpf.WireSlotStateSLOT_ARMED, bpf.WireSealedBySEALED_BY_PATTERN, false, boltseal.ContainerState_CONTAINER_STATE_ARMED},
		{bpf.WireSlotStateSLOT_ARMED, bpf.WireSealedBySEALED_BY_AGENT, true, boltseal.ContainerState_CONTAINER_STATE_LATE},
		{bpf.WireSlotStateSLOT_ARMED, 0, false, boltseal.ContainerState_CONTAINER_STATE_UNSEALED},
	} {
		put(c.late)
		f.slot, f.sealedBy = bpf.WireSlot{State: uint32(c.slot), CgroupId: 9}, c.by
		list, err := client.ListContainers(t.Context(), &boltseal.ListContainersRequest{})
		if err != nil || len(list.GetContainers()) != 1 || list.GetContainers()[0].GetState() != c.want {
			t.Errorf("slot %v sealed by %v: %v, %v; want %v", c.slot, c.by, err, list, c.want)
			continue
		}
		if one := list.GetContainers()[0]; one.GetEventsLost() != 102 || one.GetEventsThrottled() != 202 {
			t.Errorf("events lost %d, throttled %d", one.GetEventsLost(), one.GetEventsThrottled())
		}
	}
	list, err := client.ListContainers(t.Context(), &boltseal.ListContainersRequest{IdPrefix: "other"})
	if err != nil || len(list.GetContainers()) != 0 {
		t.Errorf("other prefix: %v, %v", err, list)
	}
}

func TestStatusNamesEverything(t *testing.T) {
	needRoot(t)
	conn := serve(t, &fake{}, container.New(0))
	s, err := boltseal.NewBoltsealClient(conn).GetStatus(t.Context(), &boltseal.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if s.GetHostEventsLost() != 100 {
		t.Errorf("%d events of the host are lost", s.GetHostEventsLost())
	}
	for name := range s.GetKernelErrors() {
		if name == "" {
			t.Error("a kernel error has no name")
		}
	}
	if len(s.GetKernelErrors()) != int(bpf.WireKernelErrorKERR_MAX)+1 || s.GetKernelErrors()["signal"] != 7 || s.GetKernelErrors()["probe_missed"] != 3 {
		t.Errorf("kernel errors %v", s.GetKernelErrors())
	}
	states := []boltseal.FeatureState{
		boltseal.FeatureState_FEATURE_STATE_AVAILABLE, boltseal.FeatureState_FEATURE_STATE_UNSUPPORTED, boltseal.FeatureState_FEATURE_STATE_UNKNOWN,
	}
	for i, feature := range s.GetFeatures() {
		if feature.GetState() != states[i] {
			t.Errorf("feature %v, want %v", feature, states[i])
		}
	}
	info, err := tetragon.NewFineGuidanceSensorsClient(conn).GetInfo(t.Context(), &tetragon.GetInfoRequest{})
	if err != nil || len(info.GetProbes()) != 2 || info.GetProbes()[0].GetName() != "lsm" || info.GetProbes()[0].GetEnabled().GetValue() {
		t.Errorf("info: %v, %v", err, info)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket := filepath.Join(dir, "run", "s")
	first, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want mode 0600", info.Mode(), err)
	}
	if _, err := Listen(t.Context(), socket); err == nil {
		t.Error("a second agent takes the socket of a first that listens")
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as when it is killed
	first.Close()
	second, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatalf("socket of a dead agent: %v", err)
	}
	second.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), file); err == nil {
		t.Error("a file is taken for a socket")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file is %q now, %v", text, err)
	}
}
