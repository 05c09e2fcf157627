/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_ORIGIN_H
#define BOLTSEAL_ORIGIN_H

#include "task.h"
#include "subject.h"

/*
 * What a process had when it executed its program, or was born a copy of its
 * parent: rules can ask what it has changed since. It is kept only while some
 * policy asks. Then the task iterator takes what processes have that there
 * are already, and so does the first question about one that was missed.
 *
 * Capabilities and the user namespace are those of the process's own
 * credentials: the kernel lends it others for some operations, which are no
 * change of the process's.
 */
struct origin {
	__u64 exec_id; /* the leader's task_exec_id: another one's origin is no longer this */
	__u64 capabilities[CAPABILITY_KINDS];
	__u32 namespaces[NAMESPACE_KINDS];
	__u32 tid; /* without task storage: whose it is, see task_seal_forget */
	__u32 pad;
};

/* By the thread group leader. A hash where there is no task storage, see storage.h. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct origin);
} origins SEC(".maps");

/* What a thread group leader has now. */
static __always_inline void origin_now(struct task_struct *leader, struct origin *o)
{
	const struct cred *cred = BPF_CORE_READ(leader, real_cred);

	o->exec_id = task_exec_id(leader);
	o->tid = BPF_CORE_READ(leader, pid);
	o->pad = 0;
	for (__u32 i = 0; i < CAPABILITY_KINDS; i++)
		o->capabilities[i] = capabilities_of(cred, i);
	for (__u32 i = 0; i < NAMESPACE_KINDS; i++)
		o->namespaces[i] = task_namespace(leader, cred, i);
}

/* Keeps what a thread group leader has now, whatever was kept before. */
static __always_inline void origin_keep(struct task_struct *leader)
{
	struct origin now = {}, *o;

	origin_now(leader, &now);
	o = task_memory_make(&origins, leader, &now);
	if (o)
		*o = now;
	else
		kernel_error(KERR_ORIGIN);
}

/* Whether what is kept is of the program that the leader executes. */
static __always_inline bool origin_holds(const struct origin *o, struct task_struct *leader)
{
	return o->exec_id == task_exec_id(leader) && o->tid == (__u32)BPF_CORE_READ(leader, pid);
}

/* Without task storage the memory of a task that the kernel frees is ours to free. */
static __always_inline void origin_free(struct task_struct *task)
{
	if (!task_storage)
		task_memory_free(&origins, task);
}

#endif
