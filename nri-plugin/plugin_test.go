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
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/hook/agentclient"
)

func TestMain(m *testing.M) {
	if os.Getenv(api.PluginSocketEnvVar) != "" || os.Getenv(standbyVariable) != "" {
		main() // a runtime of a test has started this program
		return
	}
	goleak.VerifyTestMain(m,
		// What connect leaves behind, and says why.
		goleak.IgnoreAnyFunction("github.com/containerd/nri/pkg/stub.(*stub).Start"),
		goleak.IgnoreAnyFunction("github.com/containerd/nri/pkg/stub.(*stub).connClosed"),
		goleak.IgnoreAnyFunction("github.com/containerd/nri/pkg/net.(*connListener).Accept"))
}

func TestCreateAnnouncesAndAddsTheHook(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	pod, c := whole()
	c.Pid = 0
	adjust, updates, err := r.CreateContainer(t.Context(), pod, c)
	if err != nil || updates != nil {
		t.Fatalf("%v, %v", updates, err)
	}
	heard := r.agent.requests()
	if len(heard) != 1 || heard[0].GetCgroupsPath() != c.GetLinux().GetCgroupsPath() || heard[0].GetInitPid() != 0 || heard[0].GetRuntime() != "containerd" {
		t.Errorf("the agent heard %v", heard)
	}
	hooks := adjust.GetHooks().GetCreateRuntime()
	if len(hooks) != 1 || hooks[0].GetPath() != r.hook || hooks[0].GetTimeout().GetValue() < 2 {
		t.Fatalf("hooks: %v", hooks)
	}
	args := hooks[0].GetArgs()
	if args[0] != "boltseal-hook" || args[len(args)-1] != "createRuntime" || !slices.Contains(args, "--config") {
		t.Errorf("arguments of the hook: %q", args)
	}
}

// TestCreateGoesOnWithoutTheAgent: whether the container starts is decided when
// it does.
func TestCreateGoesOnWithoutTheAgent(t *testing.T) {
	r := newRig(t, nil, "block")
	pod, c := whole()
	c.Pid = 0
	adjust, _, err := r.CreateContainer(t.Context(), pod, c)
	if err != nil || len(adjust.GetHooks().GetCreateRuntime()) != 1 {
		t.Errorf("%v, %v", adjust, err)
	}
}

func TestCreateIsRefused(t *testing.T) {
	refusing := newRig(t, &agent{err: status.Error(codes.InvalidArgument, "no such path")}, "allow")
	pod, c := whole()
	if _, _, err := refusing.CreateContainer(t.Context(), pod, c); err == nil || !strings.Contains(err.Error(), "no such path") {
		t.Errorf("error is %v", err)
	}
	c.Id = ""
	if _, _, err := newRig(t, &agent{}, "allow").CreateContainer(t.Context(), pod, c); err == nil {
		t.Error("created without an id")
	}
}

func TestStart(t *testing.T) {
	for _, test := range []struct {
		name    string
		agent   *agent
		policy  string
		starts  bool
		spooled bool
	}{
		{"acknowledged", &agent{}, "block", true, false},
		{"refused", &agent{err: status.Error(codes.FailedPrecondition, "another's")}, "allow", false, false},
		{"not sealed, block", &agent{err: status.Error(codes.ResourceExhausted, "full")}, "block", false, false},
		{"not sealed, allow", &agent{err: status.Error(codes.ResourceExhausted, "full")}, "allow", true, true},
		{"no agent, block", nil, "block", false, false},
		{"no agent, quarantine", nil, "quarantine", false, false},
		{"no agent, allow", nil, "allow", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, test.agent, test.policy)
			pod, c := whole()
			if err := r.StartContainer(t.Context(), pod, c); (err == nil) != test.starts {
				t.Errorf("error is %v", err)
			}
			_, err := os.Stat(filepath.Join(r.spool, agentclient.SpoolFile(c.GetId())))
			if (err == nil) != test.spooled {
				t.Errorf("spooled: %v", err)
			}
			if test.agent != nil && r.agent.requests()[0].GetInitPid() != 42 {
				t.Errorf("the agent heard %v", r.agent.requests())
			}
			if !strings.Contains(r.log.String(), `"event":"start"`) {
				t.Errorf("log: %s", r.log)
			}
		})
	}
}

// TestAnswersInTime: an agent that hangs does not make the runtime drop the
// plugin, which it does after 2 s.
func TestAnswersInTime(t *testing.T) {
	a := &agent{slow: make(chan struct{})}
	defer close(a.slow)
	r := newRig(t, a, "block")
	pod, c := whole()
	begin := time.Now()
	err := r.StartContainer(t.Context(), pod, c)
	if took := time.Since(begin); err == nil || took < time.Second || took > answerTime+5*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

// TestManyAtOnce: containers that start at the same time do not wait for each other
// when the agent hangs.
func TestManyAtOnce(t *testing.T) {
	a := &agent{slow: make(chan struct{})}
	r := newRig(t, a, "block")
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, atOnce)
	for range atOnce {
		go func() {
			pod, c := whole()
			errs <- r.StartContainer(ctx, pod, c)
		}()
	}
	a.await(t, "all are asked for", func() bool { return a.waits == atOnce })
	cancel()
	for range atOnce {
		if err := <-errs; err == nil {
			t.Error("started without an answer")
		}
	}
	close(a.slow)
}

// TestAnswersWithinTheRuntimesLimit: a runtime may be configured to wait for less.
func TestAnswersWithinTheRuntimesLimit(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	if _, _, limit := r.kind(); limit != answerTime {
		t.Errorf("limit %v", limit)
	}
	s, err := stub.New(r.gate, stub.WithPluginName(pluginName), stub.WithPluginIdx(pluginIndex))
	if err != nil {
		t.Fatal(err)
	}
	for wait, want := range map[time.Duration]time.Duration{400 * time.Millisecond: 300 * time.Millisecond, time.Minute: answerTime} {
		session := newSession(r.plugin, r.plugin.log)
		session.attach(limited{s, wait})
		session.configure("containerd", "v2.1.0")
		if _, _, limit := session.kind(); limit != want {
			t.Errorf("of a runtime that waits %v: limit %v, want %v", wait, limit, want)
		}
	}
}

// limited is a stub of a runtime that waits so long.
type limited struct {
	stub.Stub
	wait time.Duration
}

func (l limited) RequestTimeout() time.Duration { return l.wait }

// TestAdoptsThroughTheSpool: an agent that is away when the plugin is told of what
// runs hears of it when it is back.
func TestAdoptsThroughTheSpool(t *testing.T) {
	r := newRig(t, nil, "block")
	pod, c := whole()
	pod.Pid = 7
	_, created := whole()
	created.Id, created.State = "c2", api.ContainerState_CONTAINER_CREATED
	if _, err := r.Synchronize(t.Context(), []*api.PodSandbox{pod}, []*api.Container{c, created}); err != nil {
		t.Fatal(err)
	}
	r.background.Wait()
	for id, want := range map[string]bool{"c1": true, "p1": true, "c2": false} {
		if _, err := os.Stat(filepath.Join(r.spool, agentclient.SpoolFile(id))); (err == nil) != want {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestSynchronizeAdoptsWhatRuns(t *testing.T) {
	a := &agent{slow: make(chan struct{})}
	r := newRig(t, a, "block")
	pod, running := whole()
	_, stopped := whole()
	stopped.Id, stopped.State = "c2", api.ContainerState_CONTAINER_STOPPED
	_, unborn := whole()
	unborn.Id, unborn.Pid = "c3", 0
	_, created := whole()
	created.Id, created.State = "c4", api.ContainerState_CONTAINER_CREATED
	if _, err := r.Synchronize(t.Context(), []*api.PodSandbox{pod}, []*api.Container{stopped, unborn, created, running}); err != nil {
		t.Fatal(err)
	}
	close(a.slow) // the answer did not wait for the agent
	r.background.Wait()
	ran, is := a.last("c1"), a.last("c4")
	if len(a.requests()) != 2 || !ran.GetLate() || ran.GetInitPid() != 42 || ran.GetPodName() != "web" {
		t.Errorf("the agent heard %v", a.requests())
	}
	// Its start has yet to confirm it, and must find it in time.
	if is == nil || is.GetLate() || is.GetInitPid() != 0 {
		t.Errorf("of what is only created the agent heard %v", is)
	}
}

// TestEndsWhileItAdopts: an agent that hangs does not keep the plugin from ending.
func TestEndsWhileItAdopts(t *testing.T) {
	a := &agent{slow: make(chan struct{})}
	defer close(a.slow)
	r := newRig(t, a, "block")
	r.deadline(time.Hour)
	life, end := context.WithCancel(t.Context())
	r.life = life
	pod, c := whole()
	if _, err := r.Synchronize(t.Context(), []*api.PodSandbox{pod}, []*api.Container{c, c, c}); err != nil {
		t.Fatal(err)
	}
	end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.background.Wait()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("it has not ended")
	}
}

// TestReconnects: a runtime that restarts has forgotten its plugins.
func TestReconnects(t *testing.T) {
	r := newRig(t, &agent{}, "block")
	socket := filepath.Join(t.TempDir(), "nri.sock")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.serve(ctx, []string{socket}, nil) // there is nothing yet
	}()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for range 3 {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	<-done
}

func TestNewPluginRefuses(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "hook.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(wd, file)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		options options
		want    string
	}{
		{options{hook: filepath.Join(dir, "none")}, "hook: stat"},
		{options{hook: "boltseal-hook"}, "not an absolute path"},
		{options{hook: plain}, "not a program"},
		{options{hook: "/bin/true", config: relative}, "configuration"},
		{options{hook: dir}, "not a program"},
		{options{config: filepath.Join(dir, "none")}, "read configuration"},
		{options{address: "tcp://127.0.0.1:1"}, "agent address"},
		{options{failPolicy: "perhaps"}, "fail policy"},
	} {
		p, err := newPlugin(test.options, slog.New(slog.DiscardHandler))
		if err == nil {
			err = p.check()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: error is %v, want %q", test.options, err, test.want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	var out, errs bytes.Buffer
	if err := run(t.Context(), []string{"--version"}, &out, &errs); err != nil || !strings.HasPrefix(out.String(), "boltseal-nri ") {
		t.Errorf("%v, %q", err, out.String())
	}
	if err := run(t.Context(), []string{"--help"}, &out, &errs); err != nil || !strings.Contains(errs.String(), "-nri-socket") {
		t.Errorf("%v, %q", err, errs.String())
	}
	for _, args := range [][]string{
		{"--none"}, {"word"}, {"--nri-socket", "here"}, {"--nri-socket", "/a", "--nri-socket", "/b/../a"},
	} {
		if err := run(t.Context(), args, &out, &errs); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	for args, want := range map[string][]string{
		"": {api.DefaultSocketPath}, "--nri-socket=/a --nri-socket=/b": {"/a", "/b"},
	} {
		if o, err := parse(strings.Fields(args), &errs); err != nil || !slices.Equal(o.sockets, want) {
			t.Errorf("%q: %v, %v", args, o.sockets, err)
		}
	}
}
