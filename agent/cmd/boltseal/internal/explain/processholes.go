// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// processHoles are those of what rules ask of the process, and of what the kernel
// has in its structures.
func (o occasion) processHoles() []Hole {
	var found []Hole
	add := func(name, text string, applies bool) {
		if applies {
			found = append(found, Hole{Name: name, Text: text})
		}
	}
	add("binaries by name", "binaries are told apart by the path that was executed: a copy has another one, a script has its interpreter's, "+
		"and a process can be made to run code of others (a debugger, LD_PRELOAD, a plugin)",
		o.selector(func(s policy.Selector) bool { return len(s.Binaries)+len(s.ParentBinaries) > 0 }))
	add("programs in between", "the parent is what has started the process, whatever has started that: what is started by way of another "+
		"program (a shell, env, timeout) has that one for its parent; followChildren sees all ancestors",
		o.selector(func(s policy.Selector) bool {
			return slices.ContainsFunc(s.ParentBinaries, func(f policy.BinaryFilter) bool { return !f.FollowChildren })
		}))
	add("earlier ancestors", "ancestors that had ended before the policy was loaded are not known, nor what the living had executed before their "+
		"present programs: what descends from them alone is taken for not descending", o.selector(follows))
	add("process ids", "ids are given again: a process that ends frees its own for another",
		o.selector(func(s policy.Selector) bool { return len(s.PIDs) > 0 }))
	add("changes end with an exec", "a process that executes a program begins anew with what it has then: of what it changed before nothing is a change any more",
		o.selector(func(s policy.Selector) bool { return len(s.NamespaceChanges)+len(s.CapabilityChanges) > 0 }))
	add("structures of the kernel", "what the kernel's pointers lead to is read as it is at that moment: other threads can change it while it is read and before it is used",
		o.compares(func(r compile.Read, _ policy.ArgType) bool { return r.Chain.Steps > 0 }))
	return found
}

func follows(s policy.Selector) bool {
	follow := func(f policy.BinaryFilter) bool { return f.FollowChildren }
	return slices.ContainsFunc(s.Binaries, follow) || slices.ContainsFunc(s.ParentBinaries, follow) ||
		slices.ContainsFunc(s.PIDs, func(f policy.PIDFilter) bool { return f.FollowForks })
}

func (o occasion) selector(is func(policy.Selector) bool) bool {
	return slices.ContainsFunc(o.hook.Selectors, is)
}
