// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// faultIn is memory with text that is not there yet: the first touch reads it from
// a file, which programs cannot wait for.
func faultIn(t testing.TB, text string) unsafe.Pointer {
	t.Helper()
	path := filepath.Join(testenv.Dir(t), "text")
	if err := os.WriteFile(path, append([]byte(text), 0), 0o600); err != nil {
		t.Fatal(err)
	}
	memory, err := mapFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(memory) })
	return unsafe.Pointer(unsafe.SliceData(memory))
}

func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
}

// A string that cannot be read as a call begins is read when it returns.
func TestStringsAreReadAgainAtExit(t *testing.T) {
	b := newBench(t)
	id := b.load(b.chroots(post))
	b.apply(Member{id, true})
	if _, _, errno := unix.Syscall(unix.SYS_CHROOT, uintptr(faultIn(t, b.marker)), 0, 0); errno != unix.ENOENT {
		t.Fatalf("chroot: %v", errno)
	}
	e := b.event()
	if e == nil || e.AtExit != 1 || e.strings[0] != b.marker {
		t.Fatalf("event %+v, want one of the call's end about %q", e, b.marker)
	}
	b.chroot() // readable: judged at once
	if e := b.event(); e == nil || e.AtExit != 0 {
		t.Errorf("event %+v, want one of the call's beginning", e)
	}
	if got, want := b.counters(id), (Counters{Post: 2}); got != want {
		t.Errorf("counters %+v, want %+v: each call is judged once", got, want)
	}
}

// A string that the kernel could not read either is no act; one that nobody read
// is, for rules that enforce and for no others.
func TestStringsThatStayUnreadable(t *testing.T) {
	b := newBench(t)
	about := func(call, actions string) *compile.Policy {
		return b.policy(`  - {subsystem: syscalls, event: sys_enter_` + call + `, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchActions: [` + actions + `]}]}
`)
	}
	watch, enforce := b.load(about("umount", post)), b.load(about("umount", wink+", "+post))
	b.apply(Member{watch, true}, Member{enforce, true})
	const badFlags = 0x4000_0000
	before := b.counters(enforce)
	for _, c := range []struct {
		flags uintptr
		errno unix.Errno
		acts  uint64
	}{
		{0, unix.EFAULT, 0},
		{badFlags, unix.EINVAL, 1}, // refused before it looks at the string
	} {
		if _, _, errno := unix.Syscall(unix.SYS_UMOUNT2, 1, c.flags, 0); errno != c.errno {
			t.Fatalf("umount2 with flags %#x: %v, want %v", c.flags, errno, c.errno)
		}
		after := b.counters(enforce)
		if got := after.Post - before.Post; got != c.acts {
			t.Errorf("umount2 with %v: %d acts, want %d", c.errno, got, c.acts)
		}
		before = after
	}
	if got := b.counters(watch); got != (Counters{}) {
		t.Errorf("the rule that only watches matched what nobody can read: %+v", got)
	}
	// Nor does one whose policy is not enforced.
	b.apply(Member{enforce, false})
	_, _, _ = unix.Syscall(unix.SYS_UMOUNT2, 1, badFlags, 0)
	if after := b.counters(enforce); after != before {
		t.Errorf("a monitored rule matched what nobody can read: %+v, then %+v", before, after)
	}
}

// execVariable makes the test binary execute the program that is named in a file,
// by a name that cannot be read as the call begins.
const execVariable = "BOLTSEAL_TEST_EXEC"

// When execve succeeds the caller's memory is gone: the name is read where the
// kernel keeps it.
func TestExecIsJudgedOnce(t *testing.T) {
	b := newBench(t)
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skipf("needs a program to execute: %v", err)
	}
	program := filepath.Join(testenv.Dir(t), "busybox")
	if err := os.Symlink(busybox, program); err != nil {
		t.Fatal(err)
	}
	b.marker = program
	id := b.load(b.policy(`  - {subsystem: syscalls, event: sys_enter_execve, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchActions: [{action: Post}]}]}
`))
	b.apply(Member{id, true})
	for _, c := range []struct {
		name   string
		cmd    *exec.Cmd
		atExit uint16
	}{
		{"name in memory", exec.CommandContext(t.Context(), program, "true"), 0},
		{"name in a file", b.execFromFile(program), 1},
	} {
		if out, err := c.cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", c.name, err, out)
		}
		e := b.event()
		if e == nil || e.AtExit != c.atExit || e.strings[0] != program || int(e.H.Tgid) != c.cmd.ProcessState.Pid() {
			t.Errorf("%s: event %+v, want one of %s, at exit %d", c.name, e, program, c.atExit)
		}
		if e := b.event(); e != nil {
			t.Errorf("%s: judged twice: %+v", c.name, e)
		}
	}
	if got, want := b.counters(id), (Counters{Post: 2}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
	retries := b.maps.coll.Maps[bpf.SiteMapRetries]
	if retries == nil {
		return // in task storage, which goes with its task
	}
	testenv.Eventually(t, 10*time.Second, "memory of tasks that have ended", func() error {
		var task uint64
		if err := retries.NextKey(nil, &task); !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("the task at %#x has some (%v)", task, err)
		}
		return nil
	})
}

// What is left of a call whose site was detached meanwhile is no call of another
// site, also of one that has its id.
func TestRetryIsForItsSite(t *testing.T) {
	b := newBench(t)
	retries := b.maps.coll.Maps[bpf.SiteMapRetries]
	if retries == nil {
		t.Skip("each site has memory of its own in task storage")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	id := b.load(b.chroots(post))
	b.apply(Member{id, true})
	call := func(path unsafe.Pointer) *siteEvent {
		_, _, _ = unix.RawSyscall(unix.SYS_CHROOT, uintptr(path), 0, 0)
		return b.event()
	}
	other := []byte("/other\x00")
	if e := call(faultIn(t, b.marker)); e == nil || e.AtExit != 1 {
		t.Fatalf("event %+v, want one of the call's end", e)
	}
	var task uint64
	if err := retries.NextKey(nil, &task); err != nil {
		t.Fatal(err)
	}
	left, err := retries.LookupBytes(task) // struct retry: the site's serial, then the words
	if err != nil || binary.LittleEndian.Uint32(left) != 0 {
		t.Fatalf("left of the call: %#x (%v)", left, err)
	}
	serial := uint64(b.serial)
	for _, c := range []struct {
		serial uint64
		events bool
	}{{serial, true}, {serial + 1, false}, {serial - 1, false}} {
		// As if a call that was put off had never returned.
		marker := append([]byte(b.marker), 0)
		binary.LittleEndian.PutUint32(left, uint32(c.serial))
		binary.LittleEndian.PutUint64(left[8:], uint64(uintptr(unsafe.Pointer(&marker[0]))))
		if err := retries.Update(task, left, ebpf.UpdateExist); err != nil {
			t.Fatal(err)
		}
		if e := call(unsafe.Pointer(&other[0])); (e != nil) != c.events {
			t.Errorf("left by site %d, judged by site %d: event %+v", c.serial, serial, e)
		}
		runtime.KeepAlive(marker)
	}
}

func (b *bench) execFromFile(program string) *exec.Cmd {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), "/proc/self/exe")
	text := filepath.Join(testenv.Dir(b.t), "text")
	if err := os.WriteFile(text, append([]byte(program), 0), 0o600); err != nil {
		b.t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), execVariable+"="+text)
	return cmd
}

// execByFile executes the program that a file names; it returns only on error.
func execByFile(path string) error {
	name, err := mapFile(path)
	if err != nil {
		return err
	}
	arg := [...]byte{'t', 'r', 'u', 'e', 0}
	argv := [...]*byte{&arg[0], nil}
	envp := [...]*byte{nil}
	_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(&name[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envp[0])))
	return errno
}

// A policy that needs an argument which no policy there has read replaces the
// site's program: no act passes unjudged meanwhile.
func TestProgramIsReplacedWithoutGap(t *testing.T) {
	b := newBench(t)
	one := b.load(b.chroots(post))
	b.apply(Member{one, true})
	first := b.programs()
	_, stop := b.hammered()
	var ids []PolicyID
	for _, arg := range []string{
		"{index: 5, type: uint64}", "{index: 5, type: uint32}", "{index: 5, type: int16}",
		"{index: 5, type: uint16}", "{index: 5, type: int8}", "{index: 5, type: uint8}", "{index: 4, type: int32}",
	} {
		ids = append(ids, b.load(b.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [`+arg+`],
     selectors: [{matchArgs: [{args: [0], operator: NotEqual, values: ["99"]}]}]}
`)))
	}
	// One that asks for all the rest.
	rest := b.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: uint64}],
     selectors: [{matchArgs: [{args: [0], operator: NotEqual, values: ["99"]}]}]}
`)
	for reads := &rest.Hooks[0].Reads; len(*reads) < compile.MaxReads-7; {
		again := (*reads)[0]
		again.Copy = uint8(len(*reads))
		*reads = append(*reads, again)
	}
	acts := stop()
	b.load(rest)
	checkGone(t, first)
	// For a moment the old program and the new one both judge.
	if posted := b.counters(one).Post; posted < acts || posted > 2*acts {
		t.Errorf("%d acts, %d matches", acts, posted)
	}
	// All arguments that there can be are read: another one takes the place of one
	// that nobody needs any more.
	another := b.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 4, type: uint32}],
     selectors: [{matchArgs: [{args: [0], operator: NotEqual, values: ["99"]}]}]}
`)
	if _, err := b.Load(another); !errors.Is(err, compile.ErrNoRoom) {
		t.Fatalf("an argument too many: %v", err)
	}
	if err := b.Unload(ids[3]); err != nil {
		t.Fatal(err)
	}
	id := b.load(another)
	b.apply(Member{one, true}, Member{id, true})
	for b.event() != nil {
		continue // what is queued filled the ring
	}
	before := b.counters(id)
	b.chroot()
	if after := b.counters(id); after.Post != before.Post+1 {
		t.Errorf("the rule about the new argument: %+v, then %+v", before, after)
	}
	e := b.event()
	if e == nil {
		t.Fatal("no event")
	}
	rule, ok := b.Resolve(e.Site, e.Version, b.policies[id].hooks[0].first)
	if nr := uint32(e.Regs[rule.Dimensions[0]]); !ok || nr != unix.SYS_CHROOT {
		t.Errorf("the event says that the call is number %d at %v, want %d", nr, rule.Dimensions, unix.SYS_CHROOT)
	}
}
