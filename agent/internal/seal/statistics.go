// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/bpf"
)

// MapUse is how full a kernel map is.
type MapUse struct {
	Name string
	// Capacity is 0 for a map that has no fixed one.
	Entries, Capacity uint64
}

// ProgramUse is what a program has done. The kernel counts runs and their time while
// kernel.bpf_stats_enabled is set or somebody asks it to.
type ProgramUse struct {
	Name string
	Runs uint64
	Time time.Duration
	// Skipped is how often the program was not run, as it was running already.
	Skipped uint64
}

// Maps is how full the maps are. Entries that come and go meanwhile may be missed or
// counted twice.
func (s *Seals) Maps() ([]MapUse, error) {
	maps := s.programs.cgroup.Maps
	seals, err := entries[uint64, bpf.WireCgroupSeal](maps[bpf.CgroupMapSeals])
	if err != nil {
		return nil, err
	}
	expectations, err := entries[bpf.WireCgroupPath, uint32](maps[bpf.CgroupMapExpectations])
	if err != nil {
		return nil, err
	}
	tasks := MapUse{Name: bpf.CgroupMapTaskSeals}
	for slot := uint32(bpf.WireReservedSlotsSLOTS_RESERVED); slot < s.max; slot++ {
		tasks.Entries += uint64(max(s.Slot(slot).Tasks, 0))
	}
	if of := maps[bpf.CgroupMapTaskSeals]; of.Type() == ebpf.Hash {
		tasks.Capacity = uint64(of.MaxEntries())
	}
	return []MapUse{
		{bpf.CgroupMapSeals, seals, uint64(maps[bpf.CgroupMapSeals].MaxEntries())},
		{bpf.CgroupMapExpectations, expectations, uint64(maps[bpf.CgroupMapExpectations].MaxEntries())},
		tasks,
	}, nil
}

// lookups is how many elements one system call reads.
const lookups = 1024

// entries counts the elements of a hash.
func entries[K, V any](m *ebpf.Map) (n uint64, err error) {
	keys, values := make([]K, lookups), make([]V, lookups)
	for cursor := new(ebpf.MapBatchCursor); ; {
		got, err := m.BatchLookup(cursor, keys, values, nil)
		n += uint64(got)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("count entries of %s: %w", m, err)
		}
	}
}

// Programs is what the programs have done.
func (s *Seals) Programs() ([]ProgramUse, error) {
	var all []ProgramUse
	for _, coll := range []*ebpf.Collection{s.programs.cgroup, s.programs.process} {
		for name, prog := range coll.Programs {
			stats, err := prog.Stats()
			if err != nil {
				return nil, fmt.Errorf("read statistics of program %s: %w", name, err)
			}
			all = append(all, ProgramUse{Name: name, Runs: stats.RunCount, Time: stats.Runtime, Skipped: stats.RecursionMisses})
		}
	}
	return all, nil
}
