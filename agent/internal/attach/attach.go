// SPDX-License-Identifier: Apache-2.0

package attach

import (
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
	default:
		return nil, fmt.Errorf("%s: %w", at, policy.ErrUnsupported)
	}
}

// AttachExit is engine.Attacher.
func (p *Points) AttachExit(prog *ebpf.Program, at compile.Site) (io.Closer, error) {
	event, ok := at.Exit()
	if !ok {
		return nil, fmt.Errorf("%s: %w", at, policy.ErrUnsupported)
	}
	return p.attachTracepoint(prog, at.Subsystem, event)
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
