// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL

// GracePeriod returns when every evaluation that was under way has ended: what a
// change that withdraws something takes at least.
func GracePeriod() error { return gracePeriod() }

// gracePeriod returns when every evaluation that was under way has ended. The
// global command of membarrier is synchronize_rcu, which since Linux 4.20 waits
// for code that runs with preemption disabled too, as tracepoint programs do.
func gracePeriod() error {
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
	if errno == 0 {
		return nil
	}
	// Kernels that run some CPUs without ticks refuse it.
	if err := mapGracePeriod(); err != nil {
		return errors.Join(fmt.Errorf("wait for a grace period: membarrier: %w", errno), err)
	}
	return nil
}

// mapGracePeriod is the same by way of an array of maps: the kernel answers an
// update only when no program can be using the map that was there before.
func mapGracePeriod() error {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	outer, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner,
	})
	if err != nil {
		return fmt.Errorf("wait for a grace period: create array of maps: %w", err)
	}
	defer outer.Close()
	m, err := ebpf.NewMap(inner)
	if err != nil {
		return fmt.Errorf("wait for a grace period: create map: %w", err)
	}
	defer m.Close()
	if err := outer.Update(uint32(0), uint32(m.FD()), ebpf.UpdateAny); err != nil {
		return fmt.Errorf("wait for a grace period: update array of maps: %w", err)
	}
	return nil
}
