// SPDX-License-Identifier: Apache-2.0

// Package seal ties cgroups to containers in the kernel. It owns the base
// programs (bpf/cgroup, bpf/process) and is the only writer of their maps.
//
// A container has a slot. Its cgroups (seals) and its tasks (task storage)
// name the slot; slot.version names the rules in force. Slots are handed out
// before a cgroup exists, so that a change of policies needs to know nothing of
// where a container's life stands: it flips the slot's word.
//
// Cgroup: none -> MAPPED -> ARMED -> removed at rmdir. Task: none, SETUP, HOOK,
// ARMED. What happens when:
//
//	mkdir (v2 only)             expected path: its slot; below a sealed cgroup: that
//	                            one's; looks like a container: a free slot, which
//	                            holds the default set. State MAPPED
//	attach, task has no seal    SETUP, when the destination is sealed
//	attach, task has a seal     keeps it; but SETUP that leaves for an unsealed
//	                            cgroup loses it: a host task would stay exempt
//	fork, parent has a seal     the child copies it
//	fork, no seal, but the      into another cgroup than the parent's, or MAPPED:
//	child's cgroup is sealed    SETUP; else ARMED
//	exec, SETUP or HOOK         by init, once a hook named it: ARMED. All namespaces
//	                            those of the real parent: stays. MAPPED and the
//	                            parent is SETUP or HOOK of the same slot: HOOK
//	                            (exempt only while MAPPED). Else task and slot ARMED,
//	                            and the rules see this very exec
//	exec, no seal, but the      MAPPED: SETUP; ARMED: ARMED
//	cgroup is sealed, or the
//	first process of the pid
//	namespace
//	ARMED                       never leaves
//
// The attach event comes after the migration, so a runtime's task can run in
// the cgroup for some system calls without a seal: that is set-up, which no rule
// is about.
//
// While policies ask what processes have changed (Seals.KeepOrigins), the same
// events record what each process has at its birth and its exec; see
// bpf/lib/origin.h.
//
// The same events tell the agent of processes: see bpf/process/report.h. The task that
// arms a slot is the container's first process; it and what it forks are in its tree,
// what becomes ARMED later by way of SETUP is not. Of tasks that are found in a cgroup
// when it is sealed late, parents tell.
//
// Seals of tasks are in task storage, or, where tracing programs have none (before
// Linux 5.13), in a hash with room for every task that the machine can have
// (Options.TaskRoom); see bpf/lib/storage.h. What is said here holds for both.
//
// A slot is free again when its cgroup is gone and no task carries it: one that
// left for another cgroup keeps being judged by its container's rules.
package seal
