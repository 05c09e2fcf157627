// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// occasion is a hook of a policy on a kernel, of which holes are judged.
type occasion struct {
	policy   *policy.Policy
	hook     policy.Hook
	compiled []compile.Hook
	kernel   Kernel
}

// holesOf are the known ways around a hook, those that apply to it alone.
func holesOf(o occasion) []Hole {
	var found []Hole
	add := func(name, text string, applies bool) {
		if applies {
			found = append(found, Hole{Name: name, Text: text})
		}
	}
	calls := entered(o.hook)
	add("user memory", "another thread of the process can change what a pointer is to, after the rule has compared it and before the kernel "+
		"reads it for itself; security hooks see what the kernel has read",
		o.compares(func(r compile.Read, _ policy.ArgType) bool { return r.User() }))
	add("names of files", "text is compared as the process writes it: a relative path, a symbolic link, \"..\" or /proc/self/root names the "+
		"same file otherwise; security hooks see the file itself", o.comparesNames(calls))
	add("links and mounts", "a hard link or a bind mount gives the same file another path", o.comparesPaths())
	add("path in its file system", "a dentry's path begins at the root of its own file system: where that is mounted is not in it",
		o.compares(func(r compile.Read, _ policy.ArgType) bool { return r.Kind == bpf.WireReadKindREAD_DENTRY }))
	add("io_uring", "what is asked for through io_uring passes no system call; security hooks see it",
		allCalls(o.hook) || slices.ContainsFunc(calls, func(c syscall) bool { return slices.Contains(rings(), c.name) }))
	add("32-bit system calls", "programs can make the system calls of the ABI for 32 bits (int 0x80 on x86-64), which no sys_enter_ event and "+
		"no hook on the 64-bit call sees; hooks on i386/ calls do, and security hooks", o.missesCompat(calls))
	if missing := o.missing(calls); len(missing) > 0 {
		add("other system calls", "nearly the same can be done by "+listed(missing, "or")+", where no enforcing hook of the policy is", true)
	}
	add("descriptor numbers", "another thread can put another file behind a descriptor's number after the rule has compared it",
		len(calls) > 0 && o.compares(func(_ compile.Read, t policy.ArgType) bool { return t == policy.ArgFD }))
	found = append(found, o.signalHoles(calls)...)
	found = append(found, o.hookHoles(calls)...)
	return append(found, o.processHoles()...)
}

// signalHoles are those of rules that only send a signal.
func (o occasion) signalHoles(calls []syscall) []Hole {
	var found []Hole
	name, isSecurity := security(o.hook)
	exec := slices.ContainsFunc(o.compiled, func(h compile.Hook) bool { return h.Site.IsExec() })
	kills := o.rule(func(h compile.Hook, r compile.Rule) bool {
		return (r.Signal == 9 || r.ReturnSignal == 9) && !r.Overrides
	})
	if kills && !exec {
		found = append(found, Hole{Name: "killed, not prevented", Text: "the process dies before it is back in its program, but the call that it made still runs to its end: " +
			"a file opened with O_TRUNC is empty, a packet is sent"})
	}
	opens := isSecurity && name == "file_open" || slices.ContainsFunc(calls, func(c syscall) bool { return opensDescriptor(c.name) })
	if kills && opens {
		found = append(found, Hole{Name: "shared descriptors", Text: "a process that shares the table of descriptors (CLONE_FILES) can use what was opened, before or after the one that opened it is killed"})
	}
	if o.rule(func(_ compile.Hook, r compile.Rule) bool { return onlyIgnorable(r) }) {
		found = append(found, Hole{Name: "signals can be handled", Text: "a process can handle, block or ignore this signal, and the first process of a pid namespace does not get it unless it handles it"})
	}
	return found
}

// onlyIgnorable tells whether a rule sends a signal that a process can ignore, and
// does not make the call fail.
func onlyIgnorable(r compile.Rule) bool {
	ignorable := func(n uint8) bool { return n != 0 && n != 9 && n != 19 }
	return (ignorable(r.Signal) || ignorable(r.ReturnSignal)) && !r.Overrides || ignorable(r.NoticeSignal) && r.NoticeError == 0
}

// hookHoles are those of what some hooks are about.
func (o occasion) hookHoles(calls []syscall) []Hole {
	var found []Hole
	add := func(name, text string, applies bool) {
		if applies {
			found = append(found, Hole{Name: name, Text: text})
		}
	}
	name, isSecurity := security(o.hook)
	at := func(call, hook string) bool {
		return isSecurity && name == hook || slices.ContainsFunc(calls, func(c syscall) bool { return c.name == call })
	}
	add("open descriptors", "what was opened before the policy held, was inherited, or came over a socket is not opened again",
		isSecurity && name == "file_open" || at("openat", "") || at("open", "") || at("openat2", ""))
	exec := slices.ContainsFunc(o.compiled, func(h compile.Hook) bool { return h.Site.IsExec() })
	add("programs by name", "the same program can be executed under another name: from a copy, from memory (memfd), by its dynamic loader; "+
		"and an interpreter runs a script without executing it", exec && o.compares(func(r compile.Read, t policy.ArgType) bool {
		return r.Text() && t.Text()
	}))
	add("not connected", "datagrams are sent without connecting (sendto, sendmsg), and TCP Fast Open connects while it sends",
		at("connect", "socket_connect"))
	return found
}

// rule tells whether some rule of the hook is as asked.
func (o occasion) rule(is func(compile.Hook, compile.Rule) bool) bool {
	for _, h := range o.compiled {
		if slices.ContainsFunc(h.Rules, func(r compile.Rule) bool { return is(h, r) }) {
			return true
		}
	}
	return false
}

// compares tells whether a rule compares a value of some kind; the type is the
// argument's, ArgAuto where the value is none.
func (o occasion) compares(is func(compile.Read, policy.ArgType) bool) bool {
	return o.filter(func(h compile.Hook, f compile.Filter) bool {
		return slices.ContainsFunc(operands(h.Reads[f.Read]), func(r compile.Read) bool {
			t := policy.ArgAuto
			if i := slices.Index(h.Reads[:len(h.Types)], r); i >= 0 {
				t = h.Types[i]
			}
			return is(r, t)
		})
	})
}

func (o occasion) filter(is func(compile.Hook, compile.Filter) bool) bool {
	return o.rule(func(h compile.Hook, r compile.Rule) bool {
		return slices.ContainsFunc(r.Filters, func(f compile.Filter) bool { return is(h, f) })
	})
}

// comparesNames tells whether text that the process wrote is compared with names
// of files.
func (o occasion) comparesNames(calls []syscall) bool {
	return len(calls) > 0 && o.filter(func(h compile.Hook, f compile.Filter) bool {
		kind := h.Reads[f.Read].Whole().Kind
		return (kind == bpf.WireReadKindREAD_USER_STRING || kind == bpf.WireReadKindREAD_USER_SOCKADDR_UN) &&
			slices.ContainsFunc(slices.Concat(f.Strings, f.Substrings), func(s string) bool { return strings.Contains(s, "/") })
	})
}

// comparesPaths tells whether paths are compared, by text or by what the kernel
// knows of a file.
func (o occasion) comparesPaths() bool {
	return o.comparesNames(entered(o.hook)) || o.filter(func(h compile.Hook, f compile.Filter) bool {
		i := slices.Index(h.Reads[:len(h.Types)], h.Reads[f.Read].Whole())
		return i >= 0 && h.Types[i].File() && h.Reads[f.Read].Kind != bpf.WireReadKindREAD_FILE_TYPE
	})
}

// missesCompat tells whether the hook sees 64-bit system calls whose 32-bit
// twins no hook of the policy sees.
func (o occasion) missesCompat(calls []syscall) bool {
	return slices.ContainsFunc(calls, func(c syscall) bool {
		if c.compat {
			return false
		}
		return !slices.ContainsFunc(o.policy.Hooks, func(h policy.Hook) bool {
			return slices.Contains(entered(h), syscall{c.name, true}) || allCalls(h)
		})
	})
}

// missing are the system calls of the same families that no enforcing hook of the
// policy is at, and that the kernel has.
func (o occasion) missing(calls []syscall) []string {
	if !o.hook.Enforces() {
		return nil
	}
	var missing []string
	for _, family := range families() {
		if !slices.ContainsFunc(calls, func(c syscall) bool { return slices.Contains(family, c.name) }) {
			continue
		}
		for _, name := range family {
			if !o.covered(name) && o.has(name) {
				missing = appendNew(missing, name)
			}
		}
	}
	return missing
}

func (o occasion) covered(call string) bool {
	return slices.ContainsFunc(o.policy.Hooks, func(h policy.Hook) bool {
		return h.Enforces() && slices.ContainsFunc(entered(h), func(c syscall) bool { return c.name == call })
	})
}

func (o occasion) has(call string) bool {
	_, _, err := o.kernel.SyscallFunction("sys_" + call)
	return err == nil
}
