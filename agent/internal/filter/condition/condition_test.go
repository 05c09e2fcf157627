// SPDX-License-Identifier: Apache-2.0

package condition

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/filter/subject"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func compiler(t testing.TB) *Compiler {
	t.Helper()
	c, err := NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func exec(arguments string) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExec{ProcessExec: &tetragon.ProcessExec{
		Process: &tetragon.Process{
			Pid: wrapperspb.UInt32(7), Binary: "/usr/bin/curl", Arguments: arguments,
			Pod: &tetragon.Pod{PodLabels: map[string]string{"app": "web"}},
		},
		Ancestors: []*tetragon.Process{{Binary: "/bin/sh"}, {Binary: "/sbin/init"}},
	}}}
}

func connect(to string) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessKprobe{ProcessKprobe: &tetragon.ProcessKprobe{
		Process: &tetragon.Process{Pid: wrapperspb.UInt32(8)}, FunctionName: "tcp_connect",
		Args:   []*tetragon.KprobeArgument{{Arg: &tetragon.KprobeArgument_SockArg{SockArg: &tetragon.KprobeSock{Daddr: to, Dport: 443}}}},
		Action: tetragon.KprobeAction_KPROBE_ACTION_SIGKILL,
	}}}
}

func TestHolds(t *testing.T) {
	t.Parallel()
	c := compiler(t)
	lost := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_RateLimitInfo{RateLimitInfo: &tetragon.RateLimitInfo{NumberOfDroppedProcessEvents: 3}}}
	curl, v4, v6 := exec("-s example.org"), connect("10.1.2.3"), connect("2001:db8::1")
	const daddr = "process_kprobe.args[0].sock_arg.daddr"
	for _, test := range []struct {
		text  string
		event *tetragon.GetEventsResponse
		want  bool
	}{
		{"true", curl, true},
		{"true", &tetragon.GetEventsResponse{}, true},
		{"1 == 2", curl, false},
		{"process_exec.process.pid == 7u", curl, true},
		{"process_exec.process.pid == 8u", curl, false},
		{"process_exec.process.pid > 6 && process_exec.process.binary.endsWith('/curl')", curl, true},
		{"process_exec.process.arguments.matches('example[.]org$')", curl, true},
		{"process_exec.process.pod.pod_labels['app'] == 'web'", curl, true},
		{"process_exec.process.pod.pod_labels['none'] == 'web'", curl, false},
		{"process_exec.ancestors.exists(a, a.binary == '/sbin/init')", curl, true},
		{"process_exec.ancestors[2].binary == ''", curl, false},
		{"has(process_exec.parent)", curl, false},
		{"has(process_exec.process) && !has(process_exec.parent)", curl, true},
		{"rate_limit_info.number_of_dropped_process_events == 3u", lost, true},

		// Other types.
		{"process_exec.process.pid == 8u", v4, false},
		{"!(process_exec.process.pid == 8u)", v4, false},
		{"process_exec.process.pid != 8u", v4, false},
		{"true || process_exec.process.pid == 8u", v4, false},
		{"process_exec.process.pid == 7u || process_kprobe.process.pid == 8u", v4, true},
		{"process_exec.process.pid == 7u || process_kprobe.process.pid == 8u", curl, true},
		{"process_exec.process.pid == 7u || process_kprobe.process.pid == 8u", lost, false},
		{"process_exec.process.pid == 7u && process_kprobe.process.pid == 8u", v4, false},
		{"process_exec.process.pid == 8u", &tetragon.GetEventsResponse{}, false},
		{"process_exec.process.pid == 8u", &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExec{}}, false},

		// Enums.
		{"process_kprobe.action == KprobeAction.KPROBE_ACTION_SIGKILL", v4, true},
		{"process_kprobe.action == tetragon.KprobeAction.KPROBE_ACTION_POST", v4, false},

		// Addresses.
		{"cidr('10.0.0.0/8').containsIP(" + daddr + ")", v4, true},
		{"cidr('10.0.0.0/8').containsIP(ip(" + daddr + "))", v4, true},
		{"cidr('10.0.0.0/8').containsIP(" + daddr + ")", v6, false},
		{"cidr('2001:db8::/32').containsIP(" + daddr + ")", v6, true},
		{"cidr('10.0.0.0/8').containsIP(" + daddr + ")", connect("no address"), false},
		{"!cidr('10.0.0.0/8').containsIP(" + daddr + ")", connect("no address"), false},
		{"isIP(" + daddr + ")", v6, true},
		{"isIP(" + daddr + ")", connect("10.1.2"), false},
		{"isIP(" + daddr + ")", connect("fe80::1%eth0"), false},
		{"isCIDR(" + daddr + " + '/24')", v4, true},
		{"isCIDR(" + daddr + ")", v4, false},
		{"ip(" + daddr + ").family() == 4", v4, true},
		{"ip(" + daddr + ").family() == 6", v6, true},
		{"ip(" + daddr + ").isLoopback()", connect("127.8.8.8"), true},
		{"ip(" + daddr + ").isLoopback()", v4, false},
		{"ip(" + daddr + ").isUnspecified()", connect("::"), true},
		{"ip(" + daddr + ").isGlobalUnicast()", v4, true},
		{"ip(" + daddr + ").isGlobalUnicast()", connect("224.0.0.1"), false},
		{"ip(" + daddr + ").isLinkLocalUnicast()", connect("169.254.169.254"), true},
		{"ip(" + daddr + ").isLinkLocalMulticast()", connect("ff02::1"), true},
		{"cidr('10.0.0.0/8').containsCIDR(cidr(" + daddr + " + '/16'))", v4, true},
		{"cidr('10.1.0.0/16').containsCIDR(" + daddr + " + '/8')", v4, false},
		{"cidr(" + daddr + " + '/8').masked() == cidr('10.0.0.0/8')", v4, true},
		{"cidr(" + daddr + " + '/12').prefixLength() == 12", v4, true},
	} {
		one, err := c.Compile(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if got := one.Holds(test.event); got != test.want {
			t.Errorf("%s is %v for %v", test.text, got, test.event)
		}
	}
}

// TestEveryTypeIsAVariable holds that each type of the API can be asked about.
func TestEveryTypeIsAVariable(t *testing.T) {
	t.Parallel()
	c := compiler(t)
	for _, f := range subject.Fields() {
		one, err := c.Compile(string(f.Name()) + " == " + string(f.Message().FullName()) + "{}")
		if err != nil {
			t.Errorf("%s: %v", f.Name(), err)
			continue
		}
		e := &tetragon.GetEventsResponse{}
		e.ProtoReflect().Mutable(f)
		if !one.Holds(e) || !slices.Equal(one.Types(), []tetragon.EventType{tetragon.EventType(f.Number())}) {
			t.Errorf("%s: does not hold for its event; types %v", f.Name(), one.Types())
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	c := compiler(t)
	for text, want := range map[string]string{
		"":                          "Syntax error",
		"process_exec":              "is of type tetragon.ProcessExec: write a condition",
		"process_exec.process.pid":  "write a condition",
		"dyn(true)":                 "write a condition",
		"process_exec.proces.pid":   "undefined field 'proces' (column 13)",
		"process_exec.process == 1": "found no matching overload",
		"event == 1":                "undeclared reference to 'event'",
		"process_exec.process.binary.matches('(')":                           "invalid matches argument",
		"cidr('10.0.0.0/33').containsIP('10.0.0.1')":                         "invalid cidr argument",
		"ip('10.0.0')  == ip('10.0.0.1')":                                    "invalid ip argument",
		strings.Repeat("(", 60) + strings.Repeat(")", 60):                    "",
		"true" + strings.Repeat(" ", MaxText):                                "is 4100 bytes long, more than 4096",
		"[" + strings.Repeat("1,", 2030) + "1] == []":                        "",
		"process_exec.process.binary.matches('(a{90}){90}')":                 "",
		"[1].all(a, [1].all(b, [1].all(c, [1].all(d, a + b + c + d == 4))))": "",
	} {
		_, err := c.Compile(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80s: %v, want ...%q", text, err, want)
		}
	}
}

// TestCostIsBounded holds that an expression that takes long does not, and that a look at
// the longest of arguments is within the bound.
func TestCostIsBounded(t *testing.T) {
	t.Parallel()
	c := compiler(t)
	long := exec(strings.Repeat("a", 128<<10))
	one, err := c.Compile("process_exec.process.arguments.matches('curl|wget|a$')")
	if err != nil {
		t.Fatal(err)
	}
	if !one.Holds(long) {
		t.Error("one look at a long text is too much")
	}
	const list = "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30]"
	for _, text := range []string{
		list + ".all(a, " + list + ".all(b, " + list + ".all(c, process_exec.process.arguments.contains('b') == false)))",
		"size(" + list + ".map(a, " + list + ".map(b, process_exec.process.arguments + 'x'))) == 30",
		"process_exec.process.arguments.matches(process_exec.process.arguments)",
	} {
		one, err := c.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if one.Holds(long) {
			t.Errorf("%s was worked out", text)
		}
		if _, details, err := one.program.Eval(variables{event: long, name: "process_exec"}); err == nil {
			t.Errorf("%s has not failed: %v", text, details)
		}
	}
}

func BenchmarkHolds(b *testing.B) {
	c := compiler(b)
	one, err := c.Compile("process_exec.process.pid == 7u && process_exec.process.binary.endsWith('curl')")
	if err != nil {
		b.Fatal(err)
	}
	for name, e := range map[string]*tetragon.GetEventsResponse{"own type": exec("-s"), "another type": connect("10.1.2.3")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				one.Holds(e)
			}
		})
	}
}

// BenchmarkCost tells what the bound of the cost is in time, beside one look at a text.
func BenchmarkCost(b *testing.B) {
	c := compiler(b)
	const list = "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]"
	e := exec(strings.Repeat("a", 1<<12))
	for name, text := range map[string]string{
		"loops":       list + ".all(a, " + list + ".all(b, " + list + ".all(c, " + "a + b + c != 0 && process_exec.process.arguments != '')))" + strings.Repeat(" && "+list+".all(a, "+list+".all(b, "+list+".all(c, a + b + c != 0)))", 14),
		"expressions": list + ".all(a, " + list + ".all(b, " + list + ".all(c, process_exec.process.arguments.matches('b.*b.*c$') == false)))",
		"contains":    list + ".all(a, " + list + ".all(b, " + list + ".all(c, process_exec.process.arguments.contains('aaaaaaaab') == false)))",
		"one look":    "process_exec.process.arguments.contains('b')",
	} {
		one, err := c.Compile(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				one.Holds(e)
			}
		})
	}
}

func FuzzCondition(f *testing.F) {
	c := compiler(f)
	for _, text := range []string{
		"process_exec.process.pid == 7u", "process_exec.ancestors.exists(a, a.binary == '/sbin/init')",
		"cidr('10.0.0.0/8').containsIP(process_kprobe.args[0].sock_arg.daddr)", "process_exec.process.arguments.matches('a+$')",
		"[1, 2].map(a, a + 1) == [2, 3]", "process_kprobe.action == KprobeAction.KPROBE_ACTION_SIGKILL",
		"process_exec.process.start_time < timestamp('2020-01-01T00:00:00Z') + duration('1h')", "type(process_exec) == type(1)",
	} {
		f.Add(text)
	}
	events := []*tetragon.GetEventsResponse{exec("-s example.org"), connect("10.1.2.3"), {}}
	f.Fuzz(func(t *testing.T, text string) {
		one, err := c.Compile(text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error of more than one line: %q", err)
			}
			return
		}
		for _, e := range events {
			holds := one.Holds(e)
			if types := one.Types(); holds && len(types) > 0 && !slices.Contains(types, subject.Type(e)) {
				t.Errorf("%s holds for an event of another type", text)
			}
		}
	})
}
