// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"golang.org/x/sys/unix"
)

// launchBy starts a runtime with this plugin in its directory of plugins, called with
// arguments.
func launchBy(t *testing.T, args ...string) (r *realRuntime, socket string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket = filepath.Join(t.TempDir(), "nri.sock")
	script := fmt.Sprintf("#!/bin/sh\nexec %s --nri-socket %s %s\n", self, socket, strings.Join(args, " "))
	if err := os.WriteFile(filepath.Join(dir, "90-boltseal"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	r = startRuntime(t, "v2.1.9", socket, adaptation.WithPluginPath(dir))
	r.listen(t)
	t.Cleanup(func() {
		// In order, it takes its standby with it.
		if err := unix.Kill(active(t, socket, nil), unix.SIGTERM); err != nil {
			t.Error(err)
		}
		for deadline := time.Now().Add(30 * time.Second); len(pluginsAt(t, socket)) > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("plugins are left: %v", pluginsAt(t, socket))
			}
		}
	})
	return r, socket
}

// TestLaunchedByTheRuntime: both parts register, the gate before the runtime does
// anything else.
func TestLaunchedByTheRuntime(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	runtime, _ := launchBy(t, "--hook", r.hook, r.hookArgs[0], r.hookArgs[1])
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

// TestStandbyTakesOver: a launched plugin that is killed is not missed for long, nor is
// the one that takes its place.
func TestStandbyTakesOver(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	runtime, socket := launchBy(t, "--hook", r.hook, r.hookArgs[0], r.hookArgs[1])
	runtime.synced(t, 1) // the watcher
	before := []int{}
	for range 3 {
		pid := active(t, socket, before)
		before = append(before, pid)
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		runtime.synced(t, 2)
		adjust, _, err := runtime.create(t.Context(), fmt.Sprint("c", pid))
		if err != nil || len(adjust.GetHooks().GetCreateRuntime()) != 1 {
			t.Fatalf("%v, %v", adjust, err)
		}
	}
}

// active waits until there is a plugin for a socket, and a standby, and returns the
// plugin; it is none of those before.
func active(t *testing.T, socket string, before []int) int {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		all := pluginsAt(t, socket)
		for _, parent := range all {
			if _, is := all[parent]; is && !slices.Contains(before, parent) {
				return parent
			}
		}
	}
	t.Fatalf("there is no plugin with a standby: %v", pluginsAt(t, socket))
	return 0
}

// pluginsAt are the plugins for a socket, with their parents: a standby's is the plugin.
func pluginsAt(t *testing.T, socket string) map[int]int {
	t.Helper()
	parents := map[int]int{}
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		// It may end meanwhile. Who has ended has no command line.
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil || !strings.Contains(string(line), "\x00"+socket+"\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		parent, err2 := strconv.Atoi(fields[1])
		if err = errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		parents[pid] = parent
	}
	return parents
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
	write(`{"fail_policy":{"none":"allow"}}`)
	runtime, _ := launchBy(t, "--hook", r.hook, "--config", config)
	if _, _, err := runtime.create(t.Context(), "c"); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("error is %v", err)
	}
	_, before := container("before")
	if err := runtime.start(t.Context(), before); err == nil || !strings.Contains(err.Error(), "none") {
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
	if conn, err := l.dial(dialerOf("/nonexistent"))(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("connects to the next runtime: %v, %v", conn, err)
	}
}
