// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf/btf"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// Points is the hooks of the running kernel. It is safe for concurrent use.
type Points struct {
	tracefs  *kernel.Tracefs
	features kernel.Features
	types    *btf.Spec
	symbols  func() (map[string]bool, error)
	// unsafe is why programs that can be preempted would be, to each other's harm;
	// nil where they are not.
	unsafe error
	Preempted
}

// Open opens the lists of hooks of the running kernel, which can do what features
// say.
func Open(features kernel.Features) (*Points, error) {
	tracefs, err := kernel.OpenTracefs()
	if err != nil {
		return nil, err
	}
	types, err := kernel.Types().Kernel()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read types of the kernel: %w", err), tracefs.Close())
	}
	p := &Points{tracefs: tracefs, features: features, types: types, symbols: sync.OnceValues(readSymbols)}
	if err := p.askPreemption(); err != nil {
		return nil, errors.Join(err, tracefs.Close())
	}
	return p, nil
}

func (p *Points) askPreemption() (err error) {
	if p.unsafe, err = preempts(); err != nil {
		return err
	}
	if p.Trampolines, err = kernel.Preemptible(); err != nil {
		return err
	}
	if p.RawTracepoints, err = kernel.RawTracepointsPreempted(); err != nil {
		return err
	}
	p.SyscallTracepoints, err = kernel.SyscallTracepointsPreempted()
	return err
}

// Close closes the lists. What is attached stays.
func (p *Points) Close() error { return p.tracefs.Close() }

// FeatureOf is the feature that a mechanism needs, and whether it is known.
func FeatureOf(m compile.Mechanism) (feature kernel.Feature, ok bool) {
	feature, ok = map[compile.Mechanism]kernel.Feature{
		compile.CanKprobe: kernel.Kprobe, compile.CanKprobeMulti: kernel.KprobeMulti,
		compile.CanFentry: kernel.Fentry, compile.CanOverride: kernel.OverrideReturn,
		compile.CanModifyReturn: kernel.ModifyReturn, compile.CanModifySyscall: kernel.ModifyReturnSyscall,
		compile.CanLSM: kernel.LSM, compile.CanSignal: kernel.Signal,
		compile.CanHashFile: kernel.FileHash,
	}[m]
	return feature, ok
}

// Can is compile.Kernel.
func (p *Points) Can(m compile.Mechanism) error {
	feature, ok := FeatureOf(m)
	if !ok {
		return fmt.Errorf("unknown mechanism %d", m)
	}
	if err := p.features.Err(feature); err != nil {
		return err
	}
	switch m {
	case compile.CanFentry, compile.CanModifyReturn, compile.CanModifySyscall, compile.CanLSM, compile.CanHashFile:
		return p.unsafe
	default:
		return nil
	}
}

// Tracepoint is compile.Kernel.
func (p *Points) Tracepoint(subsystem, event string) ([]compile.Field, error) {
	format, err := p.tracefs.Format(subsystem, event)
	if err != nil {
		return nil, err
	}
	fields := make([]compile.Field, 0, len(format.Fields))
	for _, f := range format.Fields {
		field := compile.Field{
			Name: f.Name, Type: f.Type, Offset: f.Offset, Size: f.Size, Signed: f.Signed, DataLoc: f.DataLoc,
			Array: f.ArrayLen,
		}
		if f.RelLoc {
			field.Type = "__rel_loc " + f.Type // no type of an argument fits it
		}
		fields = append(fields, field)
	}
	return fields, nil
}
