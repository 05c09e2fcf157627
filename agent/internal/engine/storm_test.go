// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// stormy starts a process that acts in a container, until stop tells how often.
func (h *host) stormy(in *testenv.Cgroup) (stop func() uint64) {
	h.t.Helper()
	a := h.actorWith(in, syscall.CLONE_NEWUTS, engine.StormVariable+"="+h.marker)
	if line, err := a.out.ReadString('\n'); line != "ready\n" {
		h.t.Fatalf("the actor says %q (%v)", line, err)
	}
	return func() uint64 {
		_ = a.in.Close()
		line, err := a.out.ReadString('\n')
		n, wrong := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
		if err := errors.Join(err, wrong, a.Wait()); err != nil {
			h.t.Errorf("the actor says %q: %v", line, err)
		}
		return n
	}
}

// storm is a policy of two rules at each of the sites, that signal to no effect.
func (h *host) storm() engine.PolicyID {
	h.t.Helper()
	return h.policy(stormPolicy())
}

func stormPolicy() string {
	var text strings.Builder
	for _, c := range engine.StormCalls() {
		index := 5 + c.Path
		for _, op := range []string{"Equal", "Prefix"} {
			fmt.Fprintf(&text, "  - {subsystem: syscalls, event: sys_enter_%s, args: [{index: %d, type: string}],\n"+
				"     selectors: [{matchArgs: [{index: %d, operator: %s, values: [$M]}], matchActions: [{action: Signal, argSig: %d}]}]}\n",
				c.Name, index, index, op, unix.SIGWINCH)
		}
	}
	return text.String()
}

// Ten thousand changes at twenty sites while four containers act: every act is
// judged by all rules of one policy and by no others, enforced where that was
// acknowledged, and nothing is left of what was deleted.
func TestModeStorm(t *testing.T) {
	const containers, changes = 4, 10_000
	h := newHost(t)
	h.marker = h.marker[:60] + "/x" // no call makes it
	seed := rand.Uint64()           //nolint:gosec // it chooses among changes
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // see above
	both := []engine.PolicyID{h.storm(), h.storm()}
	var slots []uint32
	var stops []func() uint64
	for i := range containers {
		c, slot := h.container("c" + strconv.Itoa(i))
		slots = append(slots, slot)
		h.apply(slot, engine.Member{Policy: both[0], Enforce: true})
		stops = append(stops, h.stormy(c))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan error, 1)
	go func() { events <- h.wholeEvents(ctx) }()
	elements := h.Elements()

	var counts struct{ flips, adds, checks int }
	extra := engine.PolicyID(0)
	for n := range changes {
		switch {
		case n%100 == 50: // a policy comes, and is soon deleted: the same values have other classes
			if extra != 0 {
				h.withdraw(slots, both[0], extra)
			}
			extra = h.storm()
			counts.adds++
		case n%100 == 99:
			h.enforced(slots, both[n/100%2])
			counts.checks++
		default:
			set := []engine.Member{{Policy: both[random.IntN(2)], Enforce: random.IntN(2) == 0}}
			some := slots[random.IntN(containers):]
			if err := h.Apply([]engine.Assignment{{Slots: some, Set: set}}, false); err != nil {
				t.Fatal(err)
			}
			counts.flips++
		}
	}
	h.withdraw(slots, both[0], extra)
	acts := uint64(0)
	for _, stop := range stops {
		acts += stop()
	}
	cancel()
	if err := <-events; err != nil {
		t.Error(err)
	}
	matches := uint64(0)
	for _, id := range both {
		c, err := h.Counters(id)
		if err != nil || c.Signal+c.MonitorSignal != c.Post {
			t.Errorf("counters %+v (%v): each match signals or would have", c, err)
		}
		matches += c.Post
	}
	if matches != 2*acts || acts < 10*changes {
		t.Errorf("%d matches of two rules each in %d acts", matches, acts)
	}
	if left := h.Elements(); left != elements {
		t.Errorf("elements of maps: %+v, were %+v", left, elements)
	}
	testenv.Report(t, "%d flips, %d policies added and deleted and %d checks at %d sites, %d acts in %d containers",
		counts.flips, counts.adds, counts.checks, len(engine.StormCalls()), acts, containers)
}

// withdraw puts one policy in force and deletes another.
func (h *host) withdraw(slots []uint32, keep, drop engine.PolicyID) {
	h.t.Helper()
	if err := h.Apply([]engine.Assignment{{Slots: slots, Set: []engine.Member{{Policy: keep, Enforce: true}}}}, true); err != nil {
		h.t.Fatal(err)
	}
	if err := h.Unload(drop); err != nil {
		h.t.Fatal(err)
	}
}

// enforced puts a policy in force, and sees that from the acknowledgement on no
// act is only monitored.
func (h *host) enforced(slots []uint32, id engine.PolicyID) {
	h.t.Helper()
	if err := h.Apply([]engine.Assignment{{Slots: slots, Set: []engine.Member{{Policy: id, Enforce: true}}}}, true); err != nil {
		h.t.Fatal(err)
	}
	before, err := h.Counters(id)
	if err != nil {
		h.t.Fatal(err)
	}
	testenv.Eventually(h.t, time.Minute, "acts", func() error {
		now, err := h.Counters(id)
		if now.MonitorSignal != before.MonitorSignal {
			h.t.Fatalf("%d acts passed that were to be signaled", now.MonitorSignal-before.MonitorSignal)
		}
		if now.Signal < before.Signal+100 {
			return errors.Join(err, errors.New("too few"))
		}
		return err
	})
	if h.t.Failed() {
		h.t.FailNow()
	}
}

// wholeEvents reads events until the context ends: each must have the two rules of
// one policy, both signaled or both not.
func (h *host) wholeEvents(ctx context.Context) error {
	ring, err := ringbuf.NewReader(h.seals.Events())
	if err != nil {
		return err
	}
	defer ring.Close()
	var record ringbuf.Record
	seen := 0
	for ctx.Err() == nil {
		ring.SetDeadline(time.Now().Add(10 * time.Millisecond))
		if err := ring.ReadInto(&record); errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		} else if err != nil {
			return err
		}
		var e bpf.WireEventSite
		if _, err := binary.Decode(record.RawSample, binary.LittleEndian, &e.H); err != nil || e.H.Type != uint16(bpf.WireEventTypeEVENT_SITE) {
			continue
		}
		if _, err := binary.Decode(record.RawSample, binary.LittleEndian, &e); err != nil {
			return err
		}
		if err := h.whole(&e); err != nil {
			return fmt.Errorf("event of slot %d, version %d: %w", e.H.Slot, e.Version, err)
		}
		seen++
	}
	if seen == 0 {
		return errors.New("no event was seen")
	}
	return nil
}

func (h *host) whole(e *bpf.WireEventSite) error {
	policies, rules, signaled := map[any]bool{}, 0, 0
	for bit := range len(e.Posted.Word) * 64 {
		if e.Posted.Word[bit/64]>>(bit%64)&1 == 0 {
			continue
		}
		of, ok := h.Resolve(e.Site, e.Version, bit)
		if !ok {
			return fmt.Errorf("nobody knows rule %d", bit)
		}
		policies[of.Policy] = true
		rules++
		signaled += int(e.Signalled.Word[bit/64] >> (bit % 64) & 1)
	}
	if len(policies) != 1 || rules != 2 || signaled == 1 {
		return fmt.Errorf("%d rules of %d policies matched, and %d signaled", rules, len(policies), signaled)
	}
	return nil
}
