// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/truth/script"
)

// parentAt compares the parent of an event that happened between two times, and is one of
// those with the pids.
func (c *checker) parentAt(l *life, t *told, pids []uint32, from, until uint64) {
	id := t.process.GetParentExecId()
	c.equal(l, t, "exec id of the parent", t.parent.GetExecId(), id)
	_, since, pid, err := parts(id)
	if err != nil {
		c.differs(l, "exec id of the parent: %v: %s", err, t)
		return
	}
	c.equal(l, t, "pid of the parent", t.parent.GetPid().GetValue(), pid)
	if l.maker == nil {
		c.equal(l, t, "parent", pid, c.self) // node 0 has one parent for ever
		c.equal(l, t, "binary of the parent", t.parent.GetBinary(), c.image)
		return
	}
	for _, of := range c.lives {
		if of.pid != pid || !slices.Contains(pids, pid) || of.forking.Time > until || of.until < from {
			continue
		}
		if c.isImage(of, id, since, from, until) {
			c.parentMessage(l, t, of, id)
			return
		}
	}
	c.differs(l, "its parent is one of %v, as it was between %d and %d: %s", pids, from, until, t)
}

// atExec is the pids of which one was the parent of a process as it executed a file.
func (c *checker) atExec(l *life, e *execution) []uint32 {
	pids := []uint32{e.try.Parent}
	if l.maker != nil && e.try.Node != uint16(l.node) { // its maker's, by whom it was spawned
		pids[0] = l.maker.pid
	}
	if e.done != nil {
		pids = append(pids, e.done.Parent)
	}
	return c.orReapers(pids)
}

// atBirth is the same as it was forked.
func (c *checker) atBirth(l *life) []uint32 {
	if l.maker == nil {
		return nil // the test's
	}
	if l.birth.Value&unix.CLONE_PARENT == 0 {
		return []uint32{l.maker.pid}
	}
	pids := []uint32{l.forking.Parent} // the parent of who forks
	if l.forked != nil {
		pids = append(pids, l.forked.Parent)
	}
	return c.orReapers(pids)
}

// orReapers adds to the parents before and after something, unless both are told and the
// same, those who take orphans: each can have been the parent in between.
func (c *checker) orReapers(pids []uint32) []uint32 {
	if len(pids) == 2 && pids[0] == pids[1] {
		return pids
	}
	return append(pids, c.reapers()...)
}

// reapers is the pids of those who take orphans.
func (c *checker) reapers() []uint32 {
	var pids []uint32
	for i := range c.script.Ops {
		if op := &c.script.Ops[i]; op.Kind == script.Reaper {
			pids = append(pids, c.lives[op.Owner].pid)
		}
	}
	for _, l := range c.lives {
		if l.space == l.node {
			pids = append(pids, l.pid)
		}
	}
	return pids
}

// isImage tells whether an exec id is that of an image that a process can have been
// between two times.
func (c *checker) isImage(of *life, id string, since, from, until uint64) bool {
	begin, image := of.forking.Time, 0
	for i := 0; ; i++ {
		end := of.until
		for i < len(of.execs) && of.execs[i].failed != nil {
			i++
		}
		if i < len(of.execs) {
			if end = of.until; of.execs[i].done != nil {
				end = of.execs[i].done.Time
			}
		}
		if begin <= until && end >= from && c.hasID(of, image, id, since) {
			return true
		}
		if i >= len(of.execs) {
			return false
		}
		begin, image = of.execs[i].try.Time, of.execs[i].spec.Image
	}
}

// hasID tells whether an exec id is that of an image. The id of one that was only
// forked is told by its exit or its children, always as the same.
func (c *checker) hasID(of *life, image int, id string, since uint64) bool {
	if image == 0 && of.begun != nil && since/tick != of.begun.Start {
		return false
	}
	known, ok := c.ids[of.node][image]
	if !ok && image == 0 && since >= of.forking.Time && since <= of.until {
		for _, other := range c.ids[of.node] {
			if other == id {
				return false
			}
		}
		c.ids[of.node][0] = id
		return true
	}
	return ok && known == id
}

// parentMessage compares what is told of a parent with what was told of it itself.
func (c *checker) parentMessage(l *life, t *told, of *life, id string) {
	if exec := c.byID[id]; exec != nil {
		want := proto.Clone(exec.process).(*tetragon.Process)
		want.Pod, want.Docker = t.parent.GetPod(), t.parent.GetDocker()
		c.same(l, t, "parent", t.parent, want)
	} else if source := c.source(of, 0); source != nil {
		c.equal(l, t, "binary of the parent", t.parent.GetBinary(), source.process.GetBinary())
		c.equal(l, t, "arguments of the parent", t.parent.GetArguments(), source.process.GetArguments())
	}
	c.equal(l, t, "container of the parent", t.parent.GetPod().GetContainer().GetId(), of.container)
}
