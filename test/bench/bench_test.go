// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package bench measures what people wait for, each figure beside its baseline
// of the same run: `make bench`. The two are measured in turn, so that a machine
// that changes its speed changes both. Nothing here fails for being slow.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// samples is times of one thing.
type samples []time.Duration

func (s samples) at(percent int) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}

func (s *samples) time(do func()) {
	start := time.Now()
	do()
	*s = append(*s, time.Since(start))
}

// report prints the medians and their ratio.
func report(b *testing.B, what string, of samples, baseline string, base samples) {
	b.ReportMetric(0, "ns/op") // a pair of runs is no operation
	b.ReportMetric(float64(of.at(50))/1e3, what+"-µs")
	b.ReportMetric(float64(base.at(50))/1e3, baseline+"-µs")
	b.ReportMetric(float64(of.at(50))/float64(base.at(50)), "ratio")
}

// emptyProgram builds a static program that does nothing.
func emptyProgram(b *testing.B) string {
	dir := testenv.Dir(b)
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	binary := filepath.Join(dir, "empty")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build the empty program: %v\n%s", err, out)
	}
	return binary
}

// hookConfig writes a configuration of the hook and returns its path.
func hookConfig(b *testing.B, address string) string {
	path := filepath.Join(testenv.Dir(b), "hook.json")
	if err := os.WriteFile(path, fmt.Appendf(nil, `{"address": %q}`, address), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkHookProcess runs the hook, from its start to its end with the agent's
// acknowledgement, and an empty static program. Target: at most 2.5 times.
func BenchmarkHookProcess(b *testing.B) {
	testenv.Require(b, testenv.Root(), testenv.BPF(), testenv.Cgroup2(), testenv.Tracefs())
	agent := testenv.Agent(b, testenv.AgentOptions{Args: []string{"--log-level", "error"}})
	hook, empty := testenv.Binary(b, "./hook"), emptyProgram(b)
	config := hookConfig(b, agent.Address)
	sleeper := exec.Command("sleep", "600")
	if err := testenv.TempCgroup(b).Born(sleeper).Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() })
	state := hookState(b, sleeper.Process.Pid)
	var hooks, empties samples
	for b.Loop() {
		run := exec.Command(hook, "createRuntime", "--config", config)
		run.Stdin = strings.NewReader(state)
		var out []byte
		var err error
		hooks.time(func() { out, err = run.CombinedOutput() })
		if err != nil {
			b.Fatalf("hook: %v\n%s", err, out)
		}
		nothing := exec.Command(empty)
		nothing.Stdin = strings.NewReader(state)
		empties.time(func() { _, err = nothing.CombinedOutput() })
		if err != nil {
			b.Fatal(err)
		}
	}
	report(b, "hook", hooks, "empty", empties)
}

// BenchmarkWrapper runs `runc --version` through the wrapper, and without it.
func BenchmarkWrapper(b *testing.B) {
	testenv.Require(b, testenv.Root(), testenv.Containers())
	hook := testenv.Binary(b, "./hook")
	runc, err := exec.LookPath("runc")
	if err != nil {
		b.Fatal(err)
	}
	var wrapped, plain samples
	for b.Loop() {
		through, alone := exec.Command(hook, "runtime", "--exec", runc, "--version"), exec.Command(runc, "--version")
		var out []byte
		wrapped.time(func() { out, err = through.CombinedOutput() })
		if err != nil {
			b.Fatalf("wrapper: %v\n%s", err, out)
		}
		plain.time(func() { out, err = alone.CombinedOutput() })
		if err != nil {
			b.Fatalf("runc: %v\n%s", err, out)
		}
	}
	report(b, "wrapped", wrapped, "runc", plain)
}

// hookState is what a runtime writes to the hook for a container of that init.
func hookState(b *testing.B, pid int) string {
	bundle := testenv.Bundle(b, testenv.Spec{})
	state, err := json.Marshal(specs.State{
		Version: "1.0.2", ID: bundle.ID, Status: specs.StateCreating, Pid: pid, Bundle: bundle.Dir,
	})
	if err != nil {
		b.Fatal(err)
	}
	return string(state)
}

// BenchmarkContainerStart runs `runc run` of /bin/true with boltseal (agent,
// hook, one policy for the container) and without any of it; beside them, what a
// hook costs that does nothing. Target: at most 1.05 times.
func BenchmarkContainerStart(b *testing.B) {
	testenv.Require(b, testenv.Root(), testenv.BPF(), testenv.Cgroup2(), testenv.Tracefs(), testenv.Containers())
	const block = 15
	hook, empty := testenv.Binary(b, "./hook"), emptyProgram(b)
	nothing := &specs.Hooks{CreateRuntime: []specs.Hook{{Path: empty}}}
	var with, without, floor samples
	for b.Loop() {
		without = append(without, starts(b, block, nil)...)
		floor = append(floor, starts(b, block, nothing)...)
		agent := testenv.Agent(b, testenv.AgentOptions{Args: []string{"--log-level", "error"}})
		policy := readPolicy(b)
		client := tetragon.NewFineGuidanceSensorsClient(agent.Connect(b))
		if _, err := client.AddTracingPolicy(b.Context(), &tetragon.AddTracingPolicyRequest{Yaml: policy}); err != nil {
			b.Fatal(err)
		}
		args := []string{"boltseal-hook", "createRuntime", "--config", hookConfig(b, agent.Address)}
		with = append(with, starts(b, block, &specs.Hooks{CreateRuntime: []specs.Hook{{Path: hook, Args: args}}})...)
		if err := agent.Stop(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, "with", with, "without", without)
	b.ReportMetric(float64(floor.at(50))/1e3, "empty-hook-µs")
}

func readPolicy(b *testing.B) string {
	text, err := os.ReadFile("../../policies/no-shadow-read.yaml")
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// starts runs n containers, one after the other, after one that is not counted.
func starts(b *testing.B, n int, hooks *specs.Hooks) (times samples) {
	runc := testenv.NewRunc(b)
	for i := range n + 1 {
		c := testenv.Bundle(b, testenv.Spec{
			Args: []string{"/bin/true"}, Hooks: hooks,
			Annotations: map[string]string{"boltseal.policy": "no-shadow-read"},
		})
		var result testenv.Result
		start := time.Now()
		result = runc.Run(context.Background(), c)
		if i > 0 {
			times = append(times, time.Since(start))
		}
		if result.Code != 0 {
			b.Fatalf("runc run: %s", result)
		}
	}
	return times
}

// BenchmarkSeal announces containers to an agent that knows 10,000 others: the
// time of the RuntimeHook call as its client sees it, beside a call that only
// answers. Target: 99 of 100 within 1 ms.
func BenchmarkSeal(b *testing.B) {
	testenv.Require(b, testenv.Root(), testenv.BPF(), testenv.Cgroup2(), testenv.Tracefs())
	const others = 10_000
	agent := testenv.Agent(b, testenv.AgentOptions{Args: []string{"--log-level", "error", "--max-containers", "14000"}})
	client := tetragon.NewFineGuidanceSensorsClient(agent.Connect(b))
	// Made by what looks like a runtime: the kernel seals each at its birth.
	parent := testenv.TempCgroup(b)
	for i := range others {
		if err := os.Mkdir(filepath.Join(parent.Dir, fmt.Sprintf("%064x", i)), 0o750); err != nil {
			b.Fatal(err)
		}
	}
	var seals, versions samples
	n := 0
	for b.Loop() {
		n++
		if n > 2000 {
			break // the agent holds 4,096 announcements
		}
		request := &tetragon.RuntimeHookRequest{Event: &tetragon.RuntimeHookRequest_CreateContainer{
			CreateContainer: &tetragon.CreateContainer{ContainerID: fmt.Sprintf("bench-%d", n), CgroupsPath: fmt.Sprintf("%s/bench-%d", parent.Path, n)},
		}}
		var err error
		seals.time(func() { _, err = client.RuntimeHook(b.Context(), request) })
		if err != nil {
			b.Fatal(err)
		}
		versions.time(func() { _, err = client.GetVersion(b.Context(), &tetragon.GetVersionRequest{}) })
		if err != nil {
			b.Fatal(err)
		}
	}
	report(b, "RuntimeHook", seals, "GetVersion", versions)
	b.ReportMetric(float64(seals.at(99))/1e3, "RuntimeHook-p99-µs")
}
