// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/hook/settings"
)

// agent is the other side of the plugin: it answers as it is told to.
type agent struct {
	tetragon.UnimplementedFineGuidanceSensorsServer

	mu    sync.Mutex
	heard []*tetragon.CreateContainer
	gone  []string // ids of what was removed
	err   error
	slow  chan struct{} // if not nil, answers wait for it
	// waits is how many wait for slow.
	waits int
	// asked is called before the answer to a container; nil: nothing is.
	asked   func(*tetragon.CreateContainer)
	changed chan struct{} // closed when any of this changes
}

// change wakes those who await something. The lock is held.
func (a *agent) change() {
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// await waits until the agent has got to where something holds.
func (a *agent) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		a.mu.Lock()
		ok := holds()
		if a.changed == nil {
			a.changed = make(chan struct{})
		}
		changed := a.changed
		a.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("never: %s; the agent heard %v, and of the end of %q", what, a.requests(), a.gone)
		}
	}
}

// last is what was heard last of a container, nil if nothing. The lock is held.
func (a *agent) last(id string) *tetragon.CreateContainer {
	for _, c := range slices.Backward(a.heard) {
		if c.GetContainerID() == id {
			return c
		}
	}
	return nil
}

func (a *agent) RuntimeHook(ctx context.Context, r *tetragon.RuntimeHookRequest) (*tetragon.RuntimeHookResponse, error) {
	a.mu.Lock()
	if c := r.GetCreateContainer(); c != nil {
		a.heard = append(a.heard, c)
	} else {
		a.gone = append(a.gone, r.GetRemoveContainer().GetContainerID())
	}
	err, slow, asked := a.err, a.slow, a.asked
	if slow != nil {
		a.waits++
	}
	a.change()
	a.mu.Unlock()
	if asked != nil {
		asked(r.GetCreateContainer())
	}
	if slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err() // no answer is not a yes
		}
	}
	return &tetragon.RuntimeHookResponse{}, err
}

func (a *agent) requests() []*tetragon.CreateContainer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.heard)
}

// rig is a plugin in its session with containerd 1.7, and its agent.
type rig struct {
	*gate
	watcher *watcher
	agent   *agent
	spool   string
	log     *lockedBuffer
}

// lockedBuffer is written to by several.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newRig starts an agent, unless it is nil, and makes a plugin with a fail policy.
func newRig(t *testing.T, a *agent, policy string) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{agent: a, spool: filepath.Join(dir, "spool"), log: &lockedBuffer{}}
	socket := filepath.Join(dir, "agent.sock")
	if a != nil {
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		tetragon.RegisterFineGuidanceSensorsServer(server, a)
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(server.Stop)
	}
	config := filepath.Join(dir, "hook.json")
	text := `{"address":"unix://` + socket + `","spool_dir":"` + r.spool + `","booted_file":"` + dir + `","fail_policy":{"default":"` + policy + `"}}`
	hook := filepath.Join(dir, "hook")
	for path, data := range map[string]string{config: text, hook: "#!/bin/false\n"} {
		if err := os.WriteFile(path, []byte(data), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p, err := newPlugin(options{config: config, hook: hook}, slog.New(slog.NewJSONHandler(r.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.background.Wait)
	session := newSession(p, p.log)
	r.gate, r.watcher = &gate{session}, &watcher{session}
	if _, err := r.Configure(t.Context(), "", "containerd", "v1.7.24"); err != nil {
		t.Fatal(err)
	}
	return r
}

// deadline changes the plugin's.
func (r *rig) deadline(d time.Duration) {
	load := r.load
	r.load = func() (settings.Settings, error) {
		s, err := load()
		s.Deadline = d
		return s, err
	}
}
