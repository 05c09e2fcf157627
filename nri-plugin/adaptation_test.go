// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	validator "github.com/containerd/nri/plugins/default-validator/builtin"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// realRuntime is the runtime's side of NRI as runtimes have it, with containers that
// are nothing but entries.
type realRuntime struct {
	*adaptation.Adaptation

	mu         sync.Mutex
	pods       []*api.PodSandbox
	containers []*api.Container
	// window is called once, between a list of what there is and the registration of
	// the plugin that it was for; nil: nothing is.
	window func()
	syncs  chan struct{} // has one for each list
}

// startRuntime starts one at a socket.
func startRuntime(t *testing.T, version, socket string, options ...adaptation.Option) *realRuntime {
	t.Helper()
	r := &realRuntime{syncs: make(chan struct{}, 100)}
	dir := t.TempDir()
	var err error
	r.Adaptation, err = adaptation.New("containerd", version, r.sync,
		func(context.Context, []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
			return nil, nil
		},
		append([]adaptation.Option{
			adaptation.WithSocketPath(socket), adaptation.WithPluginPath(dir), adaptation.WithPluginConfigPath(dir),
		}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// listen lets plugins in until the test ends.
func (r *realRuntime) listen(t *testing.T) {
	t.Helper()
	r.open(t)
	t.Cleanup(r.Stop)
}

// open lets plugins in.
func (r *realRuntime) open(t *testing.T) {
	t.Helper()
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	<-r.syncs // of the plugins that are the runtime's own
}

func (r *realRuntime) sync(ctx context.Context, list adaptation.SyncCB) error {
	r.mu.Lock()
	pods, containers, window := slices.Clone(r.pods), slices.Clone(r.containers), r.window
	r.window = nil
	r.mu.Unlock()
	_, err := list(ctx, pods, containers)
	if window != nil {
		window()
	}
	r.syncs <- struct{}{}
	return err
}

// synced waits for so many parts of plugins to be registered.
func (r *realRuntime) synced(t *testing.T, parts int) {
	t.Helper()
	for range parts {
		select {
		case <-r.syncs:
		case <-time.After(30 * time.Second):
			t.Fatal("no plugin registered")
		}
	}
	r.BlockPluginSync().Unblock() // registered as well as told
}

// container is one of the pod of whole.
func container(id string) (*api.PodSandbox, *api.Container) {
	pod, c := whole()
	c.Id, c.Pid, c.State = id, 0, api.ContainerState_CONTAINER_UNKNOWN
	c.Linux.CgroupsPath = "/kubepods/p1/" + id
	return pod, c
}

// create does what a runtime does to create a container.
func (r *realRuntime) create(ctx context.Context, id string) (*api.ContainerAdjustment, *api.Container, error) {
	pod, c := container(id)
	answer, err := r.CreateContainer(ctx, &adaptation.CreateContainerRequest{Pod: pod, Container: c})
	if err != nil {
		return nil, nil, err
	}
	c.State = api.ContainerState_CONTAINER_CREATED
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers = append(r.containers, c)
	return answer.GetAdjust(), c, nil
}

// start does what a runtime does to start it.
func (r *realRuntime) start(ctx context.Context, c *api.Container) error {
	pod, _ := whole()
	r.mu.Lock()
	c.Pid = 42
	r.mu.Unlock()
	err := r.StartContainer(ctx, &adaptation.StartContainerRequest{Pod: pod, Container: c})
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.State = api.ContainerState_CONTAINER_RUNNING; err != nil {
		c.State = api.ContainerState_CONTAINER_STOPPED
	}
	return err
}

// serveAt runs the plugin at sockets; stop ends it, as would its death.
func (r *rig) serveAt(t *testing.T, sockets ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.plugin.serve(ctx, sockets, nil)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// wire leads from a socket of its own to a runtime's, until it is cut, as the death
// of either side cuts it.
type wire struct {
	socket   string
	listener net.Listener
	mu       sync.Mutex
	ends     []net.Conn
	copying  sync.WaitGroup
}

func newWire(t *testing.T, socket, to string) *wire {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{socket: socket, listener: listener}
	w.copying.Go(func() {
		for {
			plugin, err := listener.Accept()
			if err != nil {
				return
			}
			runtime, err := net.Dial("unix", to)
			if err != nil {
				_ = plugin.Close()
				continue
			}
			w.mu.Lock()
			w.ends = append(w.ends, plugin, runtime)
			w.mu.Unlock()
			w.copying.Go(func() { w.lead(plugin, runtime) })
			w.copying.Go(func() { w.lead(runtime, plugin) })
		}
	})
	t.Cleanup(w.cut)
	return w
}

func (w *wire) lead(from, to net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = from.Close(), to.Close()
}

// cut ends all connections, and there are no new ones.
func (w *wire) cut() {
	_ = w.listener.Close()
	w.mu.Lock()
	for _, end := range w.ends {
		_ = end.Close()
	}
	w.mu.Unlock()
	w.copying.Wait()
}

// TestNothingIsLostWhileItRegisters: what a runtime creates between the list of what
// there is and the first event is taken in all the same.
func TestNothingIsLostWhileItRegisters(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	socket := filepath.Join(t.TempDir(), "nri.sock")
	runtime := startRuntime(t, "v1.7.24", socket)
	runtime.listen(t)
	var created *api.Container
	runtime.window = func() {
		_, c, err := runtime.create(t.Context(), "ran")
		_, created, _ = runtime.create(t.Context(), "created")
		if err = errors.Join(err, runtime.start(t.Context(), c)); err != nil {
			t.Error(err)
		}
	}
	r.serveAt(t, socket)
	r.agent.await(t, "both are told of", func() bool { return r.agent.last("ran") != nil && r.agent.last("created") != nil })
	runtime.synced(t, 2)
	if err := runtime.start(t.Context(), created); err != nil {
		t.Fatal(err)
	}
	ran, was := r.agent.last("ran"), r.agent.last("created")
	if !ran.GetLate() || ran.GetInitPid() != 42 {
		t.Errorf("of what ran unasked the agent heard %v", ran)
	}
	if was.GetLate() || was.GetInitPid() != 42 {
		t.Errorf("of what started in time the agent heard %v", was)
	}
}

// TestSurvivesARuntimesRestart: the next one gets announcements and hooks as the
// first did, and what runs is told of again.
func TestSurvivesARuntimesRestart(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	dir := t.TempDir()
	socket := filepath.Join(dir, "nri.sock")
	r.serveAt(t, socket) // there is nothing yet
	var running []*api.Container
	for _, id := range []string{"a", "b", "c"} {
		own := filepath.Join(dir, id+".sock")
		runtime := startRuntime(t, "v2.1.0", own)
		runtime.containers = running
		runtime.listen(t)
		wire := newWire(t, socket, own)
		runtime.synced(t, 2)
		adjust, c, err := runtime.create(t.Context(), id)
		if err != nil || len(adjust.GetHooks().GetCreateRuntime()) != 1 {
			t.Fatalf("%v, %v", adjust, err)
		}
		if err := runtime.start(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := r.agent.last(id); got.GetInitPid() != 42 || got.GetLate() {
			t.Errorf("of %s the agent heard %v", id, got)
		}
		running = append(running, c)
		wire.cut()
	}
	r.agent.await(t, "what ran is told of again", func() bool { return r.agent.last("a").GetLate() && r.agent.last("b").GetLate() })
}

// TestSeveralRuntimes: one plugin serves all of a host.
func TestSeveralRuntimes(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	dir := t.TempDir()
	sockets := []string{filepath.Join(dir, "a.sock"), filepath.Join(dir, "b.sock")}
	r.serveAt(t, sockets...)
	for i, socket := range sockets {
		runtime := startRuntime(t, "v2.1.0", socket)
		runtime.listen(t)
		runtime.synced(t, 2)
		id := []string{"a", "b"}[i]
		if adjust, _, err := runtime.create(t.Context(), id); err != nil || len(adjust.GetHooks().GetCreateRuntime()) != 1 || r.agent.last(id) == nil {
			t.Errorf("%s: %v, %v", id, adjust, err)
		}
	}
}

// TestDeathInsideCreate: a runtime that knows failure policies does not create the
// container, and one that requires the plugin creates none until it is back.
func TestDeathInsideCreate(t *testing.T) {
	r := newRig(t, &agent{}, "allow")
	socket := filepath.Join(t.TempDir(), "nri.sock")
	runtime := startRuntime(t, "v2.3.0", socket, adaptation.WithDefaultValidator(&validator.DefaultValidatorConfig{
		Enable: true, RequiredPlugins: []string{pluginName},
	}))
	runtime.listen(t)
	if _, _, err := runtime.create(t.Context(), "before"); err == nil || !strings.Contains(err.Error(), pluginName) {
		t.Errorf("created before the plugin was there: %v", err)
	}
	wire := newWire(t, socket+".wire", socket)
	r.serveAt(t, wire.socket)
	runtime.synced(t, 2)
	if _, _, err := runtime.create(t.Context(), "with"); err != nil {
		t.Fatal(err)
	}
	r.agent.mu.Lock()
	r.agent.asked = func(c *tetragon.CreateContainer) {
		if c.GetContainerID() == "inside" {
			wire.cut()
		}
	}
	r.agent.mu.Unlock()
	if _, _, err := runtime.create(t.Context(), "inside"); err == nil {
		t.Error("created without an answer")
	}
	if _, _, err := runtime.create(t.Context(), "after"); err == nil || !strings.Contains(err.Error(), pluginName) {
		t.Errorf("created without the plugin: %v", err)
	}
}

// TestDeathBetweenCreateAndStart: the hook has the last word.
func TestDeathBetweenCreateAndStart(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	socket := filepath.Join(t.TempDir(), "nri.sock")
	runtime := startRuntime(t, "v1.7.24", socket)
	runtime.listen(t)
	stop := r.serveAt(t, socket)
	runtime.synced(t, 2)
	adjust, c, err := runtime.create(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	stop()
	// Whether the runtime has noticed and goes on is its own affair.
	startErr := runtime.start(t.Context(), c)
	if heard := r.agent.last("c"); heard.GetInitPid() != 0 {
		t.Errorf("the plugin was asked, %v: %v", startErr, heard)
	}
	hooks := adjust.GetHooks().GetCreateRuntime()
	if len(hooks) != 1 || hooks[0].GetPath() != r.hook || hooks[0].GetTimeout().GetValue() <= int64(r.terms().Deadline/time.Second) {
		t.Errorf("nothing is left to ask for it: %v", hooks)
	}
}

// TestAgentThatNeverAnswers: the runtime keeps the plugin, does not start what is
// asked for, and can take pods and containers away.
func TestAgentThatNeverAnswers(t *testing.T) {
	a := &agent{slow: make(chan struct{})}
	defer close(a.slow)
	r := newRig(t, a, "block")
	r.deadline(200 * time.Millisecond)
	socket := filepath.Join(t.TempDir(), "nri.sock")
	runtime := startRuntime(t, "v1.7.24", socket)
	runtime.listen(t)
	r.serveAt(t, socket)
	runtime.synced(t, 2)
	for _, id := range []string{"a", "b"} {
		pod, _ := whole()
		pod.Id, pod.Pid = "pod-"+id, 7
		if err := runtime.RunPodSandbox(t.Context(), &adaptation.RunPodSandboxRequest{Pod: pod}); err != nil {
			t.Error(err)
		}
		adjust, c, err := runtime.create(t.Context(), id)
		if err != nil || len(adjust.GetHooks().GetCreateRuntime()) != 1 {
			t.Fatalf("%v, %v", adjust, err)
		}
		if err := runtime.start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "not started") {
			t.Errorf("error is %v", err)
		}
		if err := errors.Join(
			runtime.RemoveContainer(t.Context(), &adaptation.RemoveContainerRequest{Pod: pod, Container: c}),
			runtime.StopPodSandbox(t.Context(), &adaptation.StopPodSandboxRequest{Pod: pod}),
			runtime.RemovePodSandbox(t.Context(), &adaptation.RemovePodSandboxRequest{Pod: pod}),
		); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(r.log.String(), "connection to the runtime lost") {
		t.Errorf("log: %s", r.log)
	}
}

// TestPodLives: its own container is told of as its runtime allows, and so is the end
// of what was announced.
func TestPodLives(t *testing.T) {
	for version, late := range map[string]bool{"v1.7.24": false, "v2.1.9": true} {
		t.Run(version, func(t *testing.T) {
			r := newRig(t, &agent{}, "block")
			socket := filepath.Join(t.TempDir(), "nri.sock")
			runtime := startRuntime(t, version, socket)
			old, _ := whole()
			old.Id, old.Pid = "old", 6
			runtime.pods = []*api.PodSandbox{old}
			runtime.listen(t)
			r.serveAt(t, socket)
			runtime.synced(t, 2)
			pod, _ := whole()
			pod.Pid, pod.Linux = 7, &api.LinuxPodSandbox{CgroupsPath: "/kubepods/p1/pause"}
			if err := runtime.RunPodSandbox(t.Context(), &adaptation.RunPodSandboxRequest{Pod: pod}); err != nil {
				t.Fatal(err)
			}
			if !late && r.agent.last("p1") == nil {
				t.Error("the pod went on before the agent knew of it")
			}
			r.agent.await(t, "the sandboxes are told of", func() bool { return r.agent.last("p1") != nil && r.agent.last("old") != nil })
			if got := r.agent.last("p1"); !got.GetSandbox() || got.GetLate() != late || got.GetPodName() != "web" || got.GetCgroupsPath() != "/kubepods/p1/pause" {
				t.Errorf("the agent heard %v", got)
			}
			if got := r.agent.last("old"); !got.GetSandbox() || !got.GetLate() {
				t.Errorf("of what ran before the agent heard %v", got)
			}
			_, c := container("never")
			if err := errors.Join(
				runtime.RemoveContainer(t.Context(), &adaptation.RemoveContainerRequest{Pod: pod, Container: c}),
				runtime.StopPodSandbox(t.Context(), &adaptation.StopPodSandboxRequest{Pod: pod}),
			); err != nil {
				t.Fatal(err)
			}
			r.agent.await(t, "the end of both is told of", func() bool {
				return slices.Contains(r.agent.gone, "p1") && slices.Contains(r.agent.gone, "never")
			})
		})
	}
}

// TestUpdateTellsOfIdentity: and of nothing else.
func TestUpdateTellsOfIdentity(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	socket := filepath.Join(t.TempDir(), "nri.sock")
	runtime := startRuntime(t, "v2.1.9", socket)
	runtime.listen(t)
	r.serveAt(t, socket)
	runtime.synced(t, 2)
	_, c, err := runtime.create(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if err := runtime.start(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	pod, _ := whole()
	update := func(to *api.Container) {
		if _, err := runtime.UpdateContainer(t.Context(), &adaptation.UpdateContainerRequest{
			Pod: pod, Container: to, LinuxResources: &api.LinuxResources{Cpu: &api.LinuxCPU{Shares: api.UInt64(uint64(7))}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	update(c)
	_, other := container("unknown")
	other.Pid = 43
	update(other)
	r.background.Wait()
	if heard := r.agent.requests(); len(heard) != 2 {
		t.Errorf("of resources the agent heard %v", heard[2:])
	}
	c.Labels = map[string]string{"tier": "back"}
	update(c)
	r.agent.await(t, "the new label", func() bool { return r.agent.last("c").GetLabels()["tier"] == "back" })
	if got := r.agent.last("c"); got.GetLate() || got.GetInitPid() != 42 {
		t.Errorf("the agent heard %v", got)
	}
}
