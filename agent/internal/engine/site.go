// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// site is one place where rules apply, and the model of its rules.
type site struct {
	name compile.Site
	id   uint32
	// serial is the site's number among all that there were: ids are used again.
	serial uint32
	table  *compile.Table
	// loads is how many programs there have been.
	loads uint16
	// missed is how many calls the probes of programs that are gone have missed.
	missed uint64
	// hook is one of those that have been at the site: where its words are is the
	// same for all of them.
	hook *compile.Hook
	// program is what is attached; nil while the site has no rules.
	program  *program
	detached bool
	// owners is who had a bit, to tell what an event is about.
	owners [compile.MaxRules][]owner
}

// program is one load of the site's programs.
type program struct {
	shape
	coll    *ebpf.Collection
	closers []io.Closer
}

// shape is what a site's programs are loaded for: with another one they have to be
// replaced.
type shape struct {
	reads []compile.Read
	// words of rule bits that the programs look at.
	words int
	// notifies: some rule leaves notices for enforcers.
	notifies bool
	// returns: some rule waits for a call's return; tracks: some tracks sockets.
	returns, tracks bool
	posting
}

func (s shape) equal(o shape) bool {
	return s.words == o.words && s.notifies == o.notifies && s.returns == o.returns && s.tracks == o.tracks &&
		s.posting == o.posting && slices.Equal(s.reads, o.reads)
}

// include makes it one that also does what a rule needs.
func (s *shape) include(r *compile.Rule) {
	s.notifies = s.notifies || r.Notifies
	s.returns = s.returns || r.Returns
	s.tracks = s.tracks || r.Track != compile.Track{} || r.TrackReturn != compile.Track{}
	s.posting = s.posting.add(r)
}

// shape is what the site's programs have to be now. They are not replaced to look
// at less.
func (s *site) shape() shape {
	last := 0
	next := shape{words: 1}
	if s.program != nil {
		next = s.program.shape
	}
	next.reads = s.table.Reads()
	for bit := range compile.MaxRules {
		if _, r := s.table.Rule(bit); r != nil {
			last = bit
			next.include(r)
		}
	}
	for next.words*64 <= last {
		next.words *= 8
	}
	return next
}

// attached loads and attaches programs of the shape that the site needs, beside
// those that it has.
func (s *site) attached(m *maps) (*program, error) {
	next, err := s.load(m)
	if err != nil {
		return nil, err
	}
	if next.returns {
		if err := m.watchEnds(); err != nil {
			return nil, errors.Join(err, next.Close())
		}
	}
	if err := next.attach(m, s.name); err != nil {
		return nil, errors.Join(err, next.Close())
	}
	return next, nil
}

// entry is the program that a kind of sites runs at its entry.
func entry(kind compile.SiteKind) string {
	switch kind {
	case compile.RawTracepoint:
		return bpf.SiteProgRawEvent
	case compile.Kprobe, compile.KprobeOverride:
		return bpf.SiteProgFunctionEntry
	case compile.ModifyReturn:
		return bpf.SiteProgFunctionVerdict
	case compile.LSM:
		return bpf.SiteProgHookVerdict
	case compile.Fentry:
		return bpf.SiteProgFunctionCalled
	}
	return bpf.SiteProgTracepointEvent
}

// exit is the program that runs when the calls that a site enters return.
func exit(at compile.Site) string {
	switch {
	case len(at.ExitEvents()) > 0:
		return bpf.SiteProgSyscallExit
	case at.Kind.Trampoline():
		return bpf.SiteProgFunctionExit
	}
	return bpf.SiteProgFunctionReturn
}

// load loads what the site attaches.
func (s *site) load(m *maps) (*program, error) {
	config := siteConfig(s, s.shape())
	s.loads++
	config.Load = s.loads
	programs := []string{m.entry(s.name.Kind)}
	if s.name.Kind == compile.ModifyReturn && slices.ContainsFunc(s.shape().reads, compile.Read.User) {
		programs = append(programs, bpf.SiteProgPrefault)
	}
	if config.Hashes != 0 {
		programs = append(programs, bpf.SiteProgHashWanted, bpf.SiteProgHashFile)
	}
	if config.HasExit != 0 || config.Returns != 0 {
		programs = append(programs, exit(s.name))
	}
	if config.HasExit != 0 && config.IsExec != 0 {
		programs = append(programs, bpf.SiteProgExecDone)
	}
	return s.loadPrograms(m, config, programs)
}

// loadPrograms loads the programs named, over the shared maps.
func (s *site) loadPrograms(m *maps, config bpf.WireSiteConfig, programs []string) (*program, error) {
	spec, options, err := s.programSpec(m, config, programs)
	if err != nil {
		return nil, err
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, options)
	if err != nil {
		return nil, fmt.Errorf("load programs of %s: %w", s.name, err)
	}
	return &program{coll: coll, shape: s.shape()}, nil
}

// programSpec is what loadPrograms loads.
func (s *site) programSpec(
	m *maps, config bpf.WireSiteConfig, programs []string,
) (spec *ebpf.CollectionSpec, options ebpf.CollectionOptions, err error) {
	if spec, err = m.spec(programs); err != nil {
		return nil, options, err
	}
	for name, value := range map[string]any{
		bpf.SiteVarConfig:         config,
		bpf.SiteVarHashKeys:       *m.options.Keys,
		bpf.SiteVarAgentTgid:      m.options.Agent,
		bpf.SiteVarExpressionCode: expressionCode(s.shape().reads),
		bpf.SiteVarReadersPause:   uint32(byteOf(m.options.readersPause)),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, options, fmt.Errorf("set %s: %w", name, err)
		}
	}
	for _, name := range []string{
		m.entry(s.name.Kind), bpf.SiteProgPrefault, bpf.SiteProgHashWanted, bpf.SiteProgHashFile, bpf.SiteProgFunctionExit,
	} {
		if prog := spec.Programs[name]; prog != nil && s.name.Kind.Trampoline() {
			prog.AttachTo = s.name.Name
		}
	}
	for _, name := range []string{bpf.SiteProgFunctionEntry, bpf.SiteProgFunctionReturn} {
		if prog := spec.Programs[name]; prog != nil && s.name.Multi {
			prog.AttachType = ebpf.AttachTraceKprobeMulti
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
	if s.program != nil && m.options.TaskRoom == 0 {
		replace[bpf.SiteMapRetries] = s.program.coll.Maps[bpf.SiteMapRetries]
	}
	return spec, ebpf.CollectionOptions{MapReplacements: replace, Cache: s.types()}, nil
}

// types are types of the kernel in which what the site attaches to is found.
func (s *site) types() *btf.Cache {
	if s.name.Kind.Trampoline() && s.name.Kind != compile.LSM {
		return kernel.TypesWith(s.name.Name)
	}
	return kernel.Types() // no module has hooks of LSM
}

func siteConfig(s *site, shape shape) bpf.WireSiteConfig {
	config := bpf.WireSiteConfig{Id: s.id, Serial: s.serial, Words: uint32(shape.words)}
	if s.hook != nil {
		config.RegsOffset, config.ResultOffset = s.hook.RegsOffset, s.hook.ResultOffset
		config.Indirect = byteOf(s.hook.Indirect)
		config.Frame, config.StackOffset = uint8(s.hook.Frame.Kind), s.hook.Frame.StackOffset
		config.HasStack = byteOf(s.hook.Frame.HasStack)
		config.StackPopped = s.hook.Frame.StackPopped
	}
	config.Notifies = byteOf(shape.notifies)
	shape.configure(&config, s.name)
	config.Returns, config.Tracks = byteOf(shape.returns), byteOf(shape.tracks)
	config.InContext = byteOf(s.name.Kind.Trampoline() || s.name.Kind == compile.RawTracepoint)
	config.Denies = byteOf(s.name.Kind.Denies())
	config.IsExec = byteOf(s.name.IsExec())
	buffers := map[compile.Read]uint8{}
	for i, r := range shape.reads {
		config.Read[i] = bpf.WireReadConfig{
			Offset: r.Offset, Kind: uint8(r.Kind), Size: r.Size, IsSigned: byteOf(r.Signed), When: uint8(r.When), Rest: byteOf(r.Rest),
		}
		config.HasRest |= byteOf(r.Rest)
		if r.Whole() == r {
			config.Chain[i] = chainConfig(r.Chain)
		}
		if r.Buffer() {
			config.Read[i].String = uint8(len(buffers))
			buffers[r] = config.Read[i].String
		}
		config.Kinds |= r.KindBit()
		if s.name.Returns() && r.User() {
			config.HasExit = 1
		}
		if config.SockKind == 0 && isSock(r) {
			config.SockKind, config.SockOffset = uint8(r.Kind), r.Offset
		}
	}
	configParts(&config, shape.reads, buffers)
	return config
}

// isSock tells whether a read is of a socket that is an argument itself.
func isSock(r compile.Read) bool {
	return (r.Kind == bpf.WireReadKindREAD_SOCK || r.Kind == bpf.WireReadKindREAD_SOCKET) && !r.Returned() && r.Chain == (compile.Chain{})
}

// configParts says where reads are that are of what others read.
func configParts(config *bpf.WireSiteConfig, reads []compile.Read, buffers map[compile.Read]uint8) {
	steps := 0
	for i, r := range reads {
		if whole := r.Whole(); whole != r {
			config.Read[i].String = buffers[whole]
		}
		switch r.Kind {
		case bpf.WireReadKindREAD_GAINED:
			config.Read[i].Offset, config.Read[i].Size = r.Operands(reads)
		case bpf.WireReadKindREAD_EXPRESSION:
			config.Read[i].Offset, config.Read[i].Size = uint16(steps), uint16(r.Steps())
			steps += r.Steps()
		}
	}
}

// expressionCode is the expressions of reads, one after the other.
func expressionCode(reads []compile.Read) (code [compile.MaxCode]bpf.WireInstruction) {
	at := code[:0]
	for _, r := range reads {
		at = append(at, r.Instructions(reads)...)
	}
	return code
}

func chainConfig(c compile.Chain) bpf.WireChainConfig {
	return bpf.WireChainConfig{
		From: uint8(c.From), Steps: c.Steps, Load: c.Load, Shift: c.Shift, Bits: c.Bits, Offset: c.Offsets,
	}
}

func byteOf(is bool) uint8 {
	if is {
		return 1
	}
	return 0
}

// attach attaches first what finishes a call and then what begins one. Of the
// programs of one hook the kernel runs the one first that came last.
func (p *program) attach(m *maps, name compile.Site) error {
	points := m.options.Attacher
	for _, program := range []struct {
		name string
		do   func(*ebpf.Program) (io.Closer, error)
	}{
		{bpf.SiteProgExecDone, points.AttachTracing},
		{bpf.SiteProgPrefault, points.AttachTracing},
		{bpf.SiteProgSyscallExit, func(prog *ebpf.Program) (io.Closer, error) { return points.AttachExit(prog, name) }},
		{bpf.SiteProgFunctionReturn, func(prog *ebpf.Program) (io.Closer, error) { return points.AttachExit(prog, name) }},
		{bpf.SiteProgFunctionExit, func(prog *ebpf.Program) (io.Closer, error) { return points.AttachExit(prog, name) }},
		{m.entry(name.Kind), func(prog *ebpf.Program) (io.Closer, error) { return points.Attach(prog, name) }},
		{bpf.SiteProgHashFile, func(prog *ebpf.Program) (io.Closer, error) { return points.Attach(prog, name) }},
		{bpf.SiteProgHashWanted, func(prog *ebpf.Program) (io.Closer, error) { return points.Attach(prog, name) }},
	} {
		prog := p.coll.Programs[program.name]
		if prog == nil {
			continue
		}
		l, err := program.do(prog)
		if err != nil {
			return fmt.Errorf("attach %s to %s: %w", program.name, name, err)
		}
		p.closers = append(p.closers, l)
	}
	return nil
}

// missed is how many calls the kernel says that it has run none of the probes for.
func (p *program) missed() (n uint64) {
	for _, c := range p.closers {
		if probes, ok := c.(interface{ Missed() uint64 }); ok {
			n += probes.Missed()
		}
	}
	return n
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
