// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// life is what events tell of a process beside what they always do.
type life struct {
	Cap         *tetragon.Capabilities
	Credentials *tetragon.ProcessCredentials
	Namespaces  *tetragon.Namespaces
	Environment []*tetragon.EnvVar
}

func lifeOf(p *tetragon.Process) life {
	return life{p.GetCap(), p.GetProcessCredentials(), p.GetNs(), p.GetEnvironmentVariables()}
}

// tellsOfItself is a program that prints what the kernel tells a process of itself:
// its status, its namespaces and, as another program, its environment.
const tellsOfItself = "cat /proc/self/status; cd /proc/self/ns; for n in *; do echo ns $n $(readlink $n); done; exec cat /proc/self/environ"

// toldLife reads that, and has the parts that are asked for.
func toldLife(t *testing.T, printed string, cred, ns bool, tells func(name string) bool) (want life) {
	t.Helper()
	field := map[string][]string{}
	namespaces := map[string]*tetragon.Namespace{}
	lines := strings.Split(printed, "\n")
	for _, line := range lines[:len(lines)-1] {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == "ns" {
			host, err := os.Readlink("/proc/1/ns/" + words[1])
			if errors.Is(err, os.ErrPermission) {
				host, err = os.Readlink("/proc/2/ns/" + words[1]) // kthreadd
			}
			if err != nil {
				t.Fatal(err)
			}
			_, inum, _ := strings.Cut(strings.TrimSuffix(words[2], "]"), ":[")
			namespaces[words[1]] = &tetragon.Namespace{Inum: decimal(t, inum), IsHost: host == words[2]}
		} else if key, rest, ok := strings.Cut(line, ":"); ok {
			field[key] = strings.Fields(rest)
		}
	}
	for variable := range strings.SplitSeq(strings.TrimSuffix(lines[len(lines)-1], "\x00"), "\x00") {
		if name, value, _ := strings.Cut(variable, "="); tells(name) {
			want.Environment = append(want.Environment, &tetragon.EnvVar{Key: name, Value: value})
		}
	}
	if len(namespaces) < 8 || namespaces["pid"].GetIsHost() || !namespaces["net"].GetIsHost() || len(field["Uid"]) != 4 {
		t.Fatalf("the container printed %q", printed)
	}
	if ns {
		want.Namespaces = &tetragon.Namespaces{
			Uts: namespaces["uts"], Ipc: namespaces["ipc"], Mnt: namespaces["mnt"], Pid: namespaces["pid"],
			PidForChildren: namespaces["pid_for_children"], Net: namespaces["net"], Time: namespaces["time"],
			TimeForChildren: namespaces["time_for_children"], Cgroup: namespaces["cgroup"], User: namespaces["user"],
		}
	}
	if cred {
		id := func(key string, n int) *wrapperspb.UInt32Value { return wrapperspb.UInt32(decimal(t, field[key][n])) }
		want.Cap = &tetragon.Capabilities{
			Permitted: capabilities(t, field["CapPrm"]), Effective: capabilities(t, field["CapEff"]), Inheritable: capabilities(t, field["CapInh"]),
		}
		want.Credentials = &tetragon.ProcessCredentials{
			Uid: id("Uid", 0), Euid: id("Uid", 1), Suid: id("Uid", 2), Fsuid: id("Uid", 3),
			Gid: id("Gid", 0), Egid: id("Gid", 1), Sgid: id("Gid", 2), Fsgid: id("Gid", 3), Caps: want.Cap,
			UserNs: &tetragon.UserNamespace{
				Level: wrapperspb.Int32(0), Uid: wrapperspb.UInt32(0), Gid: wrapperspb.UInt32(0), Ns: namespaces["user"],
			},
		}
	}
	return want
}

func decimal(t *testing.T, text string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// capabilities are those of a set that the kernel has printed.
func capabilities(t *testing.T, printed []string) (all []tetragon.CapabilitiesType) {
	t.Helper()
	if len(printed) != 1 {
		t.Fatalf("a set of capabilities is %q", printed)
	}
	set, err := strconv.ParseUint(printed[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	for n := range tetragon.CapabilitiesType(64) {
		if set&(1<<n) != 0 {
			all = append(all, n)
		}
	}
	return all
}

// TestLifeOfProcesses: credentials, namespaces and environments are in events where
// they are asked for, and what the process itself sees of them, and nowhere else.
func TestLifeOfProcesses(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	all, none := func(string) bool { return true }, func(string) bool { return false }
	for _, test := range []struct {
		args     []string
		cred, ns bool
		tells    func(name string) bool
	}{
		{nil, false, false, none},
		{[]string{"--process-cred"}, true, false, none},
		{[]string{"--process-ns"}, false, true, none},
		{[]string{"--process-environment"}, false, false, all},
		{[]string{"--process-environment", "--environment-variables=SECOND,MISSING"}, false, false, func(name string) bool { return name == "SECOND" }},
		{[]string{"--process-cred", "--process-ns", "--process-environment"}, true, true, all},
	} {
		t.Run(strings.Join(append(test.args, "all else off"), " "), func(t *testing.T) {
			agent := agentenv.Start(t, testenv.AgentOptions{Args: test.args})
			mark, runc := agentenv.Mark(), testenv.NewRunc(t)
			agent.Policy(t, agentenv.PolicyText("opens", mark, agentenv.Opens("[{matchArgs: [{args: [0], operator: Equal, values: [/proc/self/environ]}]}]")...))
			c := testenv.Bundle(t, testenv.Spec{
				Args: []string{"/bin/sh", "-c", tellsOfItself}, Env: []string{"FIRST=1", "SECOND=with = and  spaces", "THIRD="},
				Annotations: agentenv.Marked(mark), Hooks: agent.Hook(t).OCI(), Edit: dropsRoot,
			})
			events := agent.Events(t, &tetragon.GetEventsRequest{})
			result := runc.Run(t.Context(), c)
			if result.Code != 0 {
				t.Fatal(result)
			}
			want := toldLife(t, result.Stdout, test.cred, test.ns, test.tells)
			tellsLife(t, events, c, want)
			tellsLifeFromProc(t, agent, test.cred, test.ns, test.tells)
		})
	}
}

// dropsRoot makes a container's processes those of a user with a capability.
func dropsRoot(s *specs.Spec) {
	kill := []string{"CAP_KILL"}
	s.Process.User = specs.User{UID: 1234, GID: 2345}
	s.Process.Capabilities.Inheritable, s.Process.Capabilities.Ambient = kill, kill
}

// tellsLife wants the same of the process that printed its environment in all its
// events: its exec, its match of a policy and its exit.
func tellsLife(t *testing.T, events *agentenv.Events, c *testenv.Container, want life) {
	t.Helper()
	found := map[string]*tetragon.Process{}
	events.Until(t, waitForEvent, "exec, match and exit", func(all []*tetragon.GetEventsResponse) error {
		for _, e := range all {
			for kind, p := range map[string]*tetragon.Process{
				"exec": e.GetProcessExec().GetProcess(), "match": e.GetProcessTracepoint().GetProcess(), "exit": e.GetProcessExit().GetProcess(),
			} {
				if p.GetPod().GetContainer().GetId() == c.ID && p.GetArguments() == "/proc/self/environ" {
					found[kind] = p
				}
			}
		}
		if len(found) != 3 {
			return fmt.Errorf("of the process there are %v", slices.Collect(maps.Keys(found)))
		}
		return nil
	})
	for kind, p := range found {
		if diff := cmp.Diff(want, lifeOf(p), protocmp.Transform()); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", kind, diff)
		}
	}
}

// tellsLifeFromProc wants it of this process too, which ran before the agent did.
func tellsLifeFromProc(t *testing.T, agent *agentenv.Agent, cred, ns bool, tells func(string) bool) {
	t.Helper()
	printed, err := exec.Command("/bin/sh", "-c", "cat /proc/$PPID/environ").Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []*tetragon.EnvVar
	for variable := range strings.SplitSeq(strings.TrimSuffix(string(printed), "\x00"), "\x00") {
		if name, value, _ := strings.Cut(variable, "="); tells(name) {
			want = append(want, &tetragon.EnvVar{Key: name, Value: value})
		}
	}
	dump, err := agent.Tetragon.GetDebug(t.Context(), &tetragon.GetDebugRequest{
		Flag: tetragon.ConfigFlag_CONFIG_FLAG_DUMP_PROCESS_CACHE, Arg: &tetragon.GetDebugRequest_Dump{Dump: &tetragon.DumpProcessCacheReqArgs{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range dump.GetProcesses().GetProcesses() {
		if p.GetProcess().GetPid().GetValue() != uint32(os.Getpid()) {
			continue
		}
		found++
		of := lifeOf(p.GetProcess())
		// Where the kernel's own texts were longer than what is kept, flags say so.
		if diff := cmp.Diff(want, of.Environment, protocmp.Transform()); diff != "" && !strings.Contains(p.GetProcess().GetFlags(), "errorEnvs") {
			t.Errorf("environment of this process: want -, got +:\n%s", diff)
		}
		if (of.Credentials != nil) != cred || (of.Cap != nil) != cred || (of.Namespaces != nil) != ns {
			t.Errorf("of this process is told %v, %v", of.Credentials, of.Namespaces)
		}
		if cred && (of.Credentials.GetEuid().GetValue() != uint32(os.Geteuid()) || len(of.Cap.GetEffective()) == 0) {
			t.Errorf("credentials of this process: %v", of.Credentials)
		}
		if net := of.Namespaces.GetNet(); ns && fmt.Sprintf("net:[%d]", net.GetInum()) != ownNamespace(t, "net") {
			t.Errorf("network namespace of this process: %v, want %s", net, ownNamespace(t, "net"))
		}
	}
	if found == 0 {
		t.Error("this process is not known")
	}
}

func ownNamespace(t *testing.T, name string) string {
	t.Helper()
	link, err := os.Readlink("/proc/self/ns/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return link
}
