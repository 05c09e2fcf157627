// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// lineages is what policies want tasks to be followed for. The programs that
// follow them are attached while there is something.
type lineages struct {
	site *site
	hook *compile.Hook
	// users is how many policies ask for a lineage, and bits its bit, by its key.
	users map[string]int
	bits  map[string]int
	// used says which bits tasks may still have from somebody before.
	used    compile.Bits
	program *followers
}

// followers is one load of the programs.
type followers struct {
	coll        *ebpf.Collection
	clear, mark *link.Iter
	closers     []io.Closer
}

func newLineages(keys *compile.Keys, pools *compile.Pools) (*lineages, error) {
	const id = uint32(bpf.WireLimitsLINEAGE_SITE)
	s := &site{id: id, table: compile.NewTable(id, keys, pools)}
	l := &lineages{site: s, hook: compile.LineageHook(), users: map[string]int{}, bits: map[string]int{}}
	return l, s.table.Extend(l.hook)
}

// followFor follows what a policy's rules ask for.
func (e *Engine) followFor(l *loaded) error {
	wanted := l.policy.Lineages()
	if len(wanted) == 0 {
		return nil
	}
	if err := e.follow(wanted); err != nil {
		return err
	}
	l.lineages = wanted
	for _, lineage := range wanted {
		l.values += len(lineage.Binaries) + len(lineage.PIDs)
	}
	l.policy = l.policy.WithLineages(e.lineages.bits)
	return nil
}

// follow gives each lineage a bit that the tasks which are of it have when it
// returns. On error none is followed for this call.
func (e *Engine) follow(wanted []compile.Lineage) (err error) {
	l := e.lineages
	var fresh []compile.Lineage
	var stale compile.Bits
	for _, lineage := range wanted {
		if l.users[lineage.Key()]++; l.users[lineage.Key()] == 1 {
			fresh = append(fresh, lineage)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.unfollow(wanted))
		}
	}()
	if l.program == nil {
		if l.program, err = e.maps.loadFollowers(); err != nil {
			return err
		}
	}
	for _, lineage := range fresh {
		bit, err := l.site.table.Room(1)
		if err != nil {
			return fmt.Errorf("%w: policies follow the children of %d sets of processes", compile.ErrNoRoom, compile.MaxLineages)
		}
		l.bits[lineage.Key()] = bit
		l.site.table.Add(bit, l.hook, lineage.Begins())
		if compile.Has(l.used, bit) {
			stale = compile.With(stale, bit)
		}
	}
	// Before anything can give somebody the bit anew.
	if err := l.program.clearAll(stale); err != nil {
		return err
	}
	if err := e.write(l.site); err != nil {
		return err
	}
	for _, lineage := range fresh {
		l.used = compile.With(l.used, l.bits[lineage.Key()])
	}
	return l.program.markAll()
}

// unfollow ends what one call of follow began. No version in force asks for what
// nobody wants any more.
func (e *Engine) unfollow(wanted []compile.Lineage) error {
	l := e.lineages
	for _, lineage := range wanted {
		key := lineage.Key()
		if l.users[key]--; l.users[key] > 0 {
			continue
		}
		delete(l.users, key)
		if bit, ok := l.bits[key]; ok {
			delete(l.bits, key)
			l.site.table.Remove(bit)
		}
	}
	err := e.write(l.site)
	// Where there is no room for the way back it is made with the next change.
	if errors.Is(err, compile.ErrNoRoom) {
		err = nil
	}
	if len(l.users) == 0 && l.program != nil {
		err = errors.Join(err, l.program.Close())
		l.program = nil
	}
	return err
}

// birth is the program that follows a task to its children.
func (m *maps) birth() string {
	if m.options.Preempted {
		return bpf.LineageProgLineageWakeup
	}
	return bpf.LineageProgLineageFork
}

// loadFollowers loads and attaches the programs that follow tasks: those that end
// what belongs to a task before those that begin it.
func (m *maps) loadFollowers() (f *followers, err error) {
	var names []string
	if m.options.TaskRoom > 0 {
		names = append(names, bpf.LineageProgLineageFree)
	}
	names = append(names, m.birth(), bpf.LineageProgLineageExec)
	f = &followers{}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if f.coll, err = m.loadLineage(append(names, bpf.LineageProgLineageClear, bpf.LineageProgLineageMark), 0); err != nil {
		return nil, err
	}
	for _, name := range names {
		l, err := m.options.Attacher.AttachTracing(f.coll.Programs[name])
		if err != nil {
			return nil, fmt.Errorf("attach %s: %w", name, err)
		}
		f.closers = append(f.closers, l)
	}
	for name, to := range map[string]**link.Iter{bpf.LineageProgLineageClear: &f.clear, bpf.LineageProgLineageMark: &f.mark} {
		if *to, err = link.AttachIter(link.IterOptions{Program: f.coll.Programs[name]}); err != nil {
			return nil, fmt.Errorf("attach %s: %w", name, err)
		}
		f.closers = append(f.closers, *to)
	}
	return f, nil
}

func (m *maps) loadLineage(names []string, verifier ebpf.LogLevel) (*ebpf.Collection, error) {
	spec, err := bpf.LoadLineage()
	if err != nil {
		return nil, fmt.Errorf("read programs of lineages: %w", err)
	}
	spec = only(spec, names)
	if err := m.adapt(spec); err != nil {
		return nil, err
	}
	if err := spec.Variables[bpf.LineageVarHashKeys].Set(*m.options.Keys); err != nil {
		return nil, fmt.Errorf("set hash keys: %w", err)
	}
	replace := map[string]*ebpf.Map{}
	for name, mapSpec := range spec.Maps {
		if shared := m.shared[name]; shared != nil && !m.placeholder(name) {
			replace[name] = shared
			mapSpec.MaxEntries = shared.MaxEntries()
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: replace, Cache: kernel.Types(), Programs: ebpf.ProgramOptions{LogLevel: verifier},
	})
	if err != nil {
		return nil, fmt.Errorf("load programs of lineages: %w", err)
	}
	if !m.placeholder(bpf.LineageMapLineages) {
		return coll, nil
	}
	// From now on sites get the real one.
	real, err := coll.Maps[bpf.LineageMapLineages].Clone()
	if err != nil {
		coll.Close()
		return nil, fmt.Errorf("share lineages: %w", err)
	}
	_ = m.coll.Maps[bpf.LineageMapLineages].Close() // programs that have it keep it
	m.coll.Maps[bpf.LineageMapLineages], m.shared[bpf.LineageMapLineages] = real, real
	return coll, nil
}

// placeholder tells whether a map is but a stand-in with room for one: a hash with
// room for every task is made when something is to be in it.
func (m *maps) placeholder(name string) bool {
	return name == bpf.LineageMapLineages && m.options.TaskRoom > 0 && m.shared[name].MaxEntries() == 1
}

// Close detaches and unloads the programs.
func (f *followers) Close() error {
	var errs []error
	for _, c := range slices.Backward(f.closers) {
		errs = append(errs, c.Close())
	}
	if f.coll != nil {
		f.coll.Close()
	}
	return errors.Join(errs...)
}

// clearAll takes bits from all tasks.
func (f *followers) clearAll(stale compile.Bits) error {
	if compile.Empty(stale) {
		return nil
	}
	if err := f.untilStill(f.clear, stale); err != nil {
		return fmt.Errorf("take lineages from tasks: %w", err)
	}
	return nil
}

// markAll gives tasks the bits of what they and their living ancestors are.
func (f *followers) markAll() error {
	if err := f.untilStill(f.mark, compile.Bits{}); err != nil {
		return fmt.Errorf("give lineages to tasks: %w", err)
	}
	return nil
}

// passes bounds untilStill: a pass goes by pid, so that one is enough for all whose
// ancestors have lower pids, and each further one meets what was born meanwhile.
const passes = 64

// untilStill runs an iterator over all tasks until a pass changes nothing.
func (f *followers) untilStill(over *link.Iter, stale compile.Bits) error {
	control := f.coll.Maps[bpf.LineageMapLineageControl]
	for range passes {
		if err := control.Update(uint32(0), bpf.WireLineageControl{Stale: stale}, ebpf.UpdateAny); err != nil {
			return err
		}
		all, err := over.Open()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, all)
		if err := errors.Join(err, all.Close()); err != nil {
			return err
		}
		var after bpf.WireLineageControl
		if err := control.Lookup(uint32(0), &after); err != nil {
			return err
		}
		if after.Changed == 0 {
			return nil
		}
	}
	return fmt.Errorf("tasks still change after %d passes", passes)
}
