/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_RETRY_H
#define BOLTSEAL_RETRY_H

#include "site.h"

/* Arguments of a call whose strings could not be read at its entry. */
struct retry {
	__u32 pending; /* serial of the site whose call it is; 0: none */
	__u32 unreadable; /* this and regs as in the event */
	__u64 regs[READS_MAX];
	__u32 number[STRINGS_MAX]; /* as in the evaluation */
};

/*
 * One call a task at a time, so one record. In task storage the map belongs to
 * the site; as a hash (see storage.h) to all of them, and retry_free empties it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct retry);
} retries SEC(".maps");

/* Too large for the stack. */
const volatile struct retry no_retry;

/* Remembers a call whose string is in memory that is not there yet. */
static __always_inline bool retry_later(const struct evaluation *e, const struct site_record *r)
{
	struct retry *retry = task_memory_make(&retries, task_current(), (const void *)&no_retry);

	if (!retry) {
		kernel_error(KERR_RETRY);
		return false;
	}
	for (int i = 0; i < READS_MAX; i++)
		retry->regs[i] = r->event.regs[i];
	for (int s = 0; s < STRINGS_MAX; s++)
		retry->number[s] = e->number[s];
	retry->unreadable = r->event.unreadable;
	retry->pending = config.serial;
	return true;
}

/* Takes up what retry_later has kept. */
static __always_inline void recall(struct evaluation *e, struct site_record *r, const struct retry *retry)
{
	for (int i = 0; i < READS_MAX; i++)
		r->event.regs[i] = retry->regs[i];
	for (int s = 0; s < STRINGS_MAX; s++)
		e->number[s] = retry->number[s];
	r->event.unreadable = retry->unreadable;
}

#endif
