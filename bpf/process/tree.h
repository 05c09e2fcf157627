/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_TREE_H
#define BOLTSEAL_TREE_H

#include "../lib/task.h"

/*
 * Whether tasks that were there before their seal descend from their container's
 * first process. Of the others it is known from how they entered, see seal_exec.
 */

#define TREE_DEPTH 64 /* ancestors that are looked at */

/* The first process of the outermost pid namespace below the host's that the task is in. */
static __always_inline struct task_struct *container_reaper(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct upid *upid;

	if (!BPF_CORE_READ(pid, level))
		return NULL;
	upid = (void *)pid + bpf_core_field_offset(struct pid, numbers) + bpf_core_type_size(struct upid);
	return BPF_CORE_READ(upid, ns, child_reaper);
}

/* An enum init_tree. What a parent left behind is, when it is reparented to the first process, taken for its own. */
static __always_inline __u32 tree_of(struct task_struct *task, __u32 init_pid)
{
	struct task_struct *first = container_reaper(task), *parent;

	if (!first && !init_pid)
		return INIT_TREE_UNKNOWN;
	task = BPF_CORE_READ(task, group_leader);
	for (int i = 0; i < TREE_DEPTH; i++) {
		if (task == first || (init_pid && (__u32)BPF_CORE_READ(task, pid) == init_pid))
			return INIT_TREE_IN;
		parent = BPF_CORE_READ(task, real_parent, group_leader);
		if (!parent || parent == task)
			return INIT_TREE_OUT;
		task = parent;
	}
	return INIT_TREE_UNKNOWN;
}

#endif
