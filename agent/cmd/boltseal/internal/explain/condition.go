// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// conditions are what must hold for a selector.
func conditions(p *policy.Policy, s policy.Selector, args []policy.Arg, names []string) []string {
	all := []string{}
	for _, f := range append(slices.Clone(s.Args), s.Data...) {
		all = append(all, argWords(f, args, names))
	}
	for _, f := range s.Binaries {
		all = append(all, binaryWords(f, "the process' binary", "the process or an ancestor of it", "neither the process nor an ancestor of it"))
	}
	for _, f := range s.ParentBinaries {
		all = append(all, binaryWords(f, "the binary of the process' parent", "an ancestor of the process", "no ancestor of the process"))
	}
	for _, f := range s.PIDs {
		all = append(all, pidWords(f))
	}
	for _, f := range s.Namespaces {
		all = append(all, namespaceWords(f))
	}
	for _, f := range s.Capabilities {
		all = append(all, capabilityWords(f))
	}
	for _, f := range s.NamespaceChanges {
		all = append(all, namespaceChangeWords(f))
	}
	for _, f := range s.CapabilityChanges {
		all = append(all, capabilityChangeWords(f))
	}
	if s.Workload > 0 {
		all = append(all, "the process is "+workloadWords(p.Workloads[s.Workload-1]))
	}
	return all
}

// argWords is a filter on arguments.
func argWords(f policy.ArgFilter, args []policy.Arg, names []string) string {
	switch f.Op {
	case policy.OpCelExpr:
		return expressionWords(f.Values, names)
	case policy.OpCapabilitiesGained:
		text := names[f.Arg] + " has a capability"
		if len(f.Values) > 0 {
			text += " of " + listed(f.Values, "or")
		}
		return text + " that " + names[f.Old] + " has not"
	}
	return names[f.Arg] + " " + comparison(f.Op, f.Values, args[f.Arg].Type)
}

// expressionWords is expressions of which one must be true, with what their
// arguments are called.
func expressionWords(values, names []string) string {
	text := "the expression " + listed(quoted(values), "or") + " is true"
	var called []string
	for i, name := range names {
		arg := fmt.Sprintf("arg%d", i)
		if slices.ContainsFunc(values, func(v string) bool { return slices.Contains(strings.FieldsFunc(v, notName), arg) }) {
			called = append(called, arg+" is "+name)
		}
	}
	if len(called) > 0 {
		text += ", where " + join(called, "and") + ","
	}
	return text
}

// notName tells whether a character is in no name of an argument.
func notName(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' }

// binaryWords is a filter on a binary, or on those of ancestors: of any or of none.
func binaryWords(f policy.BinaryFilter, whose, any, none string) string {
	switch {
	case !f.FollowChildren:
		return whose + " " + comparison(f.Op, f.Values, policy.ArgString)
	case f.Op.Negated():
		return none + " has executed " + listed(quoted(f.Values), "or")
	}
	return any + " has executed " + listed(quoted(f.Values), "or")
}

// comparison is an operator with its values, as what follows a subject of a type.
func comparison(op policy.Operator, values []string, t policy.ArgType) string {
	words, ok := operators()[op]
	if !ok {
		words = op.String()
	}
	if t == policy.ArgSockaddr {
		// What it holds is neither the source nor the destination of anything.
		words = strings.Replace(words, "source ", "", 1)
	}
	if len(values) == 0 {
		return words
	}
	if (t.Text() || t == policy.ArgAuto) && op.Positive() != policy.OpFileType {
		values = quoted(values)
	}
	return words + " " + listed(values, "or")
}

func operators() map[policy.Operator]string {
	return map[policy.Operator]string{
		policy.OpEqual: "is", policy.OpNotEqual: "is not", policy.OpIn: "is", policy.OpNotIn: "is not",
		policy.OpPrefix: "begins with", policy.OpNotPrefix: "does not begin with",
		policy.OpPostfix: "ends with", policy.OpNotPostfix: "does not end with",
		policy.OpGreaterThan: "is greater than", policy.OpLessThan: "is less than",
		policy.OpInRange: "is in", policy.OpNotInRange: "is not in", policy.OpInMap: "is in", policy.OpNotInMap: "is not in",
		policy.OpMask:  "has a bit of",
		policy.OpSPort: "has the source port", policy.OpNotSPort: "has not the source port",
		policy.OpSPortPriv: "has a source port below 1024", policy.OpNotSPortPriv: "has no source port below 1024",
		policy.OpDPort: "has the destination port", policy.OpNotDPort: "has not the destination port",
		policy.OpDPortPriv: "has a destination port below 1024", policy.OpNotDPortPriv: "has no destination port below 1024",
		policy.OpSAddr: "has a source address in", policy.OpNotSAddr: "has no source address in",
		policy.OpDAddr: "has a destination address in", policy.OpNotDAddr: "has no destination address in",
		policy.OpProtocol: "has the protocol", policy.OpFamily: "has the family", policy.OpState: "is in the state",
		policy.OpSubString: "contains", policy.OpSubStringIgnCase: "contains, in letters of any case,",
		policy.OpFileType: "is of the file type", policy.OpNotFileType: "is of another file type than",
	}
}

func isOrNot(negated bool) string {
	if negated {
		return "is not"
	}
	return "is"
}

func numbers(values []uint32) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		out = append(out, strconv.FormatUint(uint64(v), 10))
	}
	return out
}

func pidWords(f policy.PIDFilter) string {
	where := ""
	if f.NamespacePID {
		where = " in its own pid namespace"
	}
	values := listed(numbers(f.Values), "or")
	switch {
	case f.FollowForks && f.Negated:
		return "neither the process nor an ancestor of it has the id " + values + where
	case f.FollowForks:
		return "the process or an ancestor of it has the id " + values + where
	}
	return "the process' id" + where + " " + isOrNot(f.Negated) + " " + values
}

func namespaceWords(f policy.NamespaceFilter) string {
	values := numbers(f.Values)
	if f.Host {
		values = append(values, "the host's")
	}
	return fmt.Sprintf("the process' %s namespace %s %s", f.Namespace, isOrNot(f.Negated), listed(values, "or"))
}

func capabilityWords(f policy.CapabilityFilter) string {
	has := "has any of"
	if f.Negated {
		has = "has none of"
	}
	return fmt.Sprintf("the process %s %s in its %s set", has, maskWords(f.Mask), strings.ToLower(f.Set.String())) + ownNamespace(f)
}

// sinceExec ends what is said of changes.
const sinceExec = " since it executed its program"

func capabilityChangeWords(f policy.CapabilityFilter) string {
	has := "has gained or lost any of"
	if f.Negated {
		has = "has neither gained nor lost any of"
	}
	return fmt.Sprintf("the process %s %s in its %s set", has, maskWords(f.Mask), strings.ToLower(f.Set.String())) + sinceExec + ownNamespace(f)
}

func namespaceChangeWords(f policy.NamespaceChangeFilter) string {
	var names []string
	for _, n := range f.Namespaces {
		names = append(names, n.String())
	}
	if f.Negated {
		return "the process has not changed its " + listed(names, "or") + " namespace" + sinceExec
	}
	return "the process has changed its " + listed(names, "or") + " namespace" + sinceExec
}

func maskWords(mask uint64) string {
	var names []string
	for n := range 64 {
		if mask&(1<<n) != 0 {
			names = append(names, policy.CapabilityName(n))
		}
	}
	return listed(names, "and")
}

func ownNamespace(f policy.CapabilityFilter) string {
	if f.Namespaced {
		return ", and is in a user namespace of its own"
	}
	return ""
}
