// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// events is how many events of each slot and type there are.
type events map[uint32]map[bpf.WireEventType]int

// of is how many events of a slot there are.
func (e events) of(slot uint32) (n int) {
	for _, count := range e[slot] {
		n += count
	}
	return n
}

// drain reads what the ring holds, and adds it to e.
func (r *rig) drain(e events) events {
	r.t.Helper()
	for {
		r.ring.SetDeadline(time.Now())
		record, err := r.ring.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return e
		}
		var h bpf.WireEventHeader
		if err == nil {
			_, err = binary.Decode(record.RawSample, binary.LittleEndian, &h)
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if e[h.Slot] == nil {
			e[h.Slot] = map[bpf.WireEventType]int{}
		}
		e[h.Slot][bpf.WireEventType(h.Type)]++
	}
}

// forking is a shell in a cgroup that forks so many children at each line of its
// input, one after the other: each makes an event of its birth and one of its end.
func forking(t testing.TB, in *testenv.Cgroup, children int) *process {
	t.Helper()
	return script(t, in, fmt.Sprintf("while read x; do i=0; while [ $i -lt %d ]; do ( : ); i=$((i+1)); done; echo; done", children))
}

// forks lets it fork once and waits until it has.
func (p *process) forks() {
	p.t.Helper()
	p.next()
	p.says()
}

// ringForFlood is small enough to be flooded soon, and holds what the rest of the
// machine does meanwhile.
const ringForFlood = 64 << 10

// A container that floods a ring that nobody reads loses its own events, each of
// which is counted, and takes neither those of another one nor what is told of seals.
func TestFloodLeavesRoom(t *testing.T) {
	r := newRig(t, func(o *Options) { o.RingBytes = ringForFlood })
	flooded, flooder := r.expected("flooder")
	other, quiet := r.expected("quiet")
	const children, few = 600, 8
	flood, calm := forking(t, flooded, children), forking(t, other, few)
	r.drain(events{})
	lost := r.Lost(flooder)
	flood.forks()
	calm.forks()
	made, born := r.expected("born")
	if err := unix.Rmdir(made.Dir); err != nil {
		t.Fatal(err)
	}
	got := r.drain(events{})
	if n := r.Lost(quiet); n != 0 || got.of(quiet) != 2*few {
		t.Errorf("of %d events of the quiet container %d came and %d are lost", 2*few, got.of(quiet), n)
	}
	lost = r.Lost(flooder) - lost
	if n := got.of(flooder); n+int(lost) != 2*children || lost == 0 {
		t.Errorf("of %d events of the flooder %d came and %d are lost", 2*children, n, lost)
	}
	for _, kind := range []bpf.WireEventType{bpf.WireEventTypeEVENT_CGROUP_SEALED, bpf.WireEventTypeEVENT_CGROUP_GONE} {
		if got[born][kind] != 1 {
			t.Errorf("%d events of type %d of the container that came and went", got[born][kind], kind)
		}
	}
	// Once it is read there is room for everybody, and each time as much for the flooder.
	size := 8 + (binary.Size(bpf.WireEventFork{})+binary.Size(bpf.WireEventExit{}))/2 // of an event, on average
	for range 4 {
		flood.forks()
		got = r.drain(events{})
	}
	if n := got.of(flooder); n*size < ringForFlood*5/16 {
		t.Errorf("%d events of a flooder that is alone came, which use less than its share", n)
	}
	lost = r.Lost(flooder)
	flood.in.Close()
	testenv.Eventually(t, 5*time.Second, "the flooder's end is told", func() error {
		if got := r.drain(events{}); got[flooder][bpf.WireEventTypeEVENT_EXIT] != 1 || r.Lost(flooder) != lost {
			return fmt.Errorf("events %v, %d lost", got, r.Lost(flooder)-lost)
		}
		return nil
	})
}

// While the ring is read, a flood takes nothing from others for as long as it goes
// on, many times around the ring.
func TestFloodThatGoesOn(t *testing.T) {
	r := newRig(t, func(o *Options) { o.RingBytes = ringForFlood })
	other, quiet := r.expected("quiet")
	const children, few, rounds = 350, 4, 6
	calm := forking(t, other, few)
	var floods []*process
	var flooders []uint32
	for i := range 3 {
		in, slot := r.expected(fmt.Sprint("flooder", i))
		floods, flooders = append(floods, forking(t, in, children)), append(flooders, slot)
	}
	r.drain(events{})
	before := map[uint32]uint64{}
	for _, slot := range flooders {
		before[slot] = r.Lost(slot)
	}
	got := events{}
	for range rounds {
		for _, p := range floods {
			p.next()
		}
		for _, p := range floods {
			p.says()
		}
		calm.forks()
		r.drain(got)
	}
	if n := r.Lost(quiet); n != 0 || got.of(quiet) != 2*few*rounds {
		t.Errorf("of %d events of the quiet container %d came and %d are lost", 2*few*rounds, got.of(quiet), n)
	}
	for _, slot := range flooders {
		lost := r.Lost(slot) - before[slot]
		if n := got.of(slot); n+int(lost) != 2*children*rounds || lost == 0 || n < rounds {
			t.Errorf("of %d events of a flooder %d came and %d are lost", 2*children*rounds, n, lost)
		}
	}
}

// When more containers flood a ring than have shares in it, those that come last
// still have an event each, and there is room for what is told of seals.
func TestFloodOfMany(t *testing.T) {
	const many, first = 100, 15
	r := newRig(t, func(o *Options) { o.RingBytes, o.Slots = 16<<10, many+30 }) // some for what else starts here
	var slots []uint32
	var cgroups []*testenv.Cgroup
	for i := range many {
		c, slot := r.expected(fmt.Sprint(i))
		slots, cgroups = append(slots, slot), append(cgroups, c)
	}
	flooded, _ := r.expected("flooder")
	flood := forking(t, flooded, 200)
	r.drain(events{})
	flood.forks()
	for _, c := range cgroups {
		if err := c.Born(exec.CommandContext(t.Context(), busybox(t), "true")).Run(); err != nil {
			t.Fatal(err)
		}
	}
	_, born := r.expected("born")
	got := r.drain(events{})
	for _, slot := range slots[:first] {
		if got.of(slot) == 0 {
			t.Errorf("slot %d has no event", slot)
		}
	}
	if got[born][bpf.WireEventTypeEVENT_CGROUP_SEALED] != 1 {
		t.Errorf("of a container that came the ring holds %v", got[born])
	}
	var lost uint64
	for _, slot := range slots {
		lost += r.Lost(slot)
	}
	if lost == 0 {
		t.Error("there was room for everything")
	}
}

// What a container has lost is not the next one's in its slot.
func TestLossEndsWithItsContainer(t *testing.T) {
	r := newRig(t, func(o *Options) { o.RingBytes = 16 << 10 })
	c, slot := r.expected("c")
	forking(t, c, 200).forks()
	if r.Lost(slot) == 0 {
		t.Fatal("nothing is lost")
	}
	if r.Lost(slot) > r.kernelErrors(bpf.WireKernelErrorKERR_RING_FULL) {
		t.Error("more is lost of one container than of all")
	}
	if err := r.Free(slot); err != nil {
		t.Fatal(err)
	}
	if n := r.Lost(slot); n != 0 {
		t.Errorf("a slot begins with %d lost events", n)
	}
}
