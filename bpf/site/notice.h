/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_NOTICE_H
#define BOLTSEAL_NOTICE_H

#include "site.h"

/*
 * What rules with the action NotifyEnforcer leave for the sites of their policy's
 * enforcers, at which the same call of the same task comes by next. Each policy
 * that has enforcers has a bit. A notice is done once; what no enforcer was
 * asked for is forgotten where the task's next call could leave another.
 */
struct notice {
	__s32 error;
	__u32 signal;
};

struct notices {
	__u64 pending; /* bit per policy */
	struct notice by[NOTICES_MAX];
};

/* A hash where there is no task storage, see storage.h; retry_free empties it. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct notices);
} notices SEC(".maps");

/* Too large for the stack. */
const volatile struct notices no_notices;

static __always_inline __u64 notices_pending(void)
{
	struct notices *n = task_memory(&notices, task_current());

	return n ? n->pending : 0;
}

static __always_inline void notices_forget(void)
{
	struct notices *n = task_memory(&notices, task_current());

	if (n)
		n->pending = 0;
}

/* Leaves a notice; false when there is no memory for it. */
static __always_inline bool notice_leave(__u32 by, __s32 error, __u32 signal)
{
	struct notices *n = task_memory_make(&notices, task_current(), (const void *)&no_notices);

	by = bound_index(by, NOTICES_MAX);
	if (!n)
		return false;
	n->by[by].error = error;
	n->by[by].signal = signal;
	n->pending |= 1ULL << by;
	return true;
}

/* Takes a policy's notice away, and copies what it asks for. */
static __always_inline bool notice_take(__u32 by, struct notice *asked)
{
	struct notices *n = task_memory(&notices, task_current());

	by = bound_index(by, NOTICES_MAX);
	if (!n || !(n->pending & 1ULL << by))
		return false;
	*asked = n->by[by];
	n->pending &= ~(1ULL << by);
	return true;
}

/* Takes a policy's notice back, so that nobody does what it asks for. */
static __always_inline void notice_forget(__u32 by)
{
	struct notices *n = task_memory(&notices, task_current());

	if (n)
		n->pending &= ~(1ULL << bound_index(by, NOTICES_MAX));
}

#endif
