// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// escape is one attempt: how it is called, what it opens, where it moves to.
type escape struct {
	name string
	path string
	act  *act
	tree *tree
}

// mode is one way out. Its run returns the exit status.
type mode struct {
	name string
	run  func(*escape) int
}

// modes lists every way out that the kernel offers a privileged process with a
// writable cgroupfs, the way without any first.
func modes() []mode {
	return append(append(ways(), disguises()...), surroundings()...)
}

// ways lists the plain ones: other processes, threads, programs and cgroups.
func ways() []mode {
	return []mode{
		{"plain", (*escape).here},
		{"vfork", (*escape).vfork},
		{"vfork-exec", (*escape).spawn},
		{"dblfork", (*escape).dblfork},
		{"cloneparent", (*escape).cloneparent},
		{"unshare", func(e *escape) int { return e.after(unshareAll, e.exec) }},
		{"unshare-noexec", func(e *escape) int { return e.after(unshareAll, e.here) }},
		{"threxec", func(e *escape) int { return offLeader(e.exec) }},
		{"thropen", func(e *escape) int { return offLeader(e.here) }},
		{"memfd", (*escape).memfd},
		{"subclone", func(e *escape) int { return e.cloneInto(e.tree.sub) }},
		{"submove", func(e *escape) int { return e.moveTo(e.tree.sub, e.here) }},
		{"sibclone", func(e *escape) int { return e.cloneInto(e.tree.sibling) }},
		{"sibmove", func(e *escape) int { return e.moveTo(e.tree.sibling, e.here) }},
		{"rootclone", func(e *escape) int { return e.cloneInto(e.tree.top) }},
		{"rootmove", func(e *escape) int { return e.moveTo(e.tree.top, e.here) }},
		{"rootmove-exec", func(e *escape) int { return e.moveTo(e.tree.top, e.exec) }},
		{"roundtrip", (*escape).roundtrip},
		{"newcg", func(e *escape) int { return e.moveTo(e.tree.fresh, e.here) }},
		{"newcg-exec", func(e *escape) int { return e.moveTo(e.tree.fresh, e.exec) }},
		{"newcg-clone", func(e *escape) int { return e.cloneInto(e.tree.fresh) }},
		{"newcg-threaded", (*escape).newThreaded},
		{"mountmove", (*escape).mountMove},
	}
}

func modeNames() string {
	var names []string
	for _, m := range modes() {
		names = append(names, m.name)
	}
	return strings.Join(names, " ")
}

func runEscape(args []string) int {
	set := flag.NewFlagSet("escape", flag.ContinueOnError)
	root := set.String("cg", "/cg", "")
	// Set by an escape that executes this program again; its name stays in the markers.
	as := set.String("as", "", "")
	args, ok := parse(set, args, 2, 2)
	if !ok {
		return exitUsage
	}
	for _, m := range modes() {
		if m.name != args[0] {
			continue
		}
		e, err := newEscape(m.name, *as, args[1], *root)
		if err != nil {
			return failed(m.name, err)
		}
		return m.run(e)
	}
	fmt.Fprintf(os.Stderr, "actor: no such escape: %q; there are: %s\n", args[0], modeNames())
	return exitUsage
}

func newEscape(mode, as, path, root string) (*escape, error) {
	e := &escape{name: mode, path: path}
	if as != "" {
		e.name = as
	}
	var err error
	if e.act, err = newAct(e.name, path); err != nil {
		return nil, err
	}
	e.tree, err = openTree(root)
	return e, err
}

// here does the act in this thread.
func (e *escape) here() int { return report(e.name, e.act.do()) }

// again is the command line that does the act after an exec.
func (e *escape) again() []string {
	return []string{"actor", "escape", "-as", e.name, "plain", e.path}
}

// exec does the act in this process after executing the program anew.
func (e *escape) exec() int {
	err := unix.Exec("/proc/self/exe", e.again(), unix.Environ())
	return failed(e.name, fmt.Errorf("exec: %w", err))
}

// spawn does the act in a child made the way most programs make one: vfork and exec.
func (e *escape) spawn() int {
	process, err := os.StartProcess("/proc/self/exe", e.again(), &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return failed(e.name, err)
	}
	status, err := wait(process.Pid)
	if err != nil {
		return failed(e.name, err)
	}
	if status.Signaled() {
		return concluded(e.name, status)
	}
	return status.ExitStatus() // the child has said the rest
}

func (e *escape) vfork() int {
	return fork(e.name, birth{flags: unix.CLONE_VFORK, cgroup: -1}, e.act)
}

func (e *escape) dblfork() int {
	var plain uint64
	return fork(e.name, birth{cgroup: -1, again: &plain}, e.act)
}

// cloneparent makes a child whose parent is not its maker. An init may not, so its child does.
func (e *escape) cloneparent() int {
	flags := uint64(unix.CLONE_PARENT)
	return fork(e.name, birth{cgroup: -1, again: &flags}, e.act)
}

// after does the act once step worked, in the same thread.
func (e *escape) after(step func() error, act func() int) int {
	runtime.LockOSThread()
	if err := step(); err != nil {
		return failed(e.name, err)
	}
	return act()
}

func (e *escape) moveTo(where func() (string, error), act func() int) int {
	return e.after(func() error {
		dir, err := where()
		if err != nil {
			return err
		}
		return move(dir)
	}, act)
}

func (e *escape) cloneInto(where func() (string, error)) int {
	dir, err := where()
	if err != nil {
		return failed(e.name, err)
	}
	fd, err := openDir(dir)
	if err != nil {
		return failed(e.name, err)
	}
	return fork(e.name, birth{cgroup: fd}, e.act)
}

// roundtrip leaves to the root and comes back before the act.
func (e *escape) roundtrip() int {
	return e.after(func() error {
		if err := move(e.tree.root); err != nil {
			return err
		}
		return move(e.tree.root + e.tree.own)
	}, e.here)
}

// newThreaded moves the process into a new cgroup and the acting thread into a threaded child of it.
func (e *escape) newThreaded() int {
	return offLeader(func() int {
		return e.after(func() error {
			domain, threads, err := e.tree.threaded()
			if err != nil {
				return err
			}
			if err := move(domain); err != nil {
				return err
			}
			return moveThread(threads)
		}, e.here)
	})
}

// mountMove needs no writable cgroupfs to be given: it mounts one.
func (e *escape) mountMove() int {
	return e.after(func() error {
		dir, err := os.MkdirTemp("", "cg")
		if err != nil {
			return err
		}
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount("cgroup2", dir, "cgroup2", 0, ""); err != nil {
			return fmt.Errorf("mount cgroup2: %w", err)
		}
		return move(dir)
	}, e.here)
}

// unshareAll leaves every namespace that a threaded process can leave.
func unshareAll() error {
	const flags = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP | unix.CLONE_NEWNET
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	return nil
}

// offLeader runs f in a thread that is not the leader of the process.
func offLeader(f func() int) int {
	status := make(chan int)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread may have changed cgroup or namespace
		if unix.Gettid() == unix.Getpid() {
			status <- offLeader(f) // this thread is taken, so the next one is another
			return
		}
		status <- f()
	}()
	return <-status
}
