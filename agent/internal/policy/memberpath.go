// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxPathNames is how many members a path names at most.
	maxPathNames = 10
	maxPathSteps = 2 * maxPathNames
	maxPathText  = 1024
	// maxPathIndex is more elements than any structure of the kernel holds.
	maxPathIndex = 1<<24 - 1
)

// MemberStep is one step of the path of Arg.Resolve: to a member of a structure, or to
// an element of an array or behind a pointer.
type MemberStep struct {
	// Member is the member's name; empty: the step is to the element Index.
	Member string
	Index  int
}

// ParseMemberPath reads the path of Arg.Resolve: names of members with dots between
// them, and indexes in brackets, "files.fdt.fd[2].f_path.dentry". A dot before a bracket
// is let through.
func ParseMemberPath(text string) ([]MemberStep, error) {
	if len(text) > maxPathText {
		return nil, fmt.Errorf("is %d bytes long, more than %d", len(text), maxPathText)
	}
	var steps []MemberStep
	names := 0
	for i, part := range strings.Split(text, ".") {
		name, indexes, _ := strings.Cut(part, "[")
		switch {
		case part == "":
			return nil, fmt.Errorf("%s has an empty name: write names of members with one dot between them", quote(text))
		case strings.ContainsFunc(name, func(r rune) bool { return !nameRune(r) }):
			return nil, fmt.Errorf("%s: %s is no name of a member", quote(text), quote(name))
		case name != "":
			steps = append(steps, MemberStep{Member: name})
			names++
		case i > 0 && len(steps) == 0:
			return nil, fmt.Errorf("%s has an empty name", quote(text))
		}
		if part == name {
			continue
		}
		elements, err := pathIndexes(indexes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", quote(text), err)
		}
		steps = append(steps, elements...)
	}
	if names > maxPathNames || len(steps) > maxPathSteps {
		return nil, fmt.Errorf("names %d members, more than %d", names, maxPathNames)
	}
	return steps, nil
}

// pathIndexes reads what follows the first bracket: "2]" or "2][1]".
func pathIndexes(text string) (steps []MemberStep, err error) {
	for _, element := range strings.Split(text, "[") {
		digits, rest, closed := strings.Cut(element, "]")
		index, err := strconv.ParseUint(digits, 10, 32)
		switch {
		case !closed || rest != "":
			return nil, fmt.Errorf("%s is no index: write name[2]", quote("["+element))
		case err != nil || index > maxPathIndex:
			return nil, fmt.Errorf("index %s is not from 0 to %d", quote(digits), maxPathIndex)
		}
		steps = append(steps, MemberStep{Index: int(index)})
	}
	return steps, nil
}

// source decodes where an item of data is from.
func (d *decoder) source(v value) Source {
	name, ok := d.text(v)
	if !ok {
		return SourceArg
	}
	for s := SourceTask; s <= SourceRegister; s++ {
		if s.String() == name {
			return s
		}
	}
	d.fault(v, "unknown source %s; there are %s and %s", quote(name), SourceTask, SourceRegister)
	return SourceArg
}

// where is the parts of an argument that say where its value is, which depend on each
// other.
type where struct {
	source, resolve, btfType, module value
}

// keys are those of where.
func (w *where) keys(into map[string]func(value)) map[string]func(value) {
	into["source"] = func(v value) { w.source = v }
	into["resolve"] = func(v value) { w.resolve = v }
	into["btfType"] = func(v value) { w.btfType = v }
	into["btfTypeModule"] = func(v value) { w.module = v }
	return into
}

// place decodes where the value of an argument is. item is the argument, and data tells
// that it is one of data.
func (d *decoder) place(item value, w where, a *Arg, h *Hook, data bool) {
	if given(w.source) && data {
		a.Source = d.source(w.source)
	}
	if given(w.resolve) {
		a.Resolve, _ = d.text(w.resolve)
	}
	if given(w.btfType) {
		a.BTFType = d.typeName(w.btfType)
	}
	if given(w.module) {
		a.BTFModule = d.name(w.module)
	}
	switch {
	case !data && given(w.source):
		d.fault(w.source, "is for items of data; an argument's source is the hook")
	case data && !given(w.source):
		d.fault(item, "source is required: %s or %s", SourceTask, SourceRegister)
	case data && !given(w.resolve):
		d.fault(item, "resolve is required: what to read of the source")
	case a.Source == SourceRegister:
		d.register(w, a, h)
	default:
		d.memberPath(w, a, h)
	}
}

// typeName is the name of a structure.
func (d *decoder) typeName(v value) string {
	s, ok := d.boundedText(v, 1, maxEventName)
	if !ok {
		return ""
	}
	for _, keyword := range []string{"struct ", "union "} {
		if bare, ok := strings.CutPrefix(s, keyword); ok {
			d.fault(v, "write the name alone: %s", quote(bare))
			return ""
		}
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !nameRune(r) }) {
		d.fault(v, "%s is no name of a structure", quote(s))
		return ""
	}
	return s
}

// register checks the name of a register. Which there are is the machine's to say.
func (d *decoder) register(w where, a *Arg, h *Hook) {
	switch {
	case h.Section != Kprobes:
		d.fault(w.source, "%s is for kprobes: what %s hooks are given has no registers", a.Source, h.Section)
	case given(w.btfType), given(w.module):
		d.fault(w.resolve, "a register is no structure: leave btfType out")
	case a.Resolve == "" || strings.ContainsFunc(a.Resolve, func(r rune) bool { return !nameRune(r) }):
		d.fault(w.resolve, "%s is no name of a register", quote(a.Resolve))
	}
}

// memberPath checks where a path begins and how it is written. Whether there are such
// members is the kernel's to say.
func (d *decoder) memberPath(w where, a *Arg, h *Hook) {
	switch {
	case a.BTFModule != "" && a.BTFType == "":
		d.fault(w.module, "needs btfType, the name of the module's structure")
	case a.BTFType != "" && a.Resolve == "":
		d.fault(w.btfType, "needs resolve, the path that begins at the structure")
	case a.Resolve == "":
	case a.Source == SourceTask && a.BTFType != "" && a.BTFType != TaskStruct:
		d.fault(w.btfType, "%s is a %s", a.Source, TaskStruct)
	case a.Source == SourceArg && !d.leads(w.resolve, a, h):
	default:
		if _, err := ParseMemberPath(a.Resolve); err != nil {
			d.fault(w.resolve, "%s", err)
		}
	}
}

// leads tells whether arguments of the hook can be pointers to the kernel's memory.
func (d *decoder) leads(v value, a *Arg, h *Hook) bool {
	record := h.Section == Tracepoints && !h.Raw
	switch {
	case h.Syscall:
		d.fault(v, "arguments of system calls are in the memory of the process: hook the function of the kernel that is given its copy")
	case record && h.Subsystem == "syscalls":
		d.fault(v, "fields of system calls are in the memory of the process: use a raw tracepoint, or a function of the kernel")
	case record && a.BTFType == "":
		d.fault(v, "a record does not tell what its pointers lead to: use raw: true, or name btfType")
	default:
		return true
	}
	return false
}
