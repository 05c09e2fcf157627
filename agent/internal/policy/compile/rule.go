// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// Limits of one site; see the shared header of the programs.
const (
	MaxRules   = int(bpf.WireLimitsRULES_MAX)
	MaxArgs    = int(bpf.WireLimitsARGS_MAX)
	MaxStrings = int(bpf.WireLimitsSTRING_ARGS_MAX)
)

// Kind is one way to look a value up.
type Kind = bpf.WireMatchKind

// Binary stands for the dimension of the process's executed file where the
// position of an argument stands otherwise.
const Binary = -1

// Interval is a range of integers in the order of the machine: signed values
// have their sign bit inverted. Both ends are inside.
type Interval struct {
	Lo, Hi uint64
}

// Filter is what a rule asks of one dimension by one kind of comparison. A rule
// has at most one filter for each pair.
type Filter struct {
	// Arg is a position in Hook.Args, or Binary.
	Arg  int
	Kind Kind
	// Negated: the values are those that the rule excludes. Only with exact
	// comparison; the affix kinds have negated kinds of their own.
	Negated bool
	Strings []string
	// Numbers are the values of exact comparison of integers.
	Numbers []uint64
	// Intervals are those of range comparison: sorted and disjoint.
	Intervals []Interval
}

// Rule is one selector of a hook.
type Rule struct {
	// Selector is its index in the hook.
	Selector int
	Filters  []Filter
	// Post tells whether a match makes an event.
	Post bool
	// Signal is sent when the policy enforces; 0: none.
	Signal uint8
}

// Enforces tells whether the rule acts on the process.
func (r *Rule) Enforces() bool { return r.Signal != 0 }

// Hook is one hook of a policy, ready for its site.
type Hook struct {
	Site Site
	// Index is its position among the policy's hooks.
	Index int
	Args  []Read
	// Types and Labels are the policy's words for Args.
	Types  []policy.ArgType
	Labels []string
	// Message and Tags are copied to the events.
	Message string
	Tags    []string
	// Rules are in the order of the selectors; one that can match nothing is
	// left out.
	Rules []Rule
}

// Policy is a policy that was compiled for the tracepoints of one kernel. It is
// immutable.
type Policy struct {
	*policy.Policy
	Hooks []Hook
}

// Compile compiles a policy. All faults are reported, joined, each a
// *policy.FieldError.
func Compile(p *policy.Policy, formats Formats) (*Policy, error) {
	compiled := &Policy{Policy: p}
	var faults faults
	for i, t := range p.Tracepoints {
		path := fmt.Sprintf("spec.tracepoints[%d]", i)
		hook, err := compileHook(path, t, formats)
		if err != nil {
			faults.errs = append(faults.errs, err)
			continue
		}
		hook.Index = i
		compiled.Hooks = append(compiled.Hooks, *hook)
	}
	if err := faults.join(); err != nil {
		return nil, err
	}
	return compiled, nil
}

func compileHook(path string, t policy.Tracepoint, formats Formats) (*Hook, error) {
	hook := &Hook{Site: Site{t.Subsystem, t.Event}, Message: t.Message, Tags: t.Tags}
	var faults faults
	fields, err := formats(t.Subsystem, t.Event)
	if err != nil {
		faults.add(path, err)
		return nil, faults.join()
	}
	if err := hook.compileArgs(path, t.Args, fields); err != nil {
		return nil, err
	}
	if t, err = t.WithTypes(hook.Types); err != nil {
		return nil, err
	}
	for i, s := range t.Selectors {
		rule, err := compileSelector(fmt.Sprintf("%s.selectors[%d]", path, i), s, hook)
		if err != nil {
			faults.errs = append(faults.errs, err)
			continue
		}
		if rule != nil {
			rule.Selector = i
			hook.Rules = append(hook.Rules, *rule)
		}
	}
	return hook, faults.join()
}

// compileArgs finds the hook's arguments among the fields of its site.
func (h *Hook) compileArgs(path string, args []policy.Arg, fields []Field) error {
	var faults faults
	strings := 0
	for i, arg := range args {
		if int(arg.Index) >= len(fields) {
			faults.add(fmt.Sprintf("%s.args[%d].index", path, i),
				fmt.Errorf("is %d: event %s has %d fields, counted from 0", arg.Index, h.Site, len(fields)))
			continue
		}
		read, typ, err := readOf(h.Site, fields[arg.Index], arg.Type)
		if err != nil {
			faults.add(fmt.Sprintf("%s.args[%d].type", path, i), err)
			continue
		}
		if read.IsString() && !slices.Contains(h.Args, read) {
			strings++
		}
		h.Args = append(h.Args, read)
		h.Types = append(h.Types, typ)
		h.Labels = append(h.Labels, arg.Label)
	}
	if strings > MaxStrings {
		faults.add(path+".args", fmt.Errorf("%d strings: at most %d", strings, MaxStrings))
	}
	return faults.join()
}

// compileSelector is the rule of a selector, nil when it can match nothing.
func compileSelector(path string, s policy.Selector, hook *Hook) (*Rule, error) {
	rule := &Rule{Post: s.Posts()}
	var faults faults
	for i, a := range s.Actions {
		if !rule.addAction(a) {
			faults.add(fmt.Sprintf("%s.matchActions[%d]", path, i), fmt.Errorf("a second signal: %w", policy.ErrUnsupported))
		}
	}
	c := conjunction{}
	for i, f := range s.Args {
		t := hook.Types[f.Arg]
		// Arguments that are read alike are one dimension, where a rule has but
		// one filter of a kind: they are joined as if they were one.
		f.Arg = slices.Index(hook.Args, hook.Args[f.Arg])
		if !c.addArg(f, t) {
			faults.add(fmt.Sprintf("%s.matchArgs[%d].operator", path, i), fmt.Errorf("%s: %w", f.Op, policy.ErrUnsupported))
		}
	}
	for i, f := range s.Binaries {
		if f.Op != policy.OpIn && f.Op != policy.OpNotIn {
			faults.add(fmt.Sprintf("%s.matchBinaries[%d].operator", path, i), fmt.Errorf("%s: %w", f.Op, policy.ErrUnsupported))
			continue
		}
		c.addStrings(Binary, f.Op, f.Values)
	}
	if err := faults.join(); err != nil {
		return nil, err
	}
	var possible bool
	if rule.Filters, possible = c.filters(); !possible {
		return nil, nil
	}
	return rule, nil
}

// addAction notes what an action does; false when the rule cannot do it too.
func (r *Rule) addAction(a policy.Action) bool {
	if !a.Kind.Enforces() {
		return true
	}
	signal := a.Signal
	if a.Kind == policy.Sigkill {
		signal = sigkill
	}
	switch {
	case r.Signal == 0 || signal == sigkill:
		// Of a process that is killed another signal would change nothing.
		r.Signal = signal
	case r.Signal != sigkill && r.Signal != signal:
		return false
	}
	return true
}

const sigkill = 9
