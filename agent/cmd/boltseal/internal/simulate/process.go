// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// process is the value of what is asked of the process itself.
func (s *Simulator) process(r *record, read compile.Read, site compile.Site) (v compile.Value, ok bool) {
	p := r.process
	switch read.Kind {
	case bpf.WireReadKindREAD_BINARY, bpf.WireReadKindREAD_BINARY_PATH:
		return compile.Value{String: p.GetBinary()}, p.GetBinary() != "" && exact(p.GetBinary()) && !r.beforeExec(site)
	case bpf.WireReadKindREAD_PARENT_BINARY, bpf.WireReadKindREAD_PARENT_BINARY_PATH:
		b := r.parent.GetBinary()
		return compile.Value{String: b}, b != "" && exact(b)
	case bpf.WireReadKindREAD_PID:
		return compile.Value{Number: uint64(p.GetPid().GetValue())}, p.GetPid() != nil
	case bpf.WireReadKindREAD_NAMESPACE:
		return s.namespace(p.GetNs(), policy.Namespace(read.Offset))
	case bpf.WireReadKindREAD_CAPABILITIES:
		return capabilities(p.GetCap(), policy.CapabilitySet(read.Offset))
	}
	return v, false
}

// beforeExec tells whether the event is of an exec and the site before the point of
// no return: there it is judged as the program that calls it.
func (r *record) beforeExec(site compile.Site) bool {
	return r.exec && site.Kind != compile.Tracepoint && site.Kind != compile.RawTracepoint
}

// namespace is the inode number of a namespace; the host's is the one that the
// policy was compiled with.
func (s *Simulator) namespace(all *tetragon.Namespaces, n policy.Namespace) (v compile.Value, ok bool) {
	of := map[policy.Namespace]*tetragon.Namespace{
		policy.NamespaceUts: all.GetUts(), policy.NamespaceIpc: all.GetIpc(), policy.NamespaceMnt: all.GetMnt(),
		policy.NamespacePid: all.GetPid(), policy.NamespacePidForChildren: all.GetPidForChildren(),
		policy.NamespaceNet: all.GetNet(), policy.NamespaceTime: all.GetTime(),
		policy.NamespaceTimeForChildren: all.GetTimeForChildren(), policy.NamespaceCgroup: all.GetCgroup(),
		policy.NamespaceUser: all.GetUser(),
	}[n]
	if of == nil {
		return v, false
	}
	if !of.GetIsHost() {
		return compile.Value{Number: uint64(of.GetInum())}, true
	}
	host, err := s.HostNamespace(n)
	return compile.Value{Number: uint64(host)}, err == nil
}

// capabilities are a set's bits. An event that tells of the process' capabilities
// tells of all sets.
func capabilities(all *tetragon.Capabilities, set policy.CapabilitySet) (v compile.Value, ok bool) {
	if all == nil {
		return v, false
	}
	list := all.GetEffective()
	switch set {
	case policy.CapabilityInheritable:
		list = all.GetInheritable()
	case policy.CapabilityPermitted:
		list = all.GetPermitted()
	}
	for _, c := range list {
		if c >= 0 && c < 64 {
			v.Number |= 1 << c
		}
	}
	return v, true
}
