// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/bpf"
)

// actVariable makes the test binary a process that does one thing to itself and then
// executes its arguments.
const actVariable = "BOLTSEAL_TEST_ACT"

// nobody is a user and group that has nothing.
const nobody = 65534

func perform(act string) error {
	// Credentials are a thread's; the one that has them executes.
	runtime.LockOSThread()
	switch act {
	case "other thread":
		return executeFromThread()
	case "effective":
		// Not by the library, which would tell all threads.
		if _, _, err := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, 0, 0); err != 0 {
			return err
		}
	case "capabilities":
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &make([]unix.CapUserData, 2)[0]); err != nil {
			return err
		}
	case "no new privileges":
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
		if _, _, err := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody); err != 0 {
			return err
		}
	}
	return syscall.Exec(os.Args[1], os.Args[1:], nil)
}

// executeFromThread executes from a thread that is not the leader of its group.
func executeFromThread() error {
	done := make(chan error)
	for range 100 {
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() != os.Getpid() {
				done <- syscall.Exec(os.Args[1], os.Args[1:], nil)
			}
			select {}
		}()
	}
	return <-done
}

// self is the test binary that performs an act and then executes something.
func self(t testing.TB, act string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), actVariable+"="+act)
	return cmd
}

// next waits for an event of one type that concerns a slot, and that fits.
func next[E event.Event](r *rig, slot uint32, fits func(E) bool) E {
	r.t.Helper()
	r.ring.SetDeadline(time.Now().Add(10 * time.Second))
	for {
		record, err := r.ring.Read()
		if err != nil {
			r.t.Fatalf("%T of slot %d: %v", *new(E), slot, err)
		}
		decoded, err := event.Decode(record.RawSample)
		if err != nil {
			r.t.Fatal(err)
		}
		if e, ok := decoded.(E); ok && decoded.Head().Slot == slot && fits(e) {
			return e
		}
	}
}

func execOf(pid int) func(*event.Exec) bool {
	return func(e *event.Exec) bool { return int(e.Tgid) == pid }
}

// named are execs with an argv[0].
func named(name string) func(*event.Exec) bool {
	return func(e *event.Exec) bool { return len(e.Args) > 0 && e.Args[0] == name }
}

// program makes a copy of busybox that everybody may execute, in a directory of a file
// system.
func program(t testing.TB, on string) string {
	t.Helper()
	dir, err := os.MkdirTemp(on, "bst-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "busybox")
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
			if e.Binary != path || e.Inode != stat.Ino || e.Links != c.links || uint64(stat.Nlink) != uint64(c.links) {
				t.Errorf("%q, inode %d, %d links; want %q, inode %d, %d links", e.Binary, e.Inode, e.Links, path, stat.Ino, c.links)
			}
			_ = p.Wait()
		})
	}
}

// namespacesOf asks /proc for what a process is in.
func namespacesOf(t *testing.T, pid int) (all [bpf.WireNamespaceKindNAMESPACE_KINDS]uint32) {
	t.Helper()
	for kind, name := range []string{
		"uts", "ipc", "mnt", "pid", "pid_for_children", "net", "time", "time_for_children", "cgroup", "user",
	} {
		var stat unix.Stat_t
		err := unix.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, name), &stat)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			t.Fatal(err)
		}
		all[kind] = uint32(stat.Ino)
	}
	return all
}

// Credentials and namespaces are those of the process as the kernel has them: after an
// exec, and of a child at its birth, when it was asked for.
func TestStateOfProcesses(t *testing.T) {
	for name, asked := range map[string]bool{"asked for": true, "not asked for": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.ForkState = asked })
			in, slot := r.expected("c")
			cmd := in.Born(exec.CommandContext(t.Context(), busybox(t), "sh", "-c", "busybox sleep 60 & echo $!; read x"))
			cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUTS | syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS |
				syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000, Size: 10}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 2000, Size: 10}}
			cmd.SysProcAttr.Credential = &syscall.Credential{}
			p := start(t, cmd)
			e := next(r, slot, execOf(p.Process.Pid))
			p.says()
			all := ^uint64(0) >> (63 - lastCapability(t))
			want := event.State{
				UID: 1000, EUID: 1000, SUID: 1000, FSUID: 1000, GID: 2000, EGID: 2000, SGID: 2000, FSGID: 2000,
				Permitted: all, Effective: all, UserNSLevel: 1,
				UserNSOwner: uint32(os.Geteuid()), UserNSGroup: uint32(os.Getegid()), Namespaces: namespacesOf(t, p.Process.Pid),
			}
			if diff := cmp.Diff(want, e.State); diff != "" {
				t.Errorf("exec (want -, got +):\n%s", diff)
			}
			if host := namespacesOf(t, os.Getpid()); host[0] == want.Namespaces[0] || host[9] == want.Namespaces[9] {
				t.Errorf("no namespaces of its own: %v", want.Namespaces)
			}
			if !asked {
				want = event.State{}
			}
			fork := next(r, slot, func(e *event.Fork) bool { return int(e.Parent.Tgid) == p.Process.Pid })
			if diff := cmp.Diff(want, fork.State); diff != "" {
				t.Errorf("fork (want -, got +):\n%s", diff)
			}
		})
	}
}

func lastCapability(t *testing.T) (last uint64) {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err == nil {
		_, err = fmt.Sscan(string(text), &last)
	}
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// The environment is told to who asks for it.
func TestEnvironment(t *testing.T) {
	for name, asked := range map[string]bool{"asked for": true, "not asked for": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.Environment = asked })
			in, slot := r.expected("c")
			cmd := in.Born(exec.CommandContext(t.Context(), busybox(t), "true"))
			cmd.Env = []string{"A=1", "B=x=y", "C=", "D=\xff"}
			p := start(t, cmd)
			e := next(r, slot, execOf(p.Process.Pid))
			want, size := cmd.Env, uint32(len("A=1 B=x=y C= D=. "))
			if !asked {
				want, size = nil, 0
			}
			if !slices.Equal(e.Env, want) || e.EnvSize != size || e.Data != 0 || e.Flags != 0 {
				t.Errorf("environment %q of %d bytes, flags %#x", e.Env, e.EnvSize, e.Flags)
			}
			_ = p.Wait()
		})
	}
}

// textOf reads events up to the exec of a process and puts together what came before.
func textOf(r *rig, slot uint32, pid int) (texts [2]string, e *event.Exec) {
	r.t.Helper()
	var parts []*event.Data
	e, _ = next(r, slot, func(e event.Event) bool {
		switch e := e.(type) {
		case *event.Data:
			parts = append(parts, e)
		case *event.Exec:
			return int(e.Tgid) == pid
		}
		return false
	}).(*event.Exec)
	texts = [2]string{strings.Join(e.Args, "\x00"), strings.Join(e.Env, "\x00")}
	for _, d := range parts {
		if d.ID != e.Data || d.Tid != e.Tid {
			r.t.Errorf("part %d of thread %d before event %d of %d", d.ID, d.Tid, e.Data, e.Tid)
		}
		if len(texts[d.String]) == d.Offset-1 {
			texts[d.String] += "\x00"
		}
		if len(texts[d.String]) == d.Offset {
			texts[d.String] += d.Bytes
		}
	}
	return texts, e
}

// Arguments and environment can be as long as the kernel takes them.
func TestLongTexts(t *testing.T) {
	long := func(name string, bytes int) (list []string) {
		for i := 0; bytes > 0; i++ {
			s := fmt.Sprintf("%s%d=%s", name, i, strings.Repeat("x", min(bytes, 100_000)))
			list, bytes = append(list, s), bytes-len(s)-1
		}
		return list
	}
	for name, c := range map[string]struct {
		args, env []string
		ring      uint32
		cut       bool
	}{
		"just in the event":             {args: []string{strings.Repeat("x", 4095-len("true  "))}},
		"one byte more":                 {args: []string{strings.Repeat("x", 4096-len("true  "))}},
		"cut between arguments":         {args: []string{strings.Repeat("x", 4095-len("true  ")), "y"}},
		"more than a part":              {args: long("a", 50_000), env: long("E", 20_000)},
		"two megabytes":                 {args: long("a", 1_500_000), env: long("E", 500_000), ring: 16 << 20},
		"more than half the ring waits": {args: long("a", 1_500_000), cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *Options) {
				o.Environment = true
				o.RingBytes = max(o.RingBytes, c.ring)
			})
			in, slot := r.expected("c")
			cmd := in.Born(exec.CommandContext(t.Context(), busybox(t), c.args...))
			cmd.Args = append([]string{"true"}, c.args...)
			if cmd.Env = c.env; cmd.Env == nil {
				cmd.Env = []string{}
			}
			p := start(t, cmd)
			_ = p.Wait() // nothing is read before
			texts, e := textOf(r, slot, p.Process.Pid)
			want := strings.Join(cmd.Args, "\x00") + "\x00"
			env := ""
			for _, variable := range cmd.Env {
				env += variable + "\x00"
			}
			if int(e.ArgsSize) != len(want) || int(e.EnvSize) != len(env) {
				t.Errorf("sizes %d, %d, want %d, %d", e.ArgsSize, e.EnvSize, len(want), len(env))
			}
			if c.cut {
				if e.Flags != bpf.WireExecFlagsEXEC_ARGS_TRUNCATED || len(texts[0]) < 300_000 || len(texts[0]) > 600_000 || !strings.HasPrefix(want, texts[0]) {
					t.Errorf("flags %#x, %d bytes of arguments", e.Flags, len(texts[0]))
				}
				return
			}
			if (e.Data != 0) != (len(want) > 4095 || len(env) > 4095) {
				t.Errorf("parts are named %d", e.Data)
			}
			if strings.TrimSuffix(texts[0], "\x00") != want[:len(want)-1] || strings.TrimSuffix(texts[1], "\x00") != strings.TrimSuffix(env, "\x00") || e.Flags != 0 {
				t.Errorf("%d bytes of arguments, %d of environment, flags %#x; want %d, %d", len(texts[0]), len(texts[1]), e.Flags, len(want), len(env))
			}
		})
	}
}

// What the runtime puts into a running container does not descend from its init.
func TestTreeOfContainers(t *testing.T) {
	r := newRig(t, nil)
	in, slot := r.expected("c")
	inside := func(namespaces uintptr) *process {
		cmd := in.Born(exec.CommandContext(t.Context(), busybox(t), "sh", "-c", "busybox true; read x; busybox false; read x"))
		cmd.SysProcAttr.Cloneflags = namespaces
		return start(t, cmd)
	}
	check := func(p *process, want bpf.WireInitTree) {
		t.Helper()
		if e := next(r, slot, execOf(p.Process.Pid)); e.Tree != want {
			t.Errorf("exec of %d: %d, want %d", p.Process.Pid, e.Tree, want)
		}
		child := func(e *event.Fork) bool { return int(e.Parent.Tgid) == p.Process.Pid }
		fork := next(r, slot, child)
		exe := next(r, slot, execOf(int(fork.Tgid)))
		if fork.Tree != want || exe.Tree != want {
			t.Errorf("child of %d: fork %d, exec %d, want %d", p.Process.Pid, fork.Tree, exe.Tree, want)
		}
	}
	first := inside(syscall.CLONE_NEWUTS)
	check(first, bpf.WireInitTreeINIT_TREE_IN)
	second := inside(syscall.CLONE_NEWUTS)
	check(second, bpf.WireInitTreeINIT_TREE_OUT)
	// The first one's later children are as it is.
	first.next()
	child := next(r, slot, func(e *event.Fork) bool { return int(e.Parent.Tgid) == first.Process.Pid })
	if child.Tree != bpf.WireInitTreeINIT_TREE_IN {
		t.Errorf("later child: %d", child.Tree)
	}
	host := start(t, exec.CommandContext(t.Context(), busybox(t), "true"))
	if e := next(r, 0, execOf(host.Process.Pid)); e.Tree != bpf.WireInitTreeINIT_TREE_UNKNOWN {
		t.Errorf("of the host: %d", e.Tree)
	}
}

// Of what ran before it was sealed, parents tell.
func TestTreeOfLateContainers(t *testing.T) {
	for name, namespaces := range map[string]uintptr{"pid namespace": syscall.CLONE_NEWPID, "the host's": 0} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			c := r.root.Child(t, "c")
			cmd := c.Born(exec.CommandContext(t.Context(), busybox(t), "sh", "-c", "busybox sh -c 'echo; read x; busybox true; read x'; read x"))
			cmd.SysProcAttr.Cloneflags = namespaces
			first := start(t, cmd)
			first.says()
			beside := script(t, c, "read x; busybox true; read x")
			claim := Claim{Cgroup: c.ID, Running: true}
			if namespaces == 0 {
				claim.InitPID = uint32(first.Process.Pid)
			}
			slot, _, err := r.Confirm(claim)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range []struct {
				*process
				want bpf.WireInitTree
			}{{first, bpf.WireInitTreeINIT_TREE_IN}, {beside, bpf.WireInitTreeINIT_TREE_OUT}} {
				want := p.want
				if namespaces != 0 && p.process == beside {
					want = bpf.WireInitTreeINIT_TREE_UNKNOWN // nobody named init, and it is in the host's namespace
				}
				p.next()
				if e := next(r, slot, func(*event.Exec) bool { return true }); e.Tree != want {
					t.Errorf("child of %d: %d, want %d", p.Process.Pid, e.Tree, want)
				}
			}
		})
	}
}

// checkExit waits for the end of a process, which is told once, as wait4 tells it.
func checkExit(r *rig, slot uint32, p *process, fits func(syscall.WaitStatus) bool) {
	r.t.Helper()
	_ = p.Wait()
	status, _ := p.ProcessState.Sys().(syscall.WaitStatus)
	if !fits(status) {
		r.t.Errorf("process ended with %#x", status)
	}
	mine := func(e *event.Exit) bool { return int(e.Tgid) == p.Process.Pid }
	e := next(r, slot, mine)
	if e.Code != uint32(status) {
		r.t.Errorf("exit tells %#x, wait4 %#x", e.Code, status)
	}
	// Everything of the process comes before the end of one that starts now.
	q := start(r.t, exec.CommandContext(r.t.Context(), busybox(r.t), "true"))
	_ = q.Wait()
	next(r, 0, func(of event.Event) bool {
		if again, ok := of.(*event.Exit); ok && mine(again) {
			r.t.Errorf("a second exit of %d: %+v", p.Process.Pid, again)
		}
		e, ok := of.(*event.Exit)
		return ok && int(e.Tgid) == q.Process.Pid
	})
}

// A process has one end, that of its last thread.
func TestExitsOfProcesses(t *testing.T) {
	r := newRig(t, nil)
	for name, c := range map[string]struct {
		cmd  func() *exec.Cmd
		kill syscall.Signal
		fits func(syscall.WaitStatus) bool
	}{
		"status": {
			func() *exec.Cmd { return exec.CommandContext(t.Context(), busybox(t), "sh", "-c", "exit 42") }, 0,
			func(s syscall.WaitStatus) bool { return s.ExitStatus() == 42 },
		},
		"signal": {
			func() *exec.Cmd { return exec.CommandContext(t.Context(), busybox(t), "sh", "-c", "kill -TERM $$") }, 0,
			func(s syscall.WaitStatus) bool { return s.Signal() == syscall.SIGTERM },
		},
		"killed with its threads": {
			func() *exec.Cmd {
				cmd := self(t, "")
				cmd.Env = append(os.Environ(), threadsVariable+"=20")
				return cmd
			}, syscall.SIGKILL,
			func(s syscall.WaitStatus) bool { return s.Signal() == syscall.SIGKILL },
		},
		"all threads at the end of input": {
			func() *exec.Cmd {
				cmd := self(t, "")
				cmd.Env = append(os.Environ(), threadsVariable+"=20")
				return cmd
			}, -1,
			func(s syscall.WaitStatus) bool { return s.Exited() && s.ExitStatus() == 0 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			in, slot := r.expected(strings.ReplaceAll(name, " ", "-"))
			p := start(t, in.Born(c.cmd()))
			switch {
			case c.kill > 0:
				p.says()
				_ = p.Process.Signal(c.kill)
			case c.kill < 0:
				p.says()
				_ = p.in.Close()
			}
			checkExit(r, slot, p, c.fits)
		})
	}
}

// A thread that executes becomes the process: that is no end of it, and not another one.
func TestExecOfAThread(t *testing.T) {
	r := newRig(t, nil)
	in, slot := r.expected("c")
	p := start(t, in.Born(self(t, "other thread", busybox(t), "sh", "-c", "exit 5")))
	pid := p.Process.Pid
	before := next(r, slot, execOf(pid))
	exits := 0
	e, _ := next(r, slot, func(e event.Event) bool {
		if _, ok := e.(*event.Exit); ok {
			exits++
		}
		exe, ok := e.(*event.Exec)
		return ok && named(busybox(t))(exe)
	}).(*event.Exec)
	if exits != 0 || int(e.Tgid) != pid || int(e.Tid) != pid || e.Start != before.Start {
		t.Errorf("%d exits; exec %+v, before %+v", exits, e.Header, before.Header)
	}
	checkExit(r, slot, p, func(s syscall.WaitStatus) bool { return s.ExitStatus() == 5 })
}
