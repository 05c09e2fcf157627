// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// site is one attached tracepoint and the model of its rules.
type site struct {
	name compile.Site
	id   uint32
	// serial is the site's number among all that there were: ids are used again.
	serial uint32
	table  *compile.Table
	// program is what is attached; nil while the site has no rules.
	program  *program
	detached bool
	// owners is who had a bit, to tell what an event is about.
	owners [compile.MaxRules][]owner
}

// program is one load of the site's programs.
type program struct {
	reads   []compile.Read
	coll    *ebpf.Collection
	closers []io.Closer
}

// attach loads and attaches programs that read all arguments that the table
// names. Those attached before go only then, so that there is no gap; for a
// moment both evaluate.
func (s *site) attach(m *maps, points Tracepoints, keys *compile.Keys) error {
	next, err := s.load(m, keys)
	if err != nil {
		return err
	}
	if err := next.attach(s.name, points); err != nil {
		return errors.Join(err, next.Close())
	}
	old := s.program
	s.program = next
	if old != nil {
		return old.Close()
	}
	return nil
}

// load loads what the site attaches.
func (s *site) load(m *maps, keys *compile.Keys) (*program, error) {
	config := siteConfig(s)
	programs := []string{bpf.TracepointProgTracepointEvent}
	if config.HasExit != 0 {
		programs = append(programs, bpf.TracepointProgSyscallExit)
		if config.IsExec != 0 {
			programs = append(programs, bpf.TracepointProgExecDone)
		}
	}
	return s.loadPrograms(m, map[string]any{
		bpf.TracepointVarConfig:    config,
		bpf.TracepointVarHashKeys:  *keys,
		bpf.TracepointVarAgentTgid: uint32(os.Getpid()),
	}, programs)
}

// loadPrograms loads the programs named, over the shared maps.
func (s *site) loadPrograms(m *maps, variables map[string]any, programs []string) (*program, error) {
	spec, options, err := s.programSpec(m, variables, programs)
	if err != nil {
		return nil, err
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, options)
	if err != nil {
		return nil, fmt.Errorf("load programs of %s: %w", s.name, err)
	}
	return &program{coll: coll, reads: s.table.Reads()}, nil
}

// programSpec is what loadPrograms loads.
func (s *site) programSpec(
	m *maps, variables map[string]any, programs []string,
) (spec *ebpf.CollectionSpec, options ebpf.CollectionOptions, err error) {
	if spec, err = bpf.LoadTracepoint(); err != nil {
		return nil, options, fmt.Errorf("read site programs: %w", err)
	}
	if err := kernel.ReplaceTaskStorage(spec, m.taskRoom); err != nil {
		return nil, options, err
	}
	if err := kernel.Preallocate(spec); err != nil {
		return nil, options, err
	}
	for name, value := range variables {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, options, fmt.Errorf("set %s: %w", name, err)
		}
	}
	for name := range spec.Programs {
		if !slices.Contains(programs, name) {
			delete(spec.Programs, name)
		}
	}
	replace := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		if m.shared[name] != nil {
			replace[name] = m.shared[name]
			spec.Maps[name].MaxEntries = m.shared[name].MaxEntries()
		}
	}
	// A call that the old program put off is judged by the new one.
	if s.program != nil && m.taskRoom == 0 {
		replace[bpf.TracepointMapRetries] = s.program.coll.Maps[bpf.TracepointMapRetries]
	}
	return spec, ebpf.CollectionOptions{MapReplacements: replace}, nil
}

func siteConfig(s *site) bpf.WireSiteConfig {
	config := bpf.WireSiteConfig{Id: s.id, Serial: s.serial}
	strings := uint8(0)
	for i, r := range s.table.Reads() {
		arg := bpf.WireArgConfig{Offset: r.Offset, Kind: uint8(r.Kind), Size: r.Size}
		if r.Signed {
			arg.IsSigned = 1
		}
		if r.IsString() {
			arg.String = strings
			strings++
		}
		if _, ok := s.name.Exit(); ok && r.Kind == bpf.WireArgKindARG_USER_STRING {
			config.HasExit = 1
		}
		config.Arg[i] = arg
		config.Args++
	}
	if s.name.IsExec() {
		config.IsExec = 1
	}
	return config
}

// attach attaches first what finishes a call and then what begins one.
func (p *program) attach(name compile.Site, points Tracepoints) error {
	if prog := p.coll.Programs[bpf.TracepointProgExecDone]; prog != nil {
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return fmt.Errorf("attach to the end of exec: %w", err)
		}
		p.closers = append(p.closers, l)
	}
	if prog := p.coll.Programs[bpf.TracepointProgSyscallExit]; prog != nil {
		event, _ := name.Exit()
		l, err := points.Attach(prog, name.Subsystem, event)
		if err != nil {
			return fmt.Errorf("attach to %s/%s: %w", name.Subsystem, event, err)
		}
		p.closers = append(p.closers, l)
	}
	l, err := points.Attach(p.coll.Programs[bpf.TracepointProgTracepointEvent], name.Subsystem, name.Event)
	if err != nil {
		return fmt.Errorf("attach to %s: %w", name, err)
	}
	p.closers = append(p.closers, l)
	return nil
}

// Close detaches what begins a call first.
func (p *program) Close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i].Close())
	}
	p.coll.Close()
	return errors.Join(errs...)
}
