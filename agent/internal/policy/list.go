// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// listPrefix begins the name of a list where that of a call could stand.
	listPrefix = "list:"

	maxLists    = 1024
	maxListName = 256
)

// list is an item of spec.lists.
type list struct {
	// syscalls: the list's type says that its values are system calls.
	syscalls bool
	values   []string
	// generated: the values are the kernel's, see [Generated].
	generated bool
	// broken: the list has faults of its own, and what refers to it is not at fault.
	broken bool
}

func (d *decoder) decodeLists(v value) {
	d.names.lists = map[string]list{}
	d.list(v, maxLists, func(item value) {
		var name, values, pattern value
		var l list
		before := len(d.faults)
		typed := true
		d.object(item, shape{
			known: map[string]func(value){
				"name":      func(v value) { name = v },
				"type":      func(v value) { typed = d.listType(v, &l) },
				"values":    func(v value) { values = v },
				"pattern":   func(v value) { pattern = v },
				"validated": func(v value) { d.boolean(v) },
			},
			required: []string{"name"},
		})
		var g Generated
		switch {
		case !typed:
		case l.generated:
			g = d.generatedList(item, values, pattern, l.syscalls)
		default:
			if given(pattern) {
				d.fault(pattern, "is for lists whose type begins with generated_")
			}
			l.values = d.listValues(item, values, l.syscalls)
		}
		if name.node == nil {
			return
		}
		text, ok := d.boundedText(name, 1, maxListName)
		if !ok {
			return
		}
		if _, twice := d.names.lists[text]; twice {
			d.fault(name, "list %s is given twice", quote(text))
			return
		}
		l.broken = len(d.faults) != before
		d.names.lists[text] = l
		if g.Name = text; l.generated && !l.broken {
			d.generated = append(d.generated, g)
		}
	})
}

// listType takes the type of a list; it is false when there is no such type.
func (d *decoder) listType(v value, l *list) bool {
	name, ok := d.text(v)
	switch {
	case !ok:
		return false
	case name == "":
	case name == "syscalls":
		l.syscalls = true
	case name == "generated_syscalls":
		l.syscalls, l.generated = true, true
	case name == "generated_ftrace":
		l.generated = true
	default:
		d.fault(v, "unknown type %s", quote(name))
		return false
	}
	return true
}

func (d *decoder) listValues(item, values value, syscalls bool) []string {
	var all []string
	if values.node == nil {
		d.fault(item, "values is required")
		return nil
	}
	if d.list(values, MaxValues, func(v value) {
		s, ok := d.text(v)
		if !ok {
			return
		}
		name, reason := callName(s, syscalls || strings.Contains(s, "/"))
		if reason != "" {
			d.fault(v, "%s", reason)
			return
		}
		all = append(all, name)
	}) && len(values.node.Content) == 0 {
		d.fault(values, "has no value")
	}
	all = unique(all)
	d.checkMixture(values, all)
	return all
}

// checkMixture refuses a list of both system calls and functions, whose hooks
// would find their arguments in different places.
func (d *decoder) checkMixture(v value, names []string) {
	var function, syscall string
	for _, name := range names {
		if looksSyscall(name) {
			syscall = name
		} else {
			function = name
		}
	}
	if function != "" && syscall != "" {
		d.fault(v, "mixes functions (%s) and system calls (%s): use a list for each", quote(function), quote(syscall))
	}
}

// unique is the texts without those that came before.
func unique(all []string) []string {
	seen := make(map[string]bool, len(all))
	return slices.DeleteFunc(all, func(s string) bool {
		before := seen[s]
		seen[s] = true
		return before
	})
}

// listed is the list of that name; nil when it is missing, has faults, or expands
// the text too far. The first and the last are reported at v.
func (d *decoder) listed(v value, name string) *list {
	l, ok := d.names.lists[name]
	switch {
	case !ok:
		d.fault(v, "there is no list %s in spec.lists", quote(name))
	case !l.broken && d.expand(v, l):
		return &l
	}
	return nil
}

// expand counts what a list stands for where it is named: as with an alias, that
// is much more than its name.
func (d *decoder) expand(v value, l list) bool {
	if d.exhausted() {
		return false
	}
	if d.steps += len(l.values); d.exhausted() {
		d.fault(v, "lists expand the text to more than %d nodes", MaxNodes)
		return false
	}
	return true
}

// listedCalls are the values of a list as what a hook is at.
func (d *decoder) listedCalls(v value, name string, syscall bool) []string {
	l := d.listed(v, name)
	switch {
	case l == nil:
		return nil
	case l.syscalls && !syscall:
		d.fault(v, "list %s is of system calls, and the hook is none: leave syscall out", quote(name))
		return nil
	}
	calls, reason := callNames(l.values, syscall)
	if reason != "" {
		d.fault(v, "list %s: %s", quote(name), reason)
	}
	return calls
}

// callNames are the names of functions or system calls as Hook.Calls has them.
func callNames(names []string, syscall bool) (calls []string, reason string) {
	calls = make([]string, 0, len(names))
	for _, s := range names {
		call, reason := callName(s, syscall)
		if reason != "" {
			return nil, reason
		}
		calls = append(calls, call)
	}
	return unique(calls), ""
}

// looksSyscall tells whether a name is one that only system calls have.
func looksSyscall(s string) bool { return strings.Contains(s, "/") || strings.HasPrefix(s, "sys_") }

// callName is the name of a function or a system call as Hook.Calls has it, or
// the reason why it is none.
func callName(s string, syscall bool) (name, reason string) {
	switch {
	case s == "":
		return "", "is empty"
	case len(s) > maxEventName:
		return "", fmt.Sprintf("is %d bytes long, more than %d", len(s), maxEventName)
	case syscall:
		return syscallName(s)
	case !functionName(s):
		return "", quote(s) + " is no function: it has characters other than letters, digits, _ and ."
	}
	return s, ""
}

func functionName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !nameRune(r) && r != '.' })
}

// syscallName takes the names of the language and the symbols that the kernel has
// for them.
func syscallName(s string) (name, reason string) {
	if known, ok := symbolABI(s); ok {
		s = known
	}
	abi, bare, with := strings.Cut(s, "/")
	if !with {
		abi, bare = "", s
	}
	switch {
	case with && !slices.Contains([]string{"x64", "i386", "arm64", "arm32"}, abi):
		return "", fmt.Sprintf("%s has an unknown ABI; there are x64, i386, arm64, arm32", quote(s))
	case !strings.HasPrefix(bare, "sys_") || bare == "sys_":
		return "", quote(s) + " is no system call: those are written sys_name; a function needs syscall: false"
	case !functionName(bare) || strings.Contains(bare, "."):
		return "", quote(s) + " is no system call: it has characters other than letters, digits and _"
	}
	return s, ""
}

// symbolABI turns the kernel's own name of a system call's function into the
// language's: "__x64_sys_open" into "x64/sys_open".
func symbolABI(s string) (string, bool) {
	for _, symbol := range []struct{ prefix, abi string }{
		{"__x64_sys_", "x64"}, {"__ia32_sys_", "i386"}, {"__ia32_compat_sys_", "i386"},
		{"__arm64_sys_", "arm64"}, {"__arm64_compat_sys_", "arm32"},
	} {
		if bare, ok := strings.CutPrefix(s, symbol.prefix); ok && bare != "" {
			return symbol.abi + "/sys_" + bare, true
		}
	}
	return "", false
}

// enforcers are the calls at which NotifyEnforcer is done.
func (d *decoder) decodeEnforcers(v value) []string {
	var calls []string
	d.list(v, 1, func(item value) {
		d.object(item, shape{
			known: map[string]func(value){
				"calls": func(v value) {
					if d.list(v, MaxValues, func(call value) { calls = append(calls, d.enforcerCall(call)...) }) &&
						len(v.node.Content) == 0 {
						d.fault(v, "has no call")
					}
				},
			},
			required: []string{"calls"},
		})
	})
	return unique(calls)
}

func (d *decoder) enforcerCall(v value) []string {
	s, ok := d.text(v)
	if !ok {
		return nil
	}
	names := []string{s}
	if name, ok := strings.CutPrefix(s, listPrefix); ok {
		l := d.listed(v, name)
		switch {
		case l == nil:
			return nil
		case l.generated:
			d.enforcerLists = append(d.enforcerLists, name)
			return nil
		}
		names = l.values
	}
	calls, reason := enforcerNames(names)
	if reason != "" {
		d.fault(v, "%s", reason)
	}
	return calls
}

// enforcerNames are names as Policy.Enforcers has them, or the reason why one of
// them is none of what enforcers can be at.
func enforcerNames(names []string) (calls []string, reason string) {
	for _, name := range names {
		_, symbol := symbolABI(name)
		syscall := symbol || looksSyscall(name)
		call, reason := callName(name, syscall)
		if reason == "" && !syscall && !strings.HasPrefix(name, "security_") {
			reason = quote(name) + " is neither a system call nor a function that begins with security_"
		}
		if reason != "" {
			return nil, reason
		}
		calls = append(calls, call)
	}
	return calls, ""
}
