// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
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
	name, ok := map[policy.Namespace]string{policy.NamespaceMnt: "mnt", policy.NamespaceNet: "net"}[n]
	if !ok {
		return 0, fmt.Errorf("unknown namespace %d", n)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/1/ns/"+name, &st); err != nil {
		return 0, fmt.Errorf("find the host's %s namespace: %w", name, err)
	}
	return uint32(st.Ino), nil
}
