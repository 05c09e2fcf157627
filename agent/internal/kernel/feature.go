// SPDX-License-Identifier: Apache-2.0

package kernel

import "errors"

// Feature names one thing that a kernel may be able to do. The text is shown
// to people and does not change.
type Feature string

// What Probe asks for. The version is the first one of the mainline kernel that
// can have it, on x86-64 unless another architecture is named.
const (
	// BTF is the kernel's description of its own types, from which programs
	// learn its layout. Linux 5.4, CONFIG_DEBUG_INFO_BTF.
	BTF Feature = "btf"
	// ModuleBTF is the same for loaded modules. Linux 5.11,
	// CONFIG_DEBUG_INFO_BTF_MODULES.
	ModuleBTF Feature = "btf_modules"
	// RawTracepointBTF is a program with typed arguments at a tracepoint, which
	// sealing is made of. Linux 5.5.
	RawTracepointBTF Feature = "raw_tracepoint_btf"
	// RawTracepointTestRun is running a raw tracepoint program without its
	// event, by which rules are evaluated on trial. Linux 5.10.
	RawTracepointTestRun Feature = "raw_tracepoint_test_run"
	// TaskStorage is storage that lives and dies with a task, in tracing
	// programs. Linux 5.13; before it hashes stand in for it, see
	// ReplaceTaskStorage.
	TaskStorage Feature = "task_storage"
	// RingBuffer is the BPF ring buffer. Linux 5.8.
	RingBuffer Feature = "ringbuf"
	// TaskIterator is a program that is run for each task. Linux 5.8.
	TaskIterator Feature = "iter_task"
	// CgroupID is bpf_get_current_cgroup_id in tracing programs. Linux 4.18,
	// CONFIG_CGROUPS.
	CgroupID Feature = "cgroup_id"
	// TraceEvents is the list of trace events, see OpenTracefs.
	// CONFIG_EVENT_TRACING.
	TraceEvents Feature = "tracefs"
	// SyscallTracepoints is a program at the entry of one system call. Linux
	// 4.7, CONFIG_FTRACE_SYSCALLS.
	SyscallTracepoints Feature = "syscall_tracepoints"
	// Kprobe is a program at a function of the kernel. Linux 4.17,
	// CONFIG_KPROBE_EVENTS.
	Kprobe Feature = "kprobe"
	// KprobeMulti is one program at many functions at once. Linux 5.18,
	// CONFIG_FPROBE.
	KprobeMulti Feature = "kprobe_multi"
	// Uprobe is a program at an instruction of a binary. Linux 4.17,
	// CONFIG_UPROBE_EVENTS.
	Uprobe Feature = "uprobe"
	// UprobeMulti is one program at many instructions at once. Linux 6.6.
	UprobeMulti Feature = "uprobe_multi"
	// UprobeRefCounter is a probe that raises a counter in the traced process
	// while it is attached. Linux 4.20.
	UprobeRefCounter Feature = "uprobe_refctroff"
	// UprobeRegisters is a uprobe program that changes the process' registers.
	// Linux 6.18.
	UprobeRegisters Feature = "uprobe_regs_change"
	// Fentry is a program called directly by a function of the kernel (a BPF
	// trampoline). Linux 5.5, arm64 6.0.
	Fentry Feature = "fentry"
	// ModifyReturn is a program that denies at a security_ function (fmod_ret),
	// whatever the list of security modules. Linux 5.7, arm64 6.0. Proved by a
	// denial.
	ModifyReturn Feature = "fmodret"
	// ModifyReturnSyscall is the same at a system call. Linux 5.7, with
	// CONFIG_FUNCTION_ERROR_INJECTION. Proved by a denial.
	ModifyReturnSyscall Feature = "fmodret_syscall"
	// OverrideReturn is a kprobe that denies a system call. Linux 4.16,
	// CONFIG_BPF_KPROBE_OVERRIDE. Proved by a denial.
	OverrideReturn Feature = "override_return"
	// LSM is a program that denies at a security hook. Linux 5.7, arm64 6.0,
	// CONFIG_BPF_LSM, and "bpf" among the active security modules. Proved by a
	// denial: without the last such programs attach and are never called.
	LSM Feature = "lsm"
	// FileHash is the hash of a file, as IMA computes it, in a program that may
	// sleep at a security hook. Linux 5.18, CONFIG_IMA. Proved by a hash.
	FileHash Feature = "ima_file_hash"
	// Signal is bpf_send_signal. Linux 5.3. Proved by a kill.
	Signal Feature = "signal"
	// WriteUser is bpf_probe_write_user. Linux 4.8, forbidden by lockdown.
	WriteUser Feature = "probe_write_user"
	// LargePrograms is programs of up to a million instructions. Linux 5.2.
	LargePrograms Feature = "large"
	// BatchUpdate is setting many values of a map in one call. Linux 5.6.
	BatchUpdate Feature = "batch_update"
	// PerfEventLink is the attachment to perf events (trace events, kprobes,
	// uprobes) that can be pinned. Linux 5.15.
	PerfEventLink Feature = "link_pin"
	// BuildID is stack traces by build id of the binary. Linux 4.17.
	BuildID Feature = "buildid"
	// MissedKprobe is the count of calls that a kprobe missed. Linux 6.7.
	MissedKprobe Feature = "missed_stats_kprobe"
	// MissedKprobeMulti is the same for KprobeMulti. Linux 6.7.
	MissedKprobeMulti Feature = "missed_stats_kprobe_multi"
	// LoginUID is the login user id that auditing gives a process. CONFIG_AUDIT.
	LoginUID Feature = "audit_loginuid"
)

// ErrUnsupported is what every UnsupportedError is.
var ErrUnsupported = errors.New("not supported by this kernel")

// ErrNotProbed is the answer for a feature that has not been asked for.
var ErrNotProbed = errors.New("not probed")

// UnsupportedError says that the kernel, as it is built, booted and confined,
// cannot do something.
type UnsupportedError struct {
	// Feature is what was asked for.
	Feature Feature
	// Reason says what was tried and how it ended.
	Reason string
	// Since is the first kernel that can have it: "5.18". It may be empty, and
	// the running kernel may well be newer: then it is built without.
	Since string
}

// Error implements error.
func (e *UnsupportedError) Error() string {
	text := string(e.Feature) + " is not supported by this kernel: " + e.Reason
	if e.Since != "" {
		text += " (Linux " + e.Since + " and later can have it)"
	}
	return text
}

// Is makes every UnsupportedError an ErrUnsupported.
func (e *UnsupportedError) Is(target error) bool { return target == ErrUnsupported }

// Answer is what was found out about a feature.
type Answer struct {
	// Feature is what was asked for.
	Feature Feature
	// Err is nil if the kernel has it, an *UnsupportedError if it has not, and
	// anything else if that could not be told.
	Err error
}

// Features is what a kernel can do. The zero value knows nothing: every
// feature is ErrNotProbed. It is not modified after it was made, and may be
// used concurrently.
type Features struct {
	// Lockdown is the kernel's lockdown mode: "none", "integrity",
	// "confidentiality", or "" where there is none or it cannot be read.
	Lockdown string
	// SecurityModules are the active security modules in order; nil if they
	// cannot be read.
	SecurityModules []string

	answers []Answer
}

// NewFeatures makes Features of known answers, as for a kernel that is not the
// running one. Of two answers for one feature the first counts.
func NewFeatures(answers ...Answer) Features {
	return Features{answers: append([]Answer(nil), answers...)}
}

// Err is nil if the kernel has the feature; see Answer.
func (f Features) Err(feature Feature) error {
	for _, a := range f.answers {
		if a.Feature == feature {
			return a.Err
		}
	}
	return &notProbedError{feature}
}

// Has tells whether the kernel is known to have the feature.
func (f Features) Has(feature Feature) bool { return f.Err(feature) == nil }

// All returns every answer, in a fixed order.
func (f Features) All() []Answer { return append([]Answer(nil), f.answers...) }

// notProbedError is ErrNotProbed with the feature's name.
type notProbedError struct{ feature Feature }

func (e *notProbedError) Error() string { return string(e.feature) + ": " + ErrNotProbed.Error() }
func (e *notProbedError) Unwrap() error { return ErrNotProbed }

// InfoProbes are the answers that clients of the GetInfo call know by name, in
// the order and under the names that they know.
func (f Features) InfoProbes() []Answer {
	known := []Feature{
		OverrideReturn, BuildID, KprobeMulti, UprobeMulti, ModifyReturn, ModifyReturnSyscall,
		Signal, LargePrograms, PerfEventLink, LSM, MissedKprobeMulti, MissedKprobe, BatchUpdate,
		UprobeRefCounter, LoginUID, WriteUser, UprobeRegisters,
	}
	answers := make([]Answer, len(known))
	for i, feature := range known {
		answers[i] = Answer{feature, f.Err(feature)}
	}
	return answers
}
