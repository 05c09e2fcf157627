// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/attach"
	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/test/testenv"
)

// inKernel is a world whose policies are in the kernel, and whose containers are
// made up.
type inKernel struct {
	*world
	*engine.Engine
}

func (w inKernel) Load(p *compile.Policy) (engine.PolicyID, error) { return w.Engine.Load(p) }
func (w inKernel) Unload(id engine.PolicyID) error                 { return w.Engine.Unload(id) }
func (w inKernel) Counters(id engine.PolicyID) (engine.Counters, error) {
	return w.Engine.Counters(id)
}
func (w inKernel) SelectorCounters(id engine.PolicyID) ([]engine.SelectorCounters, error) {
	return w.Engine.SelectorCounters(id)
}
func (w inKernel) KernelMemory(id engine.PolicyID) uint64 { return w.Engine.KernelMemory(id) }
func (w inKernel) Apply(a []engine.Assignment, wait bool) error {
	return w.Engine.Apply(a, wait)
}

// noSlots is where versions go that nothing evaluates.
type noSlots struct{}

func (noSlots) SetVersion(uint32, uint32) {}

// benchSites are the tracepoints among which policies are spread, so that none has
// more than 512 rules.
func benchSites() []string {
	return []string{"chroot", "swapon", "swapoff", "truncate"}
}

// benchPolicy is the n-th policy: for the containers of one team of a hundred, or
// for all.
func benchPolicy(n int, everybody bool) []byte {
	selector := fmt.Sprintf("containerSelector: {matchExpressions: [{key: name, operator: In, values: [team%d]}]}", n%100)
	if everybody {
		selector = "containerSelector: {}"
	}
	return fmt.Appendf(nil, `
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: p%d}
spec:
  %s
  tracepoints:
  - subsystem: syscalls
    event: sys_enter_%s
    args: [{index: 5, type: string}]
    selectors:
    - matchArgs: [{index: 5, operator: Equal, values: ["/forbidden/%d", "/secret/%d"]}]
      matchActions: [{action: Sigkill}]
`, n, selector, benchSites()[n%len(benchSites())], n, n)
}

// What policies and containers cost by their number: with 10,000 containers, ten
// policies or all thousand for each of them. In ms for one call, when there are
// so many:
//
//	add, mode, delete  of one policy more, acknowledged; each waits for a grace
//	                   period, which grace is the baseline of
//	admit              a container more
//
// and in bytes for each policy or container what the process has more of, and
// what policies take in kernel maps.
func BenchmarkThousandPolicies(b *testing.B) {
	for _, everybody := range []bool{false, true} {
		name := "ten-each"
		if everybody {
			name = "all-each"
		}
		b.Run(name, func(b *testing.B) { benchPolicies(b, everybody) })
	}
}

func benchPolicies(b *testing.B, everybody bool) {
	const policies, containers, noPID = 1000, 10_000, 1 << 23 // above what a pid can be
	testenv.Require(b, testenv.Root(), testenv.BPF(), testenv.BTF(), testenv.Tracefs())
	w := inKernel{world: newWorld()}
	w.makeSlots(containers + 100)
	points, err := attach.Open(kernel.NewFeatures(kernel.Answer{Feature: kernel.Signal}))
	if err != nil {
		b.Fatal(err)
	}
	defer points.Close()
	if w.Engine, err = engine.Open(engine.Options{Keys: compile.NewKeys(), Slots: noSlots{}, Attacher: points}); err != nil {
		b.Fatal(err)
	}
	defer w.Engine.Close()
	w.pids[1], w.pids[os.Getpid()] = "/", "/agent"
	w.paths["/agent"] = 2
	c := New(Options{
		Registry: container.New(0), Engine: w, Seals: w.world, Cgroups: w.world, Kernel: points,
		Log: slog.New(slog.DiscardHandler), ExpectFor: time.Minute, RemovedGrace: time.Minute,
	})
	must := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	begin, heap := time.Now(), heapBytes()
	for n := range policies {
		_, err := c.AddPolicy(benchPolicy(n, everybody))
		must(err)
	}
	cost := map[string]float64{
		"policies-s": time.Since(begin).Seconds(),
		"B/policy":   float64(heapBytes()-heap) / policies,
	}
	admit := func(n int) {
		path := fmt.Sprintf("/c%d", n)
		w.run(path, uint64(noPID+n), noPID+n)
		_, err := c.Admit(Admission{Container: container.Container{
			ID: fmt.Sprintf("%064d", n), Name: fmt.Sprintf("team%d", n%100), InitPID: uint32(noPID + n),
		}})
		must(err)
	}
	begin, heap = time.Now(), heapBytes()
	for n := range containers {
		admit(n)
	}
	cost["containers-s"] = time.Since(begin).Seconds()
	cost["B/container"] = float64(heapBytes()-heap) / containers
	list, err := c.Policies()
	must(err)
	var kernelBytes uint64
	for _, p := range list {
		kernelBytes += p.KernelMemory
	}
	cost["kernel-B/policy"] = float64(kernelBytes) / policies
	times := map[string]time.Duration{}
	n := containers
	for b.Loop() {
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"grace", engine.GracePeriod},
			{"add", func() error { _, err := c.AddPolicy(benchPolicy(policies, everybody)); return err }},
			{"mode", func() error { return c.ConfigurePolicy("", fmt.Sprintf("p%d", policies), nil, new(policy.Monitor)) }},
			{"delete", func() error { return c.DeletePolicy("", fmt.Sprintf("p%d", policies)) }},
			{"admit", func() error { admit(n); return nil }},
		} {
			start := time.Now()
			must(step.do())
			took := time.Since(start)
			if old, ok := times[step.name]; !ok || took < old {
				times[step.name] = took
			}
		}
		if n++; n == containers+90 {
			b.Fatal("no more slots: fewer rounds, please")
		}
	}
	b.ReportMetric(0, "ns/op")
	for name, took := range times {
		cost[name+"-ms"] = took.Seconds() * 1000
	}
	for name, value := range cost {
		b.ReportMetric(value, name)
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
