// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"fmt"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// Options are what is simulated.
type Options struct {
	// Policies are those whose rules are tried.
	Policies []*compile.Policy
	// Recorders are policies that the events were recorded by, compiled for the same
	// kernel. Of Policies one with the name in an event and with arguments of its
	// labels and types is taken for its recorder too.
	Recorders []*compile.Policy
	// Selected: the policies are taken to be for every process of the events.
	Selected bool
	// HostNamespace is that of the kernel that the policies were compiled for.
	HostNamespace func(policy.Namespace) (uint32, error)
}

// Simulator tries policies on events. It is for one goroutine.
type Simulator struct {
	Options
	families, protocols, states map[string]uint64
	// seen is what events told of processes; nil where no policy asks for it.
	seen ancestry
}

// New makes a simulator.
func New(o Options) *Simulator {
	s := &Simulator{Options: o, families: map[string]uint64{}, protocols: map[string]uint64{}, states: map[string]uint64{}}
	// More than there are of each kind.
	const families, protocols, states = 256, 512, 32
	c := policy.NewConstants()
	for n := range uint16(families) {
		s.families[c.Family(n)] = uint64(n)
	}
	for n := range uint16(protocols) {
		s.protocols[c.Protocol(n)] = uint64(n)
	}
	for n := range uint8(states) {
		s.states[c.State(n)] = uint64(n)
	}
	if slices.ContainsFunc(o.Policies, func(p *compile.Policy) bool { return len(p.Lineages()) > 0 }) {
		s.seen = ancestry{}
	}
	return s
}

// Outcome is what one hook of a policy would have done to an event.
type Outcome struct {
	Policy string `json:"policy"`
	// Hook is where it stands in the policy; Rule is the selector's index.
	Hook string `json:"hook"`
	Rule int    `json:"rule"`
	// Certain: it would have. Otherwise it depends on what is Unknown.
	Certain bool     `json:"certain"`
	Unknown []string `json:"unknown"`
	// Verdict is what would have been done: a word of Verdict's.
	Verdict Verdict `json:"verdict"`
	// Detail says more of it.
	Detail string `json:"detail"`
}

// Verdict is what comes of a match. The words do not change.
type Verdict string

// The verdicts, the gravest first.
const (
	Killed   Verdict = "killed"
	Denied   Verdict = "denied"
	Signaled Verdict = "signaled"
	Notified Verdict = "notified"
	Reported Verdict = "reported"
	Ignored  Verdict = "ignored"
)

// Verdicts lists them.
func Verdicts() []Verdict { return []Verdict{Killed, Denied, Signaled, Notified, Reported, Ignored} }

// Enforces tells whether something is done to the process.
func (v Verdict) Enforces() bool { return v != Reported && v != Ignored }

// Event tries all policies on an event. at tells whether it is of a hook of any,
// whatever came of it.
func (s *Simulator) Event(e *tetragon.GetEventsResponse) (outcomes []Outcome, at bool) {
	if s.seen != nil {
		s.seen.see(related(e)...)
	}
	r := recordOf(e)
	if r == nil {
		return nil, false
	}
	recorder := r.recorder(s.Recorders, s.Policies)
	for _, p := range s.Policies {
		selected, why := compile.Yes, []string(nil)
		if !s.Selected {
			selected, why = selects(p.Policy, r)
		}
		for i := range p.Hooks {
			h := &p.Hooks[i]
			if h.Section == policy.Enforcers || !r.at(h.Site) {
				continue
			}
			at = true
			if selected != compile.No {
				outcomes = append(outcomes, s.hook(p, h, r, recorder, why)...)
			}
		}
	}
	return outcomes, at
}

// hook is what a hook would have done: the first rule that matches, after those
// that may. why is what decides whether the policy is for the process.
func (s *Simulator) hook(p *compile.Policy, h *compile.Hook, r *record, recorder *compile.Hook, why []string) []Outcome {
	values, known, reasons := s.values(h, r, recorder)
	var outcomes []Outcome
	unknown := slices.Clone(why)
	for i := range h.Rules {
		rule := &h.Rules[i]
		c, missing := rule.Judge(h, values, known, p.Mode == policy.Enforce)
		all := answers{c: c}
		for _, read := range missing {
			all.missing = append(all.missing, reasons[read])
		}
		all.join(workload(p.Policy, rule.Workload, r))
		all.join(s.lineages(rule, h.Site, r))
		if all.c == compile.No {
			continue
		}
		does := rule
		if rule.Returns {
			does, missing = returns(rule, h, values, known, p.Mode)
			for _, read := range missing {
				all.missing = append(all.missing, reasons[read])
			}
		}
		for _, reason := range all.missing {
			if !slices.Contains(unknown, reason) {
				unknown = append(unknown, reason)
			}
		}
		o := Outcome{
			Policy: p.Key(), Hook: fmt.Sprintf("spec.%s[%d]", h.Section, h.Index), Rule: rule.Selector,
			Certain: len(unknown) == 0, Unknown: append([]string{}, unknown...),
		}
		o.Verdict, o.Detail = verdict(does, p.Mode)
		outcomes = append(outcomes, o)
		if all.c == compile.Yes {
			break
		}
	}
	return outcomes
}

// lineages is what events show of a process's ancestors, of those that a rule asks for.
func (s *Simulator) lineages(rule *compile.Rule, site compile.Site, r *record) (all answers) {
	all.c = compile.Yes
	for _, f := range rule.Lineages {
		switch shown := s.seen.shows(r.process, f.Lineage, !r.beforeExec(site)); {
		case !shown:
			all.join(answers{compile.Maybe, []string{"what the process descends from"}})
		case f.Negated:
			all.c = compile.No
		}
	}
	return all
}

// returns is what a rule that was chosen does by what the call returned: all of it,
// or what it did as the call was entered. missing is what decides.
func returns(r *compile.Rule, h *compile.Hook, values []compile.Value, known []bool, mode policy.Mode) (does *compile.Rule, missing []int) {
	c, missing := r.JudgeReturn(h, values, known, mode == policy.Enforce)
	if c != compile.No {
		return r, missing
	}
	entered := *r
	entered.Post, entered.ReturnSignal = false, 0
	return &entered, nil
}

// values are those of a hook's reads, as far as the event has them; reasons name
// those that it has not.
func (s *Simulator) values(h *compile.Hook, r *record, recorder *compile.Hook) (values []compile.Value, known []bool, reasons []string) {
	values, known, reasons = make([]compile.Value, len(h.Reads)), make([]bool, len(h.Reads)), make([]string, len(h.Reads))
	for i, read := range h.Reads {
		if read.From != nil {
			continue // of what is computed from others those are looked at
		}
		arg := i
		if i >= len(h.Types) {
			read.Copy = 0
			arg = slices.Index(h.Reads[:len(h.Types)], read.Whole())
		}
		switch {
		case i >= len(h.Types) && read.Returned():
			values[i], known[i] = s.result(h, read, r, recorder)
			reasons[i] = "what the call returned"
		case arg >= 0:
			values[i], known[i], reasons[i] = s.argument(h, arg, read, r, recorder)
		default:
			values[i], known[i] = s.process(r, read, h.Site)
			reasons[i] = "the process' " + processWords(read)
		}
	}
	return values, known, reasons
}

// result is the value of what the call returned, or of the part of it that is read.
func (s *Simulator) result(h *compile.Hook, read compile.Read, r *record, recorder *compile.Hook) (v compile.Value, ok bool) {
	read.Copy = 0
	whole, t := h.Reads[h.Result.Read], h.Result.Type
	switch {
	case r.result == nil || recorder == nil || recorder.Result == nil || recorder.Result.Type != t || read.Whole() != whole:
		return v, false
	case read != whole:
		return s.part(r.result, t, read.Kind)
	}
	v, ok = argument(r.result, t)
	return v, ok && exact(v.String)
}

// argument is the value of a hook's argument, or of the part of it that is read.
func (s *Simulator) argument(h *compile.Hook, arg int, read compile.Read, r *record, recorder *compile.Hook) (v compile.Value, ok bool, reason string) {
	name := argumentName(h, arg)
	t := h.Types[arg]
	switch {
	case r.exec && t == policy.ArgBinprm:
		b := r.process.GetBinary()
		return compile.Value{String: b}, b != "" && exact(b), "argument " + name
	case r.exec:
		return v, false, "argument " + name
	case recorder == nil:
		return v, false, fmt.Sprintf("argument %s (the policy %q, which recorded the event, is not known with such arguments)", name, r.policy)
	}
	for j, a := range r.args {
		if j >= len(recorder.Types) || recorder.Types[j] != t || !alike(recorder.Reads[j], h.Reads[arg]) {
			continue
		}
		switch {
		case a.GetArg() == nil:
			v, ok = compile.Value{Unreadable: true}, unreadable(t, h.Reads[arg])
		case read != h.Reads[arg]:
			v, ok = s.part(a, t, read.Kind)
		default:
			v, ok = argument(a, t)
			ok = ok && (t == policy.ArgCharBuf || exact(v.String))
		}
		return v, ok, "argument " + name
	}
	return v, false, fmt.Sprintf("argument %s (the policy %q, which recorded the event, does not read it)", name, r.policy)
}

// alike tells whether two reads give rules the same value: more bytes are for events.
func alike(a, b compile.Read) bool {
	a.Rest, b.Rest = false, false
	return a == b
}

// argumentName is what an argument, or an item of data, is called.
func argumentName(h *compile.Hook, arg int) string {
	switch first := len(h.Types) - h.Data; {
	case h.Labels[arg] != "":
		return h.Labels[arg]
	case arg >= first:
		return fmt.Sprintf("data[%d]", arg-first)
	}
	return fmt.Sprintf("args[%d]", arg)
}

func processWords(read compile.Read) string {
	switch read.Kind {
	case bpf.WireReadKindREAD_BINARY, bpf.WireReadKindREAD_BINARY_PATH:
		return "binary"
	case bpf.WireReadKindREAD_PID:
		return "id"
	case bpf.WireReadKindREAD_NAMESPACE_PID:
		return "id in its pid namespace"
	case bpf.WireReadKindREAD_NAMESPACE:
		return policy.Namespace(read.Offset).String() + " namespace"
	case bpf.WireReadKindREAD_CAPABILITIES:
		return policy.CapabilitySet(read.Offset).String() + " capabilities"
	case bpf.WireReadKindREAD_PARENT_BINARY, bpf.WireReadKindREAD_PARENT_BINARY_PATH:
		return "parent's binary"
	case bpf.WireReadKindREAD_NAMESPACE_CHANGES:
		return "changes of namespaces"
	case bpf.WireReadKindREAD_CAPABILITY_CHANGES:
		return "changes of " + policy.CapabilitySet(read.Offset).String() + " capabilities"
	}
	return "state (" + fmt.Sprint(read.Kind) + ")"
}
