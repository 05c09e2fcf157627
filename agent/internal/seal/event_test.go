// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/boltseal/boltseal/bpf"
)

// Every process is reported from its birth to its end, with what it executed.
func TestEventsOfProcesses(t *testing.T) {
	r := newRig(t, nil)
	c, slot := r.expected("c")
	cmd := c.Born(exec.CommandContext(t.Context(), busybox(t), "sh", "-c", "exit 3", "with space", ""))
	cmd.Dir = "/proc/1" // a directory in another mount
	p := start(t, cmd)
	_ = p.Wait()
	pid := uint32(p.Process.Pid)
	_, raw := r.event(bpf.WireEventTypeEVENT_FORK, slot)
	var fork bpf.WireEventFork
	if _, err := binary.Decode(raw, binary.LittleEndian, &fork); err != nil {
		t.Fatal(err)
	}
	if fork.H.Tgid != pid || fork.ParentTgid != uint32(os.Getpid()) || fork.H.Start == 0 || fork.ParentStart == 0 {
		t.Errorf("fork %+v, want of %d by %d", fork, pid, os.Getpid())
	}
	_, raw = r.event(bpf.WireEventTypeEVENT_EXEC, slot)
	var exe bpf.WireEventExec
	n, err := binary.Decode(raw, binary.LittleEndian, &exe)
	if err != nil {
		t.Fatal(err)
	}
	path, err := filepath.EvalSymlinks(busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	binaryPath := string(raw[n : n+int(exe.BinaryLen)])
	args := string(raw[n+int(exe.BinaryLen) : n+int(exe.BinaryLen)+int(exe.ArgsLen)])
	cwd := string(raw[n+int(exe.BinaryLen)+int(exe.ArgsLen):])
	wantArgs := busybox(t) + "\x00sh\x00-c\x00exit 3\x00with space\x00\x00"
	if binaryPath != path || args != wantArgs || cwd != "/proc/1" || exe.Flags != 0 || int(exe.CwdLen) != len(cwd) {
		t.Errorf("exec %+v of %q, arguments %q, in %q", exe, binaryPath, args, cwd)
	}
	if exe.H.Tgid != pid || exe.ParentTgid != uint32(os.Getpid()) || exe.H.Start != fork.H.Start {
		t.Errorf("exec %+v, want of %d", exe, pid)
	}
	_, raw = r.event(bpf.WireEventTypeEVENT_EXIT, slot)
	var exit bpf.WireEventExit
	if _, err := binary.Decode(raw, binary.LittleEndian, &exit); err != nil {
		t.Fatal(err)
	}
	if exit.H.Tgid != pid || exit.Code != 3<<8 || exit.H.Start != fork.H.Start {
		t.Errorf("exit %+v, want of %d with status 3", exit, pid)
	}
}

// A process tells its id as its own pid namespace has it: the innermost one.
func TestPidsInsideNamespaces(t *testing.T) {
	r := newRig(t, nil)
	for name, c := range map[string]struct {
		flags uintptr
		ids   func(host uint32) uint32
	}{
		"host": {0, func(host uint32) uint32 { return host }},
		"own":  {syscall.CLONE_NEWPID, func(uint32) uint32 { return 1 }},
	} {
		in, slot := r.expected(name)
		cmd := in.Born(exec.CommandContext(t.Context(), busybox(t), "true"))
		cmd.SysProcAttr.Cloneflags = c.flags
		p := start(t, cmd)
		want := c.ids(uint32(p.Process.Pid))
		_, raw := r.event(bpf.WireEventTypeEVENT_FORK, slot)
		var fork bpf.WireEventFork
		if _, err := binary.Decode(raw, binary.LittleEndian, &fork); err != nil {
			t.Fatal(err)
		}
		_, raw = r.event(bpf.WireEventTypeEVENT_EXEC, slot)
		var exe bpf.WireEventExec
		if _, err := binary.Decode(raw, binary.LittleEndian, &exe); err != nil {
			t.Fatal(err)
		}
		if fork.Nspid != want || exe.Nspid != want {
			t.Errorf("%s: fork of %d, exec of %d, want %d", name, fork.Nspid, exe.Nspid, want)
		}
	}
}
