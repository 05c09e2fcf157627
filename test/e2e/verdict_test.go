// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// forbiddenAct is an act of the actor's, and how policies forbid it.
type forbiddenAct struct {
	name string
	// hook, function, args and filter are those of the security hook, and of the
	// kernel's function that calls it.
	hook, function, args, filter string
	// call and what follows are those of the system call. Arguments of a
	// tracepoint's record are five further: common fields and the call's number.
	call, callArgs, callFilter string
	index                      int
}

func forbiddenActs() []forbiddenAct {
	const path = "operator: Postfix, values: [/forbidden]"
	return []forbiddenAct{
		{
			"open", "file_open", "security_file_open", "[{index: 0, type: file}]", path,
			"openat", "string", path, 1,
		},
		{
			"exec", "bprm_check_security", "security_bprm_check", "[{index: 0, type: linux_binprm}]", "operator: Postfix, values: [/program]",
			"execve", "string", "operator: Postfix, values: [/program]", 0,
		},
		{
			"connect", "socket_connect", "security_socket_connect", "[{index: 1, type: sockaddr}]", `operator: SPort, values: ["9"]`,
			"connect", "sockaddr", `operator: SPort, values: ["9"]`, 1,
		},
		{
			// PTRACE_MODE_ATTACH; looking at /proc asks for less.
			"ptrace", "ptrace_access_check", "security_ptrace_access_check", "[{index: 1, type: uint32}]", `operator: Mask, values: ["2"]`,
			"ptrace", "uint64", `operator: Equal, values: ["0x4206"]`, 0,
		},
		{
			"mount", "sb_mount", "security_sb_mount", "[{index: 1, type: path}]", "operator: Postfix, values: [/mnt]",
			"mount", "string", "operator: Postfix, values: [/mnt]", 1,
		},
		{
			// LOADING_MODULE
			"module", "kernel_load_data", "security_kernel_load_data", "[{index: 0, type: int}]", `operator: Equal, values: ["2"]`,
			"init_module", "uint64", `operator: Equal, values: ["64"]`, 1,
		},
		{
			"unlink", "inode_unlink", "security_inode_unlink", "[{index: 1, type: dentry}]", path,
			"unlinkat", "string", path, 1,
		},
	}
}

// mechanism is a way to forbid acts: the feature that it needs, the hook of an
// act, and what becomes of it.
type mechanism struct {
	name, feature string
	hook          func(forbiddenAct) string
	verdict       string
	action        tetragon.KprobeAction
}

const (
	denying = "[{action: Override, argError: -61}]" // ENODATA, which none of the acts gives of itself
	killing = "[{action: Sigkill}]"
)

func mechanisms() []mechanism {
	selectors := func(filter, actions, name string) string {
		return fmt.Sprintf("    message: act %s\n    selectors: [{matchArgs: [{args: [0], %s}], matchActions: %s}]\n", name, filter, actions)
	}
	return []mechanism{
		{"lsm", "lsm", func(a forbiddenAct) string {
			return fmt.Sprintf("lsmhooks:  - hook: %s\n    args: %s\n", a.hook, a.args) + selectors(a.filter, denying, a.name)
		}, "ENODATA", tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE},
		{"fmod_ret", "fmodret", func(a forbiddenAct) string {
			return fmt.Sprintf("kprobes:  - call: %s\n    syscall: false\n    args: %s\n", a.function, a.args) + selectors(a.filter, denying, a.name)
		}, "ENODATA", tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE},
		{"system call override", "fmodret_syscall", func(a forbiddenAct) string {
			return fmt.Sprintf("kprobes:  - call: sys_%s\n    args: [{index: %d, type: %s}]\n", a.call, a.index, a.callArgs) +
				selectors(a.callFilter, denying, a.name)
		}, "ENODATA", tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE},
		{"kprobe kill", "kprobe", func(a forbiddenAct) string {
			return fmt.Sprintf("kprobes:  - call: sys_%s\n    args: [{index: %d, type: %s}]\n", a.call, a.index, a.callArgs) +
				selectors(a.callFilter, killing, a.name)
		}, "SIGKILL", tetragon.KprobeAction_KPROBE_ACTION_SIGKILL},
		{"tracepoint kill", "syscall_tracepoints", func(a forbiddenAct) string {
			return fmt.Sprintf("tracepoints:  - subsystem: syscalls\n    event: sys_enter_%s\n    args: [{index: %d, type: %s}]\n",
				a.call, a.index+5, a.callArgs) + selectors(a.callFilter, killing, a.name)
		}, "SIGKILL", tetragon.KprobeAction_KPROBE_ACTION_SIGKILL},
	}
}

// policy forbids acts in containers with a mark by one mechanism.
func (m mechanism) policy(name, mark string, acts []forbiddenAct) string {
	var section, hooks string
	for _, a := range acts {
		var hook string
		section, hook, _ = strings.Cut(m.hook(a), ":")
		hooks += hook
	}
	return fmt.Sprintf("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: %s}\nspec:\n"+
		"  containerSelector: {matchLabels: {%s: %s}}\n  %s:\n%s", name, agentenv.MarkKey, mark, section, hooks)
}

// content is what the file has that must not be opened.
const content = "content"

// workplace makes what the acts work on.
func workplace(t *testing.T) string {
	t.Helper()
	dir := testenv.Dir(t)
	program, err := os.ReadFile(filepath.Join(testenv.Rootfs(t), testenv.ActorPath))
	for _, err := range []error{
		err, os.WriteFile(filepath.Join(dir, "program"), program, 0o755), os.Mkdir(filepath.Join(dir, "mnt"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// forbiddenFile makes the file anew, which some acts change and the last removes.
func forbiddenFile(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "forbidden"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// worker is a container in which acts are tried, on what is in a directory.
type worker struct {
	*testenv.Container
	t    *testing.T
	runc *testenv.Runc
	dir  string
}

func newWorker(t *testing.T, agent *agentenv.Agent, mark string) *worker {
	t.Helper()
	dir := workplace(t)
	runc := testenv.NewRunc(t)
	c := testenv.Bundle(t, testenv.Spec{
		Args: []string{"/bin/sleep", "1000"}, Annotations: agentenv.Marked(mark), Hooks: agent.Hook(t).OCI(),
		Capabilities: append(testenv.DefaultCapabilities(), "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE"),
		Mounts:       []specs.Mount{{Destination: "/work", Type: "bind", Source: dir, Options: []string{"bind", "rw"}}},
	})
	if result := runc.RunDetached(t.Context(), c); result.Code != 0 {
		t.Fatal(result)
	}
	return &worker{c, t, runc, dir}
}

// try tries all acts.
func (w *worker) try() map[string]string {
	w.t.Helper()
	forbiddenFile(w.t, w.dir)
	result := w.runc.Exec(w.t.Context(), w.Container, testenv.ActorPath, "try", "/work")
	return results(w.t, result.Stdout+result.Stderr)
}

// tryWrite tries to empty the file, and returns what it has then.
func (w *worker) tryWrite() (verdict, left string) {
	w.t.Helper()
	forbiddenFile(w.t, w.dir)
	result := w.runc.Exec(w.t.Context(), w.Container, testenv.ActorPath, "try", "/work", "write")
	text, err := os.ReadFile(filepath.Join(w.dir, "forbidden"))
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(result.Stdout), string(text)
}

func results(t *testing.T, text string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "RESULT:"); ok {
			name, word, _ := strings.Cut(rest, ":")
			found[name] = word
		}
	}
	if len(found) != len(forbiddenActs())+1 {
		t.Fatalf("the actor says %q", text)
	}
	return found
}

// onHost tries the acts in no container.
func onHost(t *testing.T) map[string]string {
	t.Helper()
	dir := workplace(t)
	forbiddenFile(t, dir)
	actor := filepath.Join(testenv.Rootfs(t), testenv.ActorPath)
	out, err := exec.CommandContext(t.Context(), "unshare", "--mount", actor, "try", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("try on the host: %v: %s", err, out)
	}
	return results(t, string(out))
}

// Every mechanism that this kernel has forbids every act in the container that is
// selected, and no act anywhere else; what it did is told and counted.
func TestVerdicts(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	can := map[string]string{}
	for _, f := range agent.Status(t).GetFeatures() {
		if f.GetState() != boltseal.FeatureState_FEATURE_STATE_AVAILABLE {
			can[f.GetName()] = f.GetReason()
		}
	}
	natural, host := newWorker(t, agent, agentenv.Mark()).try(), onHost(t)
	table := &strings.Builder{}
	w := tabwriter.NewWriter(table, 0, 4, 2, ' ', 0)
	fmt.Fprint(w, "mechanism")
	for _, a := range forbiddenActs() {
		fmt.Fprintf(w, "\t%s", a.name)
	}
	fmt.Fprintln(w)
	t.Cleanup(func() { w.Flush(); t.Logf("report:\n%s", table) })
	for _, m := range mechanisms() {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			if reason, missing := can[m.feature]; missing {
				fmt.Fprintf(w, "%s\tnot on this kernel\n", m.name)
				t.Skipf("needs %s: %s", m.feature, reason)
			}
			m.prove(t, agent, natural, host, w)
		})
	}
}

// prove tries one mechanism.
func (m mechanism) prove(t *testing.T, agent *agentenv.Agent, natural, host map[string]string, w *tabwriter.Writer) {
	t.Helper()
	mark, name := agentenv.Mark(), "verdict-"+strings.ReplaceAll(strings.ReplaceAll(m.name, " ", "-"), "_", "-")
	acts := slices.DeleteFunc(forbiddenActs(), func(a forbiddenAct) bool { return natural[a.name] == "ENOSYS" })
	inside := newWorker(t, agent, mark)
	events := agent.Events(t, &tetragon.GetEventsRequest{AllowList: []*tetragon.Filter{{PolicyNames: []string{name}}}})
	agent.Policy(t, m.policy(name, mark, acts))
	selected := inside.try()
	neighbour := newWorker(t, agent, agentenv.Mark())
	for where, got := range map[string]map[string]string{"neighbour": neighbour.try(), "host": onHost(t)} {
		want := natural
		if where == "host" {
			want = host
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v as without the policy", where, got, want)
		}
	}
	fmt.Fprint(w, m.name)
	for _, a := range forbiddenActs() {
		fmt.Fprintf(w, "\t%s", selected[a.name])
		if !slices.Contains(acts, a) {
			continue // not in this kernel
		}
		if selected[a.name] != m.verdict {
			t.Errorf("%s in the selected container: %s, want %s", a.name, selected[a.name], m.verdict)
		}
	}
	fmt.Fprintln(w)
	// A process that is killed has opened the file by then, and emptied it.
	wantLeft := content
	if m.verdict == "SIGKILL" {
		wantLeft = ""
	}
	if verdict, left := inside.tryWrite(); verdict != "RESULT:write:"+m.verdict || left != wantLeft {
		t.Errorf("write: %s, and the file has %q, want %q", verdict, left, wantLeft)
	}
	m.told(t, events, acts, inside.ID)
	promise := "prevented"
	if m.verdict == "SIGKILL" {
		promise = "may have happened"
	}
	listed := agent.PolicyStatus(t, name)
	if n := len(listed.GetHookStatuses()); n != len(acts) {
		t.Errorf("%d hooks are listed, want %d", n, len(acts))
	}
	for _, h := range listed.GetHookStatuses() {
		if !strings.Contains(h.GetHookDescription(), promise) {
			t.Errorf("listed as %q, which does not say %q", h.GetHookDescription(), promise)
		}
	}
	c := listed.GetStats().GetActionCounters()
	done := c.GetOverride() + c.GetSignal()
	if want := len(acts) + 2; int(done) != want || c.GetMonitorOverride()+c.GetMonitorSignal() != 0 {
		t.Errorf("counters %v, want %d acts", c, want)
	}
	agent.Mode(t, name, monitor)
	if got := inside.try(); !maps.Equal(got, natural) {
		t.Errorf("monitored: %v, want %v", got, natural)
	}
	agent.Delete(t, name)
}

// told checks that each act made one event, in the container's name.
func (m mechanism) told(t *testing.T, events *agentenv.Events, acts []forbiddenAct, id string) {
	t.Helper()
	want := map[string]bool{}
	for _, a := range acts {
		want["act "+a.name] = true
	}
	events.Until(t, 20*time.Second, "an event of each act", func(all []*tetragon.GetEventsResponse) error {
		left := maps.Clone(want)
		for _, e := range all {
			message, action, process := toldOf(e)
			if action != m.action || process.GetDocker() == "" || !strings.HasPrefix(id, process.GetDocker()) {
				return fmt.Errorf("event %v, want action %s in container %s", e, m.action, id)
			}
			delete(left, message)
		}
		if len(left) > 0 {
			return fmt.Errorf("no event of %v in %d", slices.Sorted(maps.Keys(left)), len(all))
		}
		return nil
	})
}

func toldOf(e *tetragon.GetEventsResponse) (message string, action tetragon.KprobeAction, process *tetragon.Process) {
	switch e := e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessKprobe:
		return e.ProcessKprobe.GetMessage(), e.ProcessKprobe.GetAction(), e.ProcessKprobe.GetProcess()
	case *tetragon.GetEventsResponse_ProcessLsm:
		return e.ProcessLsm.GetMessage(), e.ProcessLsm.GetAction(), e.ProcessLsm.GetProcess()
	case *tetragon.GetEventsResponse_ProcessTracepoint:
		return e.ProcessTracepoint.GetMessage(), e.ProcessTracepoint.GetAction(), e.ProcessTracepoint.GetProcess()
	}
	return "", 0, nil
}
