// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"strings"
	"unicode"

	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// processKey is what the message of a process is made of. All three are
// immutable, so that the message is made once.
type processKey struct {
	process   *process.Process
	container *container.Container
	tid       uint32
}

// process is the message of the process that an event is about.
func (e *Enricher) process(p *process.Process, h *event.Header) *tetragon.Process {
	return e.message(processKey{p, e.container(h.Slot, h.CgroupID), h.Tid})
}

// parent is the message of the parent of p, nil when it is not known.
func (e *Enricher) parent(p *process.Process) *tetragon.Process {
	parent, ok := e.Processes.ByExecID(p.ParentExecID)
	if !ok {
		return nil
	}
	return e.message(processKey{parent, e.container(parent.Slot, parent.CgroupID), parent.Key.Tgid})
}

// container is that of a slot or, for a process that carries none, of a cgroup;
// nil for the host.
func (e *Enricher) container(slot uint32, cgroup uint64) *container.Container {
	if slot >= uint32(bpf.WireReservedSlotsSLOTS_RESERVED) {
		if c, ok := e.Containers.BySlot(slot); ok {
			return c
		}
	}
	c, _ := e.Containers.ByCgroup(cgroup)
	return c
}

func (e *Enricher) message(key processKey) *tetragon.Process {
	if m, ok := e.processes[key]; ok {
		return m
	}
	if len(e.processes) >= maxProcesses || e.bytes >= maxProcessBytes {
		clear(e.processes)
		e.bytes = 0
	}
	p := key.process
	m := &tetragon.Process{
		ExecId:       p.ExecID,
		ParentExecId: p.ParentExecID,
		Pid:          wrapperspb.UInt32(p.Key.Tgid),
		Tid:          wrapperspb.UInt32(key.tid),
		Uid:          wrapperspb.UInt32(p.UID),
		Auid:         wrapperspb.UInt32(p.AUID),
		Binary:       valid(p.Binary),
		Arguments:    arguments(p.Args),
		Cwd:          valid(p.Cwd),
		Flags:        p.Flags.String(),
		StartTime:    e.time(p.Since),
		Docker:       docker(key.container),
		Pod:          pod(key.container),
	}
	e.bytes += len(m.Arguments) + e.addLife(m, p, key.container)
	e.processes[key] = m
	return m
}

// valid is text that protobuf takes: kernel and processes know bytes only.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// arguments joins what follows argv[0].
func arguments(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			addArgument(&b, a)
		}
	}
	return valid(b.String())
}

// addArgument adds an argument behind others.
func addArgument(b *strings.Builder, a string) {
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if a != "" && !strings.ContainsFunc(a, unicode.IsSpace) {
		b.WriteString(a)
		return
	}
	b.WriteByte('"')
	b.WriteString(a)
	b.WriteByte('"')
}

// docker is the part of the id that the API's field has always held.
func docker(c *container.Container) string {
	const length = 31
	if c == nil {
		return ""
	}
	return valid(c.ID[:min(length, len(c.ID))])
}

func pod(c *container.Container) *tetragon.Pod {
	if c == nil {
		return nil
	}
	m := &tetragon.Pod{Container: &tetragon.Container{Id: valid(c.ID), Name: valid(c.Name), Image: image(c)}}
	// The agent learns of a container as it is made, unless it came late.
	if !c.Late && !c.Added.IsZero() {
		m.Container.StartTime = timestamppb.New(c.Added)
	}
	if c.Pod != nil {
		m.Namespace, m.Name, m.Uid = valid(c.Pod.Namespace), valid(c.Pod.Name), valid(c.Pod.UID)
		m.PodLabels, m.PodAnnotations = validMap(c.Pod.Labels), validMap(c.Pod.Annotations)
	}
	return m
}

// image is nil for a container whose image nobody told.
func image(c *container.Container) *tetragon.Image {
	if c.Image == "" {
		return nil
	}
	m := &tetragon.Image{Name: valid(c.Image)}
	if strings.Contains(c.Image, "@sha256:") || strings.HasPrefix(c.Image, "sha256:") {
		m.Id = m.Name
	}
	return m
}

func validMap(of map[string]string) map[string]string {
	if len(of) == 0 {
		return nil
	}
	m := make(map[string]string, len(of))
	for key, value := range of {
		m[valid(key)] = valid(value)
	}
	return m
}
