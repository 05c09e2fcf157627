// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

const second = uint64(time.Second)

var boot = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is the wall time of ns since boot.
func at(ktime uint64) *timestamppb.Timestamp { return timestamppb.New(boot.Add(time.Duration(ktime))) }

// sink keeps what is published.
type sink struct {
	idle     bool
	messages []*tetragon.GetEventsResponse
}

func (s *sink) Active() bool                          { return !s.idle }
func (s *sink) Publish(m *tetragon.GetEventsResponse) { s.messages = append(s.messages, m) }

// take empties the sink. Each message must be fit for the wire.
func (s *sink) take(t *testing.T) []*tetragon.GetEventsResponse {
	t.Helper()
	for _, m := range s.messages {
		if _, err := proto.Marshal(m); err != nil {
			t.Errorf("marshal %v: %v", m, err)
		}
	}
	defer func() { s.messages = nil }()
	return s.messages
}

// rules resolves from a map and counts.
type rules struct {
	known map[ruleKey]Rule
	asked int
}

func (r *rules) Resolve(site, version uint32, bit int) (Rule, bool) {
	r.asked++
	rule, ok := r.known[ruleKey{site, version, bit}]
	return rule, ok
}

// world is an enricher with a container in slot 5.
type world struct {
	*Enricher
	sink       *sink
	rules      *rules
	containers *container.Registry
	boot       time.Time
	bootErr    error
}

func inPod() *container.Container {
	return &container.Container{
		ID: strings.Repeat("0123456789", 7), Name: "web", Image: "registry/web:1@sha256:ab", Slot: 5, CgroupID: 50,
		Added: boot.Add(time.Hour),
		Pod: &container.Pod{
			Name: "web-1", Namespace: "prod", UID: "u-1", Labels: map[string]string{"app": "web"},
			Annotations: map[string]string{"a": "b"},
		},
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{sink: &sink{}, rules: &rules{known: map[ruleKey]Rule{}}, containers: container.New(0), boot: boot}
	if err := w.containers.Put(inPod()); err != nil {
		t.Fatal(err)
	}
	var err error
	w.Enricher, err = New(Options{
		Node: "node", Processes: process.New(process.Options{Node: "node"}), Containers: w.containers, Rules: w.rules,
		Sink: w.sink, BootTime: func() (time.Time, error) { return w.boot, w.bootErr },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func head(ktime uint64, tgid uint32, slot uint32, cgroup uint64) event.Header {
	return event.Header{
		Ktime: ktime, Tgid: tgid, Tid: tgid, Start: uint64(tgid) * second, Slot: slot, UID: 7, CgroupID: cgroup,
	}
}

func childOf(tgid uint32) event.Parent { return event.Parent{Tgid: tgid, Start: uint64(tgid) * second} }

// start makes process 100 the host's and 200 its child in the container.
func (w *world) start(t *testing.T) {
	t.Helper()
	w.Handle(&event.Exec{
		Header: head(101*second, 100, 0, 9), Parent: childOf(1), AUID: 8, Binary: "/usr/bin/runc", Args: []string{"runc", "start"}, Cwd: "/",
	})
	w.Handle(&event.Fork{Header: head(200*second, 200, 5, 50), Parent: childOf(100)})
	w.Handle(&event.Exec{
		Header: head(201*second, 200, 5, 50), Parent: childOf(100), AUID: 8, Binary: "/bin/sh", Args: []string{"sh", "-c", "a b"}, Cwd: "/srv",
	})
	if n := len(w.sink.take(t)); !w.sink.idle && n != 2 {
		t.Fatalf("%d messages of two execs and a fork", n)
	}
}

// refs is how many use a value, as the cache tells.
func (w *world) refs(p *process.Process) uint32 { return w.Processes.Line(p, false, nil)[0].Refs }

func hostProcess(w *world) *tetragon.Process {
	p, _ := w.Processes.Get(process.Key{Tgid: 100, Start: 100 * second})
	return &tetragon.Process{
		ExecId: p.ExecID, ParentExecId: p.ParentExecID, Pid: wrapperspb.UInt32(100), Tid: wrapperspb.UInt32(100),
		Uid: wrapperspb.UInt32(7), Auid: wrapperspb.UInt32(8), Binary: "/usr/bin/runc", Arguments: "start", Cwd: "/",
		Flags: "execve rootcwd", StartTime: at(101 * second), Refcnt: w.refs(p),
	}
}

func containerProcess(w *world) *tetragon.Process {
	p, _ := w.Processes.Get(process.Key{Tgid: 200, Start: 200 * second})
	return &tetragon.Process{
		ExecId: p.ExecID, ParentExecId: hostProcess(w).ExecId, Pid: wrapperspb.UInt32(200), Tid: wrapperspb.UInt32(200),
		Uid: wrapperspb.UInt32(7), Auid: wrapperspb.UInt32(8), Binary: "/bin/sh", Arguments: `-c "a b"`, Cwd: "/srv",
		Flags: "execve clone", StartTime: at(201 * second), Docker: "0123456789012345678901234567890", Pod: podMessage(),
		Refcnt: w.refs(p),
	}
}

func (w *world) want(t *testing.T, want ...*tetragon.GetEventsResponse) {
	t.Helper()
	if diff := cmp.Diff(want, w.sink.take(t), protocmp.Transform()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(t)
	w.Handle(&event.Exec{
		Header: head(300*second, 200, 5, 50), Parent: childOf(100), AUID: 8, Binary: "/bin/sh", Args: []string{"sh", "-c", "a b"}, Cwd: "/srv",
	})
	p := containerProcess(w)
	p.Flags, p.StartTime = "execve", at(300*second)
	w.want(t, &tetragon.GetEventsResponse{
		NodeName: "node", Time: at(300 * second),
		Event: &tetragon.GetEventsResponse_ProcessExec{ProcessExec: &tetragon.ProcessExec{Process: p, Parent: hostProcess(w)}},
	})
}

func TestExecFlags(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for flag, want := range map[bpf.WireExecFlags]string{
		bpf.WireExecFlagsEXEC_BINARY_TRUNCATED: "execve errorFilename",
		bpf.WireExecFlagsEXEC_ARGS_TRUNCATED:   "execve truncArgs",
		bpf.WireExecFlagsEXEC_CWD_TRUNCATED:    "execve errorCWD errorPathResolutionCwd",
		bpf.WireExecFlagsEXEC_CWD_UNREADABLE:   "execve errorCWD",
		bpf.WireExecFlagsEXEC_ENV_TRUNCATED:    "execve errorEnvs",
		bpf.WireExecFlagsEXEC_ENV_UNREADABLE:   "execve errorEnvs",
		bpf.WireExecFlagsEXEC_ARGS_UNREADABLE:  "execve errorArgs",
	} {
		e := &event.Exec{Header: head(100*second, 90, 0, 9), Flags: flag, Cwd: "/x"}
		if flag == bpf.WireExecFlagsEXEC_CWD_TRUNCATED {
			e.Cwd = ""
		}
		w.Handle(e)
		if got := w.sink.take(t)[0].GetProcessExec().GetProcess().GetFlags(); got != want {
			t.Errorf("flags %q, want %q", got, want)
		}
	}
}

func TestExit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		code   uint32
		signal string
		status uint32
	}{{0, "", 0}, {0x0300, "", 3}, {0xff00, "", 255}, {9, "SIGKILL", 0}, {0x8b, "SIGSEGV", 0}, {40, "SIG40", 0}} {
		w := newWorld(t)
		w.start(t)
		exit := &event.Exit{Header: head(400*second, 200, 5, 50), Code: test.code}
		w.Handle(exit)
		w.Handle(exit) // two threads ended at once
		w.want(t, &tetragon.GetEventsResponse{
			NodeName: "node", Time: at(400 * second),
			Event: &tetragon.GetEventsResponse_ProcessExit{ProcessExit: &tetragon.ProcessExit{
				Process: containerProcess(w), Parent: hostProcess(w), Signal: test.signal, Status: test.status, Time: at(400 * second),
			}},
		})
	}
}

// TestCacheIsFedWhileNobodyListens: the first message after is complete.
func TestCacheIsFedWhileNobodyListens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sink.idle = true
	w.start(t)
	w.rules.known[ruleKey{3, 4, 1}] = killRule()
	w.Handle(siteEvent([]int{1}, nil))
	w.Handle(&event.Exit{Header: head(1, 900, 0, 0)})
	if n := len(w.sink.take(t)); n != 0 || w.rules.asked != 0 {
		t.Errorf("%d messages, %d rules asked for", n, w.rules.asked)
	}
	w.sink.idle = false
	w.Handle(&event.Exit{Header: head(400*second, 200, 5, 50)})
	got := w.sink.take(t)[0].GetProcessExit()
	if diff := cmp.Diff(containerProcess(w), got.GetProcess(), protocmp.Transform()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if diff := cmp.Diff(hostProcess(w), got.GetParent(), protocmp.Transform()); diff != "" {
		t.Errorf("parent: want -, got +:\n%s", diff)
	}
}

func TestClockIsAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	shown := func(ktime uint64) (exit, start time.Duration) {
		w.Handle(&event.Exec{Header: head(10*second, 90, 0, 0)})
		w.Handle(&event.Exit{Header: head(ktime, 90, 0, 0)})
		messages := w.sink.take(t)
		m := messages[len(messages)-1]
		return m.GetTime().AsTime().Sub(boot), m.GetProcessExit().GetProcess().GetStartTime().AsTime().Sub(boot)
	}
	shown(100 * second)
	w.boot = boot.Add(time.Minute)
	if exit, _ := shown(101 * second); exit != 101*time.Second {
		t.Errorf("at once: %v", exit)
	}
	if exit, start := shown(200 * second); exit != 260*time.Second || start != 70*time.Second {
		t.Errorf("later: %v, %v", exit, start)
	}
	w.boot, w.bootErr = time.Time{}, errors.New("no clock")
	if exit, _ := shown(300 * second); exit != 360*time.Second {
		t.Errorf("without an answer: %v", exit)
	}
	if _, err := New(Options{BootTime: func() (time.Time, error) { return w.boot, w.bootErr }}); !errors.Is(err, w.bootErr) {
		t.Errorf("error %v", err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.known = nil
	for n := range uint32(maxProcesses + 10) {
		w.rules.known = map[ruleKey]Rule{{n, 4, 1}: {}}
		e := siteEvent([]int{1}, nil)
		e.Site, e.Tgid = n, n+1000
		w.Handle(e)
		w.sink.messages = w.sink.messages[:0]
	}
	if len(w.processes) > maxProcesses || len(w.Enricher.rules) > maxRules {
		t.Errorf("%d processes, %d rules", len(w.processes), len(w.Enricher.rules))
	}
}

func TestOtherEventsMakeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, e := range []event.Event{&event.CgroupSealed{}, &event.CgroupGone{}, &event.TaskUnsealed{}, &event.Armed{}} {
		w.Handle(e)
	}
	if got := w.sink.take(t); len(got) != 0 || w.Processes.Stats().Size != 0 {
		t.Errorf("%v", got)
	}
}

// discard is a sink without memory.
type discard struct{}

func (discard) Active() bool                        { return true }
func (discard) Publish(*tetragon.GetEventsResponse) {}

func BenchmarkHandle(b *testing.B) {
	w := newWorld(b)
	w.Sink = discard{}
	w.rules.known[ruleKey{3, 4, 1}] = killRule()
	site := siteEvent([]int{1}, []int{1})
	var eight []int
	for bit := 8; bit < 16; bit++ {
		w.rules.known[ruleKey{3, 4, bit}] = killRule()
		eight = append(eight, bit)
	}
	fork := &event.Fork{Header: head(200*second, 200, 5, 50), Parent: childOf(100)}
	exec := &event.Exec{Header: head(201*second, 200, 5, 50), Parent: childOf(100), Binary: "/bin/sh", Args: []string{"sh", "-c", "true"}, Cwd: "/"}
	exit := &event.Exit{Header: head(202*second, 200, 5, 50)}
	b.Run("site", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.Handle(site)
		}
	})
	b.Run("site_eight_rules", func(b *testing.B) {
		of := siteEvent(eight, eight)
		b.ReportAllocs()
		for b.Loop() {
			w.Handle(of)
		}
	})
	b.Run("fork_exec_exit", func(b *testing.B) {
		b.ReportAllocs()
		for n := uint32(300); b.Loop(); n++ {
			f, e, x := *fork, *exec, *exit
			for _, h := range []*event.Header{&f.Header, &e.Header, &x.Header} {
				h.Tgid, h.Tid, h.Start = n, n, uint64(n)*10_000_000
				h.Ktime = h.Start + 1
			}
			w.Handle(&f)
			w.Handle(&e)
			w.Handle(&x)
		}
	})
	if w.Unresolved() != 0 {
		b.Error("unresolved rules")
	}
}

func TestClusterIsInMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Cluster, w.NodeLabels = "c", map[string]string{"zone": "a"}
	w.Handle(&event.Exec{Header: head(101*second, 100, 0, 9), Parent: childOf(1), Binary: "/bin/true"})
	if m := w.sink.take(t); len(m) != 1 || m[0].ClusterName != "c" || m[0].NodeLabels["zone"] != "a" || m[0].NodeName != "node" {
		t.Errorf("%v", m)
	}
}
