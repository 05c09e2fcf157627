// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

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
