// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

func stateOf() event.State {
	return event.State{
		UID: 1, GID: 2, SUID: 3, SGID: 4, EUID: 5, EGID: 6, FSUID: 7, FSGID: 8, SecureBits: 1 | 8,
		Inheritable: 1, Permitted: 1<<40 | 1<<1, Effective: 1 << 1, UserNSLevel: 2, UserNSOwner: 9, UserNSGroup: 10,
		Namespaces: process.Namespaces{100, 101, 102, 103, 104, 105, 106, 0, 108, 109},
	}
}

func credentialsMessage() *tetragon.ProcessCredentials {
	u := wrapperspb.UInt32
	return &tetragon.ProcessCredentials{
		Uid: u(1), Gid: u(2), Suid: u(3), Sgid: u(4), Euid: u(5), Egid: u(6), Fsuid: u(7), Fsgid: u(8),
		Securebits: []tetragon.SecureBitsType{tetragon.SecureBitsType_SecBitNoRoot, tetragon.SecureBitsType_SecBitNoSetUidFixupLocked},
		Caps: &tetragon.Capabilities{
			Inheritable: []tetragon.CapabilitiesType{tetragon.CapabilitiesType_CAP_CHOWN},
			Permitted:   []tetragon.CapabilitiesType{tetragon.CapabilitiesType_DAC_OVERRIDE, tetragon.CapabilitiesType_CAP_CHECKPOINT_RESTORE},
			Effective:   []tetragon.CapabilitiesType{tetragon.CapabilitiesType_DAC_OVERRIDE},
		},
		UserNs: &tetragon.UserNamespace{Level: wrapperspb.Int32(2), Uid: u(9), Gid: u(10), Ns: &tetragon.Namespace{Inum: 109}},
	}
}

// Credentials and namespaces are told by whoever asks for them, of an exec and of
// everything that the process does.
func TestCredentialsAndNamespaces(t *testing.T) {
	t.Parallel()
	namespaces := &tetragon.Namespaces{
		Uts: &tetragon.Namespace{Inum: 100, IsHost: true}, Ipc: &tetragon.Namespace{Inum: 101}, Mnt: &tetragon.Namespace{Inum: 102},
		Pid: &tetragon.Namespace{Inum: 103}, PidForChildren: &tetragon.Namespace{Inum: 104}, Net: &tetragon.Namespace{Inum: 105},
		Time: &tetragon.Namespace{Inum: 106, IsHost: true}, Cgroup: &tetragon.Namespace{Inum: 108}, User: &tetragon.Namespace{Inum: 109},
	}
	for _, life := range []Life{{}, {Credentials: true}, {Namespaces: true}} {
		w := newWorld(t)
		w.Life = life
		w.HostNamespaces = process.Namespaces{100, 1, 2, 3, 4, 5, 106, 0, 8, 9}
		w.rules.known[ruleKey{3, 4, 1}] = killRule()
		w.Handle(&event.Exec{Header: head(201*second, 200, 5, 50), Parent: childOf(100), State: stateOf()})
		w.Handle(siteEvent([]int{1}, nil))
		messages := w.sink.take(t)
		for _, p := range []*tetragon.Process{messages[0].GetProcessExec().GetProcess(), messages[1].GetProcessTracepoint().GetProcess()} {
			want := &tetragon.Process{}
			if life.Credentials {
				want.ProcessCredentials = credentialsMessage()
				want.Cap = want.ProcessCredentials.Caps
			}
			if life.Namespaces {
				want.Ns = namespaces
			}
			got := &tetragon.Process{ProcessCredentials: p.ProcessCredentials, Cap: p.Cap, Ns: p.Ns}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("%+v: want -, got +:\n%s", life, diff)
			}
		}
	}
}

// A fork tells the child's own state, and has what its parent executed.
func TestStateOfForks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Life = Life{Credentials: true, Environment: true}
	w.start(t)
	w.Handle(&event.Exec{
		Header: head(202*second, 200, 5, 50), Parent: childOf(100), State: stateOf(), Env: []string{"A=1"},
		Flags: bpf.WireExecFlagsEXEC_SETUID, Tree: bpf.WireInitTreeINIT_TREE_OUT,
	})
	changed := stateOf()
	changed.EUID = 77
	w.Handle(&event.Fork{Header: head(300*second, 300, 5, 50), Parent: childOf(200), State: changed, Tree: bpf.WireInitTreeINIT_TREE_IN})
	w.sink.take(t)
	w.Handle(&event.Exit{Header: head(301*second, 300, 5, 50)})
	exit := w.sink.take(t)[0].GetProcessExit()
	if got := exit.GetProcess(); got.GetProcessCredentials().GetEuid().GetValue() != 77 || got.BinaryProperties != nil ||
		!got.GetInInitTree().GetValue() || len(got.GetEnvironmentVariables()) != 1 {
		t.Errorf("child: %v", got)
	}
	if got := exit.GetParent(); got.GetProcessCredentials().GetEuid().GetValue() != 5 || got.BinaryProperties == nil ||
		got.InInitTree == nil || got.GetInInitTree().GetValue() {
		t.Errorf("parent: %v", got)
	}
}

// What /proc does not tell is not made up.
func TestCredentialsFoundInProc(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Life = Life{Credentials: true}
	state := process.State(stateOf())
	state.UserNSLevel, state.UserNSOwner, state.UserNSGroup, state.SecureBits = process.LevelUnknown, 0, 0, 0
	w.Processes.Load([]process.Info{{Key: process.Key{Tgid: 200, Start: 200 * second}, State: &state}})
	w.rules.known[ruleKey{3, 4, 1}] = killRule()
	w.Handle(siteEvent([]int{1}, nil))
	want := credentialsMessage()
	want.Securebits, want.UserNs.Level, want.UserNs.Uid, want.UserNs.Gid = nil, nil, nil, nil
	got := w.sink.take(t)[0].GetProcessTracepoint().GetProcess().GetProcessCredentials()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestBinaryProperties(t *testing.T) {
	t.Parallel()
	const (
		byCaps = tetragon.ProcessPrivilegesChanged_PRIVILEGES_RAISED_EXEC_FILE_CAP
		bySUID = tetragon.ProcessPrivilegesChanged_PRIVILEGES_RAISED_EXEC_FILE_SETUID
		bySGID = tetragon.ProcessPrivilegesChanged_PRIVILEGES_RAISED_EXEC_FILE_SETGID
	)
	u := wrapperspb.UInt32
	for name, c := range map[string]struct {
		flags bpf.WireExecFlags
		inode uint64
		links uint32
		want  *tetragon.BinaryProperties
	}{
		"nothing": {0, 8, 1, nil},
		"setuid": {
			bpf.WireExecFlagsEXEC_SETUID, 8, 1,
			&tetragon.BinaryProperties{Setuid: u(5), PrivilegesChanged: []tetragon.ProcessPrivilegesChanged{bySUID}},
		},
		"all": {
			bpf.WireExecFlagsEXEC_SETUID | bpf.WireExecFlagsEXEC_SETGID | bpf.WireExecFlagsEXEC_CAPABILITIES, 8, 2,
			&tetragon.BinaryProperties{Setuid: u(5), Setgid: u(6), PrivilegesChanged: []tetragon.ProcessPrivilegesChanged{byCaps, bySUID, bySGID}},
		},
		"capabilities": {
			bpf.WireExecFlagsEXEC_CAPABILITIES, 8, 1,
			&tetragon.BinaryProperties{PrivilegesChanged: []tetragon.ProcessPrivilegesChanged{byCaps}},
		},
		"no name": {0, 8, 0, &tetragon.BinaryProperties{File: &tetragon.FileProperties{
			Inode: &tetragon.InodeProperties{Number: 8, Links: u(0)}, Path: "/memfd:x",
		}}},
		"not known": {0, 0, 0, nil},
	} {
		w := newWorld(t)
		w.Handle(&event.Exec{
			Header: head(201*second, 200, 5, 50), Binary: "/memfd:x", State: stateOf(), Flags: c.flags, Inode: c.inode, Links: c.links,
		})
		got := w.sink.take(t)[0].GetProcessExec().GetProcess().GetBinaryProperties()
		if diff := cmp.Diff(c.want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", name, diff)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	env := []string{"A=1", "B=x=y", "C=", "D", "B\xff=2"}
	for _, c := range []struct {
		life Life
		want []*tetragon.EnvVar
	}{
		{Life{}, nil},
		{Life{Environment: true}, []*tetragon.EnvVar{{Key: "A", Value: "1"}, {Key: "B", Value: "x=y"}, {Key: "C"}, {Key: "D"}, {Key: "B\uFFFD", Value: "2"}}},
		{Life{Environment: true, Variables: []string{"B", "D"}}, []*tetragon.EnvVar{{Key: "B", Value: "x=y"}, {Key: "D"}}},
	} {
		w := newWorld(t)
		w.Life = c.life
		w.Handle(&event.Exec{Header: head(201*second, 200, 5, 50), Env: slices.Clone(env)})
		w.Processes.Load([]process.Info{{Key: process.Key{Tgid: 300, Start: 300 * second}, Env: env}})
		w.Handle(&event.Exit{Header: head(301*second, 300, 5, 50)})
		messages := w.sink.take(t)
		for _, got := range []*tetragon.Process{messages[0].GetProcessExec().GetProcess(), messages[1].GetProcessExit().GetProcess()} {
			if diff := cmp.Diff(c.want, got.GetEnvironmentVariables(), protocmp.Transform()); diff != "" {
				t.Errorf("%+v: want -, got +:\n%s", c.life, diff)
			}
		}
	}
}

// Only of processes in containers it is told whether they descend from init: as the
// programs say, or else as parents do.
func TestInInitTree(t *testing.T) {
	t.Parallel()
	late := &container.Container{ID: "late", Slot: 6, CgroupID: 60, InitPID: 200}
	for name, c := range map[string]struct {
		header event.Header
		parent uint32
		tree   bpf.WireInitTree
		want   *wrapperspb.BoolValue
	}{
		"in":                          {head(900*second, 900, 5, 50), 100, bpf.WireInitTreeINIT_TREE_IN, wrapperspb.Bool(true)},
		"out":                         {head(900*second, 900, 5, 50), 100, bpf.WireInitTreeINIT_TREE_OUT, wrapperspb.Bool(false)},
		"nobody knows":                {head(900*second, 900, 5, 50), 100, 0, nil},
		"host":                        {head(900*second, 900, 0, 9), 100, bpf.WireInitTreeINIT_TREE_IN, nil},
		"init, by its pid":            {head(202*second, 200, 6, 60), 100, 0, wrapperspb.Bool(true)},
		"descends from it":            {head(900*second, 900, 6, 60), 300, 0, wrapperspb.Bool(true)},
		"does not":                    {head(900*second, 900, 6, 60), 100, 0, wrapperspb.Bool(false)},
		"does, but programs say no":   {head(900*second, 900, 6, 60), 300, bpf.WireInitTreeINIT_TREE_OUT, wrapperspb.Bool(false)},
		"of a parent nobody knows of": {head(900*second, 900, 6, 60), 4000, 0, nil},
	} {
		w := newWorld(t)
		if err := w.containers.Put(late); err != nil {
			t.Fatal(err)
		}
		w.Processes.Load([]process.Info{
			{Key: process.Key{Tgid: 1, Start: second}},
			{Key: process.Key{Tgid: 100, Start: 100 * second}, Parent: process.Key{Tgid: 1, Start: second}},
			{Key: process.Key{Tgid: 200, Start: 200 * second}, Parent: process.Key{Tgid: 100, Start: 100 * second}},
			{Key: process.Key{Tgid: 300, Start: 300 * second}, Parent: process.Key{Tgid: 200, Start: 200 * second}},
		})
		w.Handle(&event.Exec{Header: c.header, Parent: childOf(c.parent), Tree: c.tree})
		got := w.sink.take(t)[0].GetProcessExec().GetProcess()
		if diff := cmp.Diff(c.want, got.GetInInitTree(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", name, diff)
		}
		words := "execve nocwd"
		if c.want.GetValue() {
			words += " inInitTree"
		}
		if got.GetFlags() != words {
			t.Errorf("%s: flags %q, want %q", name, got.GetFlags(), words)
		}
	}
}
