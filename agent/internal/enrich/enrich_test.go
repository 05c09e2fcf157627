// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"errors"
	"math"
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
	"github.com/boltseal/boltseal/agent/internal/policy"
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

func hostProcess(w *world) *tetragon.Process {
	p, _ := w.Processes.Get(process.Key{Tgid: 100, Start: 100 * second})
	return &tetragon.Process{
		ExecId: p.ExecID, ParentExecId: p.ParentExecID, Pid: wrapperspb.UInt32(100), Tid: wrapperspb.UInt32(100),
		Uid: wrapperspb.UInt32(7), Auid: wrapperspb.UInt32(8), Binary: "/usr/bin/runc", Arguments: "start", Cwd: "/",
		Flags: "execve rootcwd", StartTime: at(101 * second),
	}
}

func podMessage() *tetragon.Pod {
	c := inPod()
	return &tetragon.Pod{
		Namespace: "prod", Name: "web-1", Uid: "u-1", PodLabels: c.Pod.Labels, PodAnnotations: c.Pod.Annotations,
		Container: &tetragon.Container{
			Id: c.ID, Name: "web", Image: &tetragon.Image{Id: c.Image, Name: c.Image}, StartTime: timestamppb.New(c.Added),
		},
	}
}

func containerProcess(w *world) *tetragon.Process {
	p, _ := w.Processes.Get(process.Key{Tgid: 200, Start: 200 * second})
	return &tetragon.Process{
		ExecId: p.ExecID, ParentExecId: hostProcess(w).ExecId, Pid: wrapperspb.UInt32(200), Tid: wrapperspb.UInt32(200),
		Uid: wrapperspb.UInt32(7), Auid: wrapperspb.UInt32(8), Binary: "/bin/sh", Arguments: `-c "a b"`, Cwd: "/srv",
		Flags: "execve clone", StartTime: at(201 * second), Docker: "0123456789012345678901234567890", Pod: podMessage(),
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
		bpf.WireExecFlagsEXEC_CWD_TRUNCATED:    "execve errorCWD",
		bpf.WireExecFlagsEXEC_ARGS_UNREADABLE:  "execve errorArgs",
	} {
		e := &event.Exec{Header: head(100*second, 90, 0, 0), Flags: flag, Cwd: "/x"}
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

func killRule() Rule {
	return Rule{
		PolicyName: "no-shadow", PolicyNamespace: "ns", Subsys: "syscalls", Event: "sys_enter_openat", Message: "msg",
		Tags: []string{"t1", "t2"}, Signal: 9,
		Args: []Arg{
			{Type: policy.ArgString, Reg: 6, String: 1, Label: "path"},
			{Type: policy.ArgInt32, Reg: 2, String: -1},
		},
	}
}

func siteEvent(posted, signalled []int) *event.Site {
	e := &event.Site{Header: head(500*second, 200, 5, 50), Site: 3, Version: 4}
	for _, bit := range posted {
		e.Posted[bit/64] |= 1 << (bit % 64)
	}
	for _, bit := range signalled {
		e.Signalled[bit/64] |= 1 << (bit % 64)
	}
	e.Regs[2], e.Strings[1].Value = math.MaxUint64, "/etc/shadow"
	return e
}

func TestSiteMakesOneMessageForEachPostedRule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(t)
	w.rules.known[ruleKey{3, 4, 65}] = killRule()
	w.rules.known[ruleKey{3, 4, 511}] = Rule{PolicyName: "log", Subsys: "syscalls", Event: "sys_enter_openat"}
	w.rules.known[ruleKey{3, 4, 2}] = Rule{PolicyName: "silent", Signal: 9}
	e := siteEvent([]int{65, 511}, []int{2, 65})
	e.Tid = 201
	w.Handle(e)
	p := containerProcess(w)
	p.Tid = wrapperspb.UInt32(201)
	message := func(m *tetragon.ProcessTracepoint) *tetragon.GetEventsResponse {
		m.Process, m.Parent, m.Subsys, m.Event = p, hostProcess(w), "syscalls", "sys_enter_openat"
		return &tetragon.GetEventsResponse{
			NodeName: "node", Time: at(500 * second), Event: &tetragon.GetEventsResponse_ProcessTracepoint{ProcessTracepoint: m},
		}
	}
	w.want(t,
		message(&tetragon.ProcessTracepoint{
			PolicyName: "no-shadow", Message: "msg", Tags: []string{"t1", "t2"}, Action: tetragon.KprobeAction_KPROBE_ACTION_SIGKILL,
			Args: []*tetragon.KprobeArgument{
				{Label: "path", Arg: &tetragon.KprobeArgument_StringArg{StringArg: "/etc/shadow"}},
				{Arg: &tetragon.KprobeArgument_IntArg{IntArg: -1}},
			},
		}),
		message(&tetragon.ProcessTracepoint{PolicyName: "log", Action: tetragon.KprobeAction_KPROBE_ACTION_POST}),
	)
}

func TestActionIsWhatWasDone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		signal    uint8
		signalled []int
		want      tetragon.KprobeAction
	}{
		{"posts", 0, nil, tetragon.KprobeAction_KPROBE_ACTION_POST},
		{"kills", 9, []int{1}, tetragon.KprobeAction_KPROBE_ACTION_SIGKILL},
		{"signals", 15, []int{1}, tetragon.KprobeAction_KPROBE_ACTION_SIGNAL},
		{"is monitored", 9, nil, tetragon.KprobeAction_KPROBE_ACTION_POST},
		{"is monitored beside one that kills", 9, []int{2}, tetragon.KprobeAction_KPROBE_ACTION_POST},
	} {
		w := newWorld(t)
		w.rules.known[ruleKey{3, 4, 1}] = Rule{Signal: test.signal}
		w.Handle(siteEvent([]int{1}, test.signalled))
		if got := w.sink.take(t)[0].GetProcessTracepoint().GetAction(); got != test.want {
			t.Errorf("a rule that %s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestIntegers(t *testing.T) {
	t.Parallel()
	const word = 0xfedcba9876543281
	for _, test := range []struct {
		of   policy.ArgType
		want *tetragon.KprobeArgument
	}{
		{policy.ArgInt8, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_IntArg{IntArg: -0x7f}}},
		{policy.ArgInt16, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_IntArg{IntArg: 0x3281}}},
		{policy.ArgInt32, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_IntArg{IntArg: 0x76543281}}},
		{policy.ArgInt64, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_LongArg{LongArg: -0x123456789abcd7f}}},
		{policy.ArgUint8, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_UintArg{UintArg: 0x81}}},
		{policy.ArgUint16, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_UintArg{UintArg: 0x3281}}},
		{policy.ArgUint32, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_UintArg{UintArg: 0x76543281}}},
		{policy.ArgUint64, &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_SizeArg{SizeArg: word}}},
	} {
		got := siteArgs(&event.Site{Regs: [8]uint64{7: word}}, []Arg{{Type: test.of, Reg: 7, String: -1}})
		if diff := cmp.Diff([]*tetragon.KprobeArgument{test.want}, got, protocmp.Transform()); diff != "" {
			t.Errorf("%v: want -, got +:\n%s", test.of, diff)
		}
	}
}

// TestArgumentsWithoutValueKeepTheirPlace: also when the rule is wrong about the record.
func TestArgumentsWithoutValueKeepTheirPlace(t *testing.T) {
	t.Parallel()
	e := &event.Site{Strings: [5]event.String{{Status: event.StringUnreadable}, {Status: event.StringTruncated}, {}}}
	got := siteArgs(e, []Arg{
		{Type: policy.ArgString, String: 0, Label: "unreadable"},
		{Type: policy.ArgString, String: 1, Label: "too long"},
		{Type: policy.ArgString, String: 2, Label: "empty"},
		{Type: policy.ArgString, String: 5, Label: "beyond"},
		{Type: policy.ArgString, String: -1, Label: "none"},
		{Type: policy.ArgInt32, Reg: 8, Label: "beyond"},
		{Type: policy.ArgInt32, Reg: -1, Label: "none"},
	})
	want := []*tetragon.KprobeArgument{
		{Label: "unreadable"}, {Label: "too long"}, {Label: "empty", Arg: &tetragon.KprobeArgument_StringArg{}},
		{Label: "beyond"}, {Label: "none"}, {Label: "beyond"}, {Label: "none"},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestUnknownRulesAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.known[ruleKey{3, 4, 1}] = killRule()
	w.Handle(siteEvent([]int{0, 1}, nil))
	if n := len(w.sink.take(t)); n != 1 || w.Unresolved() != 1 {
		t.Errorf("%d messages, %d unresolved", n, w.Unresolved())
	}
	// The one that is known is not asked for again, the other one is.
	w.rules.known[ruleKey{3, 4, 0}] = killRule()
	w.Handle(siteEvent([]int{0, 1}, nil))
	if n := len(w.sink.take(t)); n != 2 || w.rules.asked != 3 {
		t.Errorf("%d messages, rules were asked for %d times", n, w.rules.asked)
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

func TestUnknownProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.known[ruleKey{3, 4, 1}] = killRule()
	w.Handle(siteEvent([]int{1}, nil))
	got := w.sink.take(t)[0].GetProcessTracepoint()
	if got.GetProcess().GetFlags() != "miss" || got.GetProcess().GetPid().GetValue() != 200 || got.GetProcess().GetUid().GetValue() != 7 ||
		got.GetProcess().GetPod().GetName() != "web-1" || got.Parent != nil {
		t.Errorf("%v", got)
	}
}

func TestContainers(t *testing.T) {
	t.Parallel()
	plain := &container.Container{ID: "short", Name: "plain", Slot: 6, CgroupID: 60, Late: true, Added: boot}
	untagged := &container.Container{ID: "x", Name: "x", Image: "busybox:1", Slot: 7, CgroupID: 70}
	for _, test := range []struct {
		name   string
		slot   uint32
		cgroup uint64
		docker string
		pod    *tetragon.Pod
	}{
		{"by slot, wherever the process is", 5, 60, "0123456789012345678901234567890", podMessage()},
		{"by cgroup, for one without a seal", 0, 50, "0123456789012345678901234567890", podMessage()},
		{"by cgroup, when there was no slot", 1, 50, "0123456789012345678901234567890", podMessage()},
		{"in no pod, late", 6, 60, "short", &tetragon.Pod{Container: &tetragon.Container{Id: "short", Name: "plain"}}},
		{
			"without a time", 7, 70, "x",
			&tetragon.Pod{Container: &tetragon.Container{Id: "x", Name: "x", Image: &tetragon.Image{Name: "busybox:1"}}},
		},
		{"host", 0, 9, "", nil},
		{"host, cgroup not known", 0, 0, "", nil},
		{"slot of a container that nobody told of", 77, 770, "", nil},
	} {
		w := newWorld(t)
		for _, c := range []*container.Container{plain, untagged} {
			if err := w.containers.Put(c); err != nil {
				t.Fatal(err)
			}
		}
		w.Handle(&event.Exec{Header: head(100*second, 90, test.slot, test.cgroup)})
		got := w.sink.take(t)[0].GetProcessExec().GetProcess()
		if diff := cmp.Diff(test.pod, got.GetPod(), protocmp.Transform()); diff != "" || got.GetDocker() != test.docker {
			t.Errorf("%s: docker %q, pod want -, got +:\n%s", test.name, got.GetDocker(), diff)
		}
	}
}

// TestContainerIsThatOfTheEvent: a process of a container that is sealed late has
// been known before, without a container.
func TestContainerIsThatOfTheEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(t)
	w.rules.known[ruleKey{3, 4, 1}] = killRule()
	e := siteEvent([]int{1}, nil)
	e.Tgid, e.Start, e.CgroupID = 100, 100*second, 51
	w.Handle(e)
	if got := w.sink.take(t)[0].GetProcessTracepoint().GetProcess(); got.GetBinary() != "/usr/bin/runc" || got.GetPod().GetName() != "web-1" {
		t.Errorf("%v", got)
	}
}

// TestMessagesFollowTheRegistry: a container that becomes known late is in all
// messages from then on.
func TestMessagesFollowTheRegistry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.known[ruleKey{3, 4, 1}] = killRule()
	name := func() string {
		w.Handle(siteEvent([]int{1}, nil))
		return w.sink.take(t)[0].GetProcessTracepoint().GetProcess().GetPod().GetContainer().GetName()
	}
	before := name()
	renamed := *inPod()
	renamed.Name = "renamed"
	if err := w.containers.Put(&renamed); err != nil {
		t.Fatal(err)
	}
	if after := name(); before != "web" || after != "renamed" {
		t.Errorf("%q, then %q", before, after)
	}
}

func TestBytesThatAreNoText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rule := killRule()
	rule.Message, rule.Tags[0], rule.Args[0].Label = "m\xe2\x82", "t\xff", "l\xff"
	w.rules.known[ruleKey{3, 4, 1}] = rule
	bad := &container.Container{
		ID: "\xffid", Name: "\xff", Image: "\xff", Slot: 8, CgroupID: 80,
		Pod: &container.Pod{Name: "\xff", Namespace: "\xff", UID: "\xff", Labels: map[string]string{"\xff": "\xff"}},
	}
	if err := w.containers.Put(bad); err != nil {
		t.Fatal(err)
	}
	w.Handle(&event.Exec{Header: head(100*second, 200, 8, 80), Binary: "/\xff", Args: []string{"\xff", "a\xffb", "\xe2\x82"}, Cwd: "/\xc0"})
	e := siteEvent([]int{1}, nil)
	e.Strings[1].Value = "/etc/\xed\xa0\x80"
	w.Handle(e)
	messages := w.sink.take(t) // marshals them
	if got := messages[0].GetProcessExec().GetProcess(); got.GetArguments() != "a\uFFFDb \uFFFD" || got.GetBinary() != "/\uFFFD" {
		t.Errorf("%v", got)
	}
	if got := messages[1].GetProcessTracepoint().GetArgs()[0].GetStringArg(); got != "/etc/\uFFFD" {
		t.Errorf("%q", got)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"sh"}, ""},
		{[]string{"sh", "-c", "a b"}, `-c "a b"`},
		{[]string{"sh", "", "\t", `"`}, "\"\" \"\t\" \""},
	} {
		if got := arguments(test.args); got != test.want {
			t.Errorf("%q: %q, want %q", test.args, got, test.want)
		}
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
	fork := &event.Fork{Header: head(200*second, 200, 5, 50), Parent: childOf(100)}
	exec := &event.Exec{Header: head(201*second, 200, 5, 50), Parent: childOf(100), Binary: "/bin/sh", Args: []string{"sh", "-c", "true"}, Cwd: "/"}
	exit := &event.Exit{Header: head(202*second, 200, 5, 50)}
	b.Run("site", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.Handle(site)
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
