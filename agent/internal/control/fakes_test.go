// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/cgroup"
	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/bpf"
)

// world is the kernel side that a controller works with: what is in force for
// each slot, what is sealed, which cgroups and processes there are.
type world struct {
	loaded  map[engine.PolicyID]*compile.Policy
	last    engine.PolicyID
	inForce map[uint32][]engine.Member
	// workloads is, beside inForce, which workloads of policies a slot is of.
	workloads map[uint32]map[engine.PolicyID]policy.WorkloadSet
	refuse    error // of the next call that can fail
	// refuseApply is the error of the next Apply; applied is how many there were.
	refuseApply error
	applied     int

	slots    []bpf.WireSlot
	free     []uint32
	held     map[uint32]bool
	seals    map[uint64]bpf.WireCgroupSeal
	expected map[string]uint32

	paths  map[string]uint64
	pids   map[int]string
	killed []string
}

func newWorld() *world {
	w := &world{
		loaded: map[engine.PolicyID]*compile.Policy{}, inForce: map[uint32][]engine.Member{},
		workloads: map[uint32]map[engine.PolicyID]policy.WorkloadSet{},
		held:      map[uint32]bool{}, seals: map[uint64]bpf.WireCgroupSeal{}, expected: map[string]uint32{},
		paths: map[string]uint64{}, pids: map[int]string{},
	}
	w.makeSlots(20)
	return w
}

// makeSlots gives the world so many slots.
func (w *world) makeSlots(n int) {
	w.slots, w.free = make([]bpf.WireSlot, n), nil
	for slot := seal.NoRoom + 1; int(slot) < n; slot++ {
		w.free = append(w.free, slot)
	}
}

func (w *world) fail() error {
	err := w.refuse
	w.refuse = nil
	return err
}

func (w *world) Load(p *compile.Policy) (engine.PolicyID, error) {
	if err := w.fail(); err != nil {
		return 0, err
	}
	w.last++
	w.loaded[w.last] = p
	return w.last, nil
}

func (w *world) Unload(id engine.PolicyID) error {
	for slot, set := range w.inForce {
		if slices.ContainsFunc(set, func(m engine.Member) bool { return m.Policy == id }) {
			return fmt.Errorf("policy %d is in force for slot %d", id, slot)
		}
	}
	delete(w.loaded, id)
	return nil
}

func (w *world) Apply(assignments []engine.Assignment, _ bool) error {
	for _, a := range assignments {
		for _, m := range a.Set {
			if w.loaded[m.Policy] == nil {
				return fmt.Errorf("policy %d is not loaded", m.Policy)
			}
		}
	}
	if err := errors.Join(w.fail(), w.refuseApply); err != nil {
		w.refuseApply = nil
		return err
	}
	w.applied++
	for _, a := range assignments {
		for _, slot := range a.Slots {
			w.inForce[slot], w.workloads[slot] = a.Set, a.Workloads
		}
	}
	return nil
}

func (w *world) Counters(engine.PolicyID) (engine.Counters, error) { return engine.Counters{}, nil }
func (w *world) SelectorCounters(engine.PolicyID) ([]engine.SelectorCounters, error) {
	return nil, nil
}
func (w *world) KernelMemory(engine.PolicyID) uint64 { return 0 }

func (w *world) Take() (uint32, error) {
	if len(w.free) == 0 {
		return 0, seal.ErrNoRoom
	}
	slot := w.free[0]
	w.free = w.free[1:]
	w.held[slot] = true
	return slot, nil
}

func (w *world) Hold(slot uint32) { w.held[slot] = true }

func (w *world) Free(slot uint32) error {
	if !w.held[slot] {
		return nil
	}
	delete(w.held, slot)
	w.slots[slot] = bpf.WireSlot{}
	w.free = append(w.free, slot)
	return w.Unexpect(slot)
}

func (w *world) Expect(slot uint32, path string) error {
	if err := w.fail(); err != nil {
		return err
	}
	if of, ok := w.expected[path]; ok && of != slot {
		return seal.ErrOtherContainer
	}
	w.expected[path] = slot
	w.slots[slot].State = uint32(bpf.WireSlotStateSLOT_EXPECTED)
	return nil
}

func (w *world) Unexpect(slot uint32) error {
	maps.DeleteFunc(w.expected, func(_ string, of uint32) bool { return of == slot })
	return nil
}

func (w *world) Confirm(c seal.Claim) (uint32, bpf.WireSealedBy, error) {
	if err := w.fail(); err != nil {
		return 0, 0, err
	}
	if got, ok := w.seals[c.Cgroup]; ok {
		if got.Slot != c.Slot {
			return 0, 0, seal.ErrOtherContainer
		}
		return got.Slot, bpf.WireSealedBy(got.By), nil
	}
	w.birth(c.Cgroup, c.Slot, bpf.WireSealedBySEALED_BY_AGENT)
	return c.Slot, bpf.WireSealedBySEALED_BY_AGENT, nil
}

// birth is what the kernel does as it seals a cgroup.
func (w *world) birth(id uint64, slot uint32, by bpf.WireSealedBy) {
	w.seals[id] = bpf.WireCgroupSeal{Slot: slot, By: uint32(by)}
	w.slots[slot].CgroupId, w.slots[slot].State = id, uint32(bpf.WireSlotStateSLOT_MAPPED)
	w.free = slices.DeleteFunc(w.free, func(f uint32) bool { return f == slot })
}

// end is what the kernel does as a cgroup is removed, with tasks left elsewhere.
func (w *world) end(path string, tasks int64) {
	id := w.paths[path]
	w.slots[w.seals[id].Slot].Tasks = tasks
	delete(w.seals, id)
	delete(w.paths, path)
}

func (w *world) SealedAs(id uint64) (bpf.WireCgroupSeal, bool, error) {
	got, ok := w.seals[id]
	return got, ok, nil
}

func (w *world) Slot(slot uint32) bpf.WireSlot { return w.slots[slot] }
func (w *world) Slots() uint32                 { return uint32(len(w.slots)) }

func (w *world) Gone() (gone []uint32, err error) {
	for slot := range w.held {
		s := w.slots[slot]
		if _, sealed := w.seals[s.CgroupId]; s.State >= uint32(bpf.WireSlotStateSLOT_MAPPED) && !sealed && s.Tasks <= 0 {
			gone = append(gone, slot)
		}
	}
	return gone, nil
}

func (w *world) OfPID(pid int) (cgroup.Location, error) {
	path, ok := w.pids[pid]
	switch {
	case !ok:
		return cgroup.Location{}, fs.ErrNotExist
	case path == "/":
		return cgroup.Location{}, cgroup.ErrRoot
	}
	return cgroup.Location{Path: path, ID: w.paths[path]}, nil
}

func (w *world) ID(path string) (uint64, error) {
	if id, ok := w.paths[path]; ok {
		return id, nil
	}
	return 0, fs.ErrNotExist
}

func (w *world) PathOf(id uint64) (string, error) {
	for path, of := range w.paths {
		if of == id {
			return path, nil
		}
	}
	return "", fs.ErrNotExist
}

func (w *world) Kill(path string) error {
	w.killed = append(w.killed, path)
	return nil
}

func (w *world) Walk(fn func(string, uint64) error) error {
	for _, path := range slices.Sorted(maps.Keys(w.paths)) {
		if err := fn(path, w.paths[path]); err != nil {
			return err
		}
	}
	return nil
}

func start(t *testing.T) (*Controller, *world) {
	t.Helper()
	w := newWorld()
	w.pids[1] = "/"
	w.paths["/agent"], w.pids[os.Getpid()] = 2, "/agent"
	c := New(Options{
		Registry: container.New(0), Engine: w, Seals: w, Cgroups: w,
		Kernel: compiletest.Kernel{Events: map[string][]compile.Field{"syscalls/sys_enter_x": {
			{Name: "common", Type: "int", Offset: 4, Size: 4}, {Name: "nr", Type: "int", Offset: 8, Size: 4, Signed: true},
		}}},
		Log:            slog.New(slog.DiscardHandler),
		CgroupPrefixes: []string{"docker-"}, ExpectFor: time.Minute, RemovedGrace: time.Minute,
	})
	return c, w
}

// policyText is a policy that kills; selector is what stands under spec.
func policyText(name, selector string) []byte {
	return fmt.Appendf(nil, `
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: %s}
spec:
  %s
  tracepoints:
  - subsystem: syscalls
    event: sys_enter_x
    args: [{index: 1, type: int32}]
    selectors:
    - matchArgs: [{index: 1, operator: Equal, values: ["7"]}]
      matchActions: [{action: Sigkill}]
`, name, strings.ReplaceAll(selector, "\n", "\n  "))
}

const forWeb = `containerSelector: {matchLabels: {name: web}}`

// names is what is in force for a slot, a policy that is only monitored in
// brackets.
func (w *world) names(slot uint32) string {
	var names []string
	for _, m := range w.inForce[slot] {
		name := w.loaded[m.Policy].Name
		if !m.Enforce {
			name = "(" + name + ")"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
