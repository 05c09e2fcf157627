// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// argNames are what the arguments are called: by the policy, or else by the kernel.
func argNames(h policy.Hook, k Kernel) []string {
	var known []string
	switch {
	case h.Section == policy.Tracepoints && h.Raw:
		p, _ := k.RawTracepoint(h.Event) // what is missing is told as a refusal
		known = paramNames(p)
	case h.Section == policy.Tracepoints:
		fields, _ := k.Tracepoint(h.Subsystem, h.Event)
		for _, f := range fields {
			known = append(known, f.Name)
		}
	case h.Section == policy.LSMHooks:
		p, _ := k.Hook(h.Calls[0])
		known = paramNames(p)
	case !h.Syscall && len(h.Calls) == 1:
		p, _ := k.Function(h.Calls[0])
		known = paramNames(p)
	}
	names := make([]string, len(h.Args))
	for i, a := range h.Args {
		switch {
		case a.Label != "":
			names[i] = a.Label
		case a.Source != policy.SourceArg:
			names[i] = placeWords(a)
		case int(a.Index) < len(known) && known[a.Index] != "":
			names[i] = known[a.Index] + resolvedWords(a)
		default:
			names[i] = fmt.Sprintf("argument %d", a.Index) + resolvedWords(a)
		}
	}
	return names
}

func paramNames(p compile.Prototype) []string {
	var names []string
	for _, param := range p.Params {
		names = append(names, param.Name)
	}
	return names
}

// resolvedWords is what of an argument is read, as what follows its name.
func resolvedWords(a policy.Arg) string {
	if a.Resolve == "" {
		return ""
	}
	return "'s " + a.Resolve
}

func readWords(name string, a policy.Arg) string {
	text := name
	if place := placeWords(a); place != name {
		text += " (" + place + ")"
	}
	if a.Type == policy.ArgNop {
		return text + " is not looked at"
	}
	text += " as " + a.Type.String()
	if a.Elements > 0 {
		text += fmt.Sprintf(" of %d", a.Elements)
	}
	switch {
	case a.SizeArg > 0 && a.Type == policy.ArgIovec:
		text += fmt.Sprintf(", as many as argument %d says", a.SizeArg-1)
	case a.SizeArg > 0:
		text += fmt.Sprintf(", as long as argument %d says", a.SizeArg-1)
	}
	if a.MaxData {
		text += fmt.Sprintf(", in events up to %d bytes of it", policy.MaxDataBytes)
	}
	if a.ReturnCopy {
		text += ", as it is when the function returns"
	}
	return text
}

// placeWords is where a value is.
func placeWords(a policy.Arg) string {
	switch a.Source {
	case policy.SourceTask:
		return "the current task's " + a.Resolve
	case policy.SourceRegister:
		return "the register " + a.Resolve
	}
	text := fmt.Sprintf("index %d", a.Index)
	if a.BTFType != "" {
		text += ", taken for " + a.BTFType
	}
	if a.BTFModule != "" {
		text += " of the module " + a.BTFModule
	}
	if a.Resolve != "" {
		text += ": its " + a.Resolve
	}
	return text
}
