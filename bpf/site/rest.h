/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_REST_H
#define BOLTSEAL_REST_H

#include "owner.h"
#include "value.h"

/*
 * Sends some of the bytes of an argument that the event has no room for; returns
 * how many. Its own function so that it is verified once.
 */
__noinline int post_chunk(__u32 level, __u32 slot, __u32 string, __u64 from, __u32 offset)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	struct event_data *d;
	__u32 size, n;

	if (!config.has_rest || !e || !r || string >= STRINGS_MAX)
		return 0;
	size = r->event.mode[clamp_index(string, STRINGS_MAX)];
	if (size > DATA_MAX)
		size = DATA_MAX;
	if (offset >= size)
		return 0;
	n = size - offset < DATA_CHUNK ? size - offset : DATA_CHUNK;
	/* The event's own strings come here when all of these are sent. */
	d = (void *)r->data;
	if (read_memory(d + 1, clamp_index(n, DATA_CHUNK + 1), from, r->rest_of_user))
		return 0;
	event_header_init(&d->h, EVENT_DATA, sizeof(*d) + n, (struct task_struct *)bpf_get_current_task(), slot);
	if (is_aside(e))
		event_of_owner(&d->h, &e->owner);
	if (!r->event.data)
		r->event.data = d->h.ktime;
	d->id = r->event.data;
	d->string = string;
	d->offset = offset;
	d->len = n;
	d->pad = 0;
	return event_output(d, sizeof(*d) + clamp_index(n, DATA_CHUNK + 1), slot) ? n : 0;
}

#define DATA_CHUNKS (DATA_MAX / DATA_CHUNK + 1)

/* Sends the bytes of an argument that the event has no room for. */
__noinline int post_rest(__u32 level, __u32 slot, __u32 string, __u64 pointer, __u32 user)
{
	struct site_record *r = record_get(level);
	__u32 offset = STRING_MAX - 1;
	int n;

	if (!config.has_rest || !r || string >= STRINGS_MAX)
		return -1;
	if (r->event.string_len[clamp_index(string, STRINGS_MAX)] >= STRING_MAX)
		return 0;
	r->rest_of_user = user;
	for (int i = 0; i < DATA_CHUNKS; i++) {
		n = post_chunk(level, slot, string, pointer + offset, offset);
		if (n <= 0)
			break;
		offset += n;
	}
	return 0;
}

/* Sends, before the event, what it has no room for of what was read at the call's entry, or as it returned. */
static __always_inline void post_rests(struct site_record *r, __u32 level, __u32 slot, bool returned)
{
	if (!config.has_rest)
		return;
	for_reads(i) {
		const volatile struct read_config *read = &config.read[i];

		if (read->rest && (read->when != READ_WHEN_ENTERED) == returned)
			post_rest(level, slot, read->string, r->event.regs[i], read->kind == READ_USER_BYTES);
	}
}

#endif
