/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_RATE_H
#define BOLTSEAL_RATE_H

#include "owner.h"
#include "read.h"

/* Bytes of a text or structure by which events are told apart. */
#define RATE_BYTES 40
#define RATE_WORDS (RATE_BYTES / 8)

/* Full: the kernel forgets the one that was used least, and its next event is made. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, RATES_MAX);
	__type(key, struct rate_key);
	__type(value, struct rated);
} rates SEC(".maps");

/* Adds the beginning of a text or structure to the hash in hand; its words have positions of their own. */
__noinline int rate_buffer(__u32 level, __u32 string, __u32 position)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u32 len, left;
	__u64 word;

	if (!e || !r || string >= STRINGS_MAX)
		return -1;
	string = clamp_index(string, STRINGS_MAX);
	position = bound_index(position, 256);
	len = r->event.string_len[string];
	left = len < RATE_BYTES ? len : RATE_BYTES;
	if (len >= STRING_MAX)
		left = 0;
	hash_word(e->hash.lane, len >= STRING_MAX ? len : left, position);
	for (__u32 i = 0; i < RATE_WORDS; i++) {
		if (!left)
			break;
		word = *(const __u64 *)&e->string[string][i * 8];
		if (left < 8)
			word = word_head(word, left);
		hash_word(e->hash.lane, word, position + 1 + i);
		left -= left < 8 ? left : 8;
	}
	return 0;
}

/* Puts the values of a rule's arguments into the key in hand: of those reads that have a bit. */
__noinline int rate_values(__u32 level, __u32 reads)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);

	keep_argument(reads);
	if (!config.limits || !e || !r)
		return -1;
	for_reads(i) {
		const struct read_config read = config.read[i];

		if (!(reads & 1u << i))
			continue;
		if (takes_buffer(read.kind))
			rate_buffer(level, read.string, 1 + i * (RATE_WORDS + 1));
		else
			hash_word(e->hash.lane, r->event.regs[i], 1 + i * (RATE_WORDS + 1));
	}
	hash_word(e->hash.lane, r->event.unreadable & reads, 1 + READS_MAX * (RATE_WORDS + 1));
	return 0;
}

/* Begins the key in hand with who shares the rate, and their start, for numbers are given again. */
__noinline int rate_subject(__u32 level, __u32 scope)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct evaluation *e = evaluation_get(level);
	__u64 id = bpf_get_current_pid_tgid(), start = 0;

	keep_argument(scope);
	if (!config.limits || !e)
		return -1;
	if (scope == RATE_GLOBAL) {
		id = 0;
	} else if (is_aside(e)) {
		start = e->owner.start;
		id = scope == RATE_PROCESS ? e->owner.tgid : e->owner.tid;
	} else if (scope == RATE_PROCESS) {
		start = BPF_CORE_READ(task, group_leader, start_boottime);
		id >>= 32;
	} else {
		start = BPF_CORE_READ(task, start_boottime);
	}
	e->rate.who = id;
	for (int l = 0; l < HASH_LANES; l++)
		e->hash.lane[l] = 0;
	hash_word(e->hash.lane, start, 0);
	return 0;
}

#define SECOND_NS 1000000000ULL

/* Whether an event with the key in hand was made not long ago. If not, this one is made. */
__noinline int rate_key_exceeded(__u32 level, __u32 rate, __u32 seconds)
{
	struct evaluation *e = evaluation_get(level);
	struct rated *before, *now;
	struct rate_key *key;
	__u64 made;

	keep_argument(rate);
	keep_argument(seconds);
	if (!config.limits || !e)
		return 0;
	key = &e->rate;
	now = &e->rated;
	key->rate = rate;
	for (int l = 0; l < HASH_LANES; l++)
		key->lane[l] = e->hash.lane[l];
	now->made = bpf_ktime_get_boot_ns();
	now->check = now->made ^ key->lane[0];
	before = bpf_map_lookup_elem(&rates, key);
	if (before) {
		made = *(volatile __u64 *)&before->made;
		if ((made ^ key->lane[0]) == *(volatile __u64 *)&before->check && now->made - made < seconds * SECOND_NS)
			return 1;
	}
	bpf_map_update_elem(&rates, key, now, BPF_ANY);
	return 0;
}

/* Whether an event like this one was made not long ago. The stack of Linux 5.10 has no room for all at once. */
static __always_inline int rate_exceeded(__u32 level, __u32 rate, __u32 scope, __u32 seconds, __u32 reads)
{
	rate_subject(level, scope);
	rate_values(level, reads);
	return rate_key_exceeded(level, rate, seconds);
}

#endif
