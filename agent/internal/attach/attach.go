// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// Attach is engine.Attacher.
func (p *Points) Attach(prog *ebpf.Program, at compile.Site) (io.Closer, error) {
	switch at.Kind {
	case compile.Tracepoint:
		return p.attachTracepoint(prog, at.Subsystem, at.Name)
	case compile.RawTracepoint:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: at.Name, Program: prog})
	case compile.Kprobe, compile.KprobeOverride:
		if at.Multi {
			return one(link.KprobeMulti(prog, link.KprobeMultiOptions{Symbols: at.Functions()}))
		}
		return each(at.Functions(), func(function string) (io.Closer, error) { return link.Kprobe(function, prog, nil) })
	case compile.LSM:
		return link.AttachLSM(link.LSMOptions{Program: prog})
	case compile.ModifyReturn, compile.Fentry:
		return p.AttachTracing(prog)
	}
	return nil, fmt.Errorf("%s: %w", at, policy.ErrUnsupported)
}

// AttachExit is engine.Attacher.
func (p *Points) AttachExit(prog *ebpf.Program, at compile.Site) (io.Closer, error) {
	if events := at.ExitEvents(); len(events) > 0 {
		return each(events, func(event string) (io.Closer, error) { return p.attachTracepoint(prog, "syscalls", event) })
	}
	if at.Kind.Trampoline() {
		return p.AttachTracing(prog)
	}
	if at.Multi {
		return one(link.KretprobeMulti(prog, link.KprobeMultiOptions{Symbols: at.Functions()}))
	}
	return each(at.Functions(), func(function string) (io.Closer, error) { return link.Kretprobe(function, prog, nil) })
}

// AttachTracing is engine.Attacher.
func (p *Points) AttachTracing(prog *ebpf.Program) (io.Closer, error) {
	return link.AttachTracing(link.TracingOptions{Program: prog})
}

func (p *Points) attachTracepoint(prog *ebpf.Program, subsystem, event string) (io.Closer, error) {
	format, err := p.tracefs.Format(subsystem, event)
	if err != nil {
		return nil, err
	}
	return kernel.AttachTracepoint(prog, format.ID)
}

// links is several attachments that end together.
type links []io.Closer

// Close ends all of them.
func (l links) Close() error {
	var errs []error
	for _, c := range l {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// one is links of one attachment.
func one(l link.Link, err error) (io.Closer, error) {
	if err != nil {
		return nil, err
	}
	return links{l}, nil
}

// each attaches to all functions, or to none.
func each(functions []string, attach func(string) (io.Closer, error)) (io.Closer, error) {
	var all links
	for _, f := range functions {
		l, err := attach(f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("function %s: %w", f, err), all.Close())
		}
		all = append(all, l)
	}
	return all, nil
}
