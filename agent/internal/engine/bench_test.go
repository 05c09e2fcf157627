// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// What a site costs an act, in ns of its program as the kernel counts them, beside
// programs at the same event in the same run:
//
//	empty   one that does nothing: what counting itself costs is in all figures
//	lookup  one hash lookup by cgroup id, the least that any such program does
//	read    a read of the path, which any rule about it needs
//
// site, lookup and read are reported less the empty one; of-lookup is site as a
// multiple of lookup, and of-lookup-unread the same without the read.
func BenchmarkSite(b *testing.B) {
	h := newHost(b)
	c, slot := h.container("c")
	inside, outside := h.actor(c, syscall.CLONE_NEWUTS), h.actor(h.root, 0)
	inside.act(0)
	outside.act(0)
	exact := func(int) policy.Operator { return policy.OpEqual }
	mixed := func(i int) policy.Operator {
		return []policy.Operator{policy.OpEqual, policy.OpPrefix, policy.OpPostfix, policy.OpNotPrefix}[i%4]
	}
	// Attached for the whole run: the site is there, whoever is judged.
	h.rules(1, exact)
	baselines := h.baselines()
	elsewhere := h.policy(`  - {subsystem: syscalls, event: sys_enter_swapoff, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}]}]}
`)
	b.Run("unsealed", func(b *testing.B) { h.measure(b, outside, baselines) })
	b.Run("sealed/no-rule-here", func(b *testing.B) {
		h.apply(slot, engine.Member{Policy: elsewhere, Enforce: true})
		h.measure(b, inside, baselines)
	})
	for _, kind := range []struct {
		name string
		op   func(int) policy.Operator
	}{{"exact", exact}, {"mixed", mixed}} {
		for _, n := range []int{1, 8, 64, 511} { // and the resident one
			b.Run(fmt.Sprintf("sealed/%s-%d", kind.name, n), func(b *testing.B) {
				id := h.rules(n, kind.op)
				h.apply(slot, engine.Member{Policy: id, Enforce: true})
				h.measure(b, inside, baselines)
				h.apply(slot)
				if err := h.Unload(id); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// rules loads a policy with n rules about the path of the act, of which the last
// matches and does nothing.
func (h *host) rules(n int, op func(int) policy.Operator) engine.PolicyID {
	h.t.Helper()
	point := policy.Hook{
		Section: policy.Tracepoints, Subsystem: "syscalls", Event: "sys_enter_chroot", Args: []policy.Arg{{Index: 5, Type: policy.ArgString}},
	}
	for i := range n {
		f := policy.ArgFilter{Op: op(i)}
		value := fmt.Sprintf("/%04d%s", i, h.marker)[:len(h.marker)]
		switch f.Op {
		case policy.OpPrefix:
			value = value[:16]
		case policy.OpPostfix:
			value = fmt.Sprintf("%016d", i)
		case policy.OpNotPrefix:
			value = "/"
		}
		if i == n-1 {
			f.Op, value = policy.OpEqual, h.marker
		}
		f.Strings = []string{value}
		point.Selectors = append(point.Selectors, policy.Selector{
			Args: []policy.ArgFilter{f}, Actions: []policy.Action{{Kind: policy.NoPost}},
		})
	}
	compiled, err := compile.Compile(&policy.Policy{Name: "bench", Hooks: []policy.Hook{point}}, h.points)
	if err != nil {
		h.t.Fatal(err)
	}
	id, err := h.Load(compiled)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// baselines attaches the programs that a site is compared with.
func (h *host) baselines() map[string]*ebpf.Program {
	h.t.Helper()
	cgroups, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 65536})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = cgroups.Close() })
	programs := map[string]*ebpf.Program{}
	for name, code := range map[string]asm.Instructions{
		"empty": {},
		"lookup": {
			asm.FnGetCurrentCgroupId.Call(),
			asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord),
			asm.LoadMapPtr(asm.R1, cgroups.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -8),
			asm.FnMapLookupElem.Call(),
		},
		"read": {
			asm.LoadMem(asm.R3, asm.R1, 16, asm.DWord), // the first argument of the call
			asm.Mov.Imm(asm.R2, 128),
			asm.Mov.Reg(asm.R1, asm.RFP), asm.Add.Imm(asm.R1, -128),
			asm.FnProbeReadUserStr.Call(),
		},
	} {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "bst_" + name, Type: ebpf.TracePoint, License: "GPL",
			Instructions: append(code, asm.Mov.Imm(asm.R0, 0), asm.Return()),
		})
		if err != nil {
			h.t.Fatalf("%s: %+v", name, err)
		}
		attached, err := h.points.Attach(p, compile.Site{Kind: compile.Tracepoint, Subsystem: "syscalls", Name: "sys_enter_chroot"})
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { _, _ = attached.Close(), p.Close() })
		programs[name] = p
	}
	return programs
}

const actsAtOnce = 20_000

// measure lets an actor act for a while and reports what each program took.
func (h *host) measure(b *testing.B, who *actor, baselines map[string]*ebpf.Program) {
	b.Helper()
	programs := map[string]*ebpf.Program{"site": h.SiteProgram(compile.Site{Kind: compile.Tracepoint, Subsystem: "syscalls", Name: "sys_enter_chroot"})}
	for name, p := range baselines {
		programs[name] = p
	}
	who.act(actsAtOnce) // caches and the clock of the processor
	counting, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Fatal(err)
	}
	defer counting.Close()
	// The best of all: what disturbs adds, and never takes away.
	best := map[string]float64{}
	for b.Loop() {
		before := statsOf(b, programs)
		if !who.act(actsAtOnce) {
			b.Fatal("the actor was killed")
		}
		for name, after := range statsOf(b, programs) {
			runs := after.RunCount - before[name].RunCount
			if runs < actsAtOnce {
				b.Fatalf("program %s ran %d times in %d acts", name, runs, actsAtOnce)
			}
			each := float64((after.Runtime - before[name].Runtime).Nanoseconds()) / float64(runs)
			if old, ok := best[name]; !ok || each < old {
				best[name] = each
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	empty := best["empty"]
	above := func(name string) float64 { return max(best[name]-empty, 0.1) }
	b.ReportMetric(empty, "empty-ns")
	for _, name := range []string{"lookup", "read", "site"} {
		b.ReportMetric(above(name), name+"-ns")
	}
	b.ReportMetric(above("site")/above("lookup"), "of-lookup")
	if rest := best["site"] - best["read"]; rest > 0 {
		b.ReportMetric(rest/above("lookup"), "of-lookup-unread")
	}
}

func statsOf(b *testing.B, programs map[string]*ebpf.Program) map[string]ebpf.ProgramStats {
	b.Helper()
	all := map[string]ebpf.ProgramStats{}
	for name, p := range programs {
		stats, err := p.Stats()
		if err != nil {
			b.Fatal(err)
		}
		all[name] = *stats
	}
	return all
}
