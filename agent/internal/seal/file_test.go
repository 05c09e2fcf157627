// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/bpf"
)

// program makes a copy of busybox that everybody may execute, in a directory of a file
// system.
func program(t testing.TB, on string) string {
	t.Helper()
	return copyOf(t, busybox(t), on)
}

// copyOf makes such a copy of a program.
func copyOf(t testing.TB, program, on string) string {
	t.Helper()
	dir, err := os.MkdirTemp(on, "bst-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, filepath.Base(program))
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// asNobody has the new process be nobody's.
func asNobody(cmd *exec.Cmd) *exec.Cmd {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	return cmd
}

// fileCapabilities gives a file CAP_NET_RAW, permitted and effective (struct
// vfs_cap_data of revision 2).
func fileCapabilities(path string) error {
	value := make([]byte, 20)
	binary.LittleEndian.PutUint32(value, 0x02000001)
	binary.LittleEndian.PutUint32(value[4:], 1<<unix.CAP_NET_RAW)
	return unix.Setxattr(path, "security.capability", value, 0)
}

// What of a file's has raised the privileges of a process is told, and nothing when
// they were its own, or when the kernel left it at that.
func TestRaisedPrivileges(t *testing.T) {
	const (
		suid = bpf.WireExecFlagsEXEC_SETUID
		sgid = bpf.WireExecFlagsEXEC_SETGID
		caps = bpf.WireExecFlagsEXEC_CAPABILITIES
		all  = suid | sgid | caps
	)
	mode := func(uid, gid int, mode uint32) func(string) error {
		return func(path string) error {
			return errors.Join(os.Chown(path, uid, gid), syscall.Chmod(path, mode))
		}
	}
	mapped := func(cmd *exec.Cmd) *exec.Cmd {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}},
			Credential:  &syscall.Credential{},
		}
		return cmd
	}
	r := newRig(t, nil)
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// That of go test is in a directory of its user alone.
	executable = copyOf(t, executable, "/tmp")
	for name, c := range map[string]struct {
		prepare func(path string) error
		act     string // of the test binary, which executes the file then
		as      func(*exec.Cmd) *exec.Cmd
		want    bpf.WireExecFlags
		euid    uint32
		egid    uint32
	}{
		"nothing":                     {as: asNobody, euid: nobody, egid: nobody},
		"setuid to root":              {mode(0, 0, 0o4755), "", asNobody, suid, 0, nobody},
		"setuid to another":           {mode(1234, 0, 0o4755), "", asNobody, suid, 1234, nobody},
		"setuid to another, by root":  {mode(1234, 0, 0o4755), "", nil, suid, 1234, 0},
		"setuid to who it is":         {mode(nobody, 0, 0o4755), "", asNobody, 0, nobody, nobody},
		"setuid to root, by root":     {mode(0, 0, 0o4755), "", nil, 0, 0, 0},
		"setgid":                      {mode(0, 1234, 0o2755), "", asNobody, sgid, nobody, 1234},
		"setgid that is no such":      {mode(0, 1234, 0o2705), "", asNobody, 0, nobody, nobody},
		"both":                        {mode(1234, 1235, 0o6755), "", asNobody, suid | sgid, 1234, 1235},
		"capabilities":                {fileCapabilities, "", asNobody, caps, nobody, nobody},
		"capabilities, by root":       {fileCapabilities, "", nil, 0, 0, 0},
		"capabilities, in vain":       {fileCapabilities, "no new privileges", nil, 0, nobody, 0},
		"setuid, in vain":             {mode(0, 0, 0o4755), "no new privileges", nil, 0, nobody, 0},
		"effective id of its own":     {mode(0, 0, 0o755), "effective", nil, 0, 0, 0},
		"root that had dropped them":  {mode(0, 0, 0o755), "capabilities", nil, 0, 0, 0},
		"root of a namespace":         {mode(nobody, 0, 0o755), "", mapped, 0, nobody, nobody},
		"root of a namespace, raised": {mode(nobody, 0, 0o755), "capabilities", mapped, 0, nobody, nobody},
	} {
		t.Run(name, func(t *testing.T) {
			in, slot := r.expected(strings.ReplaceAll(name, " ", "-"))
			path := program(t, "/tmp")
			if c.prepare != nil {
				if err := c.prepare(path); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), path, "true")
			if c.act != "" {
				cmd = self(t, c.act, path, "true")
				cmd.Path = executable
			}
			if c.as != nil {
				cmd = c.as(cmd)
			}
			p := start(t, in.Born(cmd))
			e := next(r, slot, named(path))
			if got := e.Flags & all; got != c.want || e.State.EUID != c.euid || e.State.EGID != c.egid {
				t.Errorf("flags %#x, want %#x; euid %d, egid %d of %+v", got, c.want, e.State.EUID, e.State.EGID, e.State)
			}
			_ = p.Wait()
		})
	}
}

// A file that has no name any more is told, with its inode and what it was called.
func TestFilesWithoutNames(t *testing.T) {
	r := newRig(t, nil)
	memory := func(t *testing.T) (string, *os.File) {
		fd, err := unix.MemfdCreate("a b", 0)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), "memfd")
		text, err := os.ReadFile(busybox(t))
		if err == nil {
			_, err = file.Write(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		return "/memfd:a b", file
	}
	on := func(dir string, removed bool) func(*testing.T) (string, *os.File) {
		return func(t *testing.T) (string, *os.File) {
			path := program(t, dir)
			file, err := os.Open(path)
			if err == nil && removed {
				err = os.Remove(path)
			}
			if err != nil {
				t.Fatal(err)
			}
			return path, file
		}
	}
	for name, c := range map[string]struct {
		open  func(*testing.T) (string, *os.File)
		links uint32
	}{
		"memory":                  {memory, 0},
		"deleted":                 {on("/tmp", true), 0},
		"deleted, shared memory":  {on("/dev/shm", true), 0},
		"there, in shared memory": {on("/dev/shm", false), 1},
		"there, in a file system": {on("/tmp", false), 1},
	} {
		t.Run(name, func(t *testing.T) {
			in, slot := r.expected(strings.ReplaceAll(name, " ", "-"))
			path, file := c.open(t)
			defer file.Close()
			var stat unix.Stat_t
			if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
				t.Fatal(err)
			}
			cmd := in.Born(exec.CommandContext(t.Context(), fmt.Sprintf("/proc/self/fd/%d", file.Fd()), "true"))
			cmd.Args, cmd.ExtraFiles = []string{"busybox", "true"}, []*os.File{file}
			p := start(t, cmd)
			e := next(r, slot, execOf(p.Process.Pid))
			if e.Binary != path || e.Inode != stat.Ino || e.Links != c.links || int(stat.Nlink) != int(c.links) {
				t.Errorf("%q, inode %d, %d links; want %q, inode %d, %d links", e.Binary, e.Inode, e.Links, path, stat.Ino, c.links)
			}
			_ = p.Wait()
		})
	}
}
