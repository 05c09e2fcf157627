/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_EVENT_H
#define BOLTSEAL_EVENT_H

#include "ring.h"

static __always_inline void event_header_init(struct event_header *h, __u16 type, __u32 size,
					      struct task_struct *task, __u32 slot)
{
	h->type = type;
	h->pad = 0;
	h->size = size;
	h->ktime = bpf_ktime_get_boot_ns();
	h->tgid = BPF_CORE_READ(task, tgid);
	h->tid = BPF_CORE_READ(task, pid);
	h->start = BPF_CORE_READ(task, group_leader, start_boottime);
	h->slot = slot;
	h->uid = BPF_CORE_READ(task, cred, uid.val);
	h->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

/* Reserves an event that has no variable part; NULL when there is no room in the ring, which is counted. */
#define event_reserve(event, kind, task, slot_id)                                         \
	({                                                                                \
		event = NULL;                                                             \
		if (ring_admits(slot_id, sizeof(*(event))))                               \
			event = bpf_ringbuf_reserve(&events, sizeof(*(event)), 0);        \
		if (event)                                                                \
			event_header_init(&(event)->h, kind, sizeof(*(event)), task, slot_id); \
		else                                                                      \
			event_lost(slot_id);                                              \
		event;                                                                    \
	})

/* The same for what happens to a seal, for which there is room when others have none. */
#define seal_event_reserve(event, kind, task, slot_id)                                    \
	({                                                                                \
		event = bpf_ringbuf_reserve(&events, sizeof(*(event)), 0);                \
		if (event)                                                                \
			event_header_init(&(event)->h, kind, sizeof(*(event)), task, slot_id); \
		else                                                                      \
			event_lost(slot_id);                                              \
		event;                                                                    \
	})

/*
 * Writes an event that is whole; false when there is no room in the ring, which
 * is counted. The verifier of 5.10 forgets the bounds of a number that is kept on the
 * stack meanwhile: bytes is worked out each time, and has its bound in itself.
 */
#define event_output(event, bytes, slot_id)                                               \
	({                                                                                \
		bool written = ring_admits(slot_id, bytes) &&                             \
			       !bpf_ringbuf_output(&events, event, bytes, 0);             \
		if (!written)                                                             \
			event_lost(slot_id);                                              \
		written;                                                                  \
	})

#endif
