// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// What a match costs a site, in ns of its program: without an event, with one that
// there is room for (the ring is read before a quarter of it is used), and with one
// that finds no room. Their differences are what the event and its admission cost.
func BenchmarkEventsOfSites(b *testing.B) {
	h := newHost(b)
	in, slot := h.container("c")
	who := h.actor(in, syscall.CLONE_NEWUTS)
	who.act(0)
	at := compile.Site{Kind: compile.Tracepoint, Subsystem: "syscalls", Name: "sys_enter_chroot"}
	const point = `  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchActions: [{action: `
	for _, c := range []struct {
		name, action string
		acts         int
		drained      bool
	}{{"none", "NoPost", 200, true}, {"made", "Post", 200, true}, {"refused", "Post", 2000, false}} {
		b.Run(c.name, func(b *testing.B) {
			id := h.policy(point + c.action + "}]}]}\n")
			h.apply(slot, engine.Member{Policy: id, Enforce: true})
			program := map[string]*ebpf.Program{"site": h.SiteProgram(at)}
			counting, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
			if err != nil {
				b.Fatal(err)
			}
			defer counting.Close()
			if !c.drained {
				who.act(c.acts) // fills it
			}
			var best time.Duration
			for b.Loop() {
				if c.drained {
					h.siteEvents()
				}
				before := statsOf(b, program)["site"]
				who.act(c.acts)
				after := statsOf(b, program)["site"]
				if each := (after.Runtime - before.Runtime) / time.Duration(after.RunCount-before.RunCount); best == 0 || each < best {
					best = each
				}
			}
			h.siteEvents()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(best.Nanoseconds()), "site-ns")
			h.apply(slot)
			if err := h.Unload(id); err != nil {
				b.Fatal(err)
			}
		})
	}
}
