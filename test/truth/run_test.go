// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/truth/script"
)

// programTime ends a program that waits for what never comes. A busy machine can take a
// second for one exec.
const programTime = 5 * time.Minute

// home is where a program runs.
type home struct {
	name string
	// cgroup is where it begins; nil: where the test is.
	cgroup *testenv.Cgroup
	// container is that of the cgroup, empty: none.
	container string
	// others are cgroups for its processes to be born into, and the containers of these.
	others     []*testenv.Cgroup
	containers []string
}

// stage runs programs.
type stage struct {
	files  *files
	memory *os.File // the performer, without a name
	file   *os.File
}

func newStage(tb testing.TB) *stage {
	tb.Helper()
	s := &stage{files: newFiles(tb)}
	text, err := os.ReadFile(s.files.performer)
	if err != nil {
		tb.Fatal(err)
	}
	if s.memory, err = memory("performer", text); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.memory.Close() })
	// It cannot be executed while it is open for writing, by any descriptor.
	readable, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(s.memory.Fd())))
	if err != nil {
		tb.Fatal(err)
	}
	_ = s.memory.Close()
	s.memory = readable
	if s.file, err = os.Open(s.files.performer); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.file.Close() })
	return s
}

// memory is a file without a name that holds text.
func memory(name string, text []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(text); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// performance is what became of a program.
type performance struct {
	script  *script.Script
	home    *home
	journal *script.Journal
	root    int // pid of node 0
	// began and ended are around all of it, in ns since boot.
	began, ended uint64
	status       int // of node 0
	err          error
}

// perform runs a program to its end.
func (s *stage) perform(ctx context.Context, of *script.Script, at *home) *performance {
	p := &performance{script: of, home: at, journal: &script.Journal{}}
	p.err = s.play(ctx, p)
	return p
}

func (s *stage) play(ctx context.Context, p *performance) error {
	text, err := json.Marshal(p.script)
	if err != nil {
		return err
	}
	journal, err := memory("journal", make([]byte, script.JournalSize))
	if err != nil {
		return err
	}
	defer journal.Close()
	program, err := memory("script", text)
	if err != nil {
		return err
	}
	defer program.Close()
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	cmd := s.command(ctx, p)
	cmd.ExtraFiles = []*os.File{journal, program, s.memory, s.file}
	for _, c := range p.home.others {
		dir, err := os.Open(c.Dir)
		if err != nil {
			return err
		}
		defer dir.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, dir)
	}
	p.began = now()
	out, err := cmd.CombinedOutput()
	p.ended = now()
	if cmd.ProcessState == nil {
		return fmt.Errorf("start the program: %w", err)
	}
	p.root, p.status = cmd.ProcessState.Pid(), cmd.ProcessState.ExitCode()
	_, readErr := journal.ReadAt(unsafe.Slice((*byte)(unsafe.Pointer(p.journal)), script.JournalSize), 0)
	if p.status < 0 || ctx.Err() != nil || len(out) > 0 {
		return fmt.Errorf("the program did not end in order: %w: %s\n%s", errors.Join(err, ctx.Err()), out, p.whereabouts())
	}
	return readErr
}

// whereabouts is the last that each process wrote which has not ended.
func (p *performance) whereabouts() string {
	last := map[uint16]*script.Record{}
	for i := range p.journal.Records[:min(p.journal.Next, script.MaxRecords)] {
		if r := &p.journal.Records[i]; r.Entry != script.Ending {
			last[r.Node] = r
		} else {
			delete(last, r.Node)
		}
	}
	var b strings.Builder
	for node, r := range last {
		fmt.Fprintf(&b, "    node %d, process %d: %+v\n", node, r.Pid, *r)
	}
	return b.String()
}

// command is node 0 of a program.
func (s *stage) command(ctx context.Context, p *performance) *exec.Cmd {
	first := p.script.Execs[p.script.First]
	cmd := exec.CommandContext(ctx, s.files.performer)
	cmd.Path, cmd.Args, cmd.Dir = string(first.Path), nil, s.files.dir
	for _, a := range first.Args {
		cmd.Args = append(cmd.Args, string(a))
	}
	cmd.Env = append(os.Environ(), script.Variable+"="+strconv.Itoa(p.script.First))
	cmd.WaitDelay = time.Second // those who are left hold its output open
	if p.home.cgroup != nil {
		// In a namespace of its own it is the workload, not the runtime.
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS}
		p.home.cgroup.Born(cmd)
	}
	return cmd
}

// now is the clock of events: ns since boot.
func now() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // every Linux kernel has this clock
	}
	return uint64(t.Nano())
}
