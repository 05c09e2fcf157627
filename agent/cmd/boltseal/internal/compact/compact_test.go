// SPDX-License-Identifier: Apache-2.0

package compact

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const at = "2026-03-01T12:00:00.000005Z "

// hostile is text that clears the screen, forges a line and turns text around.
const hostile = "x\x1b[2J\n" + at + "exit\u202e\u009b1m"

const quoted = `x\x1b[2J\n2026-03-01T12:00:00.000005Z exit\u202e\u009b1m`

func event(e *tetragon.GetEventsResponse) *tetragon.GetEventsResponse {
	e.Time = timestamppb.New(time.Date(2026, 3, 1, 12, 0, 0, 5000, time.UTC))
	return e
}

func cat(change func(*tetragon.Process)) *tetragon.Process {
	p := &tetragon.Process{Pid: wrapperspb.UInt32(7), Binary: "/bin/cat", Arguments: "/etc/passwd"}
	if change != nil {
		change(p)
	}
	return p
}

func exec(change func(*tetragon.Process)) *tetragon.GetEventsResponse {
	return event(&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExec{
		ProcessExec: &tetragon.ProcessExec{Process: cat(change)},
	}})
}

func exit(x *tetragon.ProcessExit) *tetragon.GetEventsResponse {
	x.Process = cat(nil)
	return event(&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExit{ProcessExit: x}})
}

func act(t *tetragon.ProcessTracepoint) *tetragon.GetEventsResponse {
	t.Process = cat(nil)
	return event(&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessTracepoint{ProcessTracepoint: t}})
}

func TestLine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		event *tetragon.GetEventsResponse
		want  string
	}{
		{"exec on the host", exec(nil), at + `exec host pid=7 /bin/cat "/etc/passwd"`},
		{"exec without arguments", exec(func(p *tetragon.Process) { p.Arguments = "" }), at + `exec host pid=7 /bin/cat`},
		{"exec in a container", exec(func(p *tetragon.Process) { p.Docker = "web" }), at + `exec web pid=7 /bin/cat "/etc/passwd"`},
		{"exec in a pod", exec(func(p *tetragon.Process) {
			p.Docker = "0123"
			p.Pod = &tetragon.Pod{Namespace: "shop", Name: "cart-1", Container: &tetragon.Container{Id: "0123", Name: "cart"}}
		}), at + `exec shop/cart-1/cart pid=7 /bin/cat "/etc/passwd"`},
		{"hostile exec", exec(func(p *tetragon.Process) { p.Docker, p.Binary, p.Arguments = hostile, hostile, hostile }),
			at + `exec "` + quoted + `" pid=7 "` + quoted + `" "` + quoted + `"`},
		{"long arguments", exec(func(p *tetragon.Process) { p.Arguments = strings.Repeat("a", 300) }),
			at + `exec host pid=7 /bin/cat "` + strings.Repeat("a", 256) + `"...(300 bytes)`},
		{"nothing is known", event(&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExec{}}), at + "exec host pid=- -"},
		{"exit", exit(&tetragon.ProcessExit{Status: 3}), at + "exit host pid=7 /bin/cat status=3"},
		{"killed", exit(&tetragon.ProcessExit{Signal: "SIGKILL", Status: 9}), at + "exit host pid=7 /bin/cat signal=SIGKILL"},
		{"function", event(&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessKprobe{ProcessKprobe: &tetragon.ProcessKprobe{
			Process: &tetragon.Process{Binary: "/bin/cat", Pid: wrapperspb.UInt32(7)}, FunctionName: "security_file_open", PolicyName: "p",
			Action: tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE,
		}}}), at + "kprobe host pid=7 /bin/cat security_file_open policy=p action=override"},
		{"security hook", event(&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessLsm{ProcessLsm: &tetragon.ProcessLsm{
			Process: &tetragon.Process{Binary: "/bin/cat", Pid: wrapperspb.UInt32(7)}, FunctionName: "file_open", PolicyName: "p",
			Action: tetragon.KprobeAction_KPROBE_ACTION_SIGKILL, Message: "no",
		}}}), at + `lsm host pid=7 /bin/cat file_open policy=p action=sigkill message="no"`},
		{"tracepoint", act(&tetragon.ProcessTracepoint{
			Subsys: "syscalls", Event: "sys_enter_write", PolicyName: "p", Action: tetragon.KprobeAction_KPROBE_ACTION_POST,
			Message: hostile,
			Args: []*tetragon.KprobeArgument{
				{Arg: &tetragon.KprobeArgument_IntArg{IntArg: -1}},
				{Label: "n", Arg: &tetragon.KprobeArgument_SizeArg{SizeArg: 1 << 63}},
				{Label: hostile, Arg: &tetragon.KprobeArgument_StringArg{StringArg: hostile}},
				{Arg: &tetragon.KprobeArgument_BytesArg{BytesArg: []byte{0, 0xff}}},
				{Arg: &tetragon.KprobeArgument_BytesArg{BytesArg: make([]byte, 200)}},
				{Arg: &tetragon.KprobeArgument_PathArg{PathArg: &tetragon.KprobePath{Path: hostile}}},
				{},
			},
		}), at + `tracepoint host pid=7 /bin/cat syscalls/sys_enter_write -1 n=9223372036854775808 "` + quoted + `"="` + quoted +
			`" 0x00ff 0x` + strings.Repeat("00", 128) + `...(200 bytes) "` + quoted + `" - policy=p action=post message="` + quoted + `"`},
		{"lost", event(&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_RateLimitInfo{
			RateLimitInfo: &tetragon.RateLimitInfo{NumberOfDroppedProcessEvents: 12},
		}}), at + "lost 12 events"},
		{"throttled", event(&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessThrottle{
			ProcessThrottle: &tetragon.ProcessThrottle{Type: tetragon.ThrottleType_THROTTLE_START, Cgroup: hostile},
		}}), at + `throttle start "` + quoted + `"`},
		{"a kind without a form", event(&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessLoader{}}), at + "process_loader (see -o json)"},
		{"a kind of a newer agent", &tetragon.GetEventsResponse{}, "- unknown"},
	} {
		got := Line(test.event)
		if got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, got, test.want)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: the line has what terminals act on: %q", test.name, got)
		}
	}
}

func TestStacks(t *testing.T) {
	t.Parallel()
	e := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessKprobe{ProcessKprobe: &tetragon.ProcessKprobe{
		KernelStackTrace: []*tetragon.StackTraceEntry{{Symbol: "vfs_open", Offset: 16}, {Address: 255, Offset: 1, Module: "fs"}},
		UserStackTrace:   []*tetragon.StackTraceEntry{{Symbol: "a\x1b b", Offset: 2, Module: "/lib/c\n"}},
	}}}
	want := "  kernel:\n    vfs_open+0x10\n    0xff ?+0x1 (fs)\n  user:\n    \"a\\x1b b\"+0x2 (\"/lib/c\\n\")"
	if got := strings.Join(Stacks(e), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := Stacks(&tetragon.GetEventsResponse{}); got != nil {
		t.Errorf("of an event without any: %q", got)
	}
}

func TestTestEvent(t *testing.T) {
	t.Parallel()
	e := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_Test{Test: &tetragon.Test{Arg0: 1, Arg3: 1 << 63}}}
	if got := Line(e); got != "- test 1 0 0 9223372036854775808" {
		t.Errorf("got %s", got)
	}
}
