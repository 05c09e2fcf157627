// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/bpf"
)

// arm has an init judged that is being restored from a checkpoint: it executes nothing
// that would end its set-up, and what it forks has its seal. The runtime waits meanwhile.
func (s *Seals) arm(slot, pid uint32) error {
	seals := s.programs.cgroup.Maps[bpf.CgroupMapTaskSeals]
	key, done, err := taskKey(seals, pid)
	if err != nil {
		return fmt.Errorf("find seal of task %d: %w", pid, err)
	}
	defer done()
	var seal bpf.WireTaskSeal
	if err := seals.Lookup(key, &seal); err != nil {
		return fmt.Errorf("read seal of task %d: %w", pid, err)
	}
	if seal.Slot != slot {
		return fmt.Errorf("task %d in slot %d: %w: its seal names slot %d", pid, slot, ErrReadBack, seal.Slot)
	}
	// A container that runs may call itself so; the kernel changes its seal as it likes.
	if seal.State == uint32(bpf.WireTaskStateTASK_ARMED) {
		return nil
	}
	if s.setState(slot, bpf.WireSlotStateSLOT_ARMED, bpf.WireSlotStateSLOT_MAPPED) {
		atomic.StoreUint64(s.slots.Word(int(slot), unsafe.Offsetof(bpf.WireSlot{}.ArmedNs)), bootTime())
	} else if state := s.Slot(slot).State; state != uint32(bpf.WireSlotStateSLOT_ARMED) {
		return fmt.Errorf("arm slot %d: %w: it is in state %d", slot, ErrReadBack, state)
	}
	seal.State, seal.Tree = uint32(bpf.WireTaskStateTASK_ARMED), uint32(bpf.WireInitTreeINIT_TREE_IN)
	if err := seals.Update(key, seal, ebpf.UpdateExist); err != nil {
		return fmt.Errorf("arm task %d: %w", pid, err)
	}
	return nil
}

// taskKey is the key of a process in a map of task storage, or in the hash that stands
// for one: there it is an address, which only the value tells of.
func taskKey(seals *ebpf.Map, pid uint32) (key any, done func(), err error) {
	if seals.Type() != ebpf.Hash {
		fd, err := unix.PidfdOpen(int(pid), 0)
		if err != nil {
			return nil, nil, err
		}
		return int32(fd), func() { _ = unix.Close(fd) }, nil
	}
	var address uint64
	var seal bpf.WireTaskSeal
	all := seals.Iterate()
	for all.Next(&address, &seal) {
		if seal.Tid == pid {
			return address, func() {}, nil
		}
	}
	return nil, nil, errors.Join(all.Err(), ebpf.ErrKeyNotExist)
}
