// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// hammered runs the act without pause until stop, and tells how often it did, so
// far and at the end.
func (b *bench) hammered() (acts *atomic.Uint64, stop func() uint64) {
	acts = &atomic.Uint64{}
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		name, _ := unix.BytePtrFromString(b.marker)
		for ctx.Err() == nil {
			// RawSyscall: the scheduler of Go is no part of this.
			_, _, _ = unix.RawSyscall(unix.SYS_CHROOT, uintptr(unsafe.Pointer(name)), 0, 0)
			acts.Add(1)
		}
		runtime.KeepAlive(name)
	}()
	return acts, func() uint64 {
		cancel()
		<-done
		return acts.Load()
	}
}

// While sets change, thousands of times, every act is judged by one whole version:
// none by no version, none by parts of two. Policies come and go meanwhile that
// name the same value, so that its class changes under the eyes of evaluations,
// and values of their own, so that memory is reused.
func TestChangesAreAtomic(t *testing.T) {
	for name, grace := range map[string]func() error{"membarrier": gracePeriod, "map": mapGracePeriod} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.grace = grace
			two := func(actions string) *compile.Policy {
				return b.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchActions: [` + actions + `]}]}
  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Prefix, values: ["$M"]}, {index: 5, operator: NotPostfix, values: ["x"]}]}]}
`)
			}
			// Each has two rules that match: a mixture would show one of each.
			a, z := b.load(two(post)), b.load(two(post))
			b.apply(Member{a, true})
			events := make(chan error, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sets := map[compile.Bits]bool{b.bits(a): true, b.bits(z): true}
			go func() { events <- b.checkVersions(ctx, sets) }()
			const enough = 100_000
			soFar, stop := b.hammered()
			// Emulated processors take turns, and the one that acts is not always in it.
			patience := time.Now().Add(2 * time.Minute)
			for round := 0; round < 40 || soFar.Load() < enough && time.Now().Before(patience); round++ {
				other := b.load(two(wink)) // the same values, other classes
				for flip := range 250 {
					set := []Assignment{{Slots: []uint32{0}, Set: []Member{{[]PolicyID{a, z}[flip%2], true}}}}
					if err := b.Apply(set, false); err != nil {
						t.Fatal(err)
					}
				}
				if err := b.Unload(other); err != nil {
					t.Fatal(err)
				}
				if round%20 == 0 {
					b.apply(Member{a, false}) // waits, which also retires versions
				}
			}
			acts := stop()
			cancel()
			if err := <-events; err != nil {
				t.Error(err)
			}
			posted := b.counters(a).Post + b.counters(z).Post
			if posted != 2*acts {
				t.Errorf("%d acts, two rules each, and %d matches", acts, posted)
			}
			if acts < enough {
				t.Errorf("only %d acts among the changes", acts)
			}
			if n := len(b.versions.idle); n > 3 {
				t.Errorf("%d versions wait to be deleted", n)
			}
		})
	}
}

// bits is the rules of a policy, which has one site.
func (b *bench) bits(id PolicyID) (bits compile.Bits) {
	for _, h := range b.policies[id].hooks {
		for i := range h.hook.Rules {
			bits = compile.With(bits, h.first+i)
		}
	}
	return bits
}

// checkVersions reads events until the context ends: each must have the rules of
// one set.
func (b *bench) checkVersions(ctx context.Context, sets map[compile.Bits]bool) error {
	var record ringbuf.Record
	seen := 0
	for ctx.Err() == nil {
		b.ring.SetDeadline(time.Now().Add(10 * time.Millisecond))
		if err := b.ring.ReadInto(&record); errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		} else if err != nil {
			return err
		}
		var e bpf.WireEventSite
		if _, err := binary.Decode(record.RawSample, binary.LittleEndian, &e); err != nil {
			return err
		}
		if !sets[e.Posted] {
			return fmt.Errorf("event of version %d has the rules %x", e.Version, e.Posted.Word)
		}
		seen++
	}
	if seen == 0 {
		return errors.New("no event was seen")
	}
	return nil
}

// When Apply returns, having waited, nothing acts by the old version any more.
func TestApplyWaits(t *testing.T) {
	b := newBench(t)
	a, z := b.load(b.chroots(post)), b.load(b.chroots(post))
	b.apply(Member{a, true})
	_, stop := b.hammered()
	defer stop()
	for range 20 {
		for _, id := range []PolicyID{z, a} {
			old := a + z - id
			b.apply(Member{id, true})
			before := b.counters(old)
			for range 1000 {
				b.chroot()
			}
			if after := b.counters(old); after != before {
				t.Fatalf("the old policy acted after Apply returned: %+v, then %+v", before, after)
			}
		}
	}
}
