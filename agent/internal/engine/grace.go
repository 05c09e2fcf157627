// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL

// gracePeriod returns when every evaluation that was under way has ended. The
// global command of membarrier is synchronize_rcu, which since Linux 4.20 waits
// for code that runs with preemption disabled too, as tracepoint programs do.
func gracePeriod() error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		return fmt.Errorf("wait for a grace period: %w", errno)
	}
	return nil
}
