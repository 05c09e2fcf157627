// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// BootTime is the wall time at which the clock of bpf_ktime_get_boot_ns was
// zero: add a record's nanoseconds to it to have the record's wall time. The
// wall clock gets adjusted, so that the answer drifts; ask again now and then.
func BootTime() (time.Time, error) {
	var before, wall, after unix.Timespec
	for _, read := range []struct {
		clock int32
		into  *unix.Timespec
	}{{unix.CLOCK_BOOTTIME, &before}, {unix.CLOCK_REALTIME, &wall}, {unix.CLOCK_BOOTTIME, &after}} {
		if err := unix.ClockGettime(read.clock, read.into); err != nil {
			return time.Time{}, fmt.Errorf("read clock %d: %w", read.clock, err)
		}
	}
	// The wall clock was read between the two others.
	uptime := (before.Nano() + after.Nano()) / 2
	return time.Unix(0, wall.Nano()-uptime), nil
}
