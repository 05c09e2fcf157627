// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// try is one program in a container and the status that it ends with.
type try struct {
	status int
	args   []string
}

// exits is a program that ends with a status, as sys_enter_exit_group sees it.
func exits(want, status int) try {
	return try{want, []string{"/bin/sh", "-c", fmt.Sprintf("exit %d", status)}}
}

// opens is a program of busybox that opens one file.
func opens(want int, path string) try { return try{want, []string{"/bin/cat", path}} }

// killed is the status of what SIGKILL ended.
const killed = 128 + 9

// waitForEvent is how long an event may take to its reader on a busy machine.
const waitForEvent = 10 * time.Second

// filterCase is one kind of filter with acts on both sides of it.
type filterCase struct {
	name   string
	points []agentenv.Tracepoint
	tries  []try
}

// exitCode is a tracepoint with the status of exit_group as an argument.
func exitCode(kind, filter, action string) []agentenv.Tracepoint {
	return []agentenv.Tracepoint{{
		Event: "sys_enter_exit_group", Args: fmt.Sprintf("[{index: 5, type: %s}]", kind),
		Selectors: fmt.Sprintf("[{matchArgs: [{args: [0], %s}], matchActions: [%s]}]", filter, action),
	}}
}

// filename is the opens of files with their names as an argument.
func filename(filter string) []agentenv.Tracepoint {
	return agentenv.Opens(fmt.Sprintf("[{matchArgs: [{args: [0], %s}], matchActions: [{action: Sigkill}]}]", filter))
}

// shadowBy is opens of one file by programs that a filter selects.
func shadowBy(binaries string) []agentenv.Tracepoint {
	return agentenv.Opens(fmt.Sprintf("[{matchArgs: [{args: [0], operator: Equal, values: [/etc/shadow]}], "+
		"matchBinaries: [%s], matchActions: [{action: Sigkill}]}]", binaries))
}

// processes is programs that end with status 3, of processes that a filter selects.
func processes(filter string) []agentenv.Tracepoint {
	return []agentenv.Tracepoint{{
		Event: "sys_enter_exit_group", Args: "[{index: 5, type: int}]",
		Selectors: "[{matchArgs: [{args: [0], operator: Equal, values: [3]}], " + filter + ", matchActions: [{action: Sigkill}]}]",
	}}
}

func filterCases() []filterCase {
	const sigkill = "{action: Sigkill}"
	read := func(want int, path string) try { return try{want, []string{testenv.ActorPath, "read", path}} }
	return []filterCase{
		{"Equal", exitCode("int", "operator: Equal, values: [42, 0x2c]", sigkill), []try{
			exits(killed, 42), exits(killed, 44), exits(43, 43), exits(0, 0)}},
		{"NotEqual", exitCode("int", "operator: NotEqual, values: [0, 7]", sigkill), []try{
			exits(0, 0), exits(7, 7), exits(killed, 1), exits(killed, 8)}},
		{"GT", exitCode("int", "operator: GT, values: [42]", sigkill), []try{exits(42, 42), exits(killed, 43), exits(0, 0)}},
		{"LT", exitCode("int", "operator: LT, values: [42]", sigkill), []try{exits(42, 42), exits(killed, 41), exits(killed, 0)}},
		{"GT of an unsigned", exitCode("uint32", "operator: GreaterThan, values: [42]", sigkill), []try{exits(42, 42), exits(killed, 100)}},
		{"LT of a wide one", exitCode("uint64", "operator: LessThan, values: [42]", sigkill), []try{exits(42, 42), exits(killed, 41)}},
		{"InRange", exitCode("int", "operator: InRange, values: [\"10:20\"]", sigkill), []try{
			exits(9, 9), exits(killed, 10), exits(killed, 20), exits(21, 21)}},
		{"Equal of a string", filename("operator: Equal, values: [/etc/passwd, /etc/group]"), []try{
			opens(killed, "/etc/passwd"), opens(killed, "/etc/group"), opens(0, "/etc/hostname"), opens(1, "/etc/passwd2")}},
		{"NotEqual of a string", filename("operator: NotEqual, values: [/etc/passwd, /etc/group]"), []try{
			opens(0, "/etc/passwd"), opens(0, "/etc/group"), opens(killed, "/etc/hostname"), opens(killed, "/etc/passwd2")}},
		{"Prefix", filename("operator: Prefix, values: [/etc/pass, /proc/]"), []try{
			opens(killed, "/etc/passwd"), opens(killed, "/proc/version"), opens(0, "/etc/hostname"), opens(1, "/proc")}},
		{"NotPrefix", filename("operator: NotPrefix, values: [/etc/pass]"), []try{opens(0, "/etc/passwd"), opens(killed, "/etc/hostname")}},
		{"Postfix", filename("operator: Postfix, values: [wd, /group]"), []try{
			opens(killed, "/etc/passwd"), opens(killed, "/proc/self/root/etc/group"), opens(0, "/etc/hostname"), opens(1, "/agroup")}},
		{"NotPostfix", filename("operator: NotPostfix, values: [wd]"), []try{opens(0, "/etc/passwd"), opens(killed, "/etc/hostname")}},
		{"In", shadowBy("{operator: In, values: [/bin/busybox]}"), []try{
			opens(killed, "/etc/shadow"), read(0, "/etc/shadow"), opens(0, "/etc/hostname")}},
		{"NotIn", shadowBy("{operator: NotIn, values: [/bin/busybox, /bin/none]}"), []try{
			opens(0, "/etc/shadow"), read(killed, "/etc/shadow"), read(0, "/etc/hostname")}},
		{"Prefix of the binary", shadowBy("{operator: Prefix, values: [/bin/act]}"), []try{
			opens(0, "/etc/shadow"), read(killed, "/etc/shadow"), read(0, "/etc/hostname")}},
		{"NotPostfix of the binary", shadowBy("{operator: NotPostfix, values: [/busybox]}"), []try{
			opens(0, "/etc/shadow"), read(killed, "/etc/shadow"), read(0, "/etc/hostname")}},
		{"process 1 of its namespace", processes("matchPIDs: [{operator: In, values: [1], isNamespacePID: true}]"), []try{exits(3, 3)}},
		{"not process 1 of its namespace", processes("matchPIDs: [{operator: NotIn, values: [1], isNamespacePID: true}]"), []try{exits(killed, 3)}},
		{"pid of another", processes("matchPIDs: [{operator: In, values: [1]}]"), []try{exits(3, 3)}},
		{"host's pid namespace", processes("matchNamespaces: [{namespace: Pid, operator: In, values: [host_ns]}]"), []try{exits(3, 3)}},
		{"an uts namespace of its own", processes("matchNamespaces: [{namespace: Uts, operator: NotIn, values: [host_ns]}]"), []try{exits(killed, 3)}},
		{"capability that it has", processes("matchCapabilities: [{type: Effective, operator: In, values: [CAP_SYS_TIME, CAP_CHOWN]}]"), []try{exits(killed, 3)}},
		{"capability that it has not", processes("matchCapabilities: [{type: Permitted, operator: In, values: [CAP_SYS_TIME]}]"), []try{exits(3, 3)}},
		{"no such capability", processes("matchCapabilities: [{type: Permitted, operator: NotIn, values: [CAP_SYS_TIME]}]"), []try{exits(killed, 3)}},
		{"a filter of two arguments", []agentenv.Tracepoint{{
			Event: "sys_enter_kill", Args: "[{index: 5, type: int}, {index: 6, type: int}]",
			Selectors: "[{matchArgs: [{args: [0], operator: Equal, values: [1]}, {args: [1], operator: Equal, values: [0]}], " +
				"matchActions: [{action: Sigkill}]}]",
		}}, []try{
			{killed, []string{"/bin/sh", "-c", "kill -0 1; exit 3"}},
			{3, []string{"/bin/sh", "-c", "kill -0 $$; exit 3"}},
			{3, []string{"/bin/sh", "-c", "kill -CONT 1; exit 3"}}}},
		{"one selector or another", []agentenv.Tracepoint{{
			Event: "sys_enter_exit_group", Args: "[{index: 5, type: int}]",
			Selectors: "[{matchArgs: [{args: [0], operator: Equal, values: [1]}], matchActions: [{action: Sigkill}]}, " +
				"{matchArgs: [{args: [0], operator: GT, values: [100]}], matchActions: [{action: Signal, argSig: 15}]}]",
		}}, []try{exits(killed, 1), exits(2, 2), exits(128+15, 101)}},
		{"the first selector that matches", []agentenv.Tracepoint{{
			Event: "sys_enter_exit_group", Args: "[{index: 5, type: int}]",
			Selectors: "[{matchArgs: [{args: [0], operator: Equal, values: [1]}], matchActions: [{action: NoPost}]}, " +
				"{matchArgs: [{args: [0], operator: LT, values: [100]}], matchActions: [{action: Sigkill}]}]",
		}}, []try{exits(1, 1), exits(killed, 2), exits(killed, 0)}},
		{"Signal", exitCode("int", "operator: Equal, values: [42]", "{action: Signal, argSig: 12}"), []try{exits(128+12, 42), exits(41, 41)}},
		{"one site twice", append(
			exitCode("int", "operator: Equal, values: [1]", sigkill), exitCode("int", "operator: Equal, values: [2]", sigkill)...),
			[]try{exits(killed, 1), exits(killed, 2), exits(3, 3)}},
	}
}

// TestFilters tries each kind of filter in a container, on both sides of it.
func TestFilters(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	t.Run("each", func(t *testing.T) {
		for i, test := range filterCases() {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				r := newRunning(t, agent)
				name := fmt.Sprintf("filter-%d", i)
				r.tries(t, free(test.tries)...)
				agent.Policy(t, agentenv.PolicyText(name, r.mark, test.points...))
				r.tries(t, test.tries...)
				agent.Delete(t, name)
				r.tries(t, free(test.tries)...)
			})
		}
	})
}

// free is the same programs without a policy: none is killed.
func free(tries []try) []try {
	var out []try
	for _, test := range tries {
		if test.status >= 128 {
			test.status = anyButSignal
		}
		out = append(out, test)
	}
	return out
}

// anyButSignal stands for the statuses of programs that no signal ended.
const anyButSignal = -2

// running is a container that does nothing but wait for programs.
type running struct {
	*testenv.Container
	runc *testenv.Runc
	mark string
}

func newRunning(t *testing.T, agent *agentenv.Agent) *running {
	t.Helper()
	r := &running{runc: testenv.NewRunc(t), mark: agentenv.Mark()}
	r.Container = testenv.Bundle(t, testenv.Spec{
		Args: []string{"/bin/sleep", "1000"}, Annotations: agentenv.Marked(r.mark), Hooks: agent.Hook(t).OCI(),
	})
	if result := r.runc.RunDetached(t.Context(), r.Container); result.Code != 0 {
		t.Fatal(result)
	}
	return r
}

// tries executes programs in the container.
func (r *running) tries(t *testing.T, tries ...try) {
	t.Helper()
	for _, test := range tries {
		got := r.runc.Exec(t.Context(), r.Container, test.args...)
		if got.Code == test.status || test.status == anyButSignal && got.Code >= 0 && got.Code < 128 {
			continue
		}
		t.Errorf("%q: %s; want status %d", test.args, got, test.status)
	}
}

// TestActionsAreCountedAndReported: what each action counts, and which of them
// make an event.
func TestActionsAreCountedAndReported(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	type counts struct{ post, nopost, signal, monitor uint64 }
	for i, test := range []struct {
		name, spec, action string
		status             int
		want               counts
		action2            tetragon.KprobeAction
	}{
		{"Post", "", "{action: Post}", 42, counts{post: 1}, tetragon.KprobeAction_KPROBE_ACTION_POST},
		{"NoPost", "", "{action: NoPost}", 42, counts{nopost: 1}, 0},
		{"Sigkill", "", "{action: Sigkill}", killed, counts{post: 1, signal: 1}, tetragon.KprobeAction_KPROBE_ACTION_SIGKILL},
		{"Sigkill and NoPost", "", "{action: Sigkill}, {action: NoPost}", killed, counts{nopost: 1, signal: 1}, 0},
		{"Signal", "", "{action: Signal, argSig: 10}", 128 + 10, counts{post: 1, signal: 1}, tetragon.KprobeAction_KPROBE_ACTION_SIGNAL},
		{"monitored", "options: [{name: policy-mode, value: monitor}]\n", "{action: Sigkill}", 42, counts{post: 1, monitor: 1}, tetragon.KprobeAction_KPROBE_ACTION_POST},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRunning(t, agent)
			name := fmt.Sprintf("action-%d", i)
			selector := fmt.Sprintf("containerSelector: {matchLabels: {%s: %s}}", agentenv.MarkKey, r.mark)
			agent.Policy(t, agentenv.PolicyFor(name, test.spec+selector, exitCode("int", "operator: Equal, values: [42]", test.action)...))
			events := agent.Events(t, &tetragon.GetEventsRequest{
				AllowList: []*tetragon.Filter{{EventSet: []tetragon.EventType{tetragon.EventType_PROCESS_TRACEPOINT}, PolicyNames: []string{name}}},
			})
			r.tries(t, exits(41, 41), exits(test.status, 42))
			c := agent.PolicyStatus(t, name).GetStats().GetActionCounters()
			got := counts{c.GetPost(), c.GetNopost(), c.GetSignal(), c.GetMonitorSignal()}
			if got != test.want {
				t.Errorf("counted %+v, want %+v", got, test.want)
			}
			// An act that is always reported comes last.
			agent.Policy(t, agentenv.PolicyFor(name, selector, exitCode("int", "operator: Equal, values: [43]", "{action: Post}")...))
			r.tries(t, exits(43, 43))
			var acts []*tetragon.ProcessTracepoint
			events.Until(t, waitForEvent, "the event of the last act", func(all []*tetragon.GetEventsResponse) error {
				acts = nil
				for _, e := range all {
					acts = append(acts, e.GetProcessTracepoint())
				}
				if len(acts) == 0 || acts[len(acts)-1].GetArgs()[0].GetIntArg() != 43 {
					return fmt.Errorf("%d events: %v", len(acts), acts)
				}
				return nil
			})
			if len(acts) != int(test.want.post)+1 {
				t.Fatalf("%d events: %v", len(acts), acts)
			}
			if test.want.post == 0 {
				return
			}
			if e := acts[0]; e.GetArgs()[0].GetIntArg() != 42 || e.GetPolicyName() != name || e.GetAction() != test.action2 ||
				e.GetSubsys() != "syscalls" || e.GetEvent() != "sys_enter_exit_group" ||
				e.GetProcess().GetPod().GetContainer().GetId() != r.ID || !strings.HasSuffix(e.GetProcess().GetBinary(), "/bin/busybox") {
				t.Errorf("event %v", e)
			}
		})
	}
}
