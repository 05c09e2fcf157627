// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"math/rand/v2"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/truth/script"
)

// generator makes programs.
type generator struct {
	*rand.Rand
	files *files
	// left is how many processes may still be made.
	left int
	// home has the cgroups that there are to be born into.
	home *home
}

// place is where in a tree a process is made.
type place struct {
	cwd  string
	self *process // who makes it
	user bool     // it is not root
	// noParking: somebody above is killed at any time, so that nobody would be there to
	// end who waits for his killer.
	noParking bool
	// setUp: it was born into a container from outside, and follows its cgroup as a
	// runtime does until it has namespaces of its own; it goes nowhere else.
	setUp bool
	// leaf: it makes no others.
	leaf bool
	// inner: it is in a pid namespace, and its pid as the host has it is told by itself
	// alone.
	inner bool
}

// program makes a tree of processes.
func (g *generator) program() *process {
	g.left = 4 + g.IntN(16)
	p := &process{first: true, images: []*image{{}, {exec: g.files.byPath(g.Rand, g.files.dir)}}}
	p.add(step{kind: script.Reaper})
	g.images(p, place{cwd: g.files.dir, self: p}, 1)
	// The last image outlives all others.
	p.add(step{kind: script.WaitAll}, step{kind: script.Exit, value: uint64(g.IntN(250))})
	return p
}

// images fills the image n of p and adds those after it.
func (g *generator) images(p *process, at place, n int) {
	for {
		i := p.images[n]
		g.fill(i, &at, n > 0)
		if g.IntN(5) >= 2 {
			return
		}
		p.images = append(p.images, &image{exec: g.files.execOf(g.Rand, at.cwd)})
		n++
	}
}

// fill adds steps to an image; executed tells that it has a Go runtime.
func (g *generator) fill(i *image, at *place, executed bool) {
	for range g.IntN(5) {
		switch g.IntN(10) {
		case 0:
			at.cwd = g.files.dirs[g.IntN(len(g.files.dirs))]
			i.steps = append(i.steps, step{kind: script.Chdir, text: at.cwd})
		case 1, 2:
			i.steps = append(i.steps, step{kind: script.Execute, exec: g.files.failing(g.Rand, at.cwd)})
		case 3:
			if !at.leaf && g.IntN(3) == 0 {
				i.steps = append(i.steps, step{kind: script.Reaper})
			}
		default:
			if !at.leaf && g.left > 0 {
				g.child(i, *at, executed)
			}
		}
	}
}

// child adds the birth of a child to an image, and what goes with it.
func (g *generator) child(i *image, at place, executed bool) {
	g.left--
	switch n := g.IntN(16); {
	case n == 0 && executed:
		g.spawned(i, at)
	case n == 1 && !at.noParking:
		g.group(i, at)
	case n == 2 && !at.noParking && !at.user:
		g.namespace(i, at)
	case n == 3 && g.IntN(3) == 0:
		g.chain(i, at)
	case n == 4 && !at.user:
		g.again(i, at)
	case n <= 8 && !at.noParking:
		g.parked(i, at)
	case n <= 10:
		g.killedAtAnyTime(i, at)
	default:
		g.ended(i, at)
	}
}

// birth is one of the ways of clone.
func (g *generator) birth(at place) birth {
	var b birth
	if g.IntN(8) == 0 {
		b.flags = unix.CLONE_FILES
	}
	if !at.user && !at.setUp && g.IntN(5) == 0 {
		b.cgroup = 1 + g.IntN(len(g.home.others))
	}
	return b
}

// live makes the images of a child, without an end.
func (g *generator) live(b birth, at place) *process {
	p := &process{birth: b, images: []*image{{}}}
	if !at.user && g.IntN(10) == 0 {
		at.user = true
		p.add(step{kind: script.SetUID, value: 65534})
	}
	g.images(p, g.below(p, at), 0)
	return p
}

// below is the place of what p makes, which is made at a place itself.
func (g *generator) below(p *process, at place) place {
	at.self = p
	if b := p.birth; b.cgroup > 0 && g.home.container == "" && g.home.containers[b.cgroup-1] != "" {
		at.setUp = true
	}
	return at
}

func (p *process) add(steps ...step) {
	last := p.images[len(p.images)-1]
	last.steps = append(last.steps, steps...)
}

// end is how a process ends itself.
func (g *generator) end() step {
	switch n := g.IntN(10); {
	case n < 3:
		return step{kind: script.KillSelf, value: g.signal()}
	case n < 5:
		return step{kind: script.ExitThread, value: uint64(g.IntN(250))}
	default:
		return step{kind: script.Exit, value: uint64(g.IntN(250))}
	}
}

// signal is one that ends a process.
func (g *generator) signal() uint64 {
	all := [...]unix.Signal{
		unix.SIGKILL, unix.SIGTERM, unix.SIGSEGV, unix.SIGABRT, unix.SIGUSR1, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE,
	}
	return uint64(all[g.IntN(len(all))])
}

// maybeWait reaps p, or leaves it to whom it is left to.
func (g *generator) maybeWait(i *image, p *process) {
	if g.IntN(2) == 0 {
		i.steps = append(i.steps, step{kind: script.Wait, of: p})
	}
}

// ended is a child that ends itself: one that its parent reaps or leaves as a zombie,
// its parent's sibling, or one that waits until it is an orphan.
func (g *generator) ended(i *image, at place) {
	b := g.birth(at)
	orphan := false
	switch n := g.IntN(8); {
	case n == 0 && !at.self.first:
		b.flags |= unix.CLONE_PARENT
	case n <= 2 && !at.self.first:
		orphan = true
	case n == 3:
		b.flags |= unix.CLONE_VFORK // who forks goes on when the child has executed a file or ended
	}
	p := g.live(b, at)
	if orphan {
		// In any of its images: it executes the files after it as an orphan.
		of := p.images[g.IntN(len(p.images))]
		of.steps = append(of.steps, step{kind: script.Adopted, of: at.self})
	}
	p.add(g.end())
	i.steps = append(i.steps, step{kind: script.Fork, of: p})
	if b.flags&unix.CLONE_PARENT == 0 && !orphan {
		g.maybeWait(i, p)
	}
}

func (g *generator) spawned(i *image, at place) {
	p := &process{birth: birth{spawned: true}, images: []*image{{}, {exec: g.files.byPath(g.Rand, at.cwd)}}}
	g.images(p, g.below(p, at), 1)
	p.add(g.end())
	i.steps = append(i.steps, step{kind: script.Spawn, of: p})
	g.maybeWait(i, p)
}

// parked is a child that waits for its end by a signal.
func (g *generator) parked(i *image, at place) {
	p := g.live(g.birth(at), at)
	p.add(step{kind: script.Park})
	i.steps = append(i.steps, step{kind: script.Fork, of: p})
	if g.left > 0 && g.IntN(2) == 0 {
		g.child(i, at, false)
	}
	i.steps = append(i.steps,
		step{kind: script.Await, of: p, value: script.Parked}, step{kind: script.Kill, of: p, value: g.signal()})
	g.maybeWait(i, p)
}

// killedAtAnyTime is a child that may have ended when it is killed, or not begun.
func (g *generator) killedAtAnyTime(i *image, at place) {
	below := at
	below.noParking = true
	p := g.live(g.birth(at), below)
	p.add(g.end())
	i.steps = append(i.steps, step{kind: script.Fork, of: p})
	if at.inner || g.IntN(2) == 0 {
		i.steps = append(i.steps, step{kind: script.Await, of: p, value: script.Born})
	}
	if g.left > 0 && g.IntN(2) == 0 {
		g.child(i, at, false)
	}
	i.steps = append(i.steps, step{kind: script.Kill, of: p, value: uint64(unix.SIGKILL)})
	g.maybeWait(i, p)
}

// group is a process group that one signal ends.
func (g *generator) group(i *image, at place) {
	leader := &process{birth: g.birth(at), images: []*image{{}}}
	leader.add(step{kind: script.Lead})
	g.crowd(leader, at)
	leader.add(step{kind: script.Park})
	i.steps = append(i.steps, step{kind: script.Fork, of: leader},
		step{kind: script.Await, of: leader, value: script.Parked},
		step{kind: script.KillGroup, of: leader, value: uint64(unix.SIGKILL)})
	g.maybeWait(i, leader)
}

// crowd gives p children that wait for the end of all of them.
func (g *generator) crowd(p *process, at place) {
	at = g.below(p, at)
	at.leaf = true
	var all []*process
	for range 1 + g.IntN(3) {
		child := g.live(birth{}, at)
		child.add(step{kind: script.Park})
		p.add(step{kind: script.Fork, of: child})
		all = append(all, child)
	}
	for _, child := range all {
		p.add(step{kind: script.Await, of: child, value: script.Parked})
	}
}

// namespace is the first process of a pid namespace, and others in it.
func (g *generator) namespace(i *image, at place) {
	b := g.birth(at)
	b.flags |= unix.CLONE_NEWPID
	p := &process{birth: b, first: true, images: []*image{{}}}
	i.steps = append(i.steps, step{kind: script.Fork, of: p})
	at = g.below(p, at)
	at.inner = true
	switch g.IntN(3) {
	case 0: // what is left in it ends with it
		g.crowd(p, at)
		p.add(step{kind: script.Exit, value: uint64(g.IntN(250))})
	case 1: // the same, and it is killed
		g.crowd(p, at)
		p.add(step{kind: script.Park})
		i.steps = append(i.steps,
			step{kind: script.Await, of: p, value: script.Parked}, step{kind: script.Kill, of: p, value: uint64(unix.SIGKILL)})
	default: // orphans come to it
		g.images(p, at, 0)
		p.add(step{kind: script.WaitAll}, step{kind: script.Exit, value: uint64(g.IntN(250))})
	}
	g.maybeWait(i, p)
}

// chain is processes each of which is the parent of the next.
func (g *generator) chain(i *image, at place) {
	of := g.link(at, 5+g.IntN(20))
	i.steps = append(i.steps, step{kind: script.Fork, of: of})
	g.maybeWait(i, of)
}

func (g *generator) link(at place, more int) *process {
	p := &process{birth: g.birth(at), images: []*image{{}}}
	at = g.below(p, at)
	if g.IntN(4) == 0 {
		p.images = append(p.images, &image{exec: g.files.execOf(g.Rand, at.cwd)})
	}
	if more > 0 {
		last := p.images[len(p.images)-1]
		next := g.link(at, more-1)
		last.steps = append(last.steps, step{kind: script.Fork, of: next})
		g.maybeWait(last, next)
	}
	p.add(g.end())
	return p
}

// again is a child that has the pid of one before it.
func (g *generator) again(i *image, at place) {
	before := g.live(g.birth(at), at)
	before.add(g.end())
	b := g.birth(at)
	b.again = before
	p := g.live(b, at)
	p.add(g.end())
	i.steps = append(i.steps, step{kind: script.Fork, of: before}, step{kind: script.Wait, of: before},
		step{kind: script.Fork, of: p})
	g.maybeWait(i, p)
}
