// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"regexp"
	"slices"
	"strconv"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// names are those that lists of a kernel are generated from.
func names(k Kernel) func(syscalls bool) ([]string, error) {
	return func(syscalls bool) ([]string, error) {
		if syscalls {
			return k.Syscalls()
		}
		return k.Functions()
	}
}

// noteLists tells what generated lists stand for.
func (e *Explanation) noteLists(p *policy.Policy, k Kernel) {
	for _, g := range p.Generated {
		all, _ := names(k)(g.Syscalls)           // the lists were found
		pattern := regexp.MustCompile(g.Pattern) // the parser has compiled it
		all = slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !pattern.MatchString(s) })
		what := "functions"
		if g.Syscalls {
			what = "system calls"
		}
		if g.Pattern != "" {
			what += " that match " + strconv.Quote(g.Pattern)
		}
		e.note("the list %s stands for all %s that the kernel has, here %d; on another kernel for others", g.Name, what, len(all))
		if !g.Syscalls && k.Describes != nil && !k.Describes("") {
			e.note("the description of the kernel has few of its functions: the running kernel, asked without --kernel, has more that lists stand for")
		}
	}
}

// noteHook tells what the words of a hook's selectors mean.
func (e *Explanation) noteHook(h policy.Hook) {
	for _, s := range h.Selectors {
		for _, f := range append(slices.Clone(s.Args), s.Data...) {
			e.noteOperator(f.Op)
		}
		for _, a := range s.Actions {
			e.noteAction(a)
		}
		if s.Label != "" {
			e.note("what a rule with a label does is counted apart, under it")
		}
		if len(s.NamespaceChanges)+len(s.CapabilityChanges) > 0 {
			e.note("changes are against what the process had when it executed its program, or was born, and for a process that is older than the policy " +
				"against what it had when the policy was loaded; what was changed back is no change")
		}
	}
}

func (e *Explanation) noteOperator(op policy.Operator) {
	switch op.Positive() {
	case policy.OpSubStringIgnCase:
		e.note("of letters only A to Z have another case")
	case policy.OpFileType:
		e.note("a file that is not known is of no type")
	case policy.OpCelExpr:
		e.note("sums and differences in expressions wrap around, as those of the machine do")
	}
}

func (e *Explanation) noteAction(a policy.Action) {
	if a.Kind.Remote() {
		e.note("GetUrl and DnsLookup are done by the agent after the event, never to this host or its link, and only by one that was started with " +
			"--allow-get-url or --allow-dns-lookup: any other refuses the policy")
	}
	if a.RateLimit != 0 {
		e.note("a rate keeps back events alone, of the same rule whose arguments begin with the same 40 bytes each: what else the rule does is done each time; " +
			"of very many different arguments those seen longest ago are forgotten, and reported again")
	}
	if a.KernelStack || a.UserStack {
		e.note("stacks are told by function and file; their addresses only by an agent that was started with --expose-stack-addresses")
	}
	if a.Hash {
		e.note("the hash of a file is the one that the kernel computes (IMA): there is none of a file that cannot be read then, as one that is being opened for reading at file_open")
	}
}

// noteSite tells what is taken for granted of a site, and what its rules do with
// what they cannot read.
func (e *Explanation) noteSite(h *compile.Hook, k Kernel) {
	if h.Site.Kind != compile.LSM && h.Site.Kind != compile.Tracepoint && h.Site.Kind != compile.RawTracepoint && k.Describes != nil {
		for _, f := range h.Site.Functions() {
			if !k.Describes(f) {
				e.note("function %s is taken for there: the description of the kernel does not tell", f)
			}
		}
	}
	for _, r := range h.Rules {
		for _, f := range r.Filters {
			read := h.Reads[f.Read]
			if r.Enforces() && (read.Origin() || slices.ContainsFunc(operands(read), compile.Read.Buffer)) {
				e.note("a rule that kills, signals or denies takes a value that cannot be read for a match; one that only reports does not")
			}
			if read.Search() {
				e.note("a text of more than %d bytes is not searched: it is a value that cannot be read", bpf.WireLimitsSTRING_MAX-1)
			}
		}
	}
}

// operands are the reads that a read is about: what it is computed from, the whole
// that it is a part of, or itself.
func operands(r compile.Read) []compile.Read {
	c, computed := r.From.(compile.Computed)
	if !computed {
		return []compile.Read{r.Whole()}
	}
	return slices.DeleteFunc(slices.Clone(c.Of[:]), func(of compile.Read) bool { return of == compile.Read{} })
}
