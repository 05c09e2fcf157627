// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/net/multiplex"
	"github.com/containerd/ttrpc"
)

// runtimeSide is a runtime as far as plugins see it.
type runtimeSide struct {
	listener net.Listener
	// registered has the plugins that did, on the current connection.
	registered chan *api.RegisterPluginRequest
}

func newRuntimeSide(t *testing.T) *runtimeSide {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "nri.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return &runtimeSide{listener: listener, registered: make(chan *api.RegisterPluginRequest, 10)}
}

// RegisterPlugin is what a plugin says first.
func (r *runtimeSide) RegisterPlugin(_ context.Context, request *api.RegisterPluginRequest) (*api.Empty, error) {
	r.registered <- request
	return &api.Empty{}, nil
}

// UpdateContainers is not what this plugin asks for.
func (r *runtimeSide) UpdateContainers(context.Context, *api.UpdateContainersRequest) (*api.UpdateContainersResponse, error) {
	return nil, ttrpc.ErrProtocol
}

// accept waits until the gate of a plugin has registered, and returns it with what
// ends the connection. A watcher is sent away.
func (r *runtimeSide) accept(t *testing.T) (plugin api.PluginService, leave func()) {
	t.Helper()
	for {
		plugin, name, leave := r.acceptAny(t)
		if name == pluginName {
			return plugin, leave
		}
		leave()
	}
}

func (r *runtimeSide) acceptAny(t *testing.T) (plugin api.PluginService, name string, leave func()) {
	t.Helper()
	accepted, err := r.listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn := &watched{Conn: accepted, ended: make(chan struct{})}
	mux := multiplex.Multiplex(conn)
	listener, err := mux.Listen(multiplex.RuntimeServiceConn)
	if err != nil {
		t.Fatal(err)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	api.RegisterRuntimeService(server, r)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(t.Context(), listener)
	}()
	to, err := mux.Open(multiplex.PluginServiceConn)
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(to)
	select {
	case request := <-r.registered:
		if name = request.GetPluginName(); request.GetPluginIdx() != pluginIndex {
			t.Errorf("registered as %v", request)
		}
	case <-conn.ended: // gone again before it said who it is
	case <-time.After(20 * time.Second):
		t.Fatal("nobody registered")
	}
	return api.NewPluginClient(client), name, func() {
		_ = client.Close()
		_ = server.Close()
		_ = mux.Close()
		<-served
	}
}

// TestConversation takes the plugin through the wire format of a runtime that
// leaves at each step of it: the plugin comes back every time.
func TestConversation(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	runtime := newRuntimeSide(t)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.serve(ctx, []string{runtime.listener.Addr().String()}, nil)
	}()

	_, leave := runtime.accept(t)
	leave() // before it says who it is
	plugin, leave := runtime.accept(t)
	configure(ctx, t, plugin)
	leave()
	plugin, leave = runtime.accept(t)
	configure(ctx, t, plugin)
	pod, c := whole()
	c.Pid = 0
	created, err := plugin.CreateContainer(ctx, &api.CreateContainerRequest{Pod: pod, Container: c})
	if hooks := created.GetAdjust().GetHooks().GetCreateRuntime(); err != nil || len(hooks) != 1 || hooks[0].GetPath() != r.hook {
		t.Errorf("create: %v, %v", created, err)
	}
	c.Pid = 42
	start := &api.StateChangeEvent{Event: api.Event_START_CONTAINER, Pod: pod, Container: c}
	if _, err := plugin.StateChange(ctx, start); err != nil {
		t.Errorf("start: %v", err)
	}
	heard := r.agent.requests()
	if len(heard) != 2 || heard[0].GetInitPid() != 0 || heard[1].GetInitPid() != 42 {
		t.Errorf("the agent heard %v", heard)
	}
	c.Id = ""
	if _, err := plugin.StateChange(ctx, start); err == nil {
		t.Error("started without an id")
	}
	leave()
	plugin, leave = runtime.accept(t)
	configure(ctx, t, plugin)
	stop()
	<-done
	leave()
}

// configure says who the runtime is, and what runs: nothing.
func configure(ctx context.Context, t *testing.T, plugin api.PluginService) {
	t.Helper()
	answer, err := plugin.Configure(ctx, &api.ConfigureRequest{
		RuntimeName: "containerd", RuntimeVersion: "1.7.24", RegistrationTimeout: 5000, RequestTimeout: 2000,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []api.Event{api.Event_CREATE_CONTAINER, api.Event_START_CONTAINER} {
		if answer.GetEvents()&(1<<(event-1)) == 0 {
			t.Errorf("not asked for %v", event)
		}
	}
	if !answer.GetFailurePolicy().GetFailRequest() {
		t.Errorf("failure policy %v", answer.GetFailurePolicy())
	}
	if _, err := plugin.Synchronize(ctx, &api.SynchronizeRequest{}); err != nil {
		t.Fatal(err)
	}
}
