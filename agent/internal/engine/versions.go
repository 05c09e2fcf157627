// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// Member is one policy of a set.
type Member struct {
	Policy PolicyID
	// Enforce carries the policy's enforcement actions out; otherwise they are
	// counted.
	Enforce bool
}

// Assignment puts a set in force for slots.
type Assignment struct {
	Slots []uint32
	Set   []Member
	// Workloads is, for policies of the set that have workloads, which of them the
	// slots' containers are of: the rules of others are not in force for them.
	Workloads map[PolicyID]policy.WorkloadSet
}

// versions is the sets that slots are in.
type versions struct {
	last  uint32
	bySet map[string]*version
	// slots is what each slot is in; nil: no rules.
	slots [bpf.WireLimitsSLOTS_MAX]*version
	// idle is versions that no slot names, but evaluations under way may.
	idle []*version
}

type version struct {
	id    uint32
	set   string
	slots int
	sites []uint32
	// members is the policies of the set.
	members []PolicyID
	// idle: it is in versions.idle.
	idle bool
}

func newVersions() versions { return versions{bySet: map[string]*version{}} }

// use tells whether a policy is in a set that is in force.
func (v *versions) use(id PolicyID) bool {
	for _, of := range v.bySet {
		if of.slots > 0 && slices.Contains(of.members, id) {
			return true
		}
	}
	return false
}

// setKey names what is put in force, whatever the order of the set's members.
func setKey(a Assignment) string {
	names := make([]string, len(a.Set))
	for i, m := range a.Set {
		names[i] = fmt.Sprint(m.Policy, m.Enforce)
		if w := a.Workloads[m.Policy]; w != (policy.WorkloadSet{}) {
			names[i] += fmt.Sprint(w)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// Apply puts sets in force: for each slot all rules change at once, at all
// sites. Slots that are not named stay as they are. On error no slot has
// changed. With wait, nothing acts by what was in force before when it returns,
// which takes a grace period (some milliseconds) if anything was withdrawn; a
// slot that nothing runs in yet needs no wait.
func (e *Engine) Apply(assignments []Assignment, wait bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next, err := e.hold(assignments)
	if err != nil {
		return err
	}
	withdrawn := false
	for i, a := range assignments {
		for _, slot := range a.Slots {
			old := e.versions.slots[slot]
			if old == next[i] {
				continue
			}
			e.flip(slot, next[i])
			if old != nil {
				withdrawn = true
				e.versions.drop(old)
			}
		}
	}
	for _, v := range next {
		e.versions.drop(v)
	}
	if !withdrawn || !wait {
		return nil
	}
	if len(e.versions.idle) == 0 {
		return e.wait()
	}
	return e.forget()
}

// hold makes the versions of assignments and counts each as if a slot were in it,
// so that none is retired before it is in force. On error nothing is held.
func (e *Engine) hold(assignments []Assignment) ([]*version, error) {
	next := make([]*version, 0, len(assignments))
	for _, a := range assignments {
		v, err := e.version(a)
		if err != nil {
			for _, v := range next {
				e.versions.drop(v)
			}
			return nil, err
		}
		if v != nil {
			v.slots++
		}
		next = append(next, v)
	}
	return next, nil
}

// drop counts one slot less of a version. One that no slot names stays until
// somebody waits for a grace period, and is taken up again if its set is wanted
// before.
func (v *versions) drop(old *version) {
	if old == nil {
		return
	}
	if old.slots--; old.slots == 0 && !old.idle {
		old.idle = true
		v.idle = append(v.idle, old)
	}
}

func (e *Engine) flip(slot uint32, v *version) {
	e.versions.slots[slot] = v
	if v == nil {
		e.options.Slots.SetVersion(slot, 0)
		return
	}
	v.slots++
	e.options.Slots.SetVersion(slot, v.id)
}

// version is the version of a set; nil when the set has no rules at any site.
func (e *Engine) version(a Assignment) (v *version, err error) {
	key := setKey(a)
	if v := e.versions.bySet[key]; v != nil {
		return v, nil
	}
	bySite := map[uint32]*bpf.WireSetRules{}
	v = &version{set: key}
	for _, m := range a.Set {
		l := e.policies[m.Policy]
		if l == nil {
			return nil, fmt.Errorf("policy %d is not loaded", m.Policy)
		}
		v.members = append(v.members, m.Policy)
		for _, h := range l.hooks {
			h.into(bySite, m.Enforce, a.Workloads[m.Policy])
		}
	}
	if len(bySite) == 0 {
		return nil, nil
	}
	e.versions.last++
	v.id = e.versions.last
	err = e.insertRules(v, bySite)
	if errors.Is(err, compile.ErrNoRoom) && len(e.versions.idle) > 0 {
		if err = e.forget(); err == nil {
			err = e.insertRules(v, bySite)
		}
	}
	if err != nil {
		return nil, err
	}
	e.versions.bySet[key] = v
	return v, nil
}

func (e *Engine) insertRules(v *version, bySite map[uint32]*bpf.WireSetRules) error {
	rules := e.maps.coll.Maps[bpf.SiteMapSetRules]
	v.sites = v.sites[:0]
	for site, bits := range bySite {
		if err := rules.Update(bpf.WireSetKey{Version: v.id, Site: site}, *bits, ebpf.UpdateNoExist); err != nil {
			return errors.Join(noRoom("insert rules of a set", err), e.deleteRules(v))
		}
		v.sites = append(v.sites, site)
	}
	return nil
}

func (h *loadedHook) into(bySite map[uint32]*bpf.WireSetRules, enforce bool, workloads policy.WorkloadSet) {
	for i := range h.hook.Rules {
		if !workloads.Has(h.hook.Rules[i].Workload) {
			continue
		}
		bits := bySite[h.site.id]
		if bits == nil {
			bits = &bpf.WireSetRules{}
			bySite[h.site.id] = bits
		}
		bits.Rules = compile.With(bits.Rules, h.first+i)
		if enforce && h.hook.Rules[i].Enforces() {
			bits.Enforce = compile.With(bits.Enforce, h.first+i)
		}
	}
}

// forget deletes the versions that no slot names.
func (e *Engine) forget() error {
	if len(e.versions.idle) == 0 {
		return nil
	}
	if err := e.wait(); err != nil {
		return err
	}
	idle := e.versions.idle
	e.versions.idle = nil
	return e.retire(idle)
}

// retire deletes versions that no evaluation can name any more.
func (e *Engine) retire(idle []*version) error {
	var errs []error
	for _, v := range idle {
		v.idle = false
		if v.slots > 0 || e.versions.bySet[v.set] != v {
			continue // taken up again, or retired already
		}
		delete(e.versions.bySet, v.set)
		errs = append(errs, e.deleteRules(v))
	}
	return errors.Join(errs...)
}

func (e *Engine) deleteRules(v *version) error {
	var errs []error
	for _, site := range v.sites {
		err := e.maps.coll.Maps[bpf.SiteMapSetRules].Delete(bpf.WireSetKey{Version: v.id, Site: site})
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("delete rules of a set: %w", err))
		}
	}
	return errors.Join(errs...)
}
