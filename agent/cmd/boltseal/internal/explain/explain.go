// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// Kernel is the kernel that a policy is explained for.
type Kernel struct {
	compile.Kernel
	// Title names it for people.
	Title string
	// Describes tells whether the absence of a function means that the kernel has
	// none of its name. nil: always.
	Describes func(function string) bool
}

// Explanation is what is to be said of a policy. The names of its JSON form do
// not change.
type Explanation struct {
	Policy string `json:"policy"`
	Kind   string `json:"kind"`
	Mode   string `json:"mode"`
	Kernel string `json:"kernel"`
	// Subjects are for whom the policy is, a sentence each.
	Subjects []string `json:"subjects"`
	// Loads tells whether the kernel takes the policy; Refusals say why not.
	Loads    bool      `json:"loads"`
	Refusals []Refusal `json:"refusals"`
	Hooks    []Hook    `json:"hooks"`
	// Holes are how the policy can be got around, each once.
	Holes []Hole `json:"holes"`
	// Notes are what the explanation itself rests on.
	Notes []string `json:"notes"`
}

// Refusal is one reason for which a kernel does not take a policy.
type Refusal struct {
	Path   string `json:"path"`
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// Hook is one hook of a policy.
type Hook struct {
	// Path is where it stands in the policy.
	Path string `json:"path"`
	// When is the occasion.
	When string `json:"when"`
	// Message is the policy's own word for it.
	Message string   `json:"message"`
	Tags    []string `json:"tags"`
	// Reads are the values that it looks at and reports.
	Reads     []string   `json:"reads"`
	Selectors []Selector `json:"selectors"`
	// Mechanisms are the sites, and Guarantees what enforcing there promises; both
	// empty for a hook that the kernel refuses or that is left out.
	Mechanisms []string `json:"mechanisms"`
	Guarantees []string `json:"guarantees"`
	// Absent says why the hook has no site.
	Absent string `json:"absent"`
	// Holes name those of the explanation's that are this hook's.
	Holes []string `json:"holes"`
}

// Selector is one rule of a hook.
type Selector struct {
	// Label is its name where it is counted; often empty.
	Label string `json:"label"`
	// Conditions must all hold; none: always.
	Conditions []string `json:"conditions"`
	// Actions are done then.
	Actions []string `json:"actions"`
	// ReturnConditions must hold as well when the function returns, for a report and
	// for ReturnActions; both are empty where the hook does not wait for that.
	ReturnConditions []string `json:"return_conditions"`
	ReturnActions    []string `json:"return_actions"`
	// Never says that no event can satisfy all conditions.
	Never bool `json:"never"`
}

// Hole is a way around a policy.
type Hole struct {
	Name string `json:"name"`
	Text string `json:"text"`
	// Hooks are the paths of those that have it.
	Hooks []string `json:"hooks"`
}

// Policy explains a policy for a kernel.
func Policy(p *policy.Policy, k Kernel) *Explanation {
	e := &Explanation{
		Policy: p.Key(), Kind: p.Kind.String(), Mode: p.Mode.String(), Kernel: k.Title,
		Subjects: subjects(p), Refusals: []Refusal{}, Hooks: []Hook{}, Holes: []Hole{}, Notes: []string{},
	}
	compiled, err := compile.Compile(p, k)
	e.Loads = err == nil
	for _, f := range policy.Faults(err) {
		e.Refusals = append(e.Refusals, Refusal{f.Path, f.Line, f.Reason})
	}
	if err != nil && len(e.Refusals) == 0 {
		e.Refusals = append(e.Refusals, Refusal{Reason: err.Error()})
	}
	for _, w := range p.Warnings {
		e.note("warning: %s", w.Error())
	}
	if with, err := p.WithLists(names(k)); err == nil { // what is wrong with them is among the refusals
		e.noteLists(p, k)
		p = with
	}
	for _, h := range p.Hooks {
		e.addHook(p, h, k)
		e.noteHook(h)
	}
	if compiled != nil {
		e.addEnforcers(compiled)
	}
	if p.Mode == policy.Monitor {
		e.note("mode monitor: nothing is killed, signaled or denied; matches are counted and reported as what enforce would do")
	}
	return e
}

func (e *Explanation) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(e.Notes, text) {
		e.Notes = append(e.Notes, text)
	}
}

// alone compiles one hook of a policy, so that each is explained whatever the
// others' faults.
func alone(p *policy.Policy, h policy.Hook, k Kernel) ([]compile.Hook, error) {
	one := *p
	one.Hooks, one.Enforcers = []policy.Hook{h}, nil
	compiled, err := compile.Compile(&one, k)
	if err != nil {
		return nil, err
	}
	return compiled.Hooks, nil
}

// typed is the hook with the types that the kernel tells. Without hooks it is
// refused or left out, and the kernel tells nothing.
func typed(h policy.Hook, hooks []compile.Hook) policy.Hook {
	if len(hooks) == 0 {
		return h
	}
	if with, err := h.WithTypes(hooks[0].Types); err == nil {
		h = with
	}
	if result := hooks[0].Result; result != nil {
		if with, err := h.WithReturnType(result.Type); err == nil {
			h = with
		}
	}
	return h
}

func (e *Explanation) addHook(p *policy.Policy, h policy.Hook, k Kernel) {
	out := Hook{
		Path: h.Path(), When: when(h), Message: h.Message, Tags: append([]string{}, h.Tags...),
		Reads: []string{}, Selectors: []Selector{}, Mechanisms: []string{}, Guarantees: []string{}, Holes: []string{},
	}
	hooks, err := alone(p, h, k)
	h = typed(h, hooks)
	names := argNames(h, k)
	for i, a := range h.Args {
		out.Reads = append(out.Reads, readWords(names[i], a))
	}
	switch {
	case err != nil:
		out.Absent = "this kernel refuses it"
	case len(hooks) == 0:
		out.Absent = "left out: the kernel has none of what it names"
	}
	if h.ReturnArg != nil {
		out.Reads = append(out.Reads, fmt.Sprintf("what it returns as %s", h.ReturnArg.Type))
	}
	for i, s := range h.Selectors {
		rule := Selector{Label: s.Label, Conditions: conditions(p, s, h.Args, names), Actions: actions(s, p.Mode), Never: never(hooks, i)}
		rule.ReturnConditions, rule.ReturnActions = returned(h, s, p.Mode)
		out.Selectors = append(out.Selectors, rule)
	}
	for i := range hooks {
		out.Mechanisms = appendNew(out.Mechanisms, mechanism(hooks[i].Site))
		promise := hooks[i].Guarantee()
		if p.Mode == policy.Monitor && h.Enforces() {
			promise = "reported; in mode enforce: " + promise
		}
		out.Guarantees = appendNew(out.Guarantees, promise)
		e.noteSite(&hooks[i], k)
	}
	if err == nil && len(hooks) > 0 {
		for _, hole := range holesOf(occasion{policy: p, hook: h, compiled: hooks, kernel: k}) {
			out.Holes = append(out.Holes, hole.Name)
			e.addHole(hole, out.Path)
		}
	}
	e.Hooks = append(e.Hooks, out)
}

func (e *Explanation) addHole(hole Hole, path string) {
	for i := range e.Holes {
		if e.Holes[i].Name == hole.Name && e.Holes[i].Text == hole.Text {
			e.Holes[i].Hooks = append(e.Holes[i].Hooks, path)
			return
		}
	}
	hole.Hooks = []string{path}
	e.Holes = append(e.Holes, hole)
}

// never tells whether no rule is left of a selector that was compiled.
func never(hooks []compile.Hook, selector int) bool {
	return len(hooks) > 0 && !slices.ContainsFunc(hooks, func(h compile.Hook) bool {
		return slices.ContainsFunc(h.Rules, func(r compile.Rule) bool { return r.Selector == selector })
	})
}

// addEnforcers explains where what NotifyEnforcer asks for is done.
func (e *Explanation) addEnforcers(p *compile.Policy) {
	for i := range p.Hooks {
		h := &p.Hooks[i]
		if h.Section != policy.Enforcers {
			continue
		}
		const path = "spec.enforcers[0]"
		holes := []string{}
		if c := callOf(h.Call); !c.compat && !slices.ContainsFunc(p.Enforcers, func(other string) bool {
			return callOf(other) == syscall{c.name, true}
		}) {
			hole := Hole{Name: "32-bit enforcers", Text: "the same system call of the ABI for 32 bits has no enforcer: what was asked for is not done there"}
			holes = append(holes, hole.Name)
			e.addHole(hole, path+" "+h.Call)
		}
		e.Hooks = append(e.Hooks, Hook{
			Path: path, When: callsWords([]string{h.Call}),
			Tags: []string{}, Reads: []string{},
			Selectors: []Selector{{
				Conditions: []string{"a selector of the policy has notified the enforcers in the same system call"},
				Actions:    []string{"do what it asked for"},
			}},
			Mechanisms: []string{mechanism(h.Site)}, Guarantees: []string{h.Guarantee()}, Holes: holes,
		})
	}
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
