// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/bpf"
)

// MapUse is how full a kernel map of policies is.
type MapUse struct {
	Name              string
	Entries, Capacity uint64
}

// ProgramUse is what a program of a site has done since it was loaded; see
// seal.ProgramUse.
type ProgramUse struct {
	Site, Name    string
	Runs, Skipped uint64
	Time          time.Duration
}

// lineageSite is what the programs that follow lineages are told as.
const lineageSite = "lineage"

// Maps is how full the maps of policies are, by what was taken of them.
func (e *Engine) Maps() []MapUse {
	e.mu.Lock()
	defer e.mu.Unlock()
	use := func(name string, entries uint64) MapUse {
		return MapUse{Name: name, Entries: entries, Capacity: uint64(e.maps.coll.Maps[name].MaxEntries())}
	}
	taken := func(name string, free uint64) MapUse {
		return use(name, uint64(e.maps.coll.Maps[name].MaxEntries())-free)
	}
	counters, sets := uint64(0), uint64(0)
	for _, used := range e.counters {
		if used {
			counters++
		}
	}
	for _, v := range e.versions.bySet {
		sets += uint64(len(v.sites))
	}
	bounds, rows := e.pools.FreeRoom()
	return []MapUse{
		use(bpf.SiteMapMatchValues, e.maps.values),
		use(bpf.SiteMapSetRules, sets),
		use(bpf.SiteMapSites, uint64(len(e.sites))+1), // and that of lineages
		use(bpf.SiteMapPolicyCounters, counters),
		taken(bpf.SiteMapClasses, uint64(e.pools.FreeClasses())),
		taken(bpf.SiteMapBounds, bounds),
		taken(bpf.SiteMapAutomata, rows),
	}
}

// Programs is what the programs of the attached sites have done.
func (e *Engine) Programs() ([]ProgramUse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []ProgramUse
	add := func(site string, coll *ebpf.Collection) error {
		for name, prog := range coll.Programs {
			stats, err := prog.Stats()
			if err != nil {
				return fmt.Errorf("read statistics of program %s at %s: %w", name, site, err)
			}
			all = append(all, ProgramUse{Site: site, Name: name, Runs: stats.RunCount, Time: stats.Runtime, Skipped: stats.RecursionMisses})
		}
		return nil
	}
	for _, s := range e.sites {
		if s.program != nil {
			if err := add(s.name.String(), s.program.coll); err != nil {
				return nil, err
			}
		}
	}
	if e.lineages.program != nil {
		if err := add(lineageSite, e.lineages.program.coll); err != nil {
			return nil, err
		}
	}
	return all, nil
}
