// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

func TestExpectedCgroupIsSealedAtBirth(t *testing.T) {
	r := newRig(t, nil)
	slot := r.slot()
	path := r.root.Path + "/wanted"
	if err := r.Expect(slot, path); err != nil {
		t.Fatal(err)
	}
	r.checkState(slot, bpf.WireSlotStateSLOT_EXPECTED)
	for _, near := range []string{"wante", "wanted2", "Wanted", "other"} {
		r.checkUnsealed(r.root.Child(t, near).ID, near)
	}
	r.checkUnsealed(r.root.Child(t, "other/wanted").ID, "other/wanted")
	c := r.root.Child(t, "wanted")
	r.checkSealed(c.ID, slot, bpf.WireSealedBySEALED_BY_PATH)
	r.checkState(slot, bpf.WireSlotStateSLOT_MAPPED)
	if s := r.Slot(slot); s.CgroupId != c.ID || s.SealedNs == 0 || s.SealedNs > bootTime() || s.Tasks != 0 {
		t.Errorf("slot %+v, want that of cgroup %d", s, c.ID)
	}
	e, told := r.sealedEvent(slot)
	if told != path || e.Id != c.ID || e.By != uint32(bpf.WireSealedBySEALED_BY_PATH) || e.H.Tgid != uint32(os.Getpid()) {
		t.Errorf("event %+v of %q, want %q, cgroup %d, made by %d", e, told, path, c.ID, os.Getpid())
	}

	// The path of a cgroup that is gone is nobody's until it is expected anew.
	if err := unix.Rmdir(c.Dir); err != nil {
		t.Fatal(err)
	}
	r.event(bpf.WireEventTypeEVENT_CGROUP_GONE, slot)
	r.checkUnsealed(c.ID, "the removed cgroup")
	again := r.root.Child(t, "wanted")
	if again.ID == c.ID {
		t.Error("the kernel gave an id twice")
	}
	r.checkUnsealed(again.ID, "the cgroup made anew")
}

// The longest path is sealed, and a longer one that begins like it is not.
func TestLongPaths(t *testing.T) {
	r := newRig(t, nil)
	const most = 511
	deep := ""
	for len(r.root.Path)+len(deep) < 300 {
		deep += "/" + strings.Repeat("d", 99)
		r.root.Child(t, deep)
	}
	fill := func(total int) string { return deep + "/" + strings.Repeat("x", total-len(r.root.Path)-len(deep)-1) }
	slot := r.slot()
	if err := r.Expect(slot, r.root.Path+fill(most+1)); !errors.Is(err, ErrPath) {
		t.Errorf("expect a path of %d bytes: %v", most+1, err)
	}
	if err := r.Expect(slot, r.root.Path+fill(most)); err != nil {
		t.Fatal(err)
	}
	r.checkUnsealed(r.root.Child(t, fill(most+1)).ID, "a path that is longer than can be expected")
	r.checkUnsealed(r.root.Child(t, fill(most-1)).ID, "a shorter path")
	c := r.root.Child(t, fill(most))
	r.checkSealed(c.ID, slot, bpf.WireSealedBySEALED_BY_PATH)
	if _, told := r.sealedEvent(slot); told != c.Path {
		t.Errorf("the event tells %q, want %q", told, c.Path)
	}
	// Longer paths are sealed by other means, and their report is cut.
	long := fill(most+20) + "/" + strings.Repeat("a", 64)
	r.root.Child(t, fill(most+20))
	id := r.mkdirs("", long)[0]
	seal, ok, err := r.SealedAs(id)
	if err != nil || !ok {
		t.Fatalf("a container with a long path is not sealed: %v", err)
	}
	if _, told := r.sealedEvent(seal.Slot); told != (r.root.Path + long)[:most] {
		t.Errorf("the event tells %q", told)
	}
}

func TestExpectations(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.slot(), r.slot()
	path := r.root.Path + "/x"
	for range 2 {
		if err := r.Expect(a, path); err != nil {
			t.Errorf("expect, also what is expected: %v", err)
		}
	}
	if err := r.Expect(b, path); !errors.Is(err, ErrOtherContainer) {
		t.Errorf("expect another container at the same path: %v", err)
	}
	if err := r.Expect(a, path+"2"); err != nil {
		t.Errorf("expect a container at a second path: %v", err)
	}
	if err := r.Unexpect(a); err != nil {
		t.Fatal(err)
	}
	r.checkUnsealed(r.root.Child(t, "x").ID, "what is not expected any more")
	r.checkUnsealed(r.root.Child(t, "x2").ID, "what is not expected any more, second path")
	if err := r.Unexpect(a); err != nil {
		t.Errorf("take back what is not expected: %v", err)
	}

	full := int(r.programs.cgroup.Maps[bpf.CgroupMapExpectations].MaxEntries())
	for i := range full {
		if err := r.Expect(a, fmt.Sprintf("%s/%d", path, i)); err != nil {
			t.Fatalf("expect %d containers: %v", i, err)
		}
	}
	if err := r.Expect(b, path+"/more"); !errors.Is(err, ErrNoRoom) {
		t.Errorf("expect one container too many: %v", err)
	}
	if err := r.Unexpect(a); err != nil {
		t.Fatal(err)
	}
	if err := r.Expect(b, path+"/more"); err != nil {
		t.Errorf("expect when there is room again: %v", err)
	}
}

func TestContainersAreKnownByTheirNames(t *testing.T) {
	r := newRig(t, nil)
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	slots := map[uint32]string{}
	for name, want := range map[string]bool{
		id:                                   true,
		strings.Repeat("a", 64):              true,
		"docker-" + id + ".scope":            true,
		"docker-" + id:                       true,
		"cri-containerd-" + id + ".scope":    true,
		"libpod-" + id + ".scope":            true,
		id + ".scope":                        true,
		"libpod-conmon-" + id + ".scope":     false,
		"docker-" + id + ".slice":            false,
		"docker-" + id + ".scop":             false,
		"docker-" + id + ".scope2":           false,
		"docker" + id:                        false,
		"ocker-" + id:                        false,
		"crio-" + id + ".scope":              false, // no prefix of this host
		id[1:]:                               false,
		id + "0":                             false,
		strings.ToUpper(id):                  false,
		"g" + id[1:]:                         false,
		"docker-" + id[1:] + "g.scope":       false,
		".scope":                             false,
		"x":                                  false,
		strings.Repeat("docker-", 20) + id:   false,
		"docker-" + strings.Repeat("a", 121): false,
	} {
		c := r.root.Child(t, name)
		seal, ok, err := r.SealedAs(c.ID)
		if err != nil || ok != want {
			t.Errorf("%s: sealed %v (%v), want %v", name, ok, err, want)
		}
		if !ok {
			continue
		}
		if other := slots[seal.Slot]; other != "" {
			t.Errorf("%s and %s have one slot", name, other)
		}
		slots[seal.Slot] = name
		r.checkSealed(c.ID, seal.Slot, bpf.WireSealedBySEALED_BY_PATTERN)
		r.checkState(seal.Slot, bpf.WireSlotStateSLOT_MAPPED)
		if e, path := r.sealedEvent(seal.Slot); path != c.Path || e.Id != c.ID {
			t.Errorf("event %+v of %q, want %q", e, path, c.Path)
		}
	}
}

func TestContainersAreKnownByTheirMaker(t *testing.T) {
	r := newRig(t, nil)
	for comm, want := range map[string]bool{
		makerComm: true, "bst-15-bytes-xx": true,
		makerComm + "2": false, makerComm[1:]: false, "bst-mak": false, "bst-15-bytes-x": false,
	} {
		id := r.mkdirs(comm, "by "+comm)[0]
		if _, ok, err := r.SealedAs(id); ok != want || err != nil {
			t.Errorf("cgroup made by %q is sealed: %v (%v), want %v", comm, ok, err, want)
		}
	}
}

// Of the directories that a runtime makes one below the other only the last is the
// container, until something has run in one.
func TestSealMovesDown(t *testing.T) {
	r := newRig(t, nil)
	ids := r.mkdirs(makerComm, "a", "a/b", "a/b/c")
	r.checkUnsealed(ids[0], "a")
	r.checkUnsealed(ids[1], "a/b")
	seal, ok, err := r.SealedAs(ids[2])
	if !ok || err != nil {
		t.Fatalf("a/b/c is not sealed: %v", err)
	}
	if s := r.Slot(seal.Slot); s.CgroupId != ids[2] || s.State != uint32(bpf.WireSlotStateSLOT_MAPPED) {
		t.Errorf("slot %+v, want that of cgroup %d", s, ids[2])
	}
	// The container's own cgroups, once something has run in it, are inside it.
	p := script(t, nil, "read x")
	if err := os.WriteFile(filepath.Join(r.root.Dir, "a/b/c/cgroup.procs"), fmt.Append(nil, p.Process.Pid), 0); err != nil {
		t.Fatal(err)
	}
	r.checkTasks(seal.Slot, 1)
	inner := r.mkdirs(makerComm, "a/b/c/d")[0]
	r.checkSealed(inner, seal.Slot, bpf.WireSealedBySEALED_BY_PATTERN)
	r.checkSealed(ids[2], seal.Slot, bpf.WireSealedBySEALED_BY_PATTERN)

	// A container that is announced there is itself, and the upper ones are not it.
	slot := r.slot()
	if err := r.Expect(slot, r.root.Path+"/p/q/r"); err != nil {
		t.Fatal(err)
	}
	ids = r.mkdirs(makerComm, "p", "p/q", "p/q/r")
	r.checkSealed(ids[2], slot, bpf.WireSealedBySEALED_BY_PATH)
	if seal, ok, _ := r.SealedAs(ids[1]); ok && seal.Slot == slot {
		t.Error("the directory above has the container's slot")
	}

	// Nobody in a container makes the cgroup of another one.
	in, outer := r.expected("outer")
	other := r.slot()
	if err := r.Expect(other, in.Path+"/hijack"); err != nil {
		t.Fatal(err)
	}
	r.checkSealed(in.Child(t, "hijack").ID, outer, bpf.WireSealedBySEALED_BY_PATH)
}

func TestChildrenInheritAtAnyDepth(t *testing.T) {
	r := newRig(t, nil)
	top, slot := r.expected("top")
	chain := []*testenv.Cgroup{top}
	const depth = 40
	for i := range depth {
		chain = append(chain, chain[i].Child(t, "c"))
		r.checkSealed(chain[i+1].ID, slot, bpf.WireSealedBySEALED_BY_PATH)
	}
	if s := r.Slot(slot); s.CgroupId != top.ID {
		t.Errorf("the slot's cgroup is %d, want the top, %d", s.CgroupId, top.ID)
	}
	for i := depth; i >= 0; i-- {
		if err := unix.Rmdir(chain[i].Dir); err != nil {
			t.Fatal(err)
		}
		r.checkUnsealed(chain[i].ID, fmt.Sprint("removed cgroup at depth ", i))
		if i > 0 {
			r.checkSealed(chain[i-1].ID, slot, bpf.WireSealedBySEALED_BY_PATH)
		}
	}
	if gone, err := r.gone(bootTime()); err != nil || len(gone) != 1 || gone[0] != slot {
		t.Errorf("gone are %v (%v), want slot %d", gone, err, slot)
	}
}

// Threaded cgroups below a container are the container's.
func TestThreadedCgroups(t *testing.T) {
	r := newRig(t, nil)
	top, slot := r.expected("top")
	p := threaded(t, top, 4)
	child := top.Child(t, "threaded")
	r.checkSealed(child.ID, slot, bpf.WireSealedBySEALED_BY_PATH)
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(child.Dir, "cgroup.type"), "threaded")
	for _, tid := range threadsOf(t, p.Process.Pid) {
		write(filepath.Join(child.Dir, "cgroup.threads"), fmt.Sprint(tid))
		if seal, ok := r.task(tid); !ok || seal.Slot != slot {
			t.Errorf("thread %d carries %+v (%v), want slot %d", tid, seal, ok, slot)
		}
	}
	// Go may start threads of its own meanwhile.
	testenv.Eventually(t, 5*time.Second, "tasks", func() error {
		if tasks, threads := r.Slot(slot).Tasks, len(threadsOf(t, p.Process.Pid)); int(tasks) != threads {
			return fmt.Errorf("%d tasks and %d threads", tasks, threads)
		}
		return nil
	})
	p.end()
	r.checkTasks(slot, 0)
}

func TestSlotsExhausted(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Slots = 1 })
	const id = "0000000000000000000000000000000000000000000000000000000000000000"
	first, second := r.root.Child(t, id), r.root.Child(t, id[1:]+"1")
	seal, ok, err := r.SealedAs(first.ID)
	if !ok || err != nil || seal.Slot == NoRoom {
		t.Fatalf("first container: %+v, %v, %v", seal, ok, err)
	}
	r.checkSealed(second.ID, NoRoom, bpf.WireSealedBySEALED_BY_PATTERN)
	if n := r.kernelErrors(bpf.WireKernelErrorKERR_NO_SLOT); n != 1 {
		t.Errorf("%d containers without a slot are counted", n)
	}
	if e, path := r.sealedEvent(NoRoom); path != second.Path || e.Id != second.ID {
		t.Errorf("event %+v of %q, want %q", e, path, second.Path)
	}
	if _, err := r.Take(); !errors.Is(err, ErrNoRoom) {
		t.Errorf("take a slot: %v", err)
	}
	if _, _, err := r.Confirm(Claim{Cgroup: second.ID}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("confirm: %v", err)
	}
	if _, _, err := r.Confirm(Claim{Cgroup: r.root.ID}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("confirm a cgroup without a seal: %v", err)
	}
	r.checkUnsealed(r.root.ID, "the cgroup that was refused")

	// The workload's first exec in it is its last; the runtime's are not.
	p := script(t, second, "read x; exec busybox sh -c 'echo set-up; read x; exec busybox unshare -u busybox echo workload'")
	p.next()
	if said := p.says(); said != "set-up" {
		t.Errorf("the runtime's own exec said %q", said)
	}
	p.next()
	if err := p.Wait(); p.ProcessState.String() != "signal: killed" {
		t.Errorf("the workload of a container without a slot ended with %v (%v)", p.ProcessState, err)
	}

	// What gives its slot back makes room.
	if err := unix.Rmdir(first.Dir); err != nil {
		t.Fatal(err)
	}
	gone, err := r.gone(bootTime())
	if err != nil || len(gone) != 1 || gone[0] != seal.Slot {
		t.Fatalf("gone are %v (%v), want slot %d", gone, err, seal.Slot)
	}
	if err := r.Free(seal.Slot); err != nil {
		t.Fatal(err)
	}
	third := r.root.Child(t, id[1:]+"2")
	r.checkSealed(third.ID, seal.Slot, bpf.WireSealedBySEALED_BY_PATTERN)
}

func TestSealsFull(t *testing.T) {
	const room = 4
	r := newRig(t, func(o *Options) { o.seals = room })
	exists := r.root.Child(t, "exists")
	for i := range room {
		r.expected(fmt.Sprint(i))
	}
	slot := r.slot()
	if err := r.Expect(slot, r.root.Path+"/more"); err != nil {
		t.Fatal(err)
	}
	c := r.root.Child(t, "more")
	r.checkUnsealed(c.ID, "the cgroup that there was no room for")
	if n := r.kernelErrors(bpf.WireKernelErrorKERR_SEALS_FULL); n != 1 {
		t.Errorf("%d cgroups without room are counted", n)
	}
	if e, path := r.sealedEvent(slot); path != c.Path || e.By != uint32(bpf.WireSealedBySEALED_BY_NOBODY) {
		t.Errorf("event %+v of %q, want %q by nobody", e, path, c.Path)
	}
	before := r.Slot(slot)
	for name, claim := range map[string]Claim{
		"with its slot": {Cgroup: c.ID, Slot: slot}, "that was there before": {Cgroup: exists.ID},
	} {
		if _, _, err := r.Confirm(claim); !errors.Is(err, ErrNoRoom) {
			t.Errorf("confirm a cgroup %s: %v", name, err)
		}
	}
	if after := r.Slot(slot); after != before {
		t.Errorf("the slot of the refused container became %+v, was %+v", after, before)
	}
	if n := r.free(); n != 64-room-1 {
		t.Errorf("%d slots are free, want %d", n, 64-room-1)
	}
}

// free counts the free slots.
func (r *rig) free() int {
	r.t.Helper()
	var slots []uint32
	for {
		slot, err := r.Take()
		if errors.Is(err, ErrNoRoom) {
			break
		}
		if err != nil {
			r.t.Fatal(err)
		}
		slots = append(slots, slot)
	}
	seen := map[uint32]bool{}
	for _, slot := range slots {
		if seen[slot] {
			r.t.Errorf("slot %d was free twice", slot)
		}
		seen[slot] = true
		if err := r.Free(slot); err != nil {
			r.t.Fatal(err)
		}
	}
	return len(slots)
}

// Containers come and go a thousand times, announced or not, reported or not:
// nothing is used up.
func TestNothingIsUsedUp(t *testing.T) {
	const slots = 16
	r := newRig(t, func(o *Options) { o.Slots, o.RingBytes = slots, 4096 })
	for i := range 1000 {
		name := fmt.Sprintf("%064x", i)
		if i%2 == 0 {
			if err := r.Expect(r.slot(), r.root.Path+"/"+name); err != nil {
				t.Fatal(err)
			}
		}
		id := r.mkdirs("", name)[0]
		seal, ok, err := r.SealedAs(id)
		if !ok || err != nil {
			t.Fatalf("container %d is not sealed: %v", i, err)
		}
		if err := unix.Rmdir(filepath.Join(r.root.Dir, name)); err != nil {
			t.Fatal(err)
		}
		gone, err := r.gone(bootTime())
		if err != nil || !slices.Contains(gone, seal.Slot) {
			t.Fatalf("container %d: gone are %v (%v), want %d", i, gone, err, seal.Slot)
		}
		r.SetVersion(seal.Slot, uint32(i))
		// Other containers of this machine may have come and gone too.
		for _, slot := range gone {
			if err := errors.Join(r.Free(slot), r.Free(slot)); err != nil {
				t.Fatalf("free, and once more: %v", err)
			}
		}
	}
	testenv.Eventually(t, 10*time.Second, "all slots are free", func() error {
		gone, err := r.gone(bootTime())
		for _, slot := range gone {
			err = errors.Join(err, r.Free(slot))
		}
		if n := r.free(); err != nil || n != slots {
			return fmt.Errorf("%d of %d slots are free (%v)", n, slots, err)
		}
		return nil
	})
	for slot := uint32(bpf.WireReservedSlotsSLOTS_RESERVED); slot < r.max; slot++ {
		if s := r.Slot(slot); s != (bpf.WireSlot{Version: s.Version}) {
			t.Errorf("free slot %d is %+v", slot, s)
		}
	}
	if s := r.Slot(2); s.Version == 0 {
		t.Error("a slot lost its version when it was freed: its next container would be without rules")
	}
	for _, name := range []string{bpf.CgroupMapSeals, bpf.CgroupMapExpectations} {
		var key []byte
		if err := r.programs.cgroup.Maps[name].NextKey(nil, &key); err == nil {
			t.Errorf("map %s holds %x", name, key)
		}
	}
	// The ring was full for most of it, which changed nothing but the count.
	if n := r.kernelErrors(bpf.WireKernelErrorKERR_RING_FULL); n == 0 {
		t.Error("no lost event is counted")
	}
}

// A slot that was sealed a moment ago may be between the kernel's two stores.
func TestYoungSlotsAreNotGone(t *testing.T) {
	r := newRig(t, nil)
	c, slot := r.expected("x")
	if err := unix.Rmdir(c.Dir); err != nil {
		t.Fatal(err)
	}
	if gone, err := r.Gone(); err != nil || len(gone) != 0 {
		t.Errorf("gone are %v (%v), a moment after their seal", gone, err)
	}
	if gone, err := r.gone(bootTime()); err != nil || len(gone) != 1 || gone[0] != slot {
		t.Errorf("gone are %v (%v), want slot %d", gone, err, slot)
	}
}

func TestOpenRefuses(t *testing.T) {
	testenv.Require(t, testenv.Root(), testenv.BPF(), testenv.BTF())
	testenv.LeakCheck(t)
	for name, change := range map[string]func(*Options){
		"too many names":    func(o *Options) { o.RuntimeComms = make([]string, 17) },
		"a name too long":   func(o *Options) { o.RuntimeComms = []string{"sixteen-bytes-xx"} },
		"an empty name":     func(o *Options) { o.RuntimeComms = []string{""} },
		"an empty prefix":   func(o *Options) { o.NamePrefixes = []string{""} },
		"a ring of no size": func(o *Options) { o.RingBytes = 0 },
		"a ring too small":  func(o *Options) { o.RingBytes = 100 },
	} {
		r := &rig{t: t}
		o := options(compile.NewKeys())
		change(&o)
		var err error
		if r.Seals, err = Open(o); err == nil {
			t.Errorf("%s: opened", name)
			_ = r.Close()
		}
	}
}
