// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// doctor runs boltseal doctor for one agent and one hook.
type doctor struct {
	demo
	agent *agentenv.Agent
	hook  *agentenv.Hook
}

// newDoctor is for runc: what else there is on the machine is not the test's.
func newDoctor(t *testing.T, agent *agentenv.Agent) doctor {
	t.Helper()
	hook := agent.Hook(t)
	d := doctor{agent: agent, hook: hook}
	d.demo = demo{
		program: testenv.Binary(t, "./agent/cmd/boltseal"), tmp: testenv.Dir(t), name: "boltseal-doctor",
		args: []string{"doctor", "--runtime", "runc", "--server-address", agent.Address, "--hook-config", hook.Config},
	}
	return d
}

// examine runs it with a hook and returns its checks by name.
func (d doctor) examine(t *testing.T, hook string, args ...string) (checks map[string][2]string, code int) {
	t.Helper()
	before, err := d.traces()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), d.program, slices.Concat(d.args, []string{"--hook", hook, "-o", "json"}, args)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+d.tmp)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	var report struct {
		Checks []struct{ Check, Verdict, Found string }
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, &stderr)
	}
	checks = map[string][2]string{}
	for _, c := range report.Checks {
		checks[c.Check] = [2]string{c.Verdict, c.Found}
	}
	d.nothingLeft(t, before)
	return checks, cmd.ProcessState.ExitCode()
}

// expect fails the test unless the checks are as they should be.
func expect(t *testing.T, checks map[string][2]string, want map[string][2]string) {
	t.Helper()
	for name, w := range want {
		if got := checks[name]; got[0] != w[0] || !strings.Contains(got[1], w[1]) {
			t.Errorf("%s: %q, want %q", name, got, w)
		}
	}
}

// denies tells whether this kernel can deny the opening of a file.
func denies(status *boltseal.GetStatusResponse) bool {
	return slices.ContainsFunc(status.GetFeatures(), func(f *boltseal.Feature) bool {
		return (f.GetName() == "lsm" || f.GetName() == "fmodret") && f.GetState() == boltseal.FeatureState_FEATURE_STATE_AVAILABLE
	})
}

// TestDoctor shows a host that is well, and then one with each way to be ill that a
// container can show.
func TestDoctor(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	d := newDoctor(t, agent)
	denied := [2]string{"not proven", "this kernel cannot deny it"}
	if denies(agent.Status(t)) {
		denied = [2]string{"ok", "EACCES"}
	}
	checks, code := d.examine(t, d.hook.Binary)
	expect(t, checks, map[string][2]string{
		"agent": {"ok", "pid "}, "agent socket": {"ok", "mode 0600"}, "kernel btf": {"ok", ""}, "cgroups": {"ok", "version 2"},
		"hook settings": {"ok", agent.Address}, "hook fail policy": {"ok", "does not start"},
		"runc": {"ok", "runc version"}, "runc sealed": {"ok", "known by its name"}, "runc kills": {"ok", "exit status 137"},
		"runc denies": denied, "runc agent away": {"ok", "refused by the hook"},
	})
	if code != 0 {
		t.Errorf("exit code %d: %v", code, checks)
	}
	if !regexp.MustCompile(`first task \+\d+\.\d{3} ms, first exec \+\d+\.\d{3} ms`).MatchString(checks["runc sealed"][1]) {
		t.Errorf("no times in order: %q", checks["runc sealed"])
	}
	if lines := d.hook.Lines(t); !strings.Contains(lines, `"decision":"start"`) {
		t.Errorf("the hook did not run with its own settings: %s", lines)
	}

	dir := testenv.Dir(t)
	ill := func(name, script string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n[ \"$1\" = version ] && echo boltseal-hook unknown && exit\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	quick := agentenv.NewHook(t, agentenv.HookOptions{Dir: agent.Dir, Deadline: time.Second})
	for _, test := range []struct {
		name, hook string
		want       map[string][2]string
	}{
		{"missing", filepath.Join(dir, "none"), map[string][2]string{"hook": {"FAIL", "no such file"}, "runc sealed": {"not proven", "hook cannot be used"}}},
		{"hangs", ill("hangs", "exec sleep 1000"), map[string][2]string{"runc sealed": {"FAIL", "hook"}}},
		{"fails", ill("fails", "exit 1"), map[string][2]string{"runc sealed": {"FAIL", "hook"}, "runc agent away": {"not proven", "not for the hook's answer"}}},
		// The kernel recognizes what runc makes without any hook, but not who it is.
		{"says yes to all", ill("yes", "exit 0"), map[string][2]string{"runc sealed": {"FAIL", ""}, "runc agent away": {"FAIL", "must not"}}},
	} {
		checks, code := d.examine(t, test.hook, "--hook-config", quick.Config)
		expect(t, checks, test.want)
		if code != 1 {
			t.Errorf("%s: exit code %d: %v", test.name, code, checks)
		}
	}
	policies, err := agent.Tetragon.ListTracingPolicies(t.Context(), nil)
	if err != nil || len(policies.GetPolicies()) > 0 {
		t.Errorf("policies left in the agent: %v, %v", policies, err)
	}
	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	checks, code = d.examine(t, d.hook.Binary)
	expect(t, checks, map[string][2]string{
		"agent": {"FAIL", "not running"}, "runc sealed": {"not proven", "no agent"}, "runc agent away": {"ok", "refused"},
	})
	if code != 1 {
		t.Errorf("exit code %d without an agent", code)
	}
}

// TestDoctorInterrupted ends it by signals at random moments from its start to its end,
// and looks for what it leaves behind.
func TestDoctorInterrupted(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	d := newDoctor(t, agent)
	d.args = append(d.args, "--hook", d.hook.Binary)
	d.interruptEverywhere(t, 9)
	testenv.Eventually(t, 10*time.Second, "the agent has no policy left", func() error {
		policies, err := agent.Tetragon.ListTracingPolicies(t.Context(), nil)
		if err == nil && len(policies.GetPolicies()) > 0 {
			err = fmt.Errorf("it has %v", policies)
		}
		return err
	})
}
