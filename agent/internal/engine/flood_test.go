// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/bpf"
)

// siteEvents is how many events of sites the ring holds, by slot.
func (h *host) siteEvents() map[uint32]uint64 {
	h.t.Helper()
	ring, err := ringbuf.NewReader(h.seals.Events())
	if err != nil {
		h.t.Fatal(err)
	}
	defer ring.Close()
	got := map[uint32]uint64{}
	for {
		ring.SetDeadline(time.Now())
		record, err := ring.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return got
		}
		var head bpf.WireEventHeader
		if err == nil {
			_, err = binary.Decode(record.RawSample, binary.LittleEndian, &head)
		}
		if err != nil {
			h.t.Fatal(err)
		}
		if head.Type == uint16(bpf.WireEventTypeEVENT_SITE) {
			got[head.Slot]++
		}
	}
}

// A container that floods the ring with matches of rules loses its own events, of
// which each is counted; another one's all come, and what is forbidden is stopped
// in both of them each time.
func TestFloodTakesNoEventsOfOthersAndNoEnforcement(t *testing.T) {
	h := newHost(t)
	posted, forbidden := h.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}]}]}
`), h.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M-forbidden"]}], matchActions: [{action: Sigkill}]}]}
`)
	flooded, flooder := h.container("flooder")
	other, quiet := h.container("quiet")
	for _, slot := range []uint32{flooder, quiet} {
		h.apply(slot, engine.Member{Policy: posted, Enforce: true}, engine.Member{Policy: forbidden, Enforce: true})
	}
	flood, calm := h.actor(flooded, syscall.CLONE_NEWUTS), h.actor(other, syscall.CLONE_NEWUTS)
	const acts, few, kills, rounds = 5000, 20, 3, 2
	for range rounds {
		flood.act(0)
		calm.act(0)
		h.siteEvents()
		before := h.seals.Lost(flooder)
		flood.act(acts)
		lost := h.seals.Lost(flooder) - before
		// Nobody reads: the flood goes on while others act.
		for range kills {
			for name, c := range map[string]*actor{
				"flooder": h.actorWith(flooded, syscall.CLONE_NEWUTS, "BOLTSEAL_TEST_ACTS="+h.marker+"-forbidden"),
				"quiet":   h.actorWith(other, syscall.CLONE_NEWUTS, "BOLTSEAL_TEST_ACTS="+h.marker+"-forbidden"),
			} {
				if c.act(1) {
					t.Errorf("what is forbidden in the %s container is not stopped", name)
				}
			}
		}
		calm.act(few)
		got := h.siteEvents()
		if n := h.seals.Lost(quiet); n != 0 || got[quiet] != few+kills {
			t.Errorf("of %d events of the quiet container %d came and %d are lost", few+kills, got[quiet], n)
		}
		// Of the kills, as of births and ends, some can be lost as well.
		if n := got[flooder]; lost == 0 || n+lost < acts || n+lost > acts+kills {
			t.Errorf("of %d events of the flooder %d came and %d are lost", acts, n, lost)
		}
	}
	counters, err := h.Counters(posted)
	if err != nil || counters.Post != rounds*(acts+few) {
		t.Errorf("%d matches are counted (%v), want %d", counters.Post, err, rounds*(acts+few))
	}
	if counters, err = h.Counters(forbidden); err != nil || counters.Signal != 2*rounds*kills {
		t.Errorf("%d kills are counted (%v), want %d", counters.Signal, err, 2*rounds*kills)
	}
}
