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

// Claim is a cgroup that exists and is about to be a container's.
type Claim struct {
	// Cgroup is the cgroup's id.
	Cgroup uint64
	// InitPID is the container's first process in the initial pid namespace; 0:
	// not known.
	InitPID uint32
	// Slot is the slot that was expected for the container, or 0.
	Slot uint32
	// Running: the entrypoint has run already, so that its tasks are judged at
	// once.
	Running bool
}

// Confirm makes sure that a cgroup is sealed, and answers with its slot: the one
// that the kernel gave it at birth, or else the claim's or a free one. When it
// returns without error the kernel has been read back: the cgroup names the
// slot, the slot the cgroup, and every task in it carries the seal.
func (s *Seals) Confirm(c Claim) (slot uint32, by bpf.WireSealedBy, err error) {
	seal, sealed, err := s.SealedAs(c.Cgroup)
	if err != nil {
		return 0, 0, err
	}
	slot, by = seal.Slot, bpf.WireSealedBy(seal.By)
	switch {
	case !sealed:
		by = bpf.WireSealedBySEALED_BY_AGENT
		if slot, err = s.sealExisting(c); err != nil {
			return 0, 0, err
		}
	case slot < uint32(bpf.WireReservedSlotsSLOTS_RESERVED):
		return 0, 0, fmt.Errorf("cgroup %d: %w: no slot was free when it was made", c.Cgroup, ErrNoRoom)
	case c.Slot != 0 && c.Slot != slot:
		return 0, 0, fmt.Errorf("cgroup %d: %w", c.Cgroup, ErrOtherContainer)
	case s.Slot(slot).CgroupId != c.Cgroup:
		return 0, 0, fmt.Errorf("cgroup %d is below the cgroup of a container: %w", c.Cgroup, ErrOtherContainer)
	}
	s.Hold(slot)
	if c.InitPID != 0 {
		s.setInit(slot, c.InitPID)
	}
	// Tasks that were there before the seal was.
	if !sealed || s.Slot(slot).Tasks == 0 {
		if err := s.Adopt(); err != nil {
			return 0, 0, err
		}
	}
	return slot, by, s.readBack(c, slot)
}

func (s *Seals) sealExisting(c Claim) (slot uint32, err error) {
	if slot = c.Slot; slot == 0 {
		if slot, err = s.Take(); err != nil {
			return 0, err
		}
	} else if err := s.Unexpect(slot); err != nil {
		return 0, err
	}
	state := bpf.WireSlotStateSLOT_MAPPED
	if c.Running {
		state = bpf.WireSlotStateSLOT_ARMED
	}
	version := s.Slot(slot).Version
	s.slots.Store(int(slot), bpf.WireSlot{
		Version:  version,
		CgroupId: c.Cgroup,
		SealedNs: bootTime(),
		State:    uint32(state),
	})
	seal := bpf.WireCgroupSeal{Slot: slot, By: uint32(bpf.WireSealedBySEALED_BY_AGENT)}
	err = s.programs.cgroup.Maps[bpf.CgroupMapSeals].Update(c.Cgroup, seal, ebpf.UpdateNoExist)
	if err == nil {
		return slot, nil
	}
	if c.Slot == 0 {
		err = errors.Join(err, s.Free(slot))
	}
	if errors.Is(err, ebpf.ErrKeyExist) {
		return 0, fmt.Errorf("seal cgroup %d: %w", c.Cgroup, ErrOtherContainer)
	}
	return 0, fmt.Errorf("seal cgroup %d: %w: %w", c.Cgroup, ErrNoRoom, err)
}

// setInit names the container's init. It shares a word with the state, which the
// kernel may change meanwhile.
func (s *Seals) setInit(slot, pid uint32) {
	word := s.slots.Word(int(slot), unsafe.Offsetof(bpf.WireSlot{}.State))
	for {
		old := atomic.LoadUint64(word)
		if atomic.CompareAndSwapUint64(word, old, old&0xffffffff|uint64(pid)<<32) {
			return
		}
	}
}

func (s *Seals) readBack(c Claim, slot uint32) error {
	seal, ok, err := s.SealedAs(c.Cgroup)
	if err != nil {
		return err
	}
	got := s.Slot(slot)
	switch {
	case !ok || seal.Slot != slot || got.CgroupId != c.Cgroup || got.SealedNs == 0:
		return fmt.Errorf("cgroup %d in slot %d: %w", c.Cgroup, slot, ErrReadBack)
	case c.InitPID != 0 && got.Tasks <= 0:
		return fmt.Errorf("cgroup %d in slot %d: no task carries the seal: %w", c.Cgroup, slot, ErrReadBack)
	}
	return nil
}

// bootTime is the clock that the kernel stamps events with, in ns.
func bootTime() uint64 {
	var t unix.Timespec
	// The clock exists since 2.6.39 and the call cannot fail with it.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return uint64(t.Nano())
}

// Gone lists the held slots whose cgroup no longer exists and which no task
// carries: they can be freed.
func (s *Seals) Gone() ([]uint32, error) {
	s.mu.Lock()
	held := make([]uint32, 0, len(s.held))
	for slot := range s.held {
		held = append(held, slot)
	}
	s.mu.Unlock()
	var gone []uint32
	for _, slot := range held {
		kernel := s.Slot(slot)
		if kernel.State < uint32(bpf.WireSlotStateSLOT_MAPPED) || kernel.Tasks > 0 {
			continue
		}
		seal, sealed, err := s.SealedAs(kernel.CgroupId)
		if err != nil {
			return nil, err
		}
		if !sealed || seal.Slot != slot {
			gone = append(gone, slot)
		}
	}
	return gone, nil
}

// Free gives a slot back. No cgroup and no task may name it. It keeps the
// version that it has: the caller has put the default set in force before.
func (s *Seals) Free(slot uint32) error {
	if err := s.Unexpect(slot); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held[slot] {
		return nil
	}
	s.slots.Store(int(slot), bpf.WireSlot{Version: s.Slot(slot).Version})
	if err := s.programs.cgroup.Maps[bpf.CgroupMapFreeSlots].Update(nil, slot, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("free slot %d: %w", slot, err)
	}
	delete(s.held, slot)
	return nil
}
