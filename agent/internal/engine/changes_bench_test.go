// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/engine"
)

// What a change of policies that are compiled takes where their sites are
// attached, in µs, the best of all rounds:
//
//	load, unload  a policy's rules get and lose their bits
//	flip          a set is put in force, or its mode is changed
//	acknowledge   the same, until nothing acts by what was in force before
//	grace         a grace period alone, which unload and acknowledge wait for
//	update        one update of a hash map, the least that any change does
func BenchmarkChanges(b *testing.B) {
	h := newHost(b)
	h.marker = h.marker[:60] + "/x"
	_, slot := h.container("c")
	hash, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 1024})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = hash.Close() })
	h.storm() // the sites stay attached
	values := func(n int) string {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, "%s/%d,", h.marker, i)
		}
		return `  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: [` + strings.TrimSuffix(all.String(), ",") + `]}], matchActions: [{action: Sigkill}]}]}
`
	}
	for _, c := range []struct{ name, text string }{
		{"one-site", values(1)}, {"twenty-sites", stormPolicy()}, {"thousand-values", values(1000)},
	} {
		b.Run(c.name, func(b *testing.B) {
			best := map[string]time.Duration{}
			measure := func(name string, do func()) {
				start := time.Now()
				do()
				took := time.Since(start)
				if old, ok := best[name]; !ok || took < old {
					best[name] = took
				}
			}
			put := func(id engine.PolicyID, enforce, wait bool) {
				if err := h.Apply([]engine.Assignment{{Slots: []uint32{slot}, Set: []engine.Member{{Policy: id, Enforce: enforce}}}}, wait); err != nil {
					b.Fatal(err)
				}
			}
			for n := uint64(0); b.Loop(); n++ {
				compiled := h.compiled(c.text)
				var id engine.PolicyID
				measure("load", func() {
					var err error
					if id, err = h.Load(compiled); err != nil {
						b.Fatal(err)
					}
				})
				put(id, true, true)
				measure("flip", func() { put(id, false, false) })
				measure("acknowledge", func() { put(id, true, true) })
				h.apply(slot)
				measure("unload", func() {
					if err := h.Unload(id); err != nil {
						b.Fatal(err)
					}
				})
				measure("grace", func() {
					if err := engine.GracePeriod(); err != nil {
						b.Fatal(err)
					}
				})
				measure("update", func() {
					if err := hash.Update(n%1024, n, ebpf.UpdateAny); err != nil {
						b.Fatal(err)
					}
				})
			}
			b.ReportMetric(0, "ns/op")
			for name, took := range best {
				b.ReportMetric(float64(took.Nanoseconds())/1000, name+"-µs")
			}
		})
	}
}
