// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// Life says what messages tell of processes beside what they always do.
type Life struct {
	// Credentials and Namespaces of processes are told.
	Credentials, Namespaces bool
	// Environment: environments are told, as far as events have them. With Variables,
	// only those of these names.
	Environment bool
	Variables   []string
	// HostNamespaces are those of the host.
	HostNamespaces process.Namespaces
}

// tree is what the programs tell of a process's place in its container.
func tree(t bpf.WireInitTree) process.Tree {
	switch t {
	case bpf.WireInitTreeINIT_TREE_IN:
		return process.InTree
	case bpf.WireInitTreeINIT_TREE_OUT:
		return process.OutOfTree
	}
	return process.TreeUnknown
}

// state is nil where the programs were not asked for it.
func state(s event.State) *process.State {
	if s == (event.State{}) {
		return nil
	}
	of := process.State(s)
	return &of
}

// executed is what is out of the ordinary about an executed file, nil for nothing.
func executed(of *event.Exec) *process.File {
	f := process.File{
		SetUID:       of.Flags&bpf.WireExecFlagsEXEC_SETUID != 0,
		SetGID:       of.Flags&bpf.WireExecFlagsEXEC_SETGID != 0,
		Capabilities: of.Flags&bpf.WireExecFlagsEXEC_CAPABILITIES != 0,
	}
	if of.Links == 0 && of.Inode != 0 {
		f.Unlinked, f.Inode = true, of.Inode
	}
	if f == (process.File{}) {
		return nil
	}
	f.EUID, f.EGID = of.State.EUID, of.State.EGID
	return &f
}

// addLife adds to the message of a process what only some have or somebody asked for,
// and returns about how many bytes that takes.
func (e *Enricher) addLife(m *tetragon.Process, p *process.Process, c *container.Container) (bytes int) {
	if in, known := e.inTree(p, c); known {
		m.InInitTree = wrapperspb.Bool(in)
	}
	m.Flags = flags(p.Flags, m)
	m.BinaryProperties = binaryProperties(p.File, m.Binary)
	if e.Credentials && p.State != nil {
		m.ProcessCredentials = e.credentials(p)
		m.Cap = m.ProcessCredentials.Caps
	}
	if e.Namespaces && p.State != nil {
		m.Ns = e.namespaces(&p.State.Namespaces)
	}
	if !e.Environment {
		return 0
	}
	for _, variable := range p.Env {
		if !e.tells(variable) {
			continue // of a process that was found in /proc
		}
		m.EnvironmentVariables = append(m.EnvironmentVariables, envVar(variable))
		bytes += variableBytes + len(variable)
	}
	return bytes
}

// flags are the words of the flags of a process with this message.
func flags(f process.Flags, m *tetragon.Process) string {
	if m.GetInInitTree().GetValue() {
		f |= process.InInitTree
	}
	return f.String()
}

// maxGenerations is how many parents are asked for the first process of a container.
const maxGenerations = 256

// inTree tells whether a process descends from the first one of its container. Where
// the programs did not see how it came there, its parents tell.
func (e *Enricher) inTree(p *process.Process, c *container.Container) (in, known bool) {
	switch {
	case c == nil:
		return false, false
	case p.Tree != process.TreeUnknown:
		return p.Tree == process.InTree, true
	case c.InitPID == 0:
		return false, false
	}
	for range maxGenerations {
		if p.Key.Tgid == c.InitPID {
			return true, true
		}
		parent, ok := e.Processes.ByExecID(p.ParentExecID)
		if !ok {
			return false, false
		}
		if parent.Key.Tgid == 0 {
			return false, true
		}
		p = parent
	}
	return false, false
}

func binaryProperties(f *process.File, path string) *tetragon.BinaryProperties {
	if f == nil {
		return nil
	}
	m := &tetragon.BinaryProperties{}
	for _, raised := range [...]struct {
		by     bool
		reason tetragon.ProcessPrivilegesChanged
	}{
		{f.Capabilities, tetragon.ProcessPrivilegesChanged_PRIVILEGES_RAISED_EXEC_FILE_CAP},
		{f.SetUID, tetragon.ProcessPrivilegesChanged_PRIVILEGES_RAISED_EXEC_FILE_SETUID},
		{f.SetGID, tetragon.ProcessPrivilegesChanged_PRIVILEGES_RAISED_EXEC_FILE_SETGID},
	} {
		if raised.by {
			m.PrivilegesChanged = append(m.PrivilegesChanged, raised.reason)
		}
	}
	if f.SetUID {
		m.Setuid = wrapperspb.UInt32(f.EUID)
	}
	if f.SetGID {
		m.Setgid = wrapperspb.UInt32(f.EGID)
	}
	if f.Unlinked {
		m.File = &tetragon.FileProperties{
			Inode: &tetragon.InodeProperties{Number: f.Inode, Links: wrapperspb.UInt32(0)}, Path: path,
		}
	}
	return m
}

func (e *Enricher) credentials(p *process.Process) *tetragon.ProcessCredentials {
	s := p.State
	m := &tetragon.ProcessCredentials{
		Uid: wrapperspb.UInt32(s.UID), Gid: wrapperspb.UInt32(s.GID), Euid: wrapperspb.UInt32(s.EUID), Egid: wrapperspb.UInt32(s.EGID),
		Suid: wrapperspb.UInt32(s.SUID), Sgid: wrapperspb.UInt32(s.SGID),
		Fsuid: wrapperspb.UInt32(s.FSUID), Fsgid: wrapperspb.UInt32(s.FSGID),
		Securebits: secureBits(s.SecureBits),
		Caps: &tetragon.Capabilities{
			Permitted: capabilities(s.Permitted), Effective: capabilities(s.Effective), Inheritable: capabilities(s.Inheritable),
		},
		UserNs: &tetragon.UserNamespace{Ns: e.namespace(&s.Namespaces, bpf.WireNamespaceKindNAMESPACE_USER)},
	}
	if s.UserNSLevel != process.LevelUnknown {
		m.UserNs.Level = wrapperspb.Int32(s.UserNSLevel)
		// The host's is root's.
		m.UserNs.Uid, m.UserNs.Gid = wrapperspb.UInt32(s.UserNSOwner), wrapperspb.UInt32(s.UserNSGroup)
	}
	return m
}

func (e *Enricher) namespaces(all *process.Namespaces) *tetragon.Namespaces {
	return &tetragon.Namespaces{
		Uts: e.namespace(all, bpf.WireNamespaceKindNAMESPACE_UTS), Ipc: e.namespace(all, bpf.WireNamespaceKindNAMESPACE_IPC),
		Mnt: e.namespace(all, bpf.WireNamespaceKindNAMESPACE_MNT), Pid: e.namespace(all, bpf.WireNamespaceKindNAMESPACE_PID),
		PidForChildren: e.namespace(all, bpf.WireNamespaceKindNAMESPACE_PID_FOR_CHILDREN),
		Net:            e.namespace(all, bpf.WireNamespaceKindNAMESPACE_NET), Time: e.namespace(all, bpf.WireNamespaceKindNAMESPACE_TIME),
		TimeForChildren: e.namespace(all, bpf.WireNamespaceKindNAMESPACE_TIME_FOR_CHILDREN),
		Cgroup:          e.namespace(all, bpf.WireNamespaceKindNAMESPACE_CGROUP), User: e.namespace(all, bpf.WireNamespaceKindNAMESPACE_USER),
	}
}

// namespace is nil for one that the process or the kernel has not.
func (e *Enricher) namespace(all *process.Namespaces, kind bpf.WireNamespaceKind) *tetragon.Namespace {
	inum := all[kind]
	if inum == 0 {
		return nil
	}
	return &tetragon.Namespace{Inum: inum, IsHost: inum == e.HostNamespaces[kind]}
}
