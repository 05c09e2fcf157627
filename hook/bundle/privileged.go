// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/boltseal/boltseal/api/capability"
)

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
	all := capability.Names()
	for _, name := range all[:min(lastCap+1, len(all))] {
		if !slices.Contains(c.Bounding, name) {
			return false
		}
	}
	return true
}
