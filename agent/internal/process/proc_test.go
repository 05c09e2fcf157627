// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/bpf"
)

// procDir lays out one process as /proc has it. Files are those of the map;
// exe, cwd and namespaces are links.
func procDir(t *testing.T, root, pid string, files map[string]string) {
	t.Helper()
	dir := filepath.Join(root, pid)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		var err error
		if strings.HasPrefix(name, "ns/") {
			_ = os.Mkdir(filepath.Join(dir, "ns"), 0o700)
		}
		if name == "exe" || name == "cwd" || strings.HasPrefix(name, "ns/") {
			err = os.Symlink(text, filepath.Join(dir, name))
		} else {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func statText(comm string, parent, flags, ticks uint64) string {
	return fmt.Sprintf("1 (%s) S %d 0 0 0 0 %d 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", comm, parent, flags, ticks)
}

func TestFromProc(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	status := "Name:\tx\nUid:\t5\t6\t7\t8\nGid:\t9\t10\t11\t12\nCapInh:\t0000000000000001\n" +
		"CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000400\nCapBnd:\t000001ffffffffff\n"
	state := func(level int32, user uint32) *State {
		s := &State{
			UID: 5, EUID: 6, SUID: 7, FSUID: 8, GID: 9, EGID: 10, SGID: 11, FSGID: 12,
			Inheritable: 1, Permitted: 1<<41 - 1, Effective: 1 << 10, UserNSLevel: level,
		}
		s.Namespaces[bpf.WireNamespaceKindNAMESPACE_USER] = user
		return s
	}
	procDir(t, root, "1", map[string]string{
		"stat": statText("init", 0, 0x400100, 3), "status": status, "exe": "/sbin/init", "cwd": "/", "cmdline": "/sbin/init\x00",
		"loginuid": "4294967295", "environ": "A=1\x00B=\x00", "ns/user": "user:[4026531837]", "ns/time_for_children": "time:[7]",
	})
	procDir(t, root, "2", map[string]string{"stat": statText("kthreadd", 0, 0x208040, 3), "status": status, "cwd": "/", "cmdline": "", "environ": "A=1"})
	// Chosen to look like the end of the name.
	procDir(t, root, "30", map[string]string{
		"stat": statText(") S 1 (\nx y", 1, 0, 12345), "status": status, "exe": "/tmp/a b (deleted)", "cwd": "/tmp",
		"cmdline": "a\x00\x00b c\x00", "loginuid": "1000\n", "environ": "", "ns/user": "user:[4026532000]",
	})
	procDir(t, root, "31", map[string]string{
		"stat": statText("z", 30, 0, 12346), "status": status, "cmdline": strings.Repeat("x", 20000),
		"environ": strings.Repeat("A=1\x00", 20000), "ns/user": "user:[4026531837",
	})
	procDir(t, root, "40", map[string]string{}) // ended meanwhile
	procDir(t, root, "41", map[string]string{"stat": statText("x", 1, 0, 1)})
	procDir(t, root, "sys", map[string]string{})
	procDir(t, root, "0", map[string]string{})

	got, err := FromProc(root, Scan{Environment: true, CgroupID: func(pid int) uint64 { return uint64(pid) + 1000 }})
	if err != nil {
		t.Fatal(err)
	}
	key1, key30 := Key{1, 30_000_000}, Key{30, 123_450_000_000}
	first := state(0, 4026531837)
	first.Namespaces[bpf.WireNamespaceKindNAMESPACE_TIME_FOR_CHILDREN] = 7
	var many []string
	for range (16 << 10) / (16 + 3) {
		many = append(many, "A=1")
	}
	want := []Info{
		{
			Key: key1, State: first, Env: []string{"A=1", "B="}, UID: 5, AUID: NoAUID, Binary: "/sbin/init", Args: []string{"/sbin/init"}, Cwd: "/",
			Flags: ProcFS | RootCwd, CgroupID: 1001,
		},
		{Key: Key{2, 30_000_000}, State: state(LevelUnknown, 0), UID: 5, AUID: NoAUID, Binary: "[kthreadd]", Cwd: "/", Flags: ProcFS | RootCwd, CgroupID: 1002},
		{
			Key: key30, Parent: key1, State: state(LevelUnknown, 4026532000), UID: 5, AUID: 1000, Binary: "/tmp/a b", Args: []string{"a", "", "b c"}, Cwd: "/tmp",
			Flags: ProcFS, CgroupID: 1030,
		},
		{
			Key: Key{31, 123_460_000_000}, Parent: key30, State: state(LevelUnknown, 0), UID: 5, AUID: NoAUID,
			Args: []string{strings.Repeat("x", 16<<10-16)}, Env: many,
			Flags: ProcFS | TruncArgs | ErrorFilename | NoCwd | ErrorEnvs, CgroupID: 1031,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// TestHostNamespaces: where nobody may look at process 1, kthreadd tells, and no other
// that has its number.
func TestHostNamespaces(t *testing.T) {
	t.Parallel()
	const net = bpf.WireNamespaceKindNAMESPACE_NET
	first, second := map[string]string{"ns/net": "net:[11]", "ns/pid": "pid:[12]"}, map[string]string{"ns/net": "net:[21]"}
	for _, test := range []struct {
		name   string
		one    map[string]string
		flags2 uint64
		want   uint32
	}{
		{"both", first, kernelThread, 11},
		{"hidden", nil, kernelThread, 21},
		{"hidden, and 2 is no thread of the kernel", nil, 0, 0},
	} {
		root := t.TempDir()
		procDir(t, root, "1", test.one)
		two := maps.Clone(second)
		two["stat"] = statText("kthreadd", 0, test.flags2, 3)
		procDir(t, root, "2", two)
		if got := HostNamespaces(root)[net]; got != test.want {
			t.Errorf("%s: the network namespace is %d, want %d", test.name, got, test.want)
		}
	}
	if got := HostNamespaces(t.TempDir()); got != (Namespaces{}) {
		t.Errorf("without processes: %v", got)
	}
}

func TestFromProcRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, stat, status, want string }{
		{"no name", "1 x S 1", "Uid:\t0\t0\t0\t0\n", "no name"},
		{"short", "1 (x) S 1 2 3", "Uid:\t0\n", "fields after the name"},
		{"start time too large", statText("x", 1, 0, ^uint64(0)), "Uid:\t0\n", "start time"},
		{"no uid", statText("x", 1, 0, 1), "Name:\tx\n", "no user id"},
		{"bad uid", statText("x", 1, 0, 1), "Uid:\tx\ty\tz\t1\n", "Uid: strconv.ParseUint: parsing \"x\": invalid syntax"},
		{"three uids", statText("x", 1, 0, 1), "Uid:\t1\t2\t3\n", "Uid: 3 numbers where there should be 4"},
		{"bad gid", statText("x", 1, 0, 1), "Uid:\t1\t2\t3\t4\nGid:\t-1\t2\t3\t4\n", "Gid: strconv"},
		{"bad set", statText("x", 1, 0, 1), "Uid:\t1\t2\t3\t4\nCapEff:\tx\n", "CapEff: strconv"},
		{"two sets", statText("x", 1, 0, 1), "Uid:\t1\t2\t3\t4\nCapPrm:\t1 2\n", "CapPrm: 2 sets"},
		{"bad pid", statText("x", 1, 0, 1), "Uid:\t1\t2\t3\t4\nNSpid:\t1\tx\t2\n", "NSpid: strconv"},
	} {
		root := t.TempDir()
		procDir(t, root, "7", map[string]string{"stat": test.stat, "status": test.status})
		_, err := FromProc(root, Scan{})
		if err == nil || !strings.Contains(err.Error(), "read process 7: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v", test.name, err)
		}
	}
	if _, err := FromProc(filepath.Join(t.TempDir(), "missing"), Scan{}); err == nil {
		t.Error("no error without a directory")
	}
}

// TestFromThisMachine finds a process of our own, and this test.
func TestFromThisMachine(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	cmd.Dir, cmd.Env = dir, []string{"A=1", "B=x=y", "C"}
	before := bootTime(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	after := bootTime(t)
	found, err := FromProc("/proc", Scan{Environment: true})
	if err != nil {
		t.Fatal(err)
	}
	find := func(pid int) Info {
		n := slices.IndexFunc(found, func(i Info) bool { return i.Key.Tgid == uint32(pid) })
		if n < 0 {
			t.Fatalf("process %d is not found", pid)
		}
		return found[n]
	}
	child, self := find(cmd.Process.Pid), find(os.Getpid())
	path, err := filepath.EvalSymlinks(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	if child.Binary != path || !slices.Equal(child.Args, []string{"sleep", "1000"}) || child.Cwd != dir ||
		child.UID != uint32(os.Getuid()) || child.Parent != self.Key || !slices.Equal(child.Env, cmd.Env) {
		t.Errorf("child %+v\nof %+v", child, self)
	}
	var link unix.Stat_t
	if err := unix.Stat("/proc/self/ns/mnt", &link); err != nil {
		t.Fatal(err)
	}
	if got := child.State.Namespaces[bpf.WireNamespaceKindNAMESPACE_MNT]; uint64(got) != link.Ino || child.State.Namespaces != self.State.Namespaces {
		t.Errorf("mount namespace %d, want %d; child %v, parent %v", got, link.Ino, child.State, self.State)
	}
	if child.State.EGID != uint32(os.Getegid()) || child.State.Permitted != self.State.Permitted || os.Geteuid() == 0 && child.State.Effective == 0 {
		t.Errorf("child %+v, parent %+v", child.State, self.State)
	}
	if s := child.Key.Start; s+tick < before || s > after {
		t.Errorf("started at %d, not between %d and %d", s, before, after)
	}
}

func bootTime(t *testing.T) uint64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	return uint64(time.Duration(now.Nano()))
}

// A process descends from its container's first one if its parents lead there before
// they lead out of its pid namespace.
func TestTreeOfProcessesFoundInProc(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, p := range []struct {
		pid    string
		parent uint64
		pids   string
	}{
		{"1", 0, "1"}, {"10", 1, "10"},
		{"20", 10, "20 1"}, {"21", 20, "21 2"}, {"22", 21, "22 3 1"}, {"23", 22, "23 4 2"},
		{"30", 10, "30 9"}, {"31", 30, "31 10"}, {"32", 31, "32 11 1"},
		{"40", 41, "40 7"}, {"41", 40, "41 8"}, // changed while it was read
	} {
		status := "Uid:\t0\t0\t0\t0\nNSpid:\t" + strings.ReplaceAll(p.pids, " ", "\t") + "\n"
		procDir(t, root, p.pid, map[string]string{"stat": statText("x", p.parent, 0, 1), "status": status})
	}
	found, err := FromProc(root, Scan{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint32]Tree{}
	for _, i := range found {
		got[i.Key.Tgid] = i.Tree
		if i.State.UserNSLevel != LevelUnknown {
			t.Errorf("process %d, in a namespace that nobody tells, has the level %d", i.Key.Tgid, i.State.UserNSLevel)
		}
	}
	want := map[uint32]Tree{
		1: TreeUnknown, 10: TreeUnknown, 20: InTree, 21: InTree, 22: InTree, 23: InTree, 30: OutOfTree, 31: OutOfTree, 32: OutOfTree,
		40: TreeUnknown, 41: TreeUnknown,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// What a running process executes is told when no file system has it any more.
func TestDeletedBinaryFoundInProc(t *testing.T) {
	t.Parallel()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "gone")
	if err := os.WriteFile(path, text, 0o700); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "1000")
	cmd.Args[0] = "sleep" // of a program that is many
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	i, _, err := readProcess(filepath.Join("/proc", fmt.Sprint(cmd.Process.Pid)), uint32(cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	inode := info.Sys().(*syscall.Stat_t).Ino
	if i.Binary != path || i.File == nil || *i.File != (File{Inode: inode, Unlinked: true}) {
		t.Errorf("%+v, file %+v, want inode %d", i, i.File, inode)
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add("Name:\tx\nUid:\t5\t6\t7\t8\nGid:\t9\t10\t11\t12\nNSpid:\t1\t2\nCapInh:\t01\n")
	f.Add("Uid:\t5\nUid")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseStatus(text)
		if err != nil && (!errors.Is(err, errMalformed) || s.pids != nil) {
			t.Fatalf("parseStatus = %+v, %v", s, err)
		}
		if err == nil && !strings.Contains(text, "Uid:") {
			t.Fatalf("a process without a user: %+v", s)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add(statText(") S 1 (\nx y", 1, 0, 12345))
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseStat(text)
		if err != nil {
			if !errors.Is(err, errMalformed) || s != (stat{}) {
				t.Fatalf("parseStat = %+v, %v", s, err)
			}
			return
		}
		if !strings.Contains(text, "("+s.comm+")") || s.start%tick != 0 {
			t.Fatalf("parseStat = %+v", s)
		}
	})
}

func TestKeep(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 20000)
	for _, test := range []struct {
		text  string
		want  []string
		whole bool
	}{
		{"", nil, true},
		{"a\x00\x00b\x00", []string{"a", "", "b"}, true},
		{"a\x00b", []string{"a", "b"}, true},
		{"sh\x00" + long + "\x00y\x00", []string{"sh", long[:16384-16-2-16]}, false},
		{strings.Repeat("\x00", 5000), make([]string, 1023), false},
	} {
		got, whole := Keep(test.text)
		if !slices.Equal(got, test.want) || whole != test.whole {
			t.Errorf("%.20q: %d strings, whole %v, want %d, %v", test.text, len(got), whole, len(test.want), test.whole)
		}
	}
}
