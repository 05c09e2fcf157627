// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"strings"
	"unicode"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// processKey is what the message of a process is made of, beside the number of its
// uses. All three are immutable.
type processKey struct {
	process   *process.Process
	container *container.Container
	tid       uint32
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

// message is the message of a process that so many use. It is made anew when
// their number has changed.
func (e *Enricher) message(key processKey, refs uint32) *tetragon.Process {
	m, ok := e.processes[key]
	switch {
	case ok && m.Refcnt == refs:
		return m
	case ok:
		m = shallow(m)
	default:
		if len(e.processes) >= maxProcesses || e.bytes >= maxProcessBytes {
			clear(e.processes)
			e.bytes = 0
		}
		m = e.newMessage(key)
	}
	m.Refcnt = refs
	e.processes[key] = m
	return m
}

func (e *Enricher) newMessage(key processKey) *tetragon.Process {
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
		Pod:          e.podOf(p, key.container),
		User:         e.user(p, key.container),
	}
	e.bytes += len(m.Arguments) + e.addLife(m, p, key.container)
	return m
}

// shallow is a copy that shares all that is no plain value.
func shallow(m *tetragon.Process) *tetragon.Process {
	return &tetragon.Process{
		ExecId: m.ExecId, Pid: m.Pid, Uid: m.Uid, Cwd: m.Cwd, Binary: m.Binary, Arguments: m.Arguments, Flags: m.Flags,
		StartTime: m.StartTime, Auid: m.Auid, Pod: m.Pod, Docker: m.Docker, ParentExecId: m.ParentExecId, Refcnt: m.Refcnt,
		Cap: m.Cap, Ns: m.Ns, Tid: m.Tid, ProcessCredentials: m.ProcessCredentials, BinaryProperties: m.BinaryProperties,
		User: m.User, InInitTree: m.InInitTree, EnvironmentVariables: m.EnvironmentVariables,
	}
}

// user is the user of a process of the host, whose names are not those of
// containers; nil when it has no name, or nobody asked for them.
func (e *Enricher) user(p *process.Process, c *container.Container) *tetragon.UserRecord {
	if e.Users == nil || c != nil || p.Flags&process.Miss != 0 {
		return nil
	}
	name := e.Users.Name(p.UID)
	if name == "" {
		return nil
	}
	return &tetragon.UserRecord{Name: valid(name)}
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
