/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_RING_H
#define BOLTSEAL_RING_H

#include "maps.h"

/*
 * Who may write to the ring, so that a container that floods it loses its own
 * events and not those of others. By how much of the ring is in use:
 *
 *   up to a quarter         everybody writes; nothing is looked up
 *   up to three quarters    a slot writes no more than it leaves room for, so
 *                           that one alone has a quarter, the second an eighth
 *   up to fifteen sixteenths a slot writes a thousandth of the ring, or one event
 *   the rest                is for what happens to seals: the agent's own truth
 *
 * What a slot has written beyond the first quarter counts until the agent has
 * read another quarter of the ring: while it reads, everybody's share comes anew.
 */

/* Size of the ring; set by the agent. */
const volatile __u64 ring_bytes;

#define RING_RECORD_HEADER 8 /* BPF_RINGBUF_HDR_SZ */

/* Whether a slot may use so much of the ring that then so much is in use. */
static __always_inline bool ring_share(__u32 slot, __u64 size, __u64 used)
{
	__u64 most = ring_bytes / 4 * 3, share = ring_bytes / 1024, epoch;
	struct ring_use *use;

	if (used > ring_bytes / 16 * 15)
		return false;
	use = bpf_map_lookup_elem(&ring_uses, &slot);
	if (!use)
		return false;
	epoch = bpf_ringbuf_query(&events, BPF_RB_CONS_POS) / (ring_bytes / 4) + 1;
	/* Of two CPUs that begin an epoch at once, what one has added can be forgotten. */
	if (use->epoch != epoch) {
		use->epoch = epoch;
		use->bytes = 0;
	}
	if (used < most && most - used > share)
		share = most - used;
	if (use->bytes && use->bytes + size > share)
		return false;
	__sync_fetch_and_add(&use->bytes, size);
	return true;
}

/* Whether an event of a slot may be written; its own function so that it takes no stack of its callers. */
__noinline int ring_admits(__u32 slot, __u32 size)
{
	__u64 used;

	size += RING_RECORD_HEADER;
	used = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) + size;
	return used <= ring_bytes / 4 || ring_share(slot, size, used);
}

static __always_inline void event_lost(__u32 slot)
{
	struct ring_use *use = bpf_map_lookup_elem(&ring_uses, &slot);

	kernel_error(KERR_RING_FULL);
	if (use)
		__sync_fetch_and_add(&use->lost, 1);
}

#endif
