// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

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
	// That of one of the rules is the agent's own business.
	w.rules.known[ruleKey{3, 4, 510}] = Rule{PolicyName: "told", Subsys: "syscalls", Event: "sys_enter_openat"}
	e := siteEvent([]int{65, 510, 511}, []int{2, 65})
	e.Silent[510/64] |= 1 << (510 % 64)
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
		name                            string
		signal                          uint8
		signalled, overridden, notified []int
		want                            tetragon.KprobeAction
	}{
		{"posts", 0, nil, nil, nil, tetragon.KprobeAction_KPROBE_ACTION_POST},
		{"kills", 9, []int{1}, nil, nil, tetragon.KprobeAction_KPROBE_ACTION_SIGKILL},
		{"signals", 15, []int{1}, nil, nil, tetragon.KprobeAction_KPROBE_ACTION_SIGNAL},
		{"denies", 0, nil, []int{1}, nil, tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE},
		{"kills and denies", 9, []int{1}, []int{1}, nil, tetragon.KprobeAction_KPROBE_ACTION_SIGKILL},
		{"signals and denies", 15, []int{1}, []int{1}, nil, tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE},
		{"denies and could not kill", 9, nil, []int{1}, nil, tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE},
		{"is monitored", 9, nil, nil, nil, tetragon.KprobeAction_KPROBE_ACTION_POST},
		{"is monitored beside one that kills and denies", 9, []int{2}, []int{2}, nil, tetragon.KprobeAction_KPROBE_ACTION_POST},
		{"notifies", 0, nil, nil, []int{1}, tetragon.KprobeAction_KPROBE_ACTION_NOTIFYENFORCER},
		{"takes back", 0, nil, nil, nil, tetragon.KprobeAction_KPROBE_ACTION_CLEANUPENFORCERNOTIFICATION},
		{"takes back and notifies", 0, nil, nil, []int{1}, tetragon.KprobeAction_KPROBE_ACTION_NOTIFYENFORCER},
		{"notifies and signals", 15, []int{1}, nil, []int{1}, tetragon.KprobeAction_KPROBE_ACTION_SIGNAL},
	} {
		w := newWorld(t)
		w.rules.known[ruleKey{3, 4, 1}] = Rule{Signal: test.signal, Override: true, Unnotifies: strings.HasPrefix(test.name, "takes back")}
		e := siteEvent([]int{1}, test.signalled)
		for _, bit := range test.overridden {
			e.Overridden[bit/64] |= 1 << (bit % 64)
		}
		for _, bit := range test.notified {
			e.Notified[bit/64] |= 1 << (bit % 64)
		}
		w.Handle(e)
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
		got := newWorld(t).siteArgs(&event.Site{Regs: [bpf.WireLimitsREADS_MAX]uint64{7: word}}, []Arg{{Type: test.of, Reg: 7, String: -1}})
		if diff := cmp.Diff([]*tetragon.KprobeArgument{test.want}, got, protocmp.Transform()); diff != "" {
			t.Errorf("%v: want -, got +:\n%s", test.of, diff)
		}
	}
}

// TestArgumentsWithoutValueKeepTheirPlace: also when the rule is wrong about the record.
func TestArgumentsWithoutValueKeepTheirPlace(t *testing.T) {
	t.Parallel()
	e := &event.Site{Strings: [6]event.String{{Status: event.StringUnreadable}, {Status: event.StringTruncated}, {}}, Unreadable: 1 << 3}
	got := newWorld(t).siteArgs(e, []Arg{
		{Type: policy.ArgString, String: 0, Label: "unreadable"},
		{Type: policy.ArgString, String: 1, Label: "too long"},
		{Type: policy.ArgString, String: 2, Label: "empty"},
		{Type: policy.ArgString, String: 6, Label: "beyond"},
		{Type: policy.ArgString, String: -1, Label: "none"},
		{Type: policy.ArgInt32, Reg: int(bpf.WireLimitsREADS_MAX), Label: "beyond"},
		{Type: policy.ArgInt32, Reg: -1, Label: "none"},
		{Type: policy.ArgInt32, Reg: 3, Label: "nowhere"},
		{Type: policy.ArgInt32, Reg: 4, Label: "zero"},
	})
	want := []*tetragon.KprobeArgument{
		{Label: "unreadable"}, {Label: "too long"}, {Label: "empty", Arg: &tetragon.KprobeArgument_StringArg{}},
		{Label: "beyond"}, {Label: "none"}, {Label: "beyond"}, {Label: "none"}, {Label: "nowhere"},
		{Label: "zero", Arg: &tetragon.KprobeArgument_IntArg{}},
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

// An event of a call that has returned says what it returned and what was done then;
// one that did not wait says neither.
func TestReturnedCalls(t *testing.T) {
	t.Parallel()
	rule := Rule{
		Section: policy.Kprobes, Function: "f", Signal: 15, ReturnSignal: 9,
		Args:   []Arg{{Type: policy.ArgString, Reg: 0, String: 1}},
		Return: &Arg{Type: policy.ArgInt32, Reg: 2, String: -1, Label: "result"},
	}
	const track, untrack = tetragon.KprobeAction_KPROBE_ACTION_TRACKSOCK, tetragon.KprobeAction_KPROBE_ACTION_UNTRACKSOCK
	tracking := Rule{Section: policy.Fentries, Track: untrack, TrackReturn: track, Return: &Arg{Type: policy.ArgFD, Reg: 0, String: 1}}
	number := &tetragon.KprobeArgument{Label: "result", Arg: &tetragon.KprobeArgument_IntArg{IntArg: -1}}
	file := &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_FileArg{FileArg: &tetragon.KprobeFile{Path: "/etc/shadow"}}}
	for _, test := range []struct {
		name             string
		rule             Rule
		returned         bool
		signalled, after []int
		value            *tetragon.KprobeArgument
		action           tetragon.KprobeAction
		returnAction     tetragon.KprobeAction
	}{
		{"did not wait", rule, false, nil, nil, nil, tetragon.KprobeAction_KPROBE_ACTION_POST, tetragon.KprobeAction_KPROBE_ACTION_UNKNOWN},
		{"returned", rule, true, nil, nil, number, tetragon.KprobeAction_KPROBE_ACTION_POST, tetragon.KprobeAction_KPROBE_ACTION_POST},
		{"signalled before", rule, true, []int{1}, nil, number, tetragon.KprobeAction_KPROBE_ACTION_SIGNAL, tetragon.KprobeAction_KPROBE_ACTION_POST},
		{"killed after", rule, true, nil, []int{1}, number, tetragon.KprobeAction_KPROBE_ACTION_POST, tetragon.KprobeAction_KPROBE_ACTION_SIGKILL},
		{"tracked", tracking, true, nil, nil, file, untrack, track},
	} {
		w := newWorld(t)
		w.rules.known[ruleKey{3, 4, 1}] = test.rule
		e := siteEvent([]int{1}, test.signalled)
		e.Returned = test.returned
		for _, bit := range test.after {
			e.ReturnSignalled[bit/64] |= 1 << (bit % 64)
		}
		w.Handle(e)
		got := w.sink.take(t)[0].GetProcessKprobe()
		if diff := cmp.Diff(test.value, got.GetReturn(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: returned (-want +got):\n%s", test.name, diff)
		}
		if got.GetAction() != test.action || got.GetReturnAction() != test.returnAction {
			t.Errorf("%s: actions %s and %s, want %s and %s", test.name, got.GetAction(), got.GetReturnAction(), test.action, test.returnAction)
		}
	}
}
