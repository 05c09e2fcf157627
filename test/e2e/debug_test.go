// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	_ "google.golang.org/protobuf/types/known/structpb" // of settings

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// TestDebugging looks at a running agent in every way that helps to find its faults.
func TestDebugging(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	dir := t.TempDir()
	health, profiles := filepath.Join(dir, "health"), filepath.Join(dir, "pprof")
	agent := agentenv.Start(t, testenv.AgentOptions{Args: []string{
		"--health-server-address", "unix://" + health, "--pprof-address", "unix://" + profiles,
	}})
	t.Run("log level", func(t *testing.T) { changesLogLevel(t, agent) })
	t.Run("processes", func(t *testing.T) { dumpsProcesses(t, agent) })
	t.Run("sensors", func(t *testing.T) { changesSensors(t, agent) })
	t.Run("test event", func(t *testing.T) {
		events := agent.Events(t, &tetragon.GetEventsRequest{})
		if _, err := agent.Boltseal.EmitTestEvent(t.Context(), &boltseal.EmitTestEventRequest{Arg0: 42}); err != nil {
			t.Fatal(err)
		}
		events.Until(t, time.Minute, "the test event", func(all []*tetragon.GetEventsResponse) error {
			if !slices.ContainsFunc(all, func(e *tetragon.GetEventsResponse) bool { return e.GetTest().GetArg0() == 42 }) {
				return fmt.Errorf("not among %d events", len(all))
			}
			return nil
		})
	})
	t.Run("settings", func(t *testing.T) {
		info, err := agent.Tetragon.GetInfo(t.Context(), &tetragon.GetInfoRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range info.GetConf() {
			value, err := c.GetValue().UnmarshalNew()
			if err != nil {
				t.Errorf("%s: %v", c.GetKey(), err)
			}
			if c.GetKey() == "pprof-address" && strings.Contains(fmt.Sprint(value), profiles) {
				return
			}
		}
		t.Errorf("settings %v", info.GetConf())
	})
	t.Run("profiles", func(t *testing.T) {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", profiles)
		}}}
		response, err := client.Get("http://agent/debug/pprof/goroutine?debug=1")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if text, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(text), "daemon.Run") {
			t.Errorf("%v, %.200s", err, text)
		}
	})
	t.Run("stacks", func(t *testing.T) { showsStacks(t, agent) })
	stopsServing(t, agent, health)
}

// changesLogLevel leaves the level as it was.
func changesLogLevel(t *testing.T, agent *agentenv.Agent) {
	for _, level := range []tetragon.LogLevel{tetragon.LogLevel_LOG_LEVEL_PANIC, tetragon.LogLevel_LOG_LEVEL_DEBUG} {
		_, err := agent.Tetragon.SetDebug(t.Context(), &tetragon.SetDebugRequest{Arg: &tetragon.SetDebugRequest_Level{Level: level}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := agent.Tetragon.GetDebug(t.Context(), &tetragon.GetDebugRequest{})
		if err != nil || got.GetLevel() != level {
			t.Errorf("set %s: got %v, %v", level, got, err)
		}
		if want := fmt.Sprintf("to=%s caller.uid=0 caller.pid=%d", level, os.Getpid()); !strings.Contains(agent.Log(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// dumpsProcesses finds this process, which runs.
func dumpsProcesses(t *testing.T, agent *agentenv.Agent) {
	for _, exclude := range []bool{false, true} {
		response, err := agent.Tetragon.GetDebug(t.Context(), &tetragon.GetDebugRequest{
			Flag: tetragon.ConfigFlag_CONFIG_FLAG_DUMP_PROCESS_CACHE,
			Arg:  &tetragon.GetDebugRequest_Dump{Dump: &tetragon.DumpProcessCacheReqArgs{ExcludeExecveMapProcesses: exclude}},
		})
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, p := range response.GetProcesses().GetProcesses() {
			found = found || p.GetProcess().GetPid().GetValue() == uint32(os.Getpid()) && p.GetRefcnt().GetValue() > 0 && p.GetProcess().GetBinary() != ""
		}
		if found == exclude {
			t.Errorf("without processes that run %v: this one is in it: %v", exclude, found)
		}
	}
}

// changesSensors does to a policy by its sensors what the list of policies shows.
func changesSensors(t *testing.T, agent *agentenv.Agent) {
	agent.Policy(t, agentenv.KillShadow("debug", agentenv.Mark()))
	site := agent.PolicyStatus(t, "debug").GetSensors()[0]
	for _, enable := range []bool{false, true} {
		var err error
		if enable {
			_, err = agent.Tetragon.EnableSensor(t.Context(), &tetragon.EnableSensorRequest{Name: site})
		} else {
			_, err = agent.Tetragon.DisableSensor(t.Context(), &tetragon.DisableSensorRequest{Name: site})
		}
		if err != nil {
			t.Fatal(err)
		}
		list, err := agent.Tetragon.ListSensors(t.Context(), &tetragon.ListSensorsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(list.GetSensors(), func(s *tetragon.SensorStatus) bool {
			return s.GetName() == site && s.GetCollection() == "debug" && s.GetEnabled() == enable
		}) || agent.PolicyStatus(t, "debug").GetEnabled() != enable {
			t.Errorf("enable %v: %v, %v", enable, list, agent.PolicyStatus(t, "debug"))
		}
	}
	if _, err := agent.Tetragon.RemoveSensor(t.Context(), &tetragon.RemoveSensorRequest{Name: "debug"}); err != nil {
		t.Fatal(err)
	}
	if p := agent.PolicyStatus(t, "debug"); p.GetName() != "" {
		t.Errorf("removed: %v", p)
	}
}

// showsStacks looks at from where a function of the kernel was called, where the
// kernel has kprobes.
func showsStacks(t *testing.T, agent *agentenv.Agent) {
	if !slices.ContainsFunc(agent.Status(t).GetFeatures(), func(f *boltseal.Feature) bool {
		return f.GetName() == "kprobe" && f.GetState() == boltseal.FeatureState_FEATURE_STATE_AVAILABLE
	}) {
		t.Skip("this kernel has no kprobes, whose events alone have stacks")
	}
	const text = `apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: stacks}
spec:
  hostSelector: {}
  kprobes:
  - call: security_file_open
    syscall: false
    selectors: [{matchActions: [{action: Post, kernelStackTrace: true}]}]
`
	agent.Policy(t, text)
	testenv.Eventually(t, time.Minute, "stacks of opens", func() error {
		if _, err := os.ReadFile("/proc/self/status"); err != nil {
			return err
		}
		response, err := agent.Tetragon.GetStackTraceTree(t.Context(), &tetragon.GetStackTraceTreeRequest{Name: "stacks"})
		if err != nil {
			return err
		}
		if tree := fmt.Sprint(response.GetRoot()); !strings.Contains(tree, "security_file_open") || !strings.Contains(tree, "do_sys_open") {
			return fmt.Errorf("tree %.2000s", tree)
		}
		return nil
	})
	agent.Delete(t, "stacks")
	if _, err := agent.Tetragon.GetStackTraceTree(t.Context(), &tetragon.GetStackTraceTreeRequest{Name: "stacks"}); status.Code(err) != codes.NotFound {
		t.Errorf("of a policy that is deleted: %v", err)
	}
}

// stopsServing stops the agent, which those who watch its health are told before it
// ends.
func stopsServing(t *testing.T, agent *agentenv.Agent, socket string) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "liveness"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		got, err := watch.Recv()
		if err != nil || got.GetStatus() != want {
			t.Fatalf("health %v, %v; want %s", got, err, want)
		}
		if err := agent.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}
