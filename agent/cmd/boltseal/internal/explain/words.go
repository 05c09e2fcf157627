// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// maxListed is how many values of a list are told.
const maxListed = 8

// listed joins values, the first of them where there are many.
func listed(values []string, joiner string) string {
	if len(values) <= maxListed {
		return join(values, joiner)
	}
	return strings.Join(values[:maxListed], ", ") + fmt.Sprintf(" %s %d more", joiner, len(values)-maxListed)
}

func join(values []string, joiner string) string {
	if len(values) < 2 {
		return strings.Join(values, "")
	}
	last := len(values) - 1
	return strings.Join(values[:last], ", ") + " " + joiner + " " + values[last]
}

func quoted(values []string) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		out = append(out, strconv.Quote(v))
	}
	return out
}

// when is a hook's occasion.
func when(h policy.Hook) string {
	switch h.Section {
	case policy.Tracepoints:
		return eventWords(h)
	case policy.LSMHooks:
		return "the kernel asks the security hook " + strings.Join(h.Calls, ", ")
	}
	if len(h.Calls) == 0 {
		return "what the list " + h.List + " stands for is called"
	}
	text := callsWords(h.Calls)
	if h.List != "" {
		text += fmt.Sprintf(" (list %s)", h.List)
	}
	return text
}

func eventWords(h policy.Hook) string {
	switch call, enters := strings.CutPrefix(h.Event, "sys_enter_"); {
	case h.Raw:
		return "the kernel comes to the raw tracepoint " + h.Event
	case h.Subsystem == "syscalls" && enters:
		return "a process enters the system call " + call
	case h.Subsystem == "syscalls":
		return "a process leaves the system call " + strings.TrimPrefix(h.Event, "sys_exit_")
	}
	return "the kernel comes to the event " + h.Subsystem + "/" + h.Event
}

// callsWords is system calls and functions that are called, those of a kind together.
func callsWords(calls []string) string {
	var kinds []string
	names := map[string][]string{}
	for _, call := range calls {
		kind, name := callKind(call)
		kinds = appendNew(kinds, kind)
		names[kind] = append(names[kind], name)
	}
	for i, kind := range kinds {
		kinds[i] = kind + " " + listed(names[kind], "or")
	}
	return join(kinds, "or")
}

func callKind(call string) (kind, name string) {
	abi, rest, named := strings.Cut(call, "/")
	if !named {
		rest = call
	}
	short, isCall := strings.CutPrefix(rest, "sys_")
	switch {
	case !isCall:
		return "the kernel calls", call
	case named && (abi == "i386" || abi == "arm32"):
		return "a process enters the 32-bit system call", short
	}
	return "a process enters the system call", short
}

// mechanism is how a hook is there.
func mechanism(s compile.Site) string {
	switch s.Kind {
	case compile.Tracepoint:
		return "a program at the event " + s.String()
	case compile.RawTracepoint:
		return "a program at the raw tracepoint " + s.Name
	case compile.Kprobe:
		switch several := len(s.Functions()) > 1; {
		case s.Multi:
			return "one kprobe at all of " + functions(s)
		case several:
			return "a kprobe at each of " + functions(s)
		}
		return "a kprobe at " + functions(s)
	case compile.KprobeOverride:
		return "a kprobe at " + functions(s) + " that can override its result (error injection)"
	case compile.ModifyReturn:
		return "an fmod_ret program at " + functions(s)
	case compile.LSM:
		return "a BPF LSM program at the security hook " + s.Name
	case compile.Fentry:
		return "an fentry program at " + functions(s)
	}
	return s.String()
}

func functions(s compile.Site) string { return listed(s.Functions(), "and") }
