// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
)

// TestTraits: what runtimes do not take is told by their name and version.
func TestTraits(t *testing.T) {
	t.Parallel()
	whole := traits{hooks: true, paths: true, pods: true}
	early := whole
	early.early = true
	for runtime, want := range map[[2]string]traits{
		{"containerd", "v1.7.24"}: early, {"containerd", "1.7.28~ds1"}: early, {"containerd", "v2.1.9"}: whole,
		{"containerd", "v10.0.0"}: whole, {"cri-o", "1.35.0"}: whole, {"docker", "29.1.0"}: {}, {"", ""}: whole,
	} {
		if got := traitsOf(runtime[0], runtime[1]); got != want {
			t.Errorf("%v: %+v, want %+v", runtime, got, want)
		}
	}
}

// TestDocker: it tells of no cgroup path and no start, and is not to lose its
// containers for that.
func TestDocker(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	if _, err := r.Configure(t.Context(), "", "docker", "29.1.0"); err != nil {
		t.Fatal(err)
	}
	pod := &api.PodSandbox{Id: "c1", Name: "web"}
	c := &api.Container{Id: "c1", PodSandboxId: "c1", Name: "web", Linux: &api.LinuxContainer{}}
	adjust, _, err := r.CreateContainer(t.Context(), pod, c)
	if err != nil || adjust.GetHooks() != nil || len(r.agent.requests()) != 0 {
		t.Errorf("%v, %v, the agent heard %v", adjust, err, r.agent.requests())
	}
	c.Pid, c.State = 42, api.ContainerState_CONTAINER_RUNNING
	if _, err := r.Synchronize(t.Context(), []*api.PodSandbox{pod}, []*api.Container{c}); err != nil {
		t.Fatal(err)
	}
	r.background.Wait()
	if heard := r.agent.requests(); len(heard) != 1 || heard[0].GetInitPid() != 42 || heard[0].GetPodName() != "" || heard[0].GetSandbox() {
		t.Errorf("the agent heard %v", heard)
	}
	if !strings.Contains(r.log.String(), "adds no hooks") {
		t.Errorf("log: %s", r.log)
	}
}
