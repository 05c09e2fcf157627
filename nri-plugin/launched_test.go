// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"golang.org/x/sys/unix"
)

// launchBy starts a runtime with this plugin in its directory of plugins, called with
// arguments.
func launchBy(t *testing.T, args ...string) *realRuntime {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, socket := t.TempDir(), filepath.Join(t.TempDir(), "nri.sock")
	script := fmt.Sprintf("#!/bin/sh\nexec %s --nri-socket %s %s\n", self, socket, strings.Join(args, " "))
	if err := os.WriteFile(filepath.Join(dir, "90-boltseal"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	runtime := startRuntime(t, "v2.1.9", socket, adaptation.WithPluginPath(dir))
	runtime.listen(t)
	return runtime
}

// TestLaunchedByTheRuntime: both parts register, the gate before the runtime does
// anything else.
func TestLaunchedByTheRuntime(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	runtime := launchBy(t, "--hook", r.hook, r.hookArgs[0], r.hookArgs[1])
	adjust, c, err := runtime.create(t.Context(), "c")
	if err != nil || len(adjust.GetHooks().GetCreateRuntime()) != 1 {
		t.Fatalf("%v, %v", adjust, err)
	}
	if err := runtime.start(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := r.agent.last("c"); got.GetInitPid() != 42 || got.GetLate() {
		t.Errorf("the agent heard %v", got)
	}
	runtime.synced(t, 1) // the watcher
	pod, _ := whole()
	pod.Pid = 7
	if err := runtime.RunPodSandbox(t.Context(), &adaptation.RunPodSandboxRequest{Pod: pod}); err != nil {
		t.Fatal(err)
	}
	r.agent.await(t, "the sandbox is told of", func() bool { return r.agent.last(pod.GetId()) != nil })
}

// TestLaunchedWithoutSettings: what cannot be gone by lets nothing start, does not keep
// the runtime from starting, and holds no longer than until it is mended.
func TestLaunchedWithoutSettings(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	config := r.hookArgs[1]
	right, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"fail_policy":{"defualt":"allow"}}`)
	runtime := launchBy(t, "--hook", r.hook, "--config", config)
	if _, _, err := runtime.create(t.Context(), "c"); err == nil || !strings.Contains(err.Error(), "defualt") {
		t.Errorf("error is %v", err)
	}
	_, before := container("before")
	if err := runtime.start(t.Context(), before); err == nil || !strings.Contains(err.Error(), "defualt") {
		t.Errorf("error is %v", err)
	}
	write(string(right))
	_, c, err := runtime.create(t.Context(), "d")
	if err == nil {
		err = runtime.start(t.Context(), c)
	}
	if err != nil {
		t.Errorf("mended: %v", err)
	}
}

// TestLaunchEndsWithItsRuntime: the next one starts a plugin of its own.
func TestLaunchEndsWithItsRuntime(t *testing.T) {
	runtime := exec.Command("/bin/cat")
	if _, err := runtime.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := runtime.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(runtime.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &launch{runtime: os.NewFile(uintptr(fd), "runtime")}
	ctx, end := l.life(t.Context())
	defer end()
	if l.ended(0) || ctx.Err() != nil {
		t.Error("ended before its runtime")
	}
	if err := runtime.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = runtime.Wait() // killed
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Error("goes on without its runtime")
	}
	if conn, err := l.dial(dialerOf("/nonexistent"))(t.Context()); err != errClosed {
		t.Errorf("connects to the next runtime: %v, %v", conn, err)
	}
}
