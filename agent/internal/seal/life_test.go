// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
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
