// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// capabilities are the names of all that there are, by their number (capabilities(7)).
func capabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
		"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
		"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
		"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
		"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
		"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
	}
}

// ParseLastCap reads /proc/sys/kernel/cap_last_cap, the number of the last
// capability that the kernel knows.
func ParseLastCap(raw []byte) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 8)
	if err != nil || n > 63 {
		return 0, fmt.Errorf("last capability of the kernel: %.16q is no number up to 63", raw)
	}
	return int(n), nil
}

// privileged tells whether a container is one that nothing is kept from: it has
// all capabilities up to the kernel's last, as far as they have names here, no
// seccomp filter, and no masked or read-only paths. That is what engines make of
// "privileged", and what no other setting of theirs makes alone. Devices are not
// looked at: who may do all this makes the nodes it wants.
func privileged(c Config, lastCap int) bool {
	if c.Confined {
		return false
	}
	all := capabilities()
	for _, name := range all[:min(lastCap+1, len(all))] {
		if !slices.Contains(c.Bounding, name) {
			return false
		}
	}
	return true
}
