// SPDX-License-Identifier: Apache-2.0

package compile

import "strings"

// SiteKind is how a site's program is attached, and what it can do.
type SiteKind uint8

// The kinds of sites.
const (
	// Tracepoint is one of the kernel's event files.
	Tracepoint SiteKind = iota + 1
	// RawTracepoint is the same without the file's record.
	RawTracepoint
	// Kprobe is a function's entry.
	Kprobe
	// KprobeOverride is a function's entry where the call can be left out: the
	// function returns an error instead.
	KprobeOverride
	// ModifyReturn is the same by a trampoline.
	ModifyReturn
	// LSM is a security hook, whose verdict the program has a part in.
	LSM
	// Fentry is a function's entry by a trampoline.
	Fentry
)

// String is the kind as it is shown to users.
func (k SiteKind) String() string {
	switch k {
	case Tracepoint:
		return "tracepoint"
	case RawTracepoint:
		return "raw_tracepoint"
	case Kprobe:
		return "kprobe"
	case KprobeOverride:
		return "kprobe override"
	case ModifyReturn:
		return "fmod_ret"
	case LSM:
		return "lsm"
	case Fentry:
		return "fentry"
	}
	return "unknown"
}

// Denies tells whether a program of the kind can make the operation fail.
func (k SiteKind) Denies() bool { return k == KprobeOverride || k == ModifyReturn || k == LSM }

// Trampoline tells whether programs of the kind can be preempted, and are told
// at load what they are for.
func (k SiteKind) Trampoline() bool { return k == ModifyReturn || k == LSM || k == Fentry }

// Site is one place, or several that one hook names together, where rules apply.
// Sites are equal when one program serves both.
type Site struct {
	Kind SiteKind
	// Subsystem is a tracepoint's.
	Subsystem string
	// Name is the tracepoint's event, the security hook, or the kernel's functions,
	// joined with commas.
	Name string
	// Multi: one attachment serves all functions.
	Multi bool
	// Syscall: the functions are those of system calls, whose arguments are in
	// registers that they are given.
	Syscall bool
	// Exits are the tracepoints, joined with commas, at which the system calls of the
	// functions return; empty where return probes have to do.
	Exits string
}

// Functions are the functions of a site that has some.
func (s Site) Functions() []string { return strings.Split(s.Name, ",") }

// String is the site as it is shown to users.
func (s Site) String() string {
	switch s.Kind {
	case Tracepoint:
		return s.Subsystem + "/" + s.Name
	default:
		return s.Kind.String() + ":" + s.Name
	}
}

// IsExec tells whether the site sees a program being executed: the exec that ends
// a container's set-up is then judged as the workload's. The tracepoint of the
// scheduler counts too, for its programs may run before the one that arms.
func (s Site) IsExec() bool {
	switch s.Kind {
	case Tracepoint:
		return s.Subsystem == syscalls && (s.Name == "sys_enter_execve" || s.Name == "sys_enter_execveat") ||
			s.Subsystem == "sched" && s.Name == "sched_process_exec"
	case RawTracepoint:
		return s.Name == "sched_process_exec"
	case LSM:
		return strings.HasPrefix(s.Name, "bprm_")
	}
	for _, f := range s.Functions() {
		if !strings.HasPrefix(f, "security_bprm_") && !strings.HasSuffix(f, "sys_execve") && !strings.HasSuffix(f, "sys_execveat") {
			return false
		}
	}
	return true
}

// ExitEvents are the tracepoints, of the subsystem "syscalls", at which the calls
// that the site enters return; none where there is no tracepoint for that.
func (s Site) ExitEvents() []string {
	if s.Exits != "" {
		return strings.Split(s.Exits, ",")
	}
	call, ok := strings.CutPrefix(s.Name, "sys_enter_")
	if !ok || s.Kind != Tracepoint || s.Subsystem != syscalls {
		return nil
	}
	return []string{"sys_exit_" + call}
}

// Returns tells whether what cannot be read at the site's entry can be read again
// when the call returns.
func (s Site) Returns() bool {
	return s.Kind == Tracepoint && len(s.ExitEvents()) > 0 || s.Kind == Kprobe && s.Syscall
}

const syscalls = "syscalls"
