// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/truth/script"
)

// prepared is an exec as the kernel takes it.
type prepared struct {
	how, fd, errno int
	path           *byte
	argv, envp     []*byte
	args, env      []string
}

// cloneArgs is the kernel's struct clone_args.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal uint64
	stack, stackSize, tls, setTID, setTIDSize     uint64
	cgroup                                        uint64
}

// performer is one process. A forked one has a copy.
type performer struct {
	journal *script.Journal
	ops     []script.Op
	execs   []prepared
	texts   []*byte
	node    int
	exec    int
	// golang tells that this process has executed the program since it was forked.
	golang bool

	// What system calls are given the address of.
	clone  cloneArgs
	again  int32
	status int32
	pause  unix.Timespec
	now    unix.Timespec
	text   [1024]byte
	action [4]uint64
}

//go:nosplit
//go:norace
func call(nr, a, b, c, d, e uintptr) (uintptr, unix.Errno) {
	r, _, errno := unix.RawSyscall6(nr, a, b, c, d, e, 0)
	return r, errno
}

// run performs operations until the process ends.
//
//go:nosplit
//go:norace
func (p *performer) run(pc int) {
	for {
		op := &p.ops[pc]
		next := pc + 1
		switch op.Kind {
		case script.Fork:
			if p.fork(pc, op) {
				next = op.To
			}
		case script.Spawn:
			p.spawn(pc, op)
		case script.Execute:
			p.execute(pc, op)
		case script.Exit, script.ExitThread, script.KillSelf:
			p.end(pc, op)
		case script.Park:
			p.advance(script.Parked)
			for {
				call(unix.SYS_PPOLL, 0, 0, 0, 0, 0)
			}
		case script.Wait, script.WaitAll:
			p.wait(pc, op)
		case script.Kill, script.KillGroup:
			p.kill(pc, op)
		case script.Await:
			p.await(op)
		case script.Adopted:
			p.adopted(op)
		default:
			p.change(pc, op)
		}
		pc = next
	}
}

// change does what changes the process alone, and cannot fail.
//
//go:nosplit
//go:norace
func (p *performer) change(pc int, op *script.Op) {
	var errno unix.Errno
	switch op.Kind {
	case script.Chdir:
		_, errno = call(unix.SYS_CHDIR, uintptr(unsafe.Pointer(p.texts[pc])), 0, 0, 0, 0)
	case script.SetUID:
		_, errno = call(unix.SYS_SETUID, uintptr(op.Value), 0, 0, 0, 0)
	case script.Lead:
		_, errno = call(unix.SYS_SETPGID, 0, 0, 0, 0, 0)
	case script.Reaper:
		_, errno = call(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	default:
		errno = unix.ENOSYS
	}
	if errno != 0 {
		p.record(script.Broken, uint32(pc), 0, int64(errno))
	}
}

// fork reports whether this is the child.
//
//go:nosplit
//go:norace
func (p *performer) fork(pc int, op *script.Op) bool {
	p.clone = cloneArgs{flags: op.Value, exitSignal: uint64(unix.SIGCHLD)}
	if op.Value&unix.CLONE_PARENT != 0 {
		p.clone.exitSignal = 0 // the kernel takes the parent's and refuses another
	}
	if op.Cgroup >= 0 {
		p.clone.flags |= unix.CLONE_INTO_CGROUP
		p.clone.cgroup = uint64(op.Cgroup)
	}
	if op.Again > 0 {
		if p.again = int32(p.journal.Pids[op.Again-1]); p.again != 0 {
			p.clone.setTID, p.clone.setTIDSize = uint64(uintptr(unsafe.Pointer(&p.again))), 1
		}
	}
	p.record(script.Forking, uint32(pc), 0, 0)
	pid, errno := call(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&p.clone)), unsafe.Sizeof(p.clone), 0, 0, 0)
	if errno != 0 {
		p.record(script.Forked, uint32(pc), 0, -int64(errno))
		return false
	}
	if pid == 0 {
		p.node, p.golang = op.Node, false
		p.introduce()
		p.record(script.Begun, uint32(pc), 0, 0)
		p.advance(script.Born)
		return true
	}
	atomic.StoreUint32(&p.journal.Pids[op.Node], uint32(pid))
	p.record(script.Forked, uint32(pc), 0, int64(pid))
	return false
}

// introduce tells the pid, in case that whoever made the process is killed before it can.
// What a maker tells stays, or comes in its place: it is the pid in another namespace for
// the first of a new one.
//
//go:nosplit
//go:norace
func (p *performer) introduce() {
	self, _ := call(unix.SYS_GETPID, 0, 0, 0, 0, 0)
	atomic.CompareAndSwapUint32(&p.journal.Pids[p.node], 0, uint32(self))
}

// spawn is for processes with a Go runtime.
//
//go:nosplit
//go:norace
func (p *performer) spawn(pc int, op *script.Op) {
	if !p.golang {
		p.record(script.Broken, uint32(pc), 0, int64(unix.ENOSYS))
		return
	}
	// ForkExec waits for the end of a pipe, which a process that has the same descriptors
	// hands on to the children that it forks meanwhile: they can wait for this process.
	if _, errno := call(unix.SYS_UNSHARE, unix.CLONE_FILES, 0, 0, 0, 0); errno != 0 {
		p.record(script.Broken, uint32(pc), 0, int64(errno))
		return
	}
	p.record(script.Executing, uint32(pc), 0, 0)
	pid, errno := p.vfork(op.Exec)
	if errno != 0 {
		p.record(script.Broken, uint32(pc), 0, int64(errno))
		return
	}
	atomic.StoreUint32(&p.journal.Pids[op.Node], uint32(pid))
	p.record(script.Forked, uint32(pc), 0, int64(pid))
}

func (p *performer) vfork(n int) (int, unix.Errno) {
	e := &p.execs[n]
	pid, err := syscall.ForkExec(unix.BytePtrToString(e.path), e.args, &syscall.ProcAttr{Env: e.env, Files: []uintptr{0, 1, 2}})
	if err != nil {
		return 0, unix.EIO
	}
	return pid, 0
}

//go:nosplit
//go:norace
func (p *performer) execute(pc int, op *script.Op) {
	e := &p.execs[op.Exec]
	argv, envp := uintptr(unsafe.Pointer(unsafe.SliceData(e.argv))), uintptr(unsafe.Pointer(unsafe.SliceData(e.envp)))
	p.record(script.Executing, uint32(pc), 0, 0)
	var errno unix.Errno
	if e.how == script.ByDescriptor {
		p.text[0] = 0
		_, errno = call(unix.SYS_EXECVEAT, uintptr(e.fd), uintptr(unsafe.Pointer(&p.text[0])), argv, envp, unix.AT_EMPTY_PATH)
	} else {
		_, errno = call(unix.SYS_EXECVE, uintptr(unsafe.Pointer(e.path)), argv, envp, 0, 0)
	}
	p.record(script.Failed, uint32(pc), 0, int64(errno))
}

//go:nosplit
//go:norace
func (p *performer) end(pc int, op *script.Op) {
	if op.Kind == script.KillSelf {
		p.record(script.Ending, uint32(pc), 0, int64(op.Value))
		call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // the kernel would keep its memory
		self, _ := call(unix.SYS_GETPID, 0, 0, 0, 0, 0)
		for {
			call(unix.SYS_KILL, self, uintptr(op.Value), 0, 0, 0)
		}
	}
	if op.Kind == script.Exit && op.Value == script.NoEnd {
		p.advance(script.Parked) // nobody is to wait for what did not come to its end
	}
	p.record(script.Ending, uint32(pc), 0, int64(op.Value)<<8)
	if op.Kind == script.ExitThread && !p.golang {
		call(unix.SYS_EXIT, uintptr(op.Value), 0, 0, 0, 0)
	}
	call(unix.SYS_EXIT_GROUP, uintptr(op.Value), 0, 0, 0, 0)
}

//go:nosplit
//go:norace
func (p *performer) wait(pc int, op *script.Op) {
	which := ^uintptr(0)
	if op.Kind == script.Wait {
		if which = uintptr(p.journal.Pids[op.Node]); which == 0 {
			return
		}
	}
	for {
		pid, errno := call(unix.SYS_WAIT4, which, uintptr(unsafe.Pointer(&p.status)), unix.WALL, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return // no such child, or no more
		default:
			p.record(script.Reaped, uint32(pc), uint32(pid), int64(p.status))
			if op.Kind == script.Wait {
				return
			}
		}
	}
}

//go:nosplit
//go:norace
func (p *performer) kill(pc int, op *script.Op) {
	pid := uintptr(p.journal.Pids[op.Node])
	if pid == 0 {
		return
	}
	if op.Kind == script.KillGroup {
		pid = -pid
	}
	p.record(script.Killing, uint32(pc), 0, int64(op.Value))
	if _, errno := call(unix.SYS_KILL, pid, uintptr(op.Value), 0, 0, 0); errno != 0 {
		p.record(script.Broken, uint32(pc), 0, int64(errno))
	}
}
