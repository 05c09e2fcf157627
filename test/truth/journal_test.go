// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/truth/script"
)

// execution is one exec that a process tried: done or failed is nil, or both where it
// was killed meanwhile.
type execution struct {
	spec              *script.Exec
	try, done, failed *script.Record
}

// life is what a process did, as the journal has it.
type life struct {
	node int
	// maker is who forked it, in its image; nil for node 0.
	maker      *life
	makerImage int
	birth      *script.Op
	// pid is the host's, 0 for one that was not born. space is the node whose pid
	// namespace it is in, -1: the host's.
	pid     uint32
	space   int
	refused unix.Errno

	forking, forked, begun *script.Record
	execs                  []execution
	ending                 *script.Record
	reaped                 *script.Record
	// until is when it had been reaped, or at the latest can have been.
	until uint64
	// container is the one that it is born into, and in for ever.
	container string
}

// story is the lives of all processes of a performance, and what they did wrong.
type story struct {
	*performance
	lives  []*life
	faults []string
}

func (s *story) fault(format string, args ...any) {
	s.faults = append(s.faults, "the performer: "+fmt.Sprintf(format, args...))
}

// read makes a story of a journal.
func read(p *performance) *story {
	s := &story{performance: p, lives: make([]*life, p.script.Nodes)}
	for n := range s.lives {
		s.lives[n] = &life{node: n, until: p.ended, space: -1}
	}
	s.beginnings()
	if p.journal.Next > script.MaxRecords {
		s.fault("%d records are more than the journal holds", p.journal.Next)
		return s
	}
	for i := range p.journal.Records[:p.journal.Next] {
		if r := &p.journal.Records[i]; r.Whole != 0 {
			s.take(r)
		}
	}
	root := s.lives[0]
	root.pid, root.reaped = uint32(p.root), &script.Record{Value: int64(p.status) << 8}
	for _, l := range s.lives {
		s.identify(l)
	}
	for i := range p.journal.Records[:p.journal.Next] {
		if r := &p.journal.Records[i]; r.Whole != 0 && r.Entry == script.Reaped {
			s.reap(r)
		}
	}
	for _, l := range s.lives {
		s.contain(l)
	}
	return s
}

// beginnings takes from the script who makes whom.
func (s *story) beginnings() {
	root := s.lives[0]
	first := &s.script.Execs[s.script.First]
	root.execs = []execution{{spec: first, try: &script.Record{Time: s.began}}}
	root.forking = root.execs[0].try
	for i := range s.script.Ops {
		op := &s.script.Ops[i]
		if op.Kind != script.Fork && op.Kind != script.Spawn {
			continue
		}
		child := s.lives[op.Node]
		child.maker, child.makerImage, child.birth = s.lives[op.Owner], op.Image, op
	}
}

// take takes one record in.
func (s *story) take(r *script.Record) {
	l := s.lives[r.Node]
	var op *script.Op
	if r.Entry != script.Executed {
		op = &s.script.Ops[r.Op]
	}
	switch r.Entry {
	case script.Forking:
		s.lives[op.Node].forking = r
	case script.Forked:
		if s.lives[op.Node].forked = r; r.Value < 0 {
			s.lives[op.Node].refused = unix.Errno(-r.Value)
		}
	case script.Begun:
		l.begun = r
	case script.Executing:
		of := l
		if op.Kind == script.Spawn {
			of = s.lives[op.Node]
			of.forking = r
		}
		of.execs = append(of.execs, execution{spec: &s.script.Execs[op.Exec], try: r})
	case script.Executed, script.Failed:
		s.tried(l, r)
	case script.Ending:
		if l.ending = r; r.Value == script.NoEnd<<8 {
			s.fault("node %d: its script has no end", l.node)
		}
	case script.Broken:
		s.fault("node %d: operation %+v: %v", l.node, *op, unix.Errno(r.Value))
	}
}

func (s *story) tried(l *life, r *script.Record) {
	if len(l.execs) == 0 {
		s.fault("node %d: exec %d without a beginning", l.node, r.Op)
		return
	}
	last := &l.execs[len(l.execs)-1]
	if r.Entry == script.Executed {
		if last.done = r; last.spec != &s.script.Execs[r.Op] {
			s.fault("node %d: executed %d instead of another", l.node, r.Op)
		}
		return
	}
	if last.failed = r; int64(last.spec.Errno) != r.Value {
		s.fault("node %d: exec of %q: %v instead of %v", l.node, last.spec.Path, unix.Errno(r.Value), unix.Errno(last.spec.Errno))
	}
}

// identify finds out who a life was.
func (s *story) identify(l *life) {
	if l.maker != nil {
		if l.space = l.maker.space; l.birth.Value&unix.CLONE_NEWPID != 0 && l.birth.Kind == script.Fork {
			l.space = l.node
		}
	}
	for _, r := range l.own() {
		if l.pid != 0 && l.pid != r.Pid {
			s.fault("node %d: pid %d became %d", l.node, l.pid, r.Pid)
		}
		l.pid = r.Pid
	}
	if l.pid == 0 && l.forked != nil && l.forked.Value > 0 {
		if l.maker.space >= 0 {
			s.fault("node %d: born in a namespace, and it has said nothing", l.node)
		}
		l.pid = uint32(l.forked.Value)
	}
	// Another one can have come to have a pid that is to be used again.
	if l.refused != 0 && !(l.refused == unix.EEXIST && l.birth.Again > 0) {
		s.fault("node %d: fork: %v", l.node, l.refused)
	}
}

// own are records that the process wrote of itself.
func (l *life) own() []*script.Record {
	var all []*script.Record
	if l.begun != nil {
		all = append(all, l.begun)
	}
	for _, e := range l.execs {
		if e.done != nil {
			all = append(all, e.done)
		}
	}
	if l.ending != nil {
		all = append(all, l.ending)
	}
	return all
}

// reap finds whose end a record of wait4 tells: the last that had the pid there.
func (s *story) reap(r *script.Record) {
	reaper := s.lives[r.Node]
	var of *life
	for _, l := range s.lives {
		if l.pid == 0 || l.maker == nil || l.reaped != nil || l.forking.Time > r.Time || l.pidIn(reaper.space) != r.Other {
			continue
		}
		if of == nil || l.forking.Time < of.forking.Time {
			of = l // pids are used again when they have been reaped
		}
	}
	if of == nil {
		s.fault("node %d reaped %d, whom nobody knows", r.Node, r.Other)
		return
	}
	of.reaped, of.until = r, r.Time
}

// pidIn is the pid of a life in the namespace of another one, 0 when it is not told.
func (l *life) pidIn(space int) uint32 {
	switch {
	case space < 0:
		return l.pid
	case l.maker != nil && l.maker.space == space && l.forked != nil:
		return uint32(l.forked.Value)
	case l.space == space && l.begun != nil:
		return l.begun.Inner
	}
	return 0
}

// codes are the ends, as wait4 tells them, that the process can have had.
func (l *life) codes() []int64 {
	const killed = int64(unix.SIGKILL)
	switch {
	case l.reaped != nil:
		return []int64{l.reaped.Value &^ 0x80} // 0x80: the kernel wrote a core
	case l.ending != nil && l.space >= 0:
		return []int64{l.ending.Value, killed} // the end of the namespace can have come first
	case l.ending != nil:
		return []int64{l.ending.Value}
	}
	return []int64{killed}
}

// contain finds out in which container a life is; makers come first.
func (s *story) contain(l *life) {
	if l.maker == nil {
		l.container = s.home.container
		return
	}
	if l.container = l.maker.container; l.container == "" && l.birth.Cgroup >= 0 {
		l.container = s.home.containers[l.birth.Cgroup-script.CgroupFD]
	}
}
