// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/bpfarray"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// maps is what all sites share.
type maps struct {
	coll *ebpf.Collection
	// shared is every map that a site's program gets instead of its own.
	shared  map[string]*ebpf.Map
	options Options
	// entry names the program that a kind of sites runs.
	entry func(compile.SiteKind) string
	// ends empties retries where what belongs to a task is in no task storage:
	// there it is one map for all sites.
	ends io.Closer
	// calls empties calls; nil while no rule waits for a return.
	calls *program
	// read is what spec copies from: to read it again takes 20 ms.
	read *ebpf.CollectionSpec

	sites   *bpfarray.Array[bpf.WireSite]
	classes *bpfarray.Array[compile.Bits]
	bounds  *bpfarray.Array[bpf.WireBound]
	acts    *bpfarray.Array[bpf.WireAct]
	rows    *bpfarray.Array[bpf.WireAutomatonRow]
	// values is how many elements match_values has.
	values uint64
}

// spec is the programs named with all that they need, as this kernel takes them.
func (m *maps) spec(programs []string) (*ebpf.CollectionSpec, error) {
	if m.read == nil {
		var err error
		if m.read, err = bpf.LoadSite(); err != nil {
			return nil, fmt.Errorf("read site programs: %w", err)
		}
	}
	spec := only(m.read, programs).Copy() // each site changes its own
	if err := m.adapt(spec); err != nil {
		return nil, err
	}
	if m.options.TaskRoom > 0 {
		spec.Maps[bpf.SiteMapFileHashes].MaxEntries = 1 // such a kernel hashes no files for programs
	}
	return spec, nil
}

// only is the collection with no programs but those named.
func only(spec *ebpf.CollectionSpec, programs []string) *ebpf.CollectionSpec {
	few := *spec
	few.Programs = map[string]*ebpf.ProgramSpec{}
	for _, name := range programs {
		few.Programs[name] = spec.Programs[name]
	}
	return &few
}

// adapt makes a collection one that this kernel takes.
func (m *maps) adapt(spec *ebpf.CollectionSpec) error {
	ring := spec.Maps[bpf.SiteMapEvents].MaxEntries
	if base := m.options.Base[bpf.SiteMapEvents]; base != nil {
		ring = base.MaxEntries()
	}
	return errors.Join(
		kernel.ReplaceTaskStorage(spec, m.options.TaskRoom), kernel.Preallocate(spec),
		kernel.DropAtomics(spec), kernel.SetPreempted(spec, m.options.Preempted), kernel.SetRingBytes(spec, ring),
	)
}

// openMaps creates the maps of policies beside those of the base programs.
func openMaps(o Options) (opened *maps, err error) {
	// Accounting of map memory against RLIMIT_MEMLOCK ended in 5.11.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise memory lock limit: %w", err)
	}
	m := &maps{shared: map[string]*ebpf.Map{}, options: o, entry: entry}
	programs := []string{bpf.SiteProgReclass}
	if o.TaskRoom > 0 {
		programs = append(programs, bpf.SiteProgRetryFree)
	}
	spec, err := m.spec(programs)
	if err != nil {
		return nil, err
	}
	if o.TaskRoom == 0 {
		delete(spec.Maps, bpf.SiteMapRetries)
	} else {
		spec.Maps[bpf.SiteMapLineages].MaxEntries = 1 // see placeholder
	}
	replace := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		if o.Base[name] != nil {
			replace[name] = o.Base[name]
			spec.Maps[name].MaxEntries = o.Base[name].MaxEntries()
		}
	}
	if m.coll, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace, Cache: kernel.Types()}); err != nil {
		return nil, fmt.Errorf("create maps of policies: %w", err)
	}
	for name, created := range m.coll.Maps {
		if name[0] != '.' {
			m.shared[name] = created
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	if prog := m.coll.Programs[bpf.SiteProgRetryFree]; prog != nil {
		if m.ends, err = o.Attacher.AttachTracing(prog); err != nil {
			return nil, fmt.Errorf("attach to the end of tasks: %w", err)
		}
	}
	return m, m.mapArrays()
}

// mapArrays maps the arrays that are written word by word.
func (m *maps) mapArrays() (err error) {
	if m.sites, err = bpfarray.Map[bpf.WireSite](m.coll.Maps[bpf.SiteMapSites]); err != nil {
		return err
	}
	if m.classes, err = bpfarray.Map[compile.Bits](m.coll.Maps[bpf.SiteMapClasses]); err != nil {
		return err
	}
	if m.bounds, err = bpfarray.Map[bpf.WireBound](m.coll.Maps[bpf.SiteMapBounds]); err != nil {
		return err
	}
	if m.acts, err = bpfarray.Map[bpf.WireAct](m.coll.Maps[bpf.SiteMapActs]); err != nil {
		return err
	}
	if m.rows, err = bpfarray.Map[bpf.WireAutomatonRow](m.coll.Maps[bpf.SiteMapAutomata]); err != nil {
		return err
	}
	return nil
}

// Close unmaps and closes the maps.
func (m *maps) Close() error {
	var errs []error
	if m.sites != nil {
		errs = append(errs, m.sites.Close())
	}
	if m.classes != nil {
		errs = append(errs, m.classes.Close())
	}
	if m.bounds != nil {
		errs = append(errs, m.bounds.Close())
	}
	if m.acts != nil {
		errs = append(errs, m.acts.Close())
	}
	if m.rows != nil {
		errs = append(errs, m.rows.Close())
	}
	if m.ends != nil {
		errs = append(errs, m.ends.Close())
	}
	if m.calls != nil {
		errs = append(errs, m.calls.Close())
	}
	m.coll.Close()
	return errors.Join(errs...)
}

// write makes the kernel have the changes, in their order. When it fails, what
// was written concerns only rules that are in no version.
func (m *maps) write(c *compile.Changes) error {
	for _, w := range c.Classes {
		m.classes.Store(int(w.ID), w.Bits)
	}
	for _, w := range c.Bounds {
		for i, b := range w.Bounds {
			m.bounds.Store(int(w.Offset)+i, b)
		}
	}
	for _, w := range c.Automata {
		for i, row := range w.Rows {
			m.rows.Store(int(w.Offset)+i, row)
		}
	}
	if err := m.insert(c.Insert); err != nil {
		return err
	}
	for _, w := range c.Reclass {
		if err := m.reclass(w); err != nil {
			return err
		}
	}
	if len(c.Dims) > 0 {
		site := m.sites.Load(int(c.Site))
		for _, w := range c.Dims {
			site.Dims[w.Index] = w.Value
		}
		m.sites.Store(int(c.Site), site)
	}
	return m.remove(c.Delete)
}

// batch is how many values one system call takes: the kernel copies keys and
// values of a batch, and holds neither longer than that.
const batch = 4096

func (m *maps) insert(writes []compile.ValueWrite) error {
	values := m.coll.Maps[bpf.SiteMapMatchValues]
	for len(writes) > 0 {
		n := min(batch, len(writes))
		keys, classes := make([]compile.ValueKey, n), make([]uint32, n)
		for i, w := range writes[:n] {
			keys[i], classes[i] = w.Key, w.Class
		}
		if err := m.insertBatch(values, keys, classes); err != nil {
			return err
		}
		writes = writes[n:]
	}
	return nil
}

func (m *maps) insertBatch(values *ebpf.Map, keys []compile.ValueKey, classes []uint32) error {
	// One value is cheaper without a batch, and hash maps have batches since 5.6.
	if len(keys) > 1 {
		n, err := values.BatchUpdate(keys, classes, &ebpf.BatchOptions{ElemFlags: uint64(ebpf.UpdateAny)})
		m.values += uint64(n)
		if err == nil || !errors.Is(err, ebpf.ErrNotSupported) {
			return noRoom("insert values", err)
		}
	}
	for i := range keys {
		if err := values.Update(keys[i], classes[i], ebpf.UpdateAny); err != nil {
			return noRoom("insert value", err)
		}
		m.values++
	}
	return nil
}

// noRoom tells a full map, whose answer is E2BIG, and memory that is used up from
// other errors.
func noRoom(operation string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOMEM) {
		err = fmt.Errorf("%w: %w", compile.ErrNoRoom, err)
	}
	return fmt.Errorf("%s: %w", operation, err)
}

func (m *maps) reclass(w compile.ValueWrite) error {
	args := [5]uint64{uint64(w.Key.Tag)<<32 | uint64(w.Key.Len), w.Key.Lane[0], w.Key.Lane[1], w.Key.Lane[2], uint64(w.Class)}
	found, err := m.coll.Programs[bpf.SiteProgReclass].Run(&ebpf.RunOptions{Context: args})
	if err != nil {
		return fmt.Errorf("change class of a value: %w", err)
	}
	if found == 1 {
		return nil
	}
	// A deletion that failed half way took it.
	if err := m.coll.Maps[bpf.SiteMapMatchValues].Update(w.Key, w.Class, ebpf.UpdateNoExist); err != nil {
		return noRoom("insert value", err)
	}
	m.values++
	return nil
}

func (m *maps) remove(keys []compile.ValueKey) error {
	values := m.coll.Maps[bpf.SiteMapMatchValues]
	for _, key := range keys {
		err := values.Delete(key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("delete value: %w", err)
		}
		m.values--
	}
	return nil
}
