// SPDX-License-Identifier: Apache-2.0

package described

import (
	"strings"

	"github.com/boltseal/boltseal/agent/internal/attach"
	"github.com/boltseal/boltseal/agent/internal/kernel"
)

// release is what is known of a kernel however it is booted.
type release struct {
	name string
	// column is the kernel's in the table of abilities.
	column    int
	preempted attach.Preempted
}

func releases() []release {
	return []release{
		{name: "5.10", column: 0},
		{name: "6.1", column: 1, preempted: attach.Preempted{Trampolines: true}},
		{name: "6.12", column: 2, preempted: attach.Preempted{Trampolines: true}},
		{name: "7", column: 3, preempted: attach.Preempted{Trampolines: true, RawTracepoints: true, SyscallTracepoints: true}},
		{name: "6.12-inject", column: 4},
	}
}

// features are the probes' answers.
func (r release) features(bpf bool) kernel.Features {
	var answers []kernel.Answer
	for _, row := range abilities() {
		answer := kernel.Answer{Feature: row.feature}
		switch strings.Fields(row.kernels)[r.column] {
		case "no":
			answer.Err = &kernel.UnsupportedError{Feature: row.feature, Reason: row.without, Since: row.since}
		case "lsm":
			if !bpf {
				answer.Err = &kernel.UnsupportedError{Feature: row.feature, Reason: row.without, Since: row.since}
			}
		}
		answers = append(answers, answer)
	}
	f := kernel.NewFeatures(answers...)
	f.Lockdown, f.SecurityModules = "none", []string{"lockdown", "yama", "apparmor"}
	if bpf {
		f.SecurityModules = append(f.SecurityModules, "bpf")
	}
	return f
}

// ability is a feature that not all described kernels have, or may not have:
// one cell for each, and why those that lack it do.
type ability struct {
	feature                 kernel.Feature
	kernels, without, since string
}

func abilities() []ability {
	const (
		all        = "yes yes yes yes yes"
		unbuilt    = "Debian builds its kernels without CONFIG_BPF_KPROBE_OVERRIDE"
		unmodified = "system calls are no functions whose results programs may modify there"
		noFprobe   = "it is too old, or built without CONFIG_FPROBE"
		old        = "it is too old"
	)
	return []ability{
		// feature, "5.10 6.1 6.12 7 6.12-inject", why not, since
		{kernel.BTF, all, "", ""},
		{kernel.ModuleBTF, "no yes yes yes no", "it is too old, or has no modules", "5.11"},
		{kernel.RawTracepointBTF, all, "", ""},
		{kernel.RawTracepointTestRun, all, "", ""},
		{kernel.TaskStorage, "no yes yes yes yes", old, "5.13"},
		{kernel.RingBuffer, all, "", ""},
		{kernel.TaskIterator, all, "", ""},
		{kernel.CgroupID, all, "", ""},
		{kernel.TraceEvents, all, "", ""},
		{kernel.SyscallTracepoints, all, "", ""},
		{kernel.Kprobe, all, "", ""},
		{kernel.KprobeMulti, "no no yes yes yes", noFprobe, "5.18"},
		{kernel.Uprobe, all, "", ""},
		{kernel.UprobeMulti, "no no yes yes yes", old, "6.6"},
		{kernel.UprobeRefCounter, all, "", ""},
		{kernel.UprobeRegisters, "no no no yes no", old, "6.18"},
		{kernel.Fentry, all, "", ""},
		{kernel.ModifyReturn, all, "", ""},
		{kernel.ModifyReturnSyscall, "no no no yes yes", unmodified, "5.7"},
		{kernel.OverrideReturn, "no no no no yes", unbuilt, "4.16"},
		{kernel.LSM, "lsm lsm lsm lsm lsm", "bpf is not among the active security modules: boot with bpf in lsm=", "5.7"},
		{kernel.FileHash, "no lsm lsm lsm lsm", "it is too old, or bpf is not among the active security modules: boot with bpf in lsm=", "5.18"},
		{kernel.Signal, all, "", ""},
		{kernel.WriteUser, all, "", ""},
		{kernel.LargePrograms, all, "", ""},
		{kernel.BatchUpdate, all, "", ""},
		{kernel.PerfEventLink, "no yes yes yes yes", old, "5.15"},
		{kernel.BuildID, all, "", ""},
		{kernel.MissedKprobe, "no no yes yes yes", old, "6.7"},
		{kernel.MissedKprobeMulti, "no no yes yes yes", old, "6.7"},
		{kernel.LoginUID, all, "", ""},
	}
}
