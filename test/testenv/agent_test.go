// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// needAgent says what boltseald needs.
func needAgent(tb testing.TB) {
	tb.Helper()
	Require(tb, Root(), BPF(), BTF(), Cgroup2())
}

func TestAgentStartsHangsAndStops(t *testing.T) {
	LeakCheck(t)
	needAgent(t)
	a := Agent(t, AgentOptions{})
	conn, err := a.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := tetragon.NewFineGuidanceSensorsClient(conn)
	if _, err := client.GetVersion(t.Context(), &tetragon.GetVersionRequest{}); err != nil {
		t.Errorf("running: %v", err)
	}
	if err := a.Hang(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := client.GetVersion(ctx, &tetragon.GetVersionRequest{}); err == nil {
		t.Error("an agent that hangs answers")
	}
	if err := a.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetVersion(t.Context(), &tetragon.GetVersionRequest{}); err != nil {
		t.Errorf("resumed: %v", err)
	}
	if err := a.Stop(); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(a.Pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("after stop: %v", err)
	}
	// The next agent takes the place of a dead one, socket file or not.
	b := Agent(t, AgentOptions{Dir: a.Dir})
	if err := b.Kill(); err != nil {
		t.Error(err)
	}
	if err := b.Stop(); err != nil {
		t.Errorf("stop after kill: %v", err)
	}
	Agent(t, AgentOptions{Dir: a.Dir})
}

func TestAgentThatDoesNotComeUp(t *testing.T) {
	LeakCheck(t)
	script := func(text string) string {
		path := filepath.Join(Dir(t), "agent")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var r recorder
	r.do(func(tb testing.TB) { Agent(tb, AgentOptions{Dir: Dir(t), Binary: script("echo no kernel; exit 7")}) })
	for _, want := range []string{"exit status 7", "no kernel", "had ended by itself"} {
		if !strings.Contains(r.failed, want) {
			t.Errorf("%q is not in %q", want, r.failed)
		}
	}
}
