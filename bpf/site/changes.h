/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_CHANGES_H
#define BOLTSEAL_CHANGES_H

#include "site.h"
#include "../lib/origin.h"

/* A bit for each namespace that the current task has another of. */
static __always_inline __u64 namespace_changes(struct task_struct *task, const struct origin *o)
{
	const struct cred *cred = BPF_CORE_READ(task, real_cred);
	__u64 changes = 0;
	__u32 now;

	for (__u32 i = 0; i < NAMESPACE_KINDS; i++) {
		now = task_namespace(task, cred, i);
		/* Who is ending has none any more, which is no change. */
		if (now && o->namespaces[i] && now != o->namespaces[i])
			changes |= 1ULL << i;
	}
	return changes;
}

/* A bit for each capability that the current task has gained or lost. */
static __always_inline __u64 capability_changes(struct task_struct *task, const struct origin *o, __u32 which)
{
	__u64 kept = o->capabilities[clamp_index(which, CAPABILITY_KINDS)];

	return capabilities_of(BPF_CORE_READ(task, real_cred), which) ^ kept;
}

/*
 * The origin that the current task's changes are counted from; NULL when there is
 * no room to keep one. A process of which none was kept begins with now, a copy in
 * fresh.
 */
static __always_inline struct origin *process_origin(struct task_struct *leader, struct origin *fresh)
{
	struct origin *o = task_memory(&origins, leader);

	if (!o) {
		origin_now(leader, fresh);
		o = task_memory_make(&origins, leader, fresh);
	}
	if (!o)
		kernel_error(KERR_ORIGIN);
	return o;
}

/*
 * What the current process has changed; -1 when nobody knows. What is done in
 * set-up is the runtime's: the exec that ends it begins the workload's origin. Not
 * the function that goes on to match, for its stack would be under theirs.
 */
__noinline int read_changes(__u32 level, __u32 kind, __u32 which)
{
	struct task_struct *task = task_current(), *leader = follow(task, group_leader);
	struct task_seal *seal = thread_group_seal(task);
	struct evaluation *e = evaluation_get(level);
	struct origin fresh = {}, *o;

	if (!e)
		return -1;
	e->changes = 0;
	if (!leader || (seal && seal->state != TASK_ARMED))
		return 0;
	o = process_origin(leader, &fresh);
	if (!o)
		return -1;
	if (origin_holds(o, leader))
		e->changes = kind == READ_NAMESPACE_CHANGES ? namespace_changes(task, o) : capability_changes(task, o, which);
	else if (programs_preempted)
		origin_keep(leader); /* its exec was missed */
	/* Else it is in its exec, at whose end its origin is kept. */
	return 0;
}

#endif
