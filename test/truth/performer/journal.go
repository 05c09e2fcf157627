// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/truth/script"
)

// record writes a line of the journal.
//
//go:nosplit
//go:norace
func (p *performer) record(entry script.Entry, op, other uint32, value int64) {
	n := atomic.AddUint32(&p.journal.Next, 1) - 1
	if n >= script.MaxRecords {
		return // whoever reads the journal sees it
	}
	r := &p.journal.Records[n]
	r.Entry, r.Node, r.Op, r.Other, r.Value = entry, uint16(p.node), op, other, value
	p.identify(r)
	call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&p.now)), 0, 0, 0)
	r.Time = uint64(p.now.Sec)*1e9 + uint64(p.now.Nsec)
	atomic.StoreUint32(&r.Whole, 1)
}

// Files of the proc file system, which is the host's.
const (
	whoAmI = "/proc/thread-self\x00" // a link to PID/task/TID
	stat   = "/proc/self/stat\x00"
)

// identify asks who this is, as the host sees it.
//
//go:nosplit
//go:norace
func (p *performer) identify(r *script.Record) {
	inner, _ := call(unix.SYS_GETPID, 0, 0, 0, 0, 0)
	uid, _ := call(unix.SYS_GETUID, 0, 0, 0, 0, 0)
	r.Inner, r.UID = uint32(inner), uint32(uid)
	text, size := uintptr(unsafe.Pointer(&p.text[0])), uintptr(len(p.text))
	n, _ := call(unix.SYS_READLINKAT, atFdCwd, uintptr(unsafe.Pointer(unsafe.StringData(whoAmI))), text, size, 0)
	pid, at := p.number(0, int(n))
	tid, _ := p.number(at+len("/task/"), int(n))
	r.Pid, r.Tid = uint32(pid), uint32(tid)
	at, end := p.readStat()
	parent, at := p.number(at+len(" S "), end)
	r.Parent = uint32(parent)
	for field := 4; field < 22; field++ {
		r.Start, at = p.number(at+1, end)
	}
}

// readStat reads /proc/self/stat into p.text; it returns where the name ends, which
// can hold any byte, and where all does.
//
//go:nosplit
//go:norace
func (p *performer) readStat() (after, end int) {
	fd, errno := call(unix.SYS_OPENAT, atFdCwd, uintptr(unsafe.Pointer(unsafe.StringData(stat))), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return 0, 0
	}
	n, _ := call(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&p.text[0])), uintptr(len(p.text)), 0, 0)
	call(unix.SYS_CLOSE, fd, 0, 0, 0, 0)
	after = int(n) - 1
	for after > 0 && p.text[after] != ')' {
		after--
	}
	return after + 1, int(n)
}

// atFdCwd is AT_FDCWD as the register carries it.
const atFdCwd = ^uintptr(99)

// number reads digits from p.text at a place; it returns where they end.
//
//go:nosplit
//go:norace
func (p *performer) number(at, end int) (n uint64, after int) {
	if at < end && p.text[at] == '-' {
		at++
	}
	for at < end && p.text[at] >= '0' && p.text[at] <= '9' {
		n = n*10 + uint64(p.text[at]-'0')
		at++
	}
	return n, at
}

// advance brings the process's state forward and wakes who waits for it.
//
//go:nosplit
//go:norace
func (p *performer) advance(state uint32) {
	word := &p.journal.States[p.node]
	atomic.StoreUint32(word, state)
	call(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1<<30, 0, 0)
}

const (
	futexWait = 0
	futexWake = 1
)

// await waits for a state of another process. One that ends itself first would never be
// in it: scripts do not wait for such.
//
//go:nosplit
//go:norace
func (p *performer) await(op *script.Op) {
	if p.journal.Pids[op.Node] == 0 {
		return
	}
	word := &p.journal.States[op.Node]
	for {
		state := atomic.LoadUint32(word)
		if state >= uint32(op.Value) {
			return
		}
		call(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(state), 0, 0)
	}
}

// adopted waits until the process has another parent than the one that made it.
//
//go:nosplit
//go:norace
func (p *performer) adopted(op *script.Op) {
	p.pause = unix.Timespec{Nsec: 50_000}
	for {
		// As the journal has it: 0 until the maker has written it, and a reaper's pid is another.
		maker := uintptr(atomic.LoadUint32(&p.journal.Pids[op.Node]))
		if parent, _ := call(unix.SYS_GETPPID, 0, 0, 0, 0, 0); maker != 0 && parent != maker {
			return
		}
		call(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&p.pause)), 0, 0, 0, 0)
	}
}

// defaultSignals takes signals from the Go runtime: a forked process has none.
func (p *performer) defaultSignals() {
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGSEGV, unix.SIGBUS,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM, unix.SIGALRM, unix.SIGPIPE} {
		p.action = [4]uint64{}
		call(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&p.action)), 0, 8, 0)
	}
}

// awaitLeader waits until the first thread has exited: the process's state is its.
func (p *performer) awaitLeader() {
	p.pause = unix.Timespec{Nsec: 50_000}
	for {
		if at, end := p.readStat(); end > 0 && p.text[at+1] == 'Z' {
			return
		}
		call(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&p.pause)), 0, 0, 0, 0)
	}
}
