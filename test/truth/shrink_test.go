// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/truth/script"
)

// shrink takes steps out of a program for as long as it still fails, and tries at most
// so many times. What ends a process stays: nobody would end it.
func shrink(root *process, tries int, fails func() bool) {
	for again := true; again && tries > 0; {
		again = false
		for _, i := range imagesOf(root) {
			for n := 0; n < len(i.steps) && tries > 0; n++ {
				switch i.steps[n].kind {
				case script.Fork, script.Spawn, script.Execute, script.Wait:
				default:
					continue
				}
				before := i.steps
				i.steps = slices.Delete(slices.Clone(before), n, n+1)
				if tries--; !fails() {
					i.steps = before
					continue
				}
				again = true
				n--
			}
		}
	}
}

// imagesOf lists the images of a process and of all below it.
func imagesOf(p *process) []*image {
	all := slices.Clone(p.images)
	for _, i := range p.images {
		for _, s := range i.steps {
			if isBirth(s.kind) {
				all = append(all, imagesOf(s.of)...)
			}
		}
	}
	return all
}

// describe writes a program down that has been laid out.
func describe(p *process) string {
	var b strings.Builder
	p.describe(&b, "    ")
	return b.String()
}

func (p *process) describe(b *strings.Builder, indent string) {
	words := map[script.Kind]string{
		script.Fork: "fork", script.Spawn: "vfork and execute", script.Execute: "try to execute", script.Wait: "wait for",
		script.WaitAll: "wait for all", script.Await: "await state", script.Adopted: "be adopted, after", script.Park: "park",
		script.Kill: "kill", script.KillGroup: "kill the group of", script.Exit: "exit", script.ExitThread: "exit the thread",
		script.KillSelf: "die of signal", script.Chdir: "go to", script.SetUID: "become user", script.Lead: "lead a group",
		script.Reaper: "reap orphans",
	}
	for n, i := range p.images {
		if i.exec != nil {
			fmt.Fprintf(b, "%snode %d, image %d: %q by descriptor %d, threads %d and %d, in %q: %d arguments\n",
				indent, p.node, n, i.exec.Path, i.exec.FD, i.exec.Threads, i.exec.Idle, i.exec.Cwd, len(i.exec.Argv))
		}
		for _, s := range i.steps {
			fmt.Fprintf(b, "%s  node %d: %s", indent, p.node, words[s.kind])
			if s.of != nil {
				fmt.Fprintf(b, " node %d", s.of.node)
			}
			if s.exec != nil {
				fmt.Fprintf(b, " %q: %v", s.exec.Path, unix.Errno(s.exec.Errno))
			}
			fmt.Fprintf(b, " %d %q\n", s.value, s.text)
			if isBirth(s.kind) {
				fmt.Fprintf(b, "%s    flags %#x, cgroup %d\n", indent, s.of.birth.flags, s.of.birth.cgroup)
				s.of.describe(b, indent+"    ")
			}
		}
	}
}
