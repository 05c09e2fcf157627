// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// parallelContainers is how many the project's own tests start at once.
const parallelContainers = 64

func TestParallelContainersLeaveNothing(t *testing.T) {
	LeakCheck(t)
	Require(t, Containers())
	runc := NewRunc(t)
	var group sync.WaitGroup
	for i := range parallelContainers {
		want := fmt.Sprintf("container %d", i)
		box := Bundle(t, Spec{Args: []string{"/bin/echo", want}})
		group.Go(func() {
			if result := runc.Run(t.Context(), box); result.Code != 0 || result.Stdout != want+"\n" {
				t.Errorf("container %d: %s", i, result)
			}
		})
	}
	group.Wait()
}

func TestContainerFromCreateToDelete(t *testing.T) {
	LeakCheck(t)
	Require(t, Containers())
	ctx := t.Context()
	runc := NewRunc(t)
	hooked := filepath.Join(Dir(t), "state")
	box := Bundle(t, Spec{
		Args:        []string{ActorPath, "sleep"},
		Annotations: map[string]string{"a": "b"},
		Hooks: &specs.Hooks{
			CreateRuntime:  []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat > " + hooked}}},
			StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo hooked >&2"}}},
		},
	})
	if result := runc.Create(ctx, box); result.Code != 0 {
		t.Fatal(result)
	}
	if state, err := os.ReadFile(hooked); err != nil || !strings.Contains(string(state), box.ID) {
		t.Errorf("the hook got %q (%v), want the id in it", state, err)
	}
	id, err := box.CgroupID()
	if err != nil || id < 2 {
		t.Errorf("cgroup id %d, %v", id, err)
	}
	state, err := runc.State(ctx, box)
	if err != nil || state.Status != specs.StateCreated || state.Annotations["a"] != "b" || state.Pid == 0 {
		t.Errorf("created: %+v, %v", state, err)
	}
	if out := box.Stdout(); out != "" {
		t.Errorf("the entrypoint ran before start: %q", out)
	}
	if result := runc.Start(ctx, box); result.Code != 0 {
		t.Fatal(result)
	}
	Eventually(t, 10*time.Second, "the entrypoint runs", func() error {
		if out := box.Stdout(); out != "READY:sleep\n" {
			return fmt.Errorf("stdout %q, stderr %q", out, box.Stderr())
		}
		return nil
	})
	result := runc.Exec(ctx, box, ActorPath, "read", "/etc/shadow")
	if result.Code != 0 || !strings.Contains(result.Stdout, "LEAK:read\n") || !strings.Contains(result.Stdout, Secret) {
		t.Errorf("exec: %s", result)
	}
	if result := runc.Exec(ctx, box, "/bin/sh", "-c", "echo x > /etc/passwd"); result.Code == 0 {
		t.Error("the shared root is writable")
	}
	if result := runc.Exec(ctx, box, "/bin/sh", "-c", "kill -9 $$"); result.Code != 137 {
		t.Errorf("exec killed by SIGKILL: %s", result)
	}
	if result := runc.Kill(ctx, box, "TERM"); result.Code != 0 {
		t.Errorf("kill: %s", result)
	}
	runc.Stopped(ctx, t, box, 10*time.Second)
	if result := runc.Delete(ctx, box); result.Code != 0 {
		t.Errorf("delete: %s", result)
	}
	if _, err := box.CgroupID(); err == nil {
		t.Error("the cgroup is there after delete")
	}
}

func TestFailingHookKeepsTheEntrypointFromRunning(t *testing.T) {
	LeakCheck(t)
	Require(t, Containers())
	box := Bundle(t, Spec{
		Args:  []string{"/bin/echo", "ran"},
		Hooks: &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}},
	})
	result := NewRunc(t).Run(t.Context(), box)
	if result.Code == 0 || result.Err != nil || strings.Contains(result.Stdout, "ran") || result.Stderr == "" {
		t.Errorf("%s", result)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	LeakCheck(t)
	Require(t, Containers())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	result := NewRunc(t).Run(ctx, Bundle(t, Spec{Args: []string{ActorPath, "sleep"}}))
	if result.Err == nil || result.Code != -1 {
		t.Errorf("%s", result)
	}
}

// TestEveryEscapeWorksWithoutPolicy is what makes a missing LEAK line elsewhere
// mean something: with nothing to stop it each mode gets to the secret.
func TestEveryEscapeWorksWithoutPolicy(t *testing.T) {
	LeakCheck(t)
	Require(t, Containers())
	help, err := exec.Command(Binary(t, "./test/actor"), "escape", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(help), "modes: ")
	if !found {
		t.Fatalf("no modes in %q", help)
	}
	runc := NewRunc(t)
	for mode := range strings.FieldsSeq(list) {
		box := Bundle(t, Spec{Args: []string{ActorPath, "escape", mode, "/etc/shadow"}, CgroupFS: true})
		result := runc.Run(t.Context(), box)
		want := fmt.Sprintf("READY:%[1]s\nLEAK:%[1]s\n", mode)
		if result.Code != 0 || result.Stdout != want {
			t.Errorf("%s: %s", mode, result)
		}
	}
}
