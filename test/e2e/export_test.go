// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// exported is the events of a file.
func exported(t *testing.T, file string) (all []*tetragon.GetEventsResponse) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		e := &tetragon.GetEventsResponse{}
		if err := protojson.Unmarshal([]byte(line), e); err != nil {
			t.Fatalf("%s: %q: %v", filepath.Base(file), line, err)
		}
		if e.GetNodeName() != "n" || e.GetClusterName() != "c" || e.GetNodeLabels()["zone"] != "z" || e.GetTime() == nil {
			t.Errorf("%s: not told from where: %s", filepath.Base(file), line)
		}
		all = append(all, e)
	}
	return all
}

// TestExports: the files of README.md, with filters of their own have what happened before the
// agent was stopped, and the rotation of the first can be changed.
func TestExports(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	dir := t.TempDir()
	config, execs, acts := filepath.Join(dir, "agent.yaml"), filepath.Join(dir, "execs.json"), filepath.Join(dir, "policy.json")
	text := strings.ReplaceAll(block(t, "given to an agent by TestExports"), "/var/log/boltseal/", dir+"/")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	agent := agentenv.Start(t, testenv.AgentOptions{
		Args: []string{"--config", config, "--node-name", "n", "--cluster-name", "c", "--node-labels", "zone=z"},
	})
	r := newRunning(t, agent)
	agent.Policy(t, agentenv.PolicyText("no-shadow-read", r.mark, exitCode("int", "operator: Equal, values: [42, 43]", "{action: Post}")...))
	events := agent.Events(t, &tetragon.GetEventsRequest{AllowList: []*tetragon.Filter{{PolicyNames: []string{"no-shadow-read"}}}})
	r.tries(t, exits(41, 41), exits(42, 42), exits(43, 43))
	events.Until(t, waitForEvent, "both acts", func(all []*tetragon.GetEventsResponse) error {
		if len(all) < 2 {
			return fmt.Errorf("%d events", len(all))
		}
		return nil
	})
	changeRotation(t, tetragon.NewEventLogServiceClient(agent.Connect(t)))
	if err := events.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	seen := ""
	for _, e := range exported(t, execs) {
		if e.GetProcessExec() == nil || e.GetAggregationInfo() != nil {
			t.Errorf("in the file of execs: %v", e)
		}
		seen += e.GetProcessExec().GetProcess().GetArguments() + "\n"
	}
	for _, want := range []string{"exit 41", "exit 42", "exit 43"} {
		if !strings.Contains(seen, want) {
			t.Errorf("no exec of %s:\n%s", want, seen)
		}
	}
	all := exported(t, acts)
	if len(all) != 2 {
		t.Fatalf("%d acts, not 2: %v", len(all), all)
	}
	for i, e := range all {
		if e.GetProcessTracepoint().GetArgs()[0].GetIntArg() != int32(42+i) || e.GetAggregationInfo().GetCount() != 1 {
			t.Errorf("act %d: %v", i, e)
		}
	}
	for file, want := range map[string]os.FileMode{execs: 0o600, acts: 0o640} {
		if info, err := os.Stat(file); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", filepath.Base(file), info.Mode(), err)
		}
	}
}

func changeRotation(t *testing.T, log tetragon.EventLogServiceClient) {
	t.Helper()
	_, err := log.SetEventLogParams(t.Context(), &tetragon.SetEventLogParamsRequest{MaxSize: new(int32(6)), RotationInterval: new("1h")})
	if err != nil {
		t.Error(err)
	}
	_, err = log.SetEventLogParams(t.Context(), &tetragon.SetEventLogParamsRequest{MaxSize: new(int32(8)), MaxBackups: new(int32(-1))})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "max_backups") {
		t.Errorf("a negative number of files: %v", err)
	}
	got, err := log.GetEventLogParams(t.Context(), &tetragon.GetEventLogParamsRequest{})
	if err != nil || got.GetMaxSize() != 6 || got.GetRotationInterval() != "1h0m0s" || got.GetMaxBackups() != 7 {
		t.Errorf("the rotation is %v, %v", got, err)
	}
}
