/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_TASK_H
#define BOLTSEAL_TASK_H

#include "event.h"
#include "storage.h"

/*
 * Seals of tasks. A task gets one when it enters a sealed cgroup, passes it
 * to its children and keeps it wherever it moves. The states and the events
 * that change them are listed in agent/internal/seal.
 */

static __always_inline struct task_seal *task_seal(struct task_struct *task)
{
	struct task_seal *seal = task_memory(&task_seals, task);

	return seal && seal->uses > 0 ? seal : NULL;
}

/* Migration names only the thread group leader; other threads fall back to it. */
static __always_inline struct task_seal *thread_group_seal(struct task_struct *task)
{
	struct task_seal *seal = task_seal(task);
	struct task_struct *leader;

	if (seal)
		return seal;
	leader = follow(task, group_leader);
	return leader ? task_seal(leader) : NULL;
}

#define PF_EXITING 0x00000004 /* include/linux/sched.h */

/* Counts the programs that a task has executed, and that those did whose copy it is. */
static __always_inline __u64 task_exec_id(struct task_struct *task)
{
	return BPF_CORE_READ(task, self_exec_id);
}

static __always_inline struct task_seal *task_seal_make(struct task_struct *task, const struct task_seal *init)
{
	struct task_seal value = *init, *seal;

	value.uses = 0;
	value.tid = BPF_CORE_READ(task, pid);
	if (!value.exec_id) /* else it is the parent's, who can have missed one */
		value.exec_id = task_exec_id(task);
	seal = task_memory_make(&task_seals, task, &value);
	if (!seal || seal->uses > 0)
		return seal;
	/* New, or one that was dropped: neither counts as a seal before it has uses. */
	seal->slot = value.slot;
	seal->state = value.state;
	seal->exec_id = value.exec_id;
	seal->binary = value.binary;
	seal->parent = value.parent;
	seal->tree = value.tree;
	return seal;
}

/*
 * Takes back the uses that are counted. Each is added to or taken from slot
 * and seal alike, so that what others count or take back meanwhile is left to
 * the next who drops, task_seal_free being the last.
 */
static __always_inline void task_seal_drop(struct task_struct *task)
{
	struct task_seal *seal = task_memory(&task_seals, task);
	struct slot *slot;
	__s32 uses;

	if (!seal)
		return;
	uses = seal->uses;
	slot = slot_get(seal->slot);
	if (!uses || !slot)
		return;
	__sync_fetch_and_add(&slot->tasks, -(__s64)uses);
	__sync_fetch_and_add(&seal->uses, -uses);
}

/* The kernel frees the task, which no program can find any more. */
static __always_inline void task_seal_free(struct task_struct *task)
{
	task_seal_drop(task);
	if (!task_storage)
		task_memory_free(&task_seals, task);
}

/*
 * Without task storage: what a new task finds at its address is another one's
 * should the deletion at that one's end have been refused. The task iterator
 * can have sealed the new one already.
 */
static __always_inline void task_seal_forget(struct task_struct *child)
{
	struct task_seal *seal;

	if (task_storage)
		return;
	seal = task_memory(&task_seals, child);
	if (seal && seal->tid != BPF_CORE_READ(child, pid))
		task_seal_free(child);
}

/*
 * Seals a task. Storage can fail to be allocated all the same (seen once in
 * 480,000 forks): then hooks must find the task by its cgroup, and the agent
 * is told to kill it, for without its seal it could leave.
 */
static __always_inline void task_seal_set(struct task_struct *task, const struct task_seal *init)
{
	struct event_header *event;
	struct task_seal *seal;
	struct slot *slot, *host;

	/*
	 * The task iterator can have been here between a child's birth and its
	 * fork event: a seal is set once. A task whose end has begun, also a
	 * zombie that somebody moves, would be counted for ever.
	 */
	if (task_seal(task) || BPF_CORE_READ(task, flags) & PF_EXITING)
		return;
	seal = task_seal_make(task, init);
	if (!seal) {
		kernel_error(KERR_TASK_SEAL);
		host = slot_get(SLOT_HOST);
		if (host)
			host->init_pid = 1; /* hooks look for unsealed tasks from now on */
		event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
		if (!event) {
			event_lost(init->slot);
			return;
		}
		event_header_init(event, EVENT_TASK_UNSEALED, sizeof(*event), task, init->slot);
		bpf_ringbuf_submit(event, 0);
		return;
	}
	slot = slot_get(seal->slot);
	if (!slot)
		return;
	/* Of two at once one finds the other's seal: both count, and both are taken back at the task's end. */
	__sync_fetch_and_add(&seal->uses, 1);
	__sync_fetch_and_add(&slot->tasks, 1);
	if (!slot->first_task_ns)
		slot->first_task_ns = bpf_ktime_get_boot_ns();
	/*
	 * It has ended meanwhile. One that has been dropped at its end but has
	 * no exit_state yet is left to task_seal_free.
	 */
	if (BPF_CORE_READ(task, exit_state))
		task_seal_drop(task);
}

static __always_inline struct cgroup_seal *cgroup_seal_by_id(__u64 id)
{
	return bpf_map_lookup_elem(&seals, &id);
}

/*
 * Ancestors that are searched: a cgroup has no seal of its own when it was made
 * before its container was sealed, or when the seals were full.
 */
#define CGROUP_DEPTH 128

/*
 * Seal of a cgroup or, when the map had no room for it, of the nearest
 * ancestor that has one.
 */
static __always_inline struct cgroup_seal *cgroup_seal(struct cgroup *cgroup)
{
	struct cgroup_seal *seal;

	for (int i = 0; i < CGROUP_DEPTH; i++) {
		if (!cgroup)
			break;
		seal = cgroup_seal_by_id(BPF_CORE_READ(cgroup, kn, id));
		if (seal)
			return seal;
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	}
	return NULL;
}

static __always_inline struct cgroup *task_cgroup(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp);
}

static __always_inline bool same_namespaces(struct task_struct *a, struct task_struct *b)
{
	struct nsproxy *x = BPF_CORE_READ(a, nsproxy);
	struct nsproxy *y = BPF_CORE_READ(b, nsproxy);

	if (x == y)
		return x != NULL;
	if (!x || !y) /* exiting: a runtime that is gone */
		return false;
	return BPF_CORE_READ(x, mnt_ns) == BPF_CORE_READ(y, mnt_ns) &&
	       BPF_CORE_READ(x, pid_ns_for_children) == BPF_CORE_READ(y, pid_ns_for_children) &&
	       BPF_CORE_READ(x, net_ns) == BPF_CORE_READ(y, net_ns) &&
	       BPF_CORE_READ(x, uts_ns) == BPF_CORE_READ(y, uts_ns) &&
	       BPF_CORE_READ(x, ipc_ns) == BPF_CORE_READ(y, ipc_ns) &&
	       BPF_CORE_READ(x, cgroup_ns) == BPF_CORE_READ(y, cgroup_ns);
}

/*
 * State of a task in set-up once it has executed a program. The runtime's
 * init executes itself and createContainer hooks in its own namespaces; the
 * workload is executed in others than the runtime's. A container without
 * namespaces of its own has only its init pid to tell, which the
 * createRuntime hook names; after that hook init executes nothing but the
 * entrypoint.
 */
static __always_inline __u32 state_after_exec(struct task_struct *task, const struct task_seal *seal,
					      const struct slot *slot)
{
	struct task_struct *parent = follow(task, real_parent);
	struct task_seal *parents;

	if (seal->state == TASK_ARMED)
		return TASK_ARMED;
	if (slot->state == SLOT_MAPPED && slot->init_pid && slot->init_pid == (__u32)BPF_CORE_READ(task, tgid))
		return TASK_ARMED;
	if (!parent)
		return TASK_ARMED;
	if (same_namespaces(task, parent))
		return seal->state;
	if (slot->state == SLOT_MAPPED) {
		parents = thread_group_seal(parent);
		if (parents && parents->slot == seal->slot && parents->state != TASK_ARMED)
			return TASK_HOOK;
	}
	return TASK_ARMED;
}

/* Whether policies of the seal's slot apply to the task now. */
static __always_inline bool task_exempt(const struct task_seal *seal, const struct slot *slot)
{
	if (seal->state == TASK_HOOK)
		return slot->state == SLOT_MAPPED;
	return seal->state == TASK_SETUP;
}

#endif
