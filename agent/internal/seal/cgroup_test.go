// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// A seal that did not arrive as it was written is told apart, whatever of it is wrong.
func TestReadBackSaysWhatDiffers(t *testing.T) {
	r := newRig(t, nil)
	c, slot := r.expected("c")
	other, another := r.expected("other")
	none := r.root.Child(t, "none")
	for _, test := range []struct {
		claim Claim
		slot  uint32
		want  string
	}{
		{Claim{Cgroup: none.ID}, slot, "the cgroup has no seal"},
		{Claim{Cgroup: c.ID}, another, fmt.Sprintf("the seal names slot %d", slot)},
		{Claim{Cgroup: other.ID}, another, ""},
	} {
		err := r.readBack(test.claim, test.slot)
		if test.want == "" && err == nil {
			continue
		}
		if !errors.Is(err, ErrReadBack) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v in slot %d: %v, want %q", test.claim, test.slot, err, test.want)
		}
	}
	wrong := r.Slot(slot)
	wrong.CgroupId++
	r.slots.Store(int(slot), wrong)
	if err := r.readBack(Claim{Cgroup: c.ID}, slot); !errors.Is(err, ErrReadBack) || !strings.Contains(err.Error(), "the slot has cgroup") {
		t.Errorf("a slot of another cgroup: %v", err)
	}
}
