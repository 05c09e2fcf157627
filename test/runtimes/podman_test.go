// SPDX-License-Identifier: Apache-2.0

//go:build linux

package runtimes

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// podman starts containers with podman, which reads the hook from a directory of
// hooks.
func podman(t *testing.T, agent *agentenv.Agent) {
	testenv.Require(t, inLab("podman", podmanHere))
	p := newPodman(t)
	prove(t, agent, p.run)
	p.rename(t, agent)
}

// rename holds that a container is known by the name that podman gives it, and that
// policies follow when it gets another.
func (p *pods) rename(t *testing.T, agent *agentenv.Agent) {
	t.Helper()
	first, second, shared := agentenv.Mark(), agentenv.Mark(), testenv.Dir(t)
	p.name = first
	agent.Policy(t, strings.ReplaceAll(agentenv.KillShadow(second, second), agentenv.MarkKey, "name"))
	r := p.run(t, agent.Hook(t), agentenv.Mark(), shared, agentenv.Waiting())
	if known := waitArmed(t, agent, r.id); known.GetName() != first || known.GetRuntime() != "podman" || len(known.GetPolicies()) != 0 {
		t.Errorf("known as %v", known)
	}
	if result := p.do(t.Context(), "rename", first, second); result.Code != 0 {
		t.Errorf("rename: %s", result)
	}
	testenv.Eventually(t, patience, "the container has its new name", func() error {
		if known := agent.Container(t, r.id); known.GetName() != second || !slices.Equal(known.GetPolicies(), []string{second}) {
			return fmt.Errorf("the agent knows %v", known)
		}
		return nil
	})
	agentenv.Release(t, shared)
	if result := r.wait(t); result.Code != 137 {
		t.Errorf("want exit status 137: %s", result)
	}
}

// podmanHere tells whether podman can be run here.
func podmanHere() error {
	for _, name := range []string{"podman", "conmon", "crun"} {
		if _, err := exec.LookPath(name); err != nil {
			return err
		}
	}
	return unified()
}

// pods is a podman that keeps everything that it knows in a directory of the test's.
type pods struct {
	dir, rootfs, parent string
	// name is what the next container is called; empty: something that no other is.
	name string
}

func newPodman(t *testing.T) *pods {
	t.Helper()
	p := &pods{dir: testenv.Dir(t), parent: testenv.TempCgroup(t).Path}
	p.rootfs = filepath.Join(p.dir, "rootfs")
	// Podman makes files of its own in it.
	err := os.CopyFS(p.rootfs, os.DirFS(testenv.Rootfs(t)))
	for file, text := range map[string]string{
		// Locks in shared memory would be those of every podman here.
		"containers.conf": "[engine]\nlock_type = \"file\"\n",
		"storage.conf":    "[storage]\ndriver = \"vfs\"\n",
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(p.dir, file), []byte(text), 0o600))
	}
	// A flag for the runtime would not do: podman does not hand it to those that
	// clean up in the background, and they would use the host's state directory.
	script := fmt.Sprintf("#!/bin/sh\nexec crun --root '%s' \"$@\"\n", filepath.Join(p.dir, "state"))
	if err = errors.Join(err, os.WriteFile(filepath.Join(p.dir, "crun"), []byte(script), 0o700)); err != nil {
		t.Fatalf("set podman up: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if result := p.do(ctx, "rm", "--all", "--force", "--time=0"); result.Code != 0 {
			t.Errorf("remove what podman has: %s", result)
		}
		testenv.Eventually(t, patience, "podman has cleaned up", p.quiet)
	})
	return p
}

// quiet tells whether nothing of podman's runs in the directory. The monitor of
// a container that has ended starts a podman of its own, for which no command waits.
func (p *pods) quiet() error {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, line := range lines {
		// A process that has ended meanwhile has no command line.
		if command, _ := os.ReadFile(line); bytes.Contains(command, []byte(p.dir)) {
			err = errors.Join(err, fmt.Errorf("%s: %q", line, command))
		}
	}
	return err
}

// do runs podman, none of whose defaults lead out of its directory.
func (p *pods) do(ctx context.Context, args ...string) testenv.Result {
	at := func(name string) string { return filepath.Join(p.dir, name) }
	cmd := exec.CommandContext(ctx, "podman", append([]string{
		"--root", at("root"), "--runroot", at("runroot"), "--tmpdir", at("tmp"), "--volumepath", at("volumes"),
		"--network-config-dir", at("networks"), "--hooks-dir", at("hooks.d"),
		"--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none",
		"--runtime", at("crun"),
	}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+p.dir,
		"CONTAINERS_CONF="+at("containers.conf"), "CONTAINERS_STORAGE_CONF="+at("storage.conf"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	result := testenv.Result{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		result.Err = err
	}
	return result
}

// run is a [runFunc].
func (p *pods) run(t *testing.T, hook *agentenv.Hook, mark, shared string, args []string) *run {
	t.Helper()
	p.install(t, hook)
	file := filepath.Join(shared, "id")
	r := background(t, "", func() testenv.Result {
		return p.do(t.Context(), append([]string{
			"run", "--rm", "--cidfile", file, "--network=none", "--cgroup-parent", p.parent, "--cgroups=no-conmon",
			"--security-opt", "apparmor=unconfined", "--annotation", agentenv.MarkKey + "=" + mark,
			"--volume", shared + ":/tmp", "--name", cmp.Or(p.name, agentenv.Mark()), "--rootfs", p.rootfs,
		}, args...)...)
	})
	testenv.Eventually(t, patience, "podman names the container", func() error {
		select {
		case <-r.done: // without a container; the caller sees the result
			return nil
		default:
		}
		id, err := os.ReadFile(file)
		if err == nil && len(id) == 0 {
			err = errors.New("no id yet")
		}
		r.id = string(id)
		return err
	})
	return r
}

// install puts the hook where podman looks for hooks.
func (p *pods) install(t *testing.T, hook *agentenv.Hook) {
	t.Helper()
	dir := filepath.Join(p.dir, "hooks.d")
	text, err := json.Marshal(map[string]any{
		"version": "1.0.0", "hook": hook.OCI().CreateRuntime[0],
		"when": map[string]any{"always": true}, "stages": []string{"createRuntime"},
	})
	if err == nil {
		err = errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "boltseal.json"), text, 0o644))
	}
	if err != nil {
		t.Fatalf("install the hook: %v", err)
	}
}
