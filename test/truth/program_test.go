// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"github.com/boltseal/boltseal/test/truth/script"
)

// process is one process of a program. Its first image is what it is forked as.
type process struct {
	birth  birth
	images []*image
	// first: it is node 0 or the first of a pid namespace, which makes no siblings and
	// outlives its children.
	first bool
	node  int // its number, once the program is laid out
}

// birth is how a process comes to be.
type birth struct {
	spawned bool   // by vfork, with the file of images[1] executed at once
	flags   uint64 // of clone
	cgroup  int    // 1 more than the index of the cgroup it is born into
	again   *process
}

// image is a process between two execs.
type image struct {
	exec  *script.Exec // nil for the first
	steps []step
}

// step is one thing that an image does. Of is the other process, where there is one.
type step struct {
	kind  script.Kind
	of    *process
	exec  *script.Exec
	value uint64
	text  string
}

// layout makes a script of a tree of processes.
type layout struct {
	out   script.Script
	known map[*process]bool
}

// compile lays a program out. Steps about processes that are not in the tree are left
// out.
func compile(name string, root *process) *script.Script {
	l := layout{known: map[*process]bool{}}
	l.out.Name = name
	l.number(root)
	l.out.First = l.process(root, 1)
	return &l.out
}

func (l *layout) number(p *process) {
	p.node, l.known[p] = l.out.Nodes, true
	l.out.Nodes++
	for _, i := range p.images {
		for _, s := range i.steps {
			if isBirth(s.kind) {
				l.number(s.of)
			}
		}
	}
}

func isBirth(kind script.Kind) bool { return kind == script.Fork || kind == script.Spawn }

// process lays out the images of p from one on, and those below it; it returns where
// the first begins: an operation, or where a file is executed for it the exec.
func (l *layout) process(p *process, from int) int {
	// From the last one on: an exec has to know where the next image begins.
	next := -1
	for n := len(p.images) - 1; n >= from; n-- {
		next = l.image(p, n, next)
		if exec := p.images[n].exec; exec != nil {
			e := *exec
			e.Node, e.Image, e.To = p.node, n, next
			l.out.Execs = append(l.out.Execs, e)
			next = len(l.out.Execs) - 1
		}
	}
	return next
}

// image lays out one image, at whose end comes the exec next, if there is one.
func (l *layout) image(p *process, n, next int) int {
	var ops []script.Op
	for _, s := range p.images[n].steps {
		if s.of != nil && !l.known[s.of] {
			continue
		}
		ops = append(ops, l.op(p, n, s))
	}
	if next >= 0 {
		ops = append(ops, script.Op{Kind: script.Execute, Owner: p.node, Image: n, Exec: next, Cgroup: -1})
	}
	// Where an exec fails that should not, or a step was left out that ended all.
	ops = append(ops, script.Op{Kind: script.Exit, Owner: p.node, Image: n, Value: script.NoEnd, Cgroup: -1})
	start := len(l.out.Ops)
	l.out.Ops = append(l.out.Ops, ops...)
	return start
}

func (l *layout) op(p *process, n int, s step) script.Op {
	op := script.Op{Kind: s.kind, Owner: p.node, Image: n, Value: s.value, Cgroup: -1, Text: []byte(s.text)}
	if s.of != nil {
		op.Node = s.of.node
	}
	switch s.kind {
	case script.Fork:
		b := s.of.birth
		op.To, op.Value = l.process(s.of, 0), b.flags
		if b.cgroup > 0 {
			op.Cgroup = script.CgroupFD + b.cgroup - 1
		}
		if b.again != nil && l.known[b.again] {
			op.Again = b.again.node + 1
		}
	case script.Spawn:
		op.Exec = l.process(s.of, 1)
	case script.Execute:
		e := *s.exec
		e.Node, e.Image = p.node, n
		l.out.Execs = append(l.out.Execs, e)
		op.Exec = len(l.out.Execs) - 1
	}
	return op
}
