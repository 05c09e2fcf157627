// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"strings"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// Rule is what an event says of the rule that it is for.
type Rule struct {
	// Type is the type of the event.
	Type tetragon.EventType
	// Namespace and Policy name the policy, and Hook is its hook.
	Namespace, Policy, Hook string
}

// Bounds of what Count keeps. All is forgotten when one is reached: what is in use is
// back soon.
const (
	maxProcesses = 16384
	maxSubjects  = 4096
	maxPosts     = 8192
)

// counting is what Count knows of what it has counted before: the series, so that
// nothing has to be looked up by labels. It is of one goroutine.
type counting struct {
	changed   uint64
	processes map[processKey]*running
	subjects  map[subject]*subjectSeries
	posts     map[postKey]*post
}

func newCounting() counting {
	return counting{
		processes: map[processKey]*running{}, subjects: map[subject]*subjectSeries{}, posts: map[postKey]*post{},
	}
}

type processKey struct {
	process.Key
	slot uint32
}

// running is a process in a container.
type running struct {
	*subjectSeries
	ended bool
}

// subject is what processes have in common that are counted together. The binary is
// as it is told.
type subject struct {
	slot   uint32
	binary string
}

// subjectSeries are the series of a subject, nil until it has events of that type.
type subjectSeries struct {
	subject
	exec, exit *series
}

type postKey struct {
	of            *subjectSeries
	site, version uint32
	bit           int
}

// post is an event of a rule.
type post struct{ event, policy *series }

// The types of records.
const (
	recordOther = iota
	recordCgroupSealed
	recordCgroupGone
	recordFork
	recordExec
	recordExit
	recordSite
	recordData
	recordTaskUnsealed
	recordArmed
	recordTypes
)

func recordNames() [recordTypes]string {
	return [recordTypes]string{
		recordOther: other, recordCgroupSealed: "cgroup_sealed", recordCgroupGone: "cgroup_gone", recordFork: "fork",
		recordExec: "exec", recordExit: "exit", recordSite: "site", recordData: "data",
		recordTaskUnsealed: "task_unsealed", recordArmed: "armed",
	}
}

func recordType(of event.Event) int {
	switch of.(type) {
	case *event.CgroupSealed:
		return recordCgroupSealed
	case *event.CgroupGone:
		return recordCgroupGone
	case *event.Fork:
		return recordFork
	case *event.Exec:
		return recordExec
	case *event.Exit:
		return recordExit
	case *event.Site:
		return recordSite
	case *event.Data:
		return recordData
	case *event.TaskUnsealed:
		return recordTaskUnsealed
	case *event.Armed:
		return recordArmed
	}
	return recordOther
}

// Count takes in an event, after those that act by it and the process cache have. It
// is for one goroutine, the one that reads events in their order.
func (m *Metrics) Count(of event.Event) {
	m.records[recordType(of)].Add(1)
	switch of := of.(type) {
	case *event.CgroupSealed:
		if of.By < bpf.WireSealedBy(len(m.sealed)) {
			m.sealed[of.By].Add(1)
		}
	case *event.Armed:
		m.observe(of.Header.Slot)
	case *event.Exec:
		m.refresh()
		key := processKey{process.Key{Tgid: of.Tgid, Start: of.Start}, of.Slot}
		m.executed(m.begin(key, of.Binary).subjectSeries)
	case *event.Exit:
		m.refresh()
		m.exited(m.process(&of.Header))
	case *event.Site:
		m.refresh()
		m.posted(of)
	}
}

// refresh forgets series that may be gone or another workload's.
func (m *Metrics) refresh() {
	if changed := m.changed.Load(); changed != m.count.changed {
		m.count = newCounting()
		m.count.changed = changed
	}
}

// begin takes in that a process executes a binary.
func (m *Metrics) begin(key processKey, binary string) *running {
	c := &m.count
	if len(c.processes) >= maxProcesses || len(c.subjects) >= maxSubjects {
		clear(c.processes)
		clear(c.subjects)
		clear(c.posts)
	}
	of := subject{slot: key.slot}
	if m.events.binary {
		of.binary = cutPath(binary)
	}
	s := c.subjects[of]
	if s == nil {
		of.binary = strings.Clone(of.binary) // not the whole of a long one
		s = &subjectSeries{subject: of}
		c.subjects[of] = s
	}
	p := c.processes[key]
	if p == nil {
		p = &running{}
		c.processes[key] = p
	}
	*p = running{subjectSeries: s}
	return p
}

// process is that of an event.
func (m *Metrics) process(h *event.Header) *running {
	key := processKey{process.Key{Tgid: h.Tgid, Start: h.Start}, h.Slot}
	if p := m.count.processes[key]; p != nil {
		return p
	}
	return m.begin(key, m.options.Binary(key.Key))
}

func (m *Metrics) executed(s *subjectSeries) {
	if s.exec == nil {
		s.exec = m.seriesOf(m.events, s, tetragon.EventType_PROCESS_EXEC.String())
	}
	s.exec.count.Add(1)
}

// exited counts the end of a process once: two threads that end at once both report
// it.
func (m *Metrics) exited(p *running) {
	if p.ended {
		return
	}
	p.ended = true
	if p.exit == nil {
		p.exit = m.seriesOf(m.events, p.subjectSeries, tetragon.EventType_PROCESS_EXIT.String())
	}
	p.exit.count.Add(1)
}

// posted counts the events of a record: one for each rule that asks for one.
func (m *Metrics) posted(of *event.Site) {
	var s *subjectSeries
	for bit := range of.Posted.All() {
		if of.Silent.Has(bit) {
			continue
		}
		if s == nil {
			s = m.process(&of.Header).subjectSeries
		}
		key := postKey{s, of.Site, of.Version, bit}
		p := m.count.posts[key]
		if p == nil {
			p = m.post(key)
		}
		if p != nil {
			p.event.count.Add(1)
			p.policy.count.Add(1)
		}
	}
}

// post finds the series of a rule's events, nil when nobody knows the rule.
func (m *Metrics) post(key postKey) *post {
	if len(m.count.posts) >= maxPosts {
		clear(m.count.posts)
	}
	r, ok := m.options.Rule(key.site, key.version, key.bit)
	if !ok {
		return nil
	}
	p := &post{
		event:  m.seriesOf(m.events, key.of, r.Type.String()),
		policy: m.seriesOf(m.policies, key.of, cut(r.Namespace), cut(r.Policy), cut(r.Hook)),
	}
	m.count.posts[key] = p
	return p
}

// seriesOf is a subject's series of a counter.
func (m *Metrics) seriesOf(c *counters, of *subjectSeries, own ...string) *series {
	m.mu.Lock()
	defer m.mu.Unlock()
	return c.at(m.groupOf(of.slot), own, of.binary)
}

// groupOf is the workload of a slot, that of the host where there is no container.
func (m *Metrics) groupOf(slot uint32) *group {
	if slot < uint32(bpf.WireReservedSlotsSLOTS_RESERVED) {
		return m.groups.host
	}
	c, ok := m.options.Containers.BySlot(slot)
	if !ok {
		return m.groups.host
	}
	return m.groups.of(c)
}
