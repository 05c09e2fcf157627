// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"

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

// Compile compiles a policy. All faults are reported, joined; each names its
// field.
func Compile(p *policy.Policy, formats Formats) (*Policy, error) {
	compiled := &Policy{Policy: p}
	var faults faults
	for i, t := range p.Tracepoints {
		path := fmt.Sprintf("spec.tracepoints[%d]", i)
		hook, err := compileHook(t, formats)
		if err != nil {
			faults.add(path, err)
			continue
		}
		hook.Index = i
		compiled.Hooks = append(compiled.Hooks, *hook)
	}
	return compiled, faults.join()
}

func compileHook(t policy.Tracepoint, formats Formats) (*Hook, error) {
	hook := &Hook{Site: Site{t.Subsystem, t.Event}, Message: t.Message, Tags: t.Tags}
	fields, err := formats(t.Subsystem, t.Event)
	if err != nil {
		return nil, err
	}
	var faults faults
	types := make([]policy.ArgType, len(t.Args))
	strings := 0
	for i, arg := range t.Args {
		if int(arg.Index) >= len(fields) {
			faults.add(fmt.Sprintf("args[%d].index", i), fmt.Errorf("%d: event %s has %d fields", arg.Index, hook.Site, len(fields)))
			continue
		}
		read, typ, err := readOf(hook.Site, fields[arg.Index], arg.Type)
		if err != nil {
			faults.add(fmt.Sprintf("args[%d].type", i), err)
			continue
		}
		if read.IsString() {
			strings++
		}
		types[i] = typ
		hook.Args = append(hook.Args, read)
		hook.Labels = append(hook.Labels, arg.Label)
	}
	if strings > MaxStrings {
		faults.add("args", fmt.Errorf("%d strings: at most %d", strings, MaxStrings))
	}
	if err := faults.join(); err != nil {
		return nil, err
	}
	hook.Types = types
	if t, err = t.WithTypes(types); err != nil {
		return nil, err
	}
	for i, s := range t.Selectors {
		rule, err := compileSelector(i, s, types)
		if err != nil {
			return nil, fmt.Errorf("selectors[%d].%w", i, err)
		}
		if rule != nil {
			hook.Rules = append(hook.Rules, *rule)
		}
	}
	return hook, nil
}

func compileSelector(index int, s policy.Selector, types []policy.ArgType) (*Rule, error) {
	rule := &Rule{Selector: index, Post: s.Posts()}
	for i, a := range s.Actions {
		if !a.Kind.Enforces() {
			continue
		}
		signal := a.Signal
		if a.Kind == policy.Sigkill {
			signal = sigkill
		}
		// A second signal of a process that is killed would change nothing.
		if rule.Signal != 0 && rule.Signal != sigkill && signal != sigkill && signal != rule.Signal {
			return nil, fmt.Errorf("matchActions[%d]: a second signal is not supported", i)
		}
		if rule.Signal != sigkill {
			rule.Signal = signal
		}
	}
	c := conjunction{}
	for i, f := range s.Args {
		if !c.addArg(f, types[f.Arg]) {
			return nil, fmt.Errorf("matchArgs[%d].operator: %s is not supported", i, f.Op)
		}
	}
	for i, f := range s.Binaries {
		if f.Op != policy.OpIn && f.Op != policy.OpNotIn {
			return nil, fmt.Errorf("matchBinaries[%d].operator: %s is not supported by this version", i, f.Op)
		}
		c.addStrings(Binary, f.Op, f.Values)
	}
	var possible bool
	if rule.Filters, possible = c.filters(); !possible {
		return nil, nil
	}
	return rule, nil
}

const sigkill = 9
