// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/boltseal/boltseal/agent/internal/bpfarray"
	"github.com/boltseal/boltseal/bpf"
)

// Errors of sealing.
var (
	// ErrNoRoom says that a kernel map or the slots are full: the container must
	// not start as if it were sealed.
	ErrNoRoom = errors.New("no room")
	// ErrPath says that a path cannot be expected: it is too long.
	ErrPath = errors.New("cgroup path")
	// ErrOtherContainer says that the cgroup or the path is another container's.
	ErrOtherContainer = errors.New("sealed for another container")
	// ErrReadBack says that the kernel does not hold what was written.
	ErrReadBack = errors.New("seal read back differs")
)

// Host is the slot of every task that carries no seal.
const Host = uint32(bpf.WireReservedSlotsSLOT_HOST)

// NoRoom is the slot of containers that were born when no slot was free. Nothing
// of them may run.
const NoRoom = uint32(bpf.WireReservedSlotsSLOT_NO_ROOM)

// Seals is the sealing of one host. It is safe for concurrent use. Close ends
// enforcement: nothing is pinned.
type Seals struct {
	programs *programs
	slots    *bpfarray.Array[bpf.WireSlot]
	uses     *bpfarray.Array[bpf.WireRingUse]
	max      uint32

	mu sync.Mutex
	// expected is the paths that a slot's container is expected at.
	expected map[uint32][]string
	// held is the slots that the agent took out of the queue or learnt of.
	held map[uint32]bool
}

// Open loads and attaches the base programs.
func Open(o Options) (opened *Seals, err error) {
	p, err := load(o)
	if err != nil {
		return nil, err
	}
	s := &Seals{programs: p, expected: map[uint32][]string{}, held: map[uint32]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	s.slots, err = bpfarray.Map[bpf.WireSlot](p.cgroup.Maps[bpf.CgroupMapSlots])
	if err != nil {
		return nil, err
	}
	if s.uses, err = bpfarray.Map[bpf.WireRingUse](p.cgroup.Maps[bpf.CgroupMapRingUses]); err != nil {
		return nil, err
	}
	s.max = uint32(s.slots.Len())
	if o.Slots > 0 {
		s.max = min(s.max, o.Slots+uint32(bpf.WireReservedSlotsSLOTS_RESERVED))
	}
	for slot := uint32(bpf.WireReservedSlotsSLOTS_RESERVED); slot < s.max; slot++ {
		if err := p.cgroup.Maps[bpf.CgroupMapFreeSlots].Update(nil, slot, ebpf.UpdateAny); err != nil {
			return nil, fmt.Errorf("fill queue of free slots: %w", err)
		}
	}
	if err := p.attach(); err != nil {
		return nil, err
	}
	return s, nil
}

// Close detaches the programs.
func (s *Seals) Close() error {
	s.mu.Lock() // a pass of the task iterator may be under way
	defer s.mu.Unlock()
	err := s.programs.Close()
	if s.slots != nil {
		err = errors.Join(err, s.slots.Close())
	}
	if s.uses != nil {
		err = errors.Join(err, s.uses.Close())
	}
	return err
}

// SharedMaps are the maps that site programs use too, by name.
func (s *Seals) SharedMaps() map[string]*ebpf.Map {
	maps := map[string]*ebpf.Map{}
	for _, name := range sharedMaps() {
		if maps[name] = s.programs.cgroup.Maps[name]; maps[name] == nil {
			maps[name] = s.programs.process.Maps[name]
		}
	}
	return maps
}

// Events is the ring that the programs report to.
func (s *Seals) Events() *ebpf.Map { return s.programs.cgroup.Maps[bpf.CgroupMapEvents] }

// Slots is one more than the highest slot in use on this host.
func (s *Seals) Slots() uint32 { return s.max }

// Slot is what the kernel knows of a container.
func (s *Seals) Slot(slot uint32) bpf.WireSlot { return s.slots.Load(int(slot)) }

// Lost is how many events of a slot's container found no room in the ring, since
// the slot was taken; of Host since the start.
func (s *Seals) Lost(slot uint32) uint64 { return s.uses.Load(int(slot)).Lost }

// SetVersion puts a rule set in force for a slot: with one store, at all sites.
func (s *Seals) SetVersion(slot, version uint32) {
	atomic.StoreUint64(s.slots.Word(int(slot), unsafe.Offsetof(bpf.WireSlot{}.Version)), uint64(version))
}

// Take takes a free slot. It is ErrNoRoom when there is none.
func (s *Seals) Take() (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take()
}

func (s *Seals) take() (uint32, error) {
	var slot uint32
	err := s.programs.cgroup.Maps[bpf.CgroupMapFreeSlots].LookupAndDelete(nil, &slot)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, fmt.Errorf("%w: all %d slots are in use", ErrNoRoom, s.max)
	}
	if err != nil {
		return 0, fmt.Errorf("take free slot: %w", err)
	}
	s.held[slot] = true
	return slot, nil
}

// Hold notes a slot that the kernel took by itself.
func (s *Seals) Hold(slot uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[slot] = true
}

// pathKey is the kernel's key of an expected path.
func pathKey(path string) (bpf.WireCgroupPath, error) {
	var key bpf.WireCgroupPath
	if len(path) >= len(key.Path) {
		return key, fmt.Errorf("%w: %d bytes: at most %d can be expected", ErrPath, len(path), len(key.Path)-1)
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&key.Path[0])), len(key.Path)), path)
	return key, nil
}

// Expect lets the kernel give slot to the cgroup that will be made at path
// (below the root of the unified hierarchy, beginning with a slash).
func (s *Seals) Expect(slot uint32, path string) error {
	key, err := pathKey(path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	expectations := s.programs.cgroup.Maps[bpf.CgroupMapExpectations]
	err = expectations.Update(key, slot, ebpf.UpdateNoExist)
	var read uint32
	switch {
	case errors.Is(err, ebpf.ErrKeyExist):
		if expectations.Lookup(key, &read) == nil && read != slot {
			return fmt.Errorf("expect %q: %w", path, ErrOtherContainer)
		}
		return nil
	case err != nil:
		return fmt.Errorf("expect %q: %w", path, noRoom(err))
	}
	s.setState(slot, bpf.WireSlotStateSLOT_EXPECTED, bpf.WireSlotStateSLOT_FREE)
	s.expected[slot] = append(s.expected[slot], path)
	return nil
}

// Unexpect takes back what a slot's container is expected at; the path that its
// cgroup was made at is no expectation any more.
func (s *Seals) Unexpect(slot uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	expectations := s.programs.cgroup.Maps[bpf.CgroupMapExpectations]
	var errs []error
	for _, path := range s.expected[slot] {
		key, err := pathKey(path)
		if err != nil {
			return err
		}
		// The kernel has used it, and another container is expected there since.
		var holder uint32
		if expectations.Lookup(key, &holder) == nil && holder != slot {
			continue
		}
		if err := expectations.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("withdraw expectation of %q: %w", path, err))
		}
	}
	delete(s.expected, slot)
	return errors.Join(errs...)
}

// setState changes a slot's state if it is the one named; the state shares a
// word with init_pid.
func (s *Seals) setState(slot uint32, to, from bpf.WireSlotState) bool {
	word := s.slots.Word(int(slot), unsafe.Offsetof(bpf.WireSlot{}.State))
	old := atomic.LoadUint64(word)
	if uint32(old) != uint32(from) {
		return false
	}
	return atomic.CompareAndSwapUint64(word, old, old&^0xffffffff|uint64(to))
}

// SealedAs is the slot that a cgroup is sealed with, and whether it is.
func (s *Seals) SealedAs(cgroup uint64) (seal bpf.WireCgroupSeal, ok bool, err error) {
	err = s.programs.cgroup.Maps[bpf.CgroupMapSeals].Lookup(cgroup, &seal)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return seal, false, nil
	}
	if err != nil {
		return seal, false, fmt.Errorf("look up seal of cgroup %d: %w", cgroup, err)
	}
	return seal, true, nil
}

// Adopt seals the tasks of sealed cgroups that carry no seal yet: all that were
// there before their cgroup was sealed. One pass is enough, for what they fork
// meanwhile is sealed at its birth.
func (s *Seals) Adopt() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return overTasks(s.programs.adopt)
}

// KeepOrigins begins to keep, or no longer keeps, what each process has when it
// executes a program or is born, for rules that ask what it has changed since. Of
// a process that is there already, what it has when KeepOrigins returns was kept,
// unless an earlier time's is of the program that it still executes.
func (s *Seals) KeepOrigins(keep bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := uint32(0)
	if keep {
		kept = 1
	}
	if err := s.programs.process.Maps[bpf.ProcessMapOriginsKept].Update(uint32(0), kept, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("switch the keeping of origins: %w", err)
	}
	if !keep {
		return nil
	}
	return overTasks(s.programs.origins)
}

// overTasks runs an iterator's program for every task.
func overTasks(iter *link.Iter) error {
	pass, err := iter.Open()
	if err != nil {
		return fmt.Errorf("open task iterator: %w", err)
	}
	defer pass.Close()
	if _, err := io.Copy(io.Discard, pass); err != nil {
		return fmt.Errorf("iterate over tasks: %w", err)
	}
	return nil
}

// Errors is the failures that the programs counted, by enum kernel_error.
func (s *Seals) Errors() (counts [bpf.WireKernelErrorKERR_MAX]uint64, err error) {
	for i := range counts {
		var perCPU []uint64
		if err := s.programs.cgroup.Maps[bpf.CgroupMapKernelErrors].Lookup(uint32(i), &perCPU); err != nil {
			return counts, fmt.Errorf("read kernel error counts: %w", err)
		}
		for _, n := range perCPU {
			counts[i] += n
		}
	}
	counts[bpf.WireKernelErrorKERR_MISSED], err = s.programs.missed()
	return counts, err
}
