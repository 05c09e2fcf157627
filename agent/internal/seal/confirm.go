// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
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
	// Restored: the container is being restored from a checkpoint. Its init executes
	// nothing, and is judged at once, with what it forks.
	Restored bool
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
	if c.Restored {
		if err := s.arm(slot, c.InitPID); err != nil {
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
	before := s.Slot(slot)
	if c.Slot != 0 {
		if err := s.checkClaimed(c, before); err != nil {
			return 0, err
		}
	}
	s.slots.Store(int(slot), bpf.WireSlot{
		Version:  before.Version,
		CgroupId: c.Cgroup,
		SealedNs: bootTime(),
		State:    uint32(state),
	})
	seal := bpf.WireCgroupSeal{Slot: slot, By: uint32(bpf.WireSealedBySEALED_BY_AGENT)}
	err = s.programs.cgroup.Maps[bpf.CgroupMapSeals].Update(c.Cgroup, seal, ebpf.UpdateNoExist)
	if err == nil {
		return slot, nil
	}
	s.slots.Store(int(slot), before)
	err = fmt.Errorf("seal cgroup %d: %w", c.Cgroup, noRoom(err))
	if c.Slot == 0 {
		err = errors.Join(err, s.Free(slot))
	}
	return 0, err
}

// checkClaimed refuses a claim with a slot that is another cgroup's.
func (s *Seals) checkClaimed(c Claim, slot bpf.WireSlot) error {
	if slot.State < uint32(bpf.WireSlotStateSLOT_MAPPED) {
		return nil
	}
	seal, sealed, err := s.SealedAs(slot.CgroupId)
	if err != nil {
		return err
	}
	if slot.Tasks > 0 || sealed && seal.Slot == c.Slot {
		return fmt.Errorf("slot %d for cgroup %d: it is cgroup %d's: %w", c.Slot, c.Cgroup, slot.CgroupId, ErrOtherContainer)
	}
	return nil
}

// noRoom names what an insertion into a map that failed means: that the map is
// full, or that another one was there first.
func noRoom(err error) error {
	switch {
	case errors.Is(err, unix.E2BIG), errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	case errors.Is(err, ebpf.ErrKeyExist):
		return fmt.Errorf("%w: %w", ErrOtherContainer, err)
	}
	return err
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
	case !ok:
		return fmt.Errorf("cgroup %d in slot %d: %w: the cgroup has no seal", c.Cgroup, slot, ErrReadBack)
	case seal.Slot != slot:
		return fmt.Errorf("cgroup %d in slot %d: %w: the seal names slot %d", c.Cgroup, slot, ErrReadBack, seal.Slot)
	case got.CgroupId != c.Cgroup || got.SealedNs == 0:
		return fmt.Errorf("cgroup %d in slot %d: %w: the slot has cgroup %d, sealed at %d ns", c.Cgroup, slot, ErrReadBack, got.CgroupId, got.SealedNs)
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

// young is for how long after its seal a slot counts as in use: the kernel writes
// the slot first and then the seal that names it.
const young = uint64(time.Second)

// Gone lists the slots whose cgroup no longer exists and which no task carries:
// they can be freed. It finds also those that the kernel took and whose event was
// lost.
func (s *Seals) Gone() ([]uint32, error) { return s.gone(bootTime() - young) }

// gone is Gone, of slots that were sealed before a time.
func (s *Seals) gone(before uint64) ([]uint32, error) {
	var gone []uint32
	for slot := uint32(bpf.WireReservedSlotsSLOTS_RESERVED); slot < s.max; slot++ {
		kernel := s.Slot(slot)
		if kernel.State < uint32(bpf.WireSlotStateSLOT_MAPPED) || kernel.Tasks > 0 || kernel.SealedNs > before {
			continue
		}
		seal, sealed, err := s.SealedAs(kernel.CgroupId)
		if err != nil {
			return nil, err
		}
		if !sealed || seal.Slot != slot {
			s.Hold(slot)
			gone = append(gone, slot)
		}
	}
	return gone, nil
}

// Free gives a slot back. No cgroup and no task may name it. It keeps the
// version that it has: the caller has put the default set in force before. What
// its container has lost is forgotten.
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
	s.uses.Store(int(slot), bpf.WireRingUse{})
	if err := s.programs.cgroup.Maps[bpf.CgroupMapFreeSlots].Update(nil, slot, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("free slot %d: %w", slot, err)
	}
	delete(s.held, slot)
	return nil
}
