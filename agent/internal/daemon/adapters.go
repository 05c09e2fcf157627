// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"io"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/server"
)

// tracepoints attaches by name.
type tracepoints struct{ tracefs *kernel.Tracefs }

// Attach attaches a program to an event until it is closed.
func (t tracepoints) Attach(prog *ebpf.Program, subsystem, event string) (io.Closer, error) {
	format, err := t.tracefs.Format(subsystem, event)
	if err != nil {
		return nil, err
	}
	return kernel.AttachTracepoint(prog, format.ID)
}

// formats is the fields of an event as the compiler wants them.
func (t tracepoints) formats(subsystem, event string) ([]compile.Field, error) {
	format, err := t.tracefs.Format(subsystem, event)
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

func features(of kernel.Features) (list []server.Feature, probes map[string]bool) {
	for _, a := range of.All() {
		list = append(list, server.Feature{
			Name: string(a.Feature), Err: a.Err, Known: a.Err == nil || errors.Is(a.Err, kernel.ErrUnsupported),
		})
	}
	probes = map[string]bool{}
	for _, a := range of.InfoProbes() {
		probes[string(a.Feature)] = a.Err == nil
	}
	return list, probes
}
