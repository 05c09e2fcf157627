// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/bpf"
)

// Options configures the base programs.
type Options struct {
	// HashKeys is the secret of the string hash.
	HashKeys [bpf.WireLimitsHASH_KEYS]uint32
	// RuntimeComms are the names of processes (at most 15 bytes) whose cgroups
	// are taken for containers; NamePrefixes are what may stand before the 64
	// digits in the name of a container's cgroup. At most 16 each.
	RuntimeComms, NamePrefixes []string
	// RingBytes is the size of the event ring, a power of two of at least a page.
	RingBytes uint32
	// Slots is the number of containers that there is room for, 0 for the most
	// that the kernel maps have.
	Slots uint32

	// TaskRoom is for how many tasks there is room on a kernel that has no task
	// storage for these programs (see kernel.TaskRoom), 0 on one that has it.
	TaskRoom uint32

	// Preempted tells that programs at raw tracepoints can be preempted (see
	// kernel.RawTracepointsPreempted): the kernel then skips some of them at times.
	Preempted bool

	// Environment: execs tell their environment. ForkState: forks tell credentials and
	// namespaces of the child; execs always do.
	Environment, ForkState bool

	// seals is the size of the map of sealed cgroups in tests, 0 for the usual one.
	seals uint32
	// missesExecs is for tests: as Preempted, with every exec missed, and with the
	// program at forks that all kernels can have.
	missesExecs bool
	// verifier is what the verifier tells of the programs, in tests.
	verifier ebpf.LogLevel
}

// pattern is the kernel's struct pattern.
type pattern [16]byte

// programs is everything that is loaded and attached.
type programs struct {
	cgroup, process *ebpf.Collection
	processes       []string // names of those programs of process that are attached to events
	adopt, origins  *link.Iter
	closers         []io.Closer
}

// sharedMaps names the maps that sites share with the base programs.
func sharedMaps() []string {
	return []string{
		bpf.CgroupMapSlots, bpf.CgroupMapSeals, bpf.CgroupMapEvents, bpf.CgroupMapKernelErrors,
		bpf.CgroupMapRingUses, bpf.CgroupMapTaskSeals,
		bpf.ProcessMapScratchTaken, bpf.ProcessMapPathWalks, bpf.ProcessMapOrigins,
	}
}

func load(o Options) (p *programs, err error) {
	// Accounting of map memory against RLIMIT_MEMLOCK ended in 5.11.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise memory lock limit: %w", err)
	}
	opened := &programs{}
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	spec, err := bpf.LoadCgroup()
	if err != nil {
		return nil, fmt.Errorf("read cgroup programs: %w", err)
	}
	if err := o.setPatterns(spec); err != nil {
		return nil, err
	}
	if err := kernel.ReplaceTaskStorage(spec, o.TaskRoom); err != nil {
		return nil, err
	}
	if err := kernel.SetRingBytes(spec, o.RingBytes); err != nil {
		return nil, err
	}
	spec.Maps[bpf.CgroupMapEvents].MaxEntries = o.RingBytes
	if o.seals > 0 {
		spec.Maps[bpf.CgroupMapSeals].MaxEntries = o.seals
	}
	if opened.cgroup, err = ebpf.NewCollectionWithOptions(spec, o.loading(nil)); err != nil {
		return nil, fmt.Errorf("load cgroup programs: %w", err)
	}
	opened.processes = o.atProcesses()
	if opened.process, err = o.loadProcess(opened.cgroup.Maps, opened.processes); err != nil {
		return nil, err
	}
	return opened, nil
}

// loading is how programs are loaded over maps that there are.
func (o Options) loading(shared map[string]*ebpf.Map) ebpf.CollectionOptions {
	return ebpf.CollectionOptions{MapReplacements: shared, Cache: kernel.Types(), Programs: ebpf.ProgramOptions{LogLevel: o.verifier}}
}

// atProcesses names the programs at the events of processes, in the order in
// which they are to be attached.
func (o Options) atProcesses() []string {
	names := []string{bpf.ProcessProgSchedProcessFree, bpf.ProcessProgSchedProcessExit}
	switch {
	case o.missesExecs:
		return append(names, bpf.ProcessProgSchedProcessFork)
	case o.Preempted:
		return append(names, bpf.ProcessProgSchedWakeupNew, bpf.ProcessProgSchedProcessExec)
	default:
		return append(names, bpf.ProcessProgSchedProcessFork, bpf.ProcessProgSchedProcessExec)
	}
}

// loadProcess loads the process programs that are named, and those of task iterators,
// over the maps of the programs of cgroups.
func (o Options) loadProcess(base map[string]*ebpf.Map, names []string) (*ebpf.Collection, error) {
	spec, err := bpf.LoadProcess()
	if err != nil {
		return nil, fmt.Errorf("read process programs: %w", err)
	}
	if err := kernel.ReplaceTaskStorage(spec, o.TaskRoom); err != nil {
		return nil, err
	}
	if err := kernel.DropAtomics(spec); err != nil {
		return nil, err
	}
	if err := o.setProcess(spec); err != nil {
		return nil, err
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool {
		return name != bpf.ProcessProgAdoptTasks && name != bpf.ProcessProgKeepOrigins && !slices.Contains(names, name)
	})
	shared := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		if m := base[name]; m != nil && spec.Maps[name].Type == m.Type() && name[0] != '.' {
			shared[name] = m
			spec.Maps[name].MaxEntries = m.MaxEntries()
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, o.loading(shared))
	if err != nil {
		return nil, fmt.Errorf("load process programs: %w", err)
	}
	return coll, nil
}

// setProcess sets the variables of the process programs.
func (o Options) setProcess(spec *ebpf.CollectionSpec) error {
	if err := spec.Variables[bpf.ProcessVarHashKeys].Set(o.HashKeys); err != nil {
		return fmt.Errorf("set hash keys: %w", err)
	}
	if err := kernel.SetPreempted(spec, o.Preempted || o.missesExecs); err != nil {
		return err
	}
	if err := kernel.SetRingBytes(spec, o.RingBytes); err != nil {
		return err
	}
	return o.setTold(spec)
}

// setTold says what the process programs tell beside what they always do.
func (o Options) setTold(spec *ebpf.CollectionSpec) error {
	for variable, told := range map[string]bool{
		bpf.ProcessVarTellsEnvironment: o.Environment,
		bpf.ProcessVarTellsForkState:   o.ForkState,
	} {
		value := uint32(0)
		if told {
			value = 1
		}
		if err := spec.Variables[variable].Set(value); err != nil {
			return fmt.Errorf("set %s: %w", variable, err)
		}
	}
	return nil
}

func (o Options) setPatterns(spec *ebpf.CollectionSpec) error {
	for variable, texts := range map[string][]string{
		bpf.CgroupVarRuntimeComms: o.RuntimeComms,
		bpf.CgroupVarNamePrefixes: o.NamePrefixes,
	} {
		var patterns [16]pattern
		if len(texts) > len(patterns) {
			return fmt.Errorf("set %s: %d patterns: at most %d", variable, len(texts), len(patterns))
		}
		for i, text := range texts {
			if text == "" || len(text) >= len(patterns[i]) {
				return fmt.Errorf("set %s: pattern %q: 1 to %d bytes", variable, text, len(patterns[i])-1)
			}
			copy(patterns[i][:], text)
		}
		if err := spec.Variables[variable].Set(patterns); err != nil {
			return fmt.Errorf("set %s: %w", variable, err)
		}
	}
	if err := spec.Variables[bpf.CgroupVarRuntimeCommCount].Set(uint32(len(o.RuntimeComms))); err != nil {
		return fmt.Errorf("set runtime names: %w", err)
	}
	if err := spec.Variables[bpf.CgroupVarNamePrefixCount].Set(uint32(len(o.NamePrefixes))); err != nil {
		return fmt.Errorf("set name prefixes: %w", err)
	}
	return nil
}

// attach attaches the programs in an order in which no task is lost: those that
// keep seals with tasks come before those that make them.
func (p *programs) attach() (err error) {
	var progs []*ebpf.Program
	for _, name := range p.processes {
		progs = append(progs, p.process.Programs[name])
	}
	for _, prog := range append(progs,
		p.cgroup.Programs[bpf.CgroupProgCgroupRmdir],
		p.cgroup.Programs[bpf.CgroupProgCgroupAttachTask],
		p.cgroup.Programs[bpf.CgroupProgCgroupMkdir],
	) {
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return fmt.Errorf("attach %s: %w", prog, err)
		}
		p.closers = append(p.closers, l)
	}
	if p.adopt, err = p.iterator(bpf.ProcessProgAdoptTasks); err != nil {
		return err
	}
	p.origins, err = p.iterator(bpf.ProcessProgKeepOrigins)
	return err
}

// iterator attaches a program that a pass over all tasks runs.
func (p *programs) iterator(name string) (*link.Iter, error) {
	iter, err := link.AttachIter(link.IterOptions{Program: p.process.Programs[name]})
	if err != nil {
		return nil, fmt.Errorf("attach task iterator %s: %w", name, err)
	}
	p.closers = append(p.closers, iter)
	return iter, nil
}

// missed is how often the kernel has skipped a program, which it tells since
// Linux 5.12; before, it skips none.
func (p *programs) missed() (n uint64, err error) {
	for _, coll := range []*ebpf.Collection{p.cgroup, p.process} {
		for name, prog := range coll.Programs {
			stats, err := prog.Stats()
			if err != nil {
				return 0, fmt.Errorf("read statistics of program %s: %w", name, err)
			}
			n += stats.RecursionMisses
		}
	}
	return n, nil
}

// Close detaches and unloads everything, the last attached first.
func (p *programs) Close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i].Close())
	}
	p.closers = nil
	if p.process != nil {
		p.process.Close()
	}
	if p.cgroup != nil {
		p.cgroup.Close()
	}
	return errors.Join(errs...)
}
