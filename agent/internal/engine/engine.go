// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// Attacher attaches programs until the closers are closed. An error leaves nothing
// attached.
type Attacher interface {
	// Attach attaches what a site runs at its entry: to all of its functions.
	Attach(prog *ebpf.Program, at compile.Site) (io.Closer, error)
	// AttachExit attaches what runs when the calls that a site enters return.
	AttachExit(prog *ebpf.Program, at compile.Site) (io.Closer, error)
	// AttachTracing attaches a program that says itself where it belongs.
	AttachTracing(prog *ebpf.Program) (io.Closer, error)
}

// Slots is where versions are put in force.
type Slots interface {
	SetVersion(slot, version uint32)
}

// Options configures an engine.
type Options struct {
	// Keys is the secret of the string hash, the same that the base programs have.
	Keys *compile.Keys
	// Base is the maps of the base programs, by name.
	Base     map[string]*ebpf.Map
	Slots    Slots
	Attacher Attacher
	// Agent is the process that no rule may signal.
	Agent uint32
	// TaskRoom is for how many tasks there is room on a kernel that has no task
	// storage for these programs (see kernel.TaskRoom), 0 on one that has it. The
	// base programs have the same.
	TaskRoom uint32
	// Preempted tells that programs at raw tracepoints can be preempted (see
	// kernel.RawTracepointsPreempted). The base programs have the same.
	Preempted bool
	// Origins keeps what processes have at their exec while policies ask for it. With
	// none a process begins with what it has when it is first asked about.
	Origins Origins

	// readersPause is for tests: programs stay at the values that they find.
	readersPause bool
}

// Origins is what rules about changes of a process need: see seal.Seals.
type Origins interface {
	KeepOrigins(keep bool) error
}

// PolicyID names a loaded policy; ids are not used again.
type PolicyID uint64

// Engine is the programs and maps of policies. It is safe for concurrent use;
// changes are made one at a time.
type Engine struct {
	options Options
	maps    *maps

	mu       sync.Mutex
	pools    *compile.Pools
	sites    map[compile.Site]*site
	byID     [bpf.WireLimitsSITES_MAX]*site
	policies map[PolicyID]*loaded
	lastID   PolicyID
	serial   uint32 // of the site that was made last
	rates    uint32 // number of the rule with a rate that was given a bit last
	// counters says which elements of policy_counters are in use.
	counters [bpf.WireLimitsPOLICIES_MAX]bool
	// origins is how many policies ask what processes have changed.
	origins int
	// notices says which numbers policies with enforcers have.
	notices  [compile.MaxNotices]bool
	versions versions
	// lineages is what rules ask of a process's ancestors.
	lineages *lineages
	// release is what changes made free; it is called after a grace period.
	release []func()
	// deleted: values were deleted since the last one.
	deleted bool
	// grace waits until no evaluation is under way that was before.
	grace func() error
}

// loaded is one policy in the kernel.
type loaded struct {
	id     PolicyID
	policy *compile.Policy
	// counters are the elements of policy_counters that its rules have.
	counters []selectorCounters
	hooks    []loadedHook
	// values is the number of matched values, for the memory they take.
	values int
	// notice is the policy's number among those with enforcers, -1 without.
	notice int
	// lineages is what its rules ask of a process's ancestors.
	lineages []compile.Lineage
	// origins: some rule asks what processes have changed.
	origins bool
}

type loadedHook struct {
	site *site
	hook *compile.Hook
	// extended: the site reads the hook's arguments.
	extended bool
	// first is the bit of the hook's first rule, -1 when it has none.
	first int
}

// Open creates the maps. Nothing is attached until a policy names a site.
func Open(o Options) (*Engine, error) {
	m, err := openMaps(o)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		options:  o,
		maps:     m,
		pools:    compile.NewPools(uint32(m.classes.Len()), uint32(m.bounds.Len())),
		sites:    map[compile.Site]*site{},
		policies: map[PolicyID]*loaded{},
		versions: newVersions(),
		grace:    gracePeriod,
	}
	if e.lineages, err = newLineages(o.Keys, e.pools); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	e.byID[e.lineages.site.id] = e.lineages.site
	m.sites.Store(int(e.lineages.site.id), e.lineages.site.table.Initial())
	return e, nil
}

// Close detaches all sites: enforcement ends.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, s := range e.sites {
		if s.program != nil {
			errs = append(errs, s.program.Close())
		}
	}
	if e.lineages.program != nil {
		errs = append(errs, e.lineages.program.Close())
	}
	return errors.Join(append(errs, e.maps.Close())...)
}

// Load gives a policy's rules bits at their sites and attaches sites that have
// no program yet. Nothing is in force before [Engine.Apply]. On error nothing of
// the policy stays; it wraps compile.ErrNoRoom when a limit is reached.
func (e *Engine) Load(p *compile.Policy) (PolicyID, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.settle(); err != nil {
		return 0, err
	}
	l := &loaded{policy: p, notice: -1}
	if err := e.loadAll(l); err != nil {
		return 0, errors.Join(fmt.Errorf("load policy %s: %w", p.Key(), err), e.unload(l))
	}
	e.lastID++
	l.id = e.lastID
	e.policies[l.id] = l
	return l.id, nil
}

// loadAll takes what a policy needs. What it took before an error is noted in l.
func (e *Engine) loadAll(l *loaded) (err error) {
	if err := e.takeCounters(l); err != nil {
		return err
	}
	if err := e.keepOrigins(l); err != nil {
		return err
	}
	if l.policy.Notices() {
		if l.notice, err = e.takeNotice(); err != nil {
			return err
		}
		l.policy = l.policy.WithNotice(l.notice)
	}
	if err := e.followFor(l); err != nil {
		return err
	}
	for i := range l.policy.Hooks {
		if err := e.loadHook(l, &l.policy.Hooks[i]); err != nil {
			return err
		}
	}
	return e.attach(l)
}

func (e *Engine) loadHook(l *loaded, h *compile.Hook) error {
	s, err := e.site(h.Site)
	if err != nil {
		return err
	}
	l.hooks = append(l.hooks, loadedHook{site: s, hook: h, first: -1})
	in := &l.hooks[len(l.hooks)-1]
	if err := s.table.Extend(h); err != nil {
		return err
	}
	in.extended = true
	if len(h.Rules) > 0 {
		first, err := s.table.Room(len(h.Rules))
		if err != nil {
			return fmt.Errorf("site %s: %w", h.Site, err)
		}
		in.first = first
		for i := range h.Rules {
			e.give(l, s, h, first, i)
		}
	}
	s.hook = h
	return e.write(s)
}

// attach gives the sites of a policy programs that do what it needs. Those that
// were attached before go when all of the new ones are, so that there is no gap
// and, where one cannot be attached, no change; for a moment both evaluate.
func (e *Engine) attach(l *loaded) error {
	next := map[*site]*program{}
	for _, h := range l.hooks {
		s := h.site
		if next[s] != nil || s.program != nil && s.program.equal(s.shape()) {
			continue
		}
		p, err := s.attached(e.maps)
		if err != nil {
			for _, p := range next {
				err = errors.Join(err, p.Close())
			}
			return err
		}
		next[s] = p
	}
	var errs []error
	for s, p := range next {
		old := s.program
		s.program = p
		if old != nil {
			s.missed += old.missed()
			errs = append(errs, old.Close())
		}
	}
	return errors.Join(errs...)
}

// give gives a rule its bit and says what it does.
func (e *Engine) give(l *loaded, s *site, h *compile.Hook, first, i int) {
	rule, bit := &h.Rules[i], first+i
	s.table.Add(bit, h, rule)
	act := bpf.WireAct{
		Policy: l.countersOf(h, rule), Group: uint16(first + 1), Signal: rule.Signal, Error: rule.Error, Since: e.versions.last + 1,
	}
	s.giveReturn(&act, h, rule)
	if rule.Notifies {
		act.Flags |= uint16(bpf.WireActionFlagsACTION_NOTIFY)
		act.Notice, act.NoticeSignal, act.NoticeError = rule.Notice, rule.NoticeSignal, rule.NoticeError
	}
	if rule.Noticed {
		act.Flags |= uint16(bpf.WireActionFlagsACTION_NOTICED)
		act.Notice = rule.Notice
	}
	if rule.Overrides {
		act.Flags |= uint16(bpf.WireActionFlagsACTION_OVERRIDE)
	}
	if rule.Signal != 0 {
		act.Flags |= uint16(bpf.WireActionFlagsACTION_SIGNAL)
	}
	if rule.Post {
		act.Flags |= uint16(bpf.WireActionFlagsACTION_POST)
	} else {
		act.Flags |= uint16(bpf.WireActionFlagsACTION_NOPOST)
	}
	if len(rule.Remote) > 0 {
		act.Flags |= uint16(bpf.WireActionFlagsACTION_REMOTE)
	}
	e.post(&act, s, h, rule)
	e.maps.acts.Store(int(s.id)*compile.MaxRules+bit, act)
	s.own(bit, owner{from: e.versions.last + 1, Rule: s.rule(l.policy, h, rule)})
	for _, f := range rule.Filters {
		l.values += len(f.Strings) + len(f.Numbers) + len(f.Networks) + bits.OnesCount64(f.Mask)
	}
}

func (e *Engine) write(s *site) error {
	changes, err := s.table.Changes()
	if errors.Is(err, compile.ErrNoRoom) && len(e.release) > 0 {
		if err := e.wait(); err != nil {
			return err
		}
		changes, err = s.table.Changes()
	}
	if err != nil {
		return err
	}
	if err := e.maps.write(changes); err != nil {
		undo, release := changes.Revert()
		e.release = append(e.release, release)
		e.deleted = true
		return errors.Join(err, e.maps.write(undo))
	}
	e.deleted = e.deleted || len(changes.Delete) > 0
	if release := changes.Done(); release != nil {
		e.release = append(e.release, release)
	}
	return nil
}

// Unload takes a policy out that no set applied has any more. Sites without
// rules are detached.
func (e *Engine) Unload(id PolicyID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.policies[id]
	if l == nil {
		return nil
	}
	if e.versions.use(id) {
		return fmt.Errorf("unload policy %s: it is in force", l.policy.Key())
	}
	if err := e.forget(); err != nil {
		return err
	}
	delete(e.policies, id)
	return e.unload(l)
}

func (e *Engine) unload(l *loaded) error {
	var errs []error
	for _, h := range l.hooks {
		if h.first >= 0 {
			for i := range h.hook.Rules {
				h.site.table.Remove(h.first + i)
				h.site.disown(h.first+i, e.versions.last)
			}
			// Where there is no room for the way back it is made with the next
			// change of the site: the rules are in no version.
			if err := e.write(h.site); err != nil && !errors.Is(err, compile.ErrNoRoom) {
				errs = append(errs, err)
			}
		}
		if h.extended {
			h.site.table.Retract(h.hook)
		}
		errs = append(errs, e.detachIdle(h.site))
	}
	if len(l.lineages) > 0 {
		errs = append(errs, e.unfollow(l.lineages))
	}
	e.freeCounters(l)
	if l.notice >= 0 {
		e.notices[l.notice] = false
	}
	return errors.Join(append(errs, e.dropOrigins(l))...)
}

// takeNotice is a number for a policy with enforcers.
func (e *Engine) takeNotice() (int, error) {
	number := slices.Index(e.notices[:], false)
	if number < 0 {
		return -1, fmt.Errorf("%w: %d policies with enforcers are loaded", compile.ErrNoRoom, len(e.notices))
	}
	e.notices[number] = true
	return number, nil
}

// site is the site of a name, made when there is none.
func (e *Engine) site(name compile.Site) (*site, error) {
	if s := e.sites[name]; s != nil {
		return s, nil
	}
	id := slices.Index(e.byID[:], nil)
	if id < 0 {
		id = slices.IndexFunc(e.byID[:], func(s *site) bool { return s.detached })
	}
	if id < 0 {
		return nil, fmt.Errorf("%w: all %d sites are in use", compile.ErrNoRoom, len(e.byID))
	}
	e.serial++
	s := &site{name: name, id: uint32(id), serial: e.serial}
	s.table = compile.NewTable(s.id, e.options.Keys, e.pools)
	e.maps.sites.Store(id, s.table.Initial())
	e.sites[name], e.byID[id] = s, s
	return s, nil
}

// detachIdle detaches a site that no policy names and forgets it.
func (e *Engine) detachIdle(s *site) error {
	for bit := range compile.MaxRules {
		if h, _ := s.table.Rule(bit); h != nil {
			return nil
		}
	}
	for _, l := range e.policies {
		for _, h := range l.hooks {
			if h.site == s {
				return nil
			}
		}
	}
	delete(e.sites, s.name)
	s.detached = true // stays in byID: its last events may still be queued
	if s.program == nil {
		return nil
	}
	returns := s.program.returns
	err := s.program.Close()
	s.program = nil
	if returns {
		err = errors.Join(err, e.maps.forgetCalls(s.serial))
	}
	return err
}

// settle waits, if values were deleted, until no evaluation can hold one of them,
// so that others can be inserted.
func (e *Engine) settle() error {
	if !e.deleted {
		return nil
	}
	return e.wait()
}

// wait waits for a grace period. What was made free before can be used again.
func (e *Engine) wait() error {
	if err := e.grace(); err != nil {
		return err
	}
	for _, release := range e.release {
		release()
	}
	e.release, e.deleted = nil, false
	return nil
}
