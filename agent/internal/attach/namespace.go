// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/bpf"
)

// HostNamespace is compile.Kernel. The kernel gives the first namespaces of most
// kinds numbers that never change (include/linux/proc_ns.h); those of the network
// and of mounts have to be read from the host's first process.
func (p *Points) HostNamespace(n policy.Namespace) (uint32, error) {
	fixed := map[policy.Namespace]uint32{
		policy.NamespaceIpc: 0xefffffff, policy.NamespaceUts: 0xeffffffe, policy.NamespaceUser: 0xeffffffd,
		policy.NamespacePid: 0xeffffffc, policy.NamespacePidForChildren: 0xeffffffc, policy.NamespaceCgroup: 0xeffffffb,
		policy.NamespaceTime: 0xeffffffa, policy.NamespaceTimeForChildren: 0xeffffffa,
	}
	if number, ok := fixed[n]; ok {
		return number, nil
	}
	kind, ok := map[policy.Namespace]bpf.WireNamespaceKind{
		policy.NamespaceMnt: bpf.WireNamespaceKindNAMESPACE_MNT, policy.NamespaceNet: bpf.WireNamespaceKindNAMESPACE_NET,
	}[n]
	if !ok {
		return 0, fmt.Errorf("unknown namespace %d", n)
	}
	number := process.HostNamespaces("/proc")[kind]
	if number == 0 {
		return 0, fmt.Errorf("the host's %s namespace cannot be read", n)
	}
	return number, nil
}
