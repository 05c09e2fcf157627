// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/truth/script"
)

// statusUnable is the status of a performer that could not begin.
const statusUnable = 250

func main() {
	// The first thread is the leader of the process, and stays main's.
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // nothing is kept that a collector could free
	p, exec, err := begin()
	if err != nil {
		fmt.Fprintln(os.Stderr, "performer:", err)
		os.Exit(statusUnable)
	}
	for range exec.Idle {
		go sleepLocked()
	}
	if exec.Threads == script.Leader {
		p.record(script.Executed, uint32(p.exec), 0, 0)
		p.run(exec.To)
	}
	go func() {
		runtime.LockOSThread()
		if exec.Threads == script.Orphaned {
			p.awaitLeader()
		}
		p.record(script.Executed, uint32(p.exec), 0, 0)
		p.run(exec.To)
	}()
	if exec.Threads == script.Orphaned {
		unix.Syscall(unix.SYS_EXIT, 0, 0, 0) //nolint:errcheck // it does not return
	}
	select {}
}

// sleepLocked keeps a thread.
func sleepLocked() {
	runtime.LockOSThread()
	for {
		unix.Syscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0) //nolint:errcheck // signals end it
	}
}

// begin takes in the script and the journal, and lays out what forked processes need.
func begin() (*performer, *script.Exec, error) {
	n, err := strconv.Atoi(os.Getenv(script.Variable))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", script.Variable, err)
	}
	memory, err := unix.Mmap(script.JournalFD, 0, script.JournalSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("map the journal: %w", err)
	}
	p := &performer{journal: (*script.Journal)(unsafe.Pointer(&memory[0])), exec: n}
	var of script.Script
	text, err := readScript()
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(text, &of); err != nil {
		return nil, nil, fmt.Errorf("script: %w", err)
	}
	p.ops = of.Ops
	p.layOut(of.Execs)
	p.node = of.Execs[n].Node
	p.golang = true
	p.introduce()
	p.defaultSignals()
	return p, &of.Execs[n], nil
}

// readScript reads the script from its start: its descriptor is everybody's.
func readScript() ([]byte, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(script.ScriptFD, &stat); err != nil {
		return nil, fmt.Errorf("script: %w", err)
	}
	text := make([]byte, stat.Size)
	for at := 0; at < len(text); {
		n, err := unix.Pread(script.ScriptFD, text[at:], int64(at))
		if err != nil || n == 0 {
			return nil, fmt.Errorf("read the script: %d bytes, %w", n, err)
		}
		at += n
	}
	return text, nil
}

// layOut makes what the kernel wants of each exec and each path.
func (p *performer) layOut(execs []script.Exec) {
	p.execs = make([]prepared, len(execs))
	inherited := []string{}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, script.Variable+"=") {
			inherited = append(inherited, v)
		}
	}
	for i := range execs {
		e := &execs[i]
		to := &p.execs[i]
		to.how, to.fd, to.path, to.errno = e.How, e.FD, terminated(e.Path), e.Errno
		for _, a := range e.Args {
			to.argv = append(to.argv, terminated(a))
			to.args = append(to.args, string(a))
		}
		to.argv = append(to.argv, nil)
		to.env = append(inherited[:len(inherited):len(inherited)], script.Variable+"="+strconv.Itoa(i))
		for _, v := range to.env {
			to.envp = append(to.envp, terminated([]byte(v)))
		}
		to.envp = append(to.envp, nil)
	}
	p.texts = make([]*byte, len(p.ops))
	for i := range p.ops {
		p.texts[i] = terminated(p.ops[i].Text)
	}
}

func terminated(text []byte) *byte {
	return &append(text[:len(text):len(text)], 0)[0]
}
