// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/doctor/canary"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// fakeAgent seals what it is asked for and tells of the acts that a test wants told.
type fakeAgent struct {
	tetragon.FineGuidanceSensorsClient
	boltseal.BoltsealClient

	err    error
	status *boltseal.GetStatusResponse
	health tetragon.HealthStatusResult
	// knows makes what is known of a container; nil: nothing is.
	knows func(id string) *boltseal.Container
	// refuses is a part of the text of policies that are not taken.
	refuses string
	// silent sends no events; wrong sends another action.
	silent, wrong bool

	policies []string
	listed   []string
}

func (f *fakeAgent) GetStatus(context.Context, *boltseal.GetStatusRequest, ...grpc.CallOption) (*boltseal.GetStatusResponse, error) {
	return f.status, f.err
}

func (f *fakeAgent) GetHealth(context.Context, *tetragon.GetHealthStatusRequest, ...grpc.CallOption) (*tetragon.GetHealthStatusResponse, error) {
	return &tetragon.GetHealthStatusResponse{HealthStatus: []*tetragon.HealthStatus{{Status: f.health, Details: "ring reader stopped"}}}, f.err
}

func (f *fakeAgent) ListContainers(_ context.Context, r *boltseal.ListContainersRequest, _ ...grpc.CallOption) (*boltseal.ListContainersResponse, error) {
	f.listed = append(f.listed, r.GetIdPrefix())
	if f.knows == nil {
		return &boltseal.ListContainersResponse{}, f.err
	}
	return &boltseal.ListContainersResponse{Containers: []*boltseal.Container{f.knows(r.GetIdPrefix())}}, f.err
}

func (f *fakeAgent) AddTracingPolicy(_ context.Context, r *tetragon.AddTracingPolicyRequest, _ ...grpc.CallOption) (*tetragon.AddTracingPolicyResponse, error) {
	if f.refuses != "" && strings.Contains(r.GetYaml(), f.refuses) {
		return nil, status.Error(codes.InvalidArgument, "this kernel\ncannot")
	}
	_, text, _ := strings.Cut(r.GetYaml(), "name: ")
	name, _, _ := strings.Cut(text, "\n")
	f.policies = append(f.policies, name)
	return &tetragon.AddTracingPolicyResponse{}, nil
}

func (f *fakeAgent) DeleteTracingPolicy(_ context.Context, r *tetragon.DeleteTracingPolicyRequest, _ ...grpc.CallOption) (*tetragon.DeleteTracingPolicyResponse, error) {
	for i, name := range f.policies {
		if name == r.GetName() {
			f.policies = append(f.policies[:i], f.policies[i+1:]...)
			return &tetragon.DeleteTracingPolicyResponse{}, nil
		}
	}
	return nil, status.Error(codes.NotFound, "no such policy")
}

// GetEvents sends, for the first two containers of the request's policies, the event
// of the one policy and of the other.
func (f *fakeAgent) GetEvents(ctx context.Context, r *tetragon.GetEventsRequest, _ ...grpc.CallOption) (tetragon.FineGuidanceSensors_GetEventsClient, error) {
	s := &fakeStream{ctx: ctx}
	names := r.GetAllowList()[0].GetPolicyNames()
	if f.silent {
		return s, nil
	}
	for i, action := range []tetragon.KprobeAction{tetragon.KprobeAction_KPROBE_ACTION_SIGKILL, tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE} {
		id := strings.TrimSuffix(names[i], []string{"-kill", "-deny"}[i]) + []string{"-1", "-2"}[i]
		if f.wrong {
			action = tetragon.KprobeAction_KPROBE_ACTION_POST
		}
		s.events = append(s.events, &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessTracepoint{
			ProcessTracepoint: &tetragon.ProcessTracepoint{Process: &tetragon.Process{Docker: id}, PolicyName: names[i], Action: action},
		}})
	}
	return s, nil
}

type fakeStream struct {
	tetragon.FineGuidanceSensors_GetEventsClient
	ctx    context.Context //nolint:containedctx // a stream has one
	events []*tetragon.GetEventsResponse
}

func (s *fakeStream) Recv() (*tetragon.GetEventsResponse, error) {
	if len(s.events) == 0 {
		<-s.ctx.Done()
		return nil, s.ctx.Err()
	}
	e := s.events[0]
	s.events = s.events[1:]
	return e, nil
}

// sealedWell is a container as it should be.
func sealedWell(id string) *boltseal.Container {
	mark := id
	if i := strings.LastIndex(id, "-"); i > 0 {
		mark = id[:i]
	}
	return &boltseal.Container{
		Id: id, Name: id, State: boltseal.ContainerState_CONTAINER_STATE_ARMED, Annotations: map[string]string{canary.MarkKey: mark},
		SealedBy: boltseal.SealedBy_SEALED_BY_HOOK, SealedNs: 1e9, FirstTaskNs: 1e9 + 1e5, FirstExecNs: 1e9 + 2e6, ArmedNs: 1e9 + 2e6,
	}
}

const testVersion = "v1.2.3"

func testNow() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// available are features that the kernel has.
func available(names ...string) (all []*boltseal.Feature) {
	for _, name := range names {
		all = append(all, &boltseal.Feature{Name: name, State: boltseal.FeatureState_FEATURE_STATE_AVAILABLE})
	}
	return all
}

// script writes a program of the shell.
func script(t *testing.T, path, text string) string {
	t.Helper()
	// A process that is forked meanwhile would hold it open for writing, and nobody
	// could run it.
	syscall.ForkLock.RLock()
	err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// options are those of a run in which everything is as it should be, but for
// what a host may have.
func options(t *testing.T, dir string) (Options, *fakeAgent) {
	t.Helper()
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		t.Fatal(err)
	}
	f := &fakeAgent{
		status: &boltseal.GetStatusResponse{
			KernelRelease: unix.ByteSliceToString(kernel.Release[:]),
			Version:       testVersion, Pid: 4711, StartedAt: timestamppb.New(testNow().Add(-time.Hour)),
			Features: available(append(needed(), "lsm")...),
		},
		health: tetragon.HealthStatusResult_HEALTH_STATUS_RUNNING,
		knows:  sealedWell,
	}
	config := filepath.Join(dir, "hook.json")
	address := "unix://" + filepath.Join(dir, "s")
	if err := os.WriteFile(config, []byte(`{"address": "`+address+`", "spool_dir": "`+filepath.Join(dir, "spool")+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return Options{
		Agent: f, Address: address, CallTime: time.Second, TellTime: time.Second, Version: testVersion, Now: testNow,
		Hook: script(t, filepath.Join(dir, "hook"), "echo boltseal-hook "+testVersion), HookConfig: config, Host: DefaultHost(),
	}, f
}

// find returns a check of a report.
func find(t *testing.T, report Report, name string) Check {
	t.Helper()
	for _, c := range report.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check is %q: %+v", name, report.Checks)
	return Check{}
}
