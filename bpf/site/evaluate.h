/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_EVALUATE_H
#define BOLTSEAL_EVALUATE_H

#include "site.h"

/* One byte more than any string, so that one of STRING_MAX with its NUL is told from a longer one. */
#define STRING_READ (STRING_MAX + 1)

/*
 * What a bpf_probe_read_*_str of STRING_READ bytes says of the string. Before
 * Linux 6.2 it counts no NUL of a user's string that is empty.
 */
static __always_inline __u32 string_length(long read)
{
	if (read < 0)
		return STRING_UNREADABLE;
	if (!read)
		return 0;
	if (read > STRING_MAX)
		return STRING_TRUNCATED;
	return read - 1;
}

/* Reads characters in the record itself, which have no NUL when they fill their field. */
static __always_inline __u32 read_record(char *string, const void *from, __u32 size)
{
	size++;
	if (size > STRING_READ)
		size = STRING_READ;
	return string_length(bpf_probe_read_kernel_str(string, clamp_index(size, STRING_READ + 1), from));
}

/* Reads one string argument into its buffer; sets its length or why there is none. */
static __always_inline __u32 read_string(struct evaluation *e, const struct arg_config arg, void *ctx, __u64 reg)
{
	char *string = e->string[arg.string];

	if (arg.kind == ARG_USER_STRING)
		return string_length(bpf_probe_read_user_str(string, STRING_READ, (void *)reg));
	if (arg.kind == ARG_KERNEL_STRING)
		return string_length(bpf_probe_read_kernel_str(string, STRING_READ, (void *)reg));
	if (arg.kind == ARG_DATA_LOC)
		return read_record(string, ctx + (reg & 0xffff), reg >> 16 & 0xffff);
	return read_record(string, ctx + arg.offset, arg.size);
}

/* One word of the context; integers are widened as their type says. */
static __always_inline __u64 read_word(const struct arg_config arg, void *ctx)
{
	__u64 word = 0;

	if (arg.kind == ARG_DATA_LOC) {
		bpf_probe_read_kernel(&word, 4, ctx + arg.offset);
		return word;
	}
	if (arg.kind == ARG_INLINE_STRING)
		return 0;
	if (arg.kind != ARG_INT)
		bpf_probe_read_kernel(&word, 8, ctx + arg.offset);
	else if (arg.size == 1)
		bpf_probe_read_kernel(&word, 1, ctx + arg.offset);
	else if (arg.size == 2)
		bpf_probe_read_kernel(&word, 2, ctx + arg.offset);
	else if (arg.size == 4)
		bpf_probe_read_kernel(&word, 4, ctx + arg.offset);
	else
		bpf_probe_read_kernel(&word, 8, ctx + arg.offset);
	if (arg.kind == ARG_INT && arg.is_signed) {
		if (arg.size == 1)
			word = (__s64)(__s8)word;
		else if (arg.size == 2)
			word = (__s64)(__s16)word;
		else if (arg.size == 4)
			word = (__s64)(__s32)word;
	}
	return word;
}

static __always_inline bool is_string(__u8 kind)
{
	return kind > ARG_INT;
}

/* Takes away the rules that an integer does not satisfy. */
static __always_inline void evaluate_int(struct evaluation *e, __u32 level, __u32 dim, __u64 value, bool is_signed)
{
	struct dimension *d = dimension_get(dim);

	if (!d || !d->kinds)
		return;
	if (d->kinds & (1 << MATCH_EXACT)) {
		e->hash.len = sizeof(value);
		e->hash.lane[0] = value;
		for (int l = 1; l < HASH_LANES; l++)
			e->hash.lane[l] = 0;
		match_exact(e, d, dim);
	}
	if (d->kinds & (1 << MATCH_RANGE)) {
		e->number = is_signed ? value ^ (1ULL << 63) : value;
		match_range(level, dim);
	}
}

/* Takes away the rules that a string argument does not satisfy. */
__noinline int evaluate_string(__u32 level, __u32 dim, __u32 string, __u32 len)
{
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);

	if (!e || !d || string >= STRING_ARGS_MAX)
		return -1;
	if (!d->kinds)
		return 0;
	if (len >= STRING_MAX) {
		match_unreadable(e, d);
		return 0;
	}
	e->hash.len = len;
	hash_argument(level, string);
	match_string(e, d, dim, level, string);
	return 0;
}

/*
 * The executed file: its hash was taken at exec. A task of the host carries
 * none, so its file's path is walked, if a rule asks for it.
 */
__noinline int evaluate_binary(__u32 level)
{
	struct task_struct *task = task_current();
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(DIM_BINARY);
	struct task_seal *seal = task_seal(task);
	struct file *file;

	if (!e || !d)
		return -1;
	if (!d->kinds)
		return 0;
	if (seal && seal->state == TASK_ARMED) {
		e->hash = seal->binary;
	} else {
		file = BPF_CORE_READ(task, mm, exe_file);
		path_hash(file ? &file->f_path : NULL, level, &e->hash);
	}
	if (e->hash.len >= STRING_MAX) {
		match_unreadable(e, d);
		return 0;
	}
	if (d->kinds & (1 << MATCH_EXACT))
		match_exact(e, d, DIM_BINARY);
	return 0;
}

/* Sends a rule's signal to the current process, unless nobody may. */
static __always_inline bool act_signal(__u8 signal)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (tgid == 1 || tgid == agent_tgid) {
		kernel_error(KERR_GUARDED);
		return false;
	}
	if (bpf_send_signal(signal)) {
		kernel_error(KERR_SIGNAL);
		return false;
	}
	return true;
}

/* Carries out a matching rule, unless an earlier one of its hook has acted. */
__noinline int act_on_rule(__u32 level, __u32 rule)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = bpf_map_lookup_elem(&site_records, &level);
	__u32 word = bound_index(rule / 64, RULE_WORDS), policy, key;
	__u64 bit = 1ULL << (rule % 64);
	struct policy_counters *counters;
	struct act *act;

	key = config.id * RULES_MAX + bound_index(rule, RULES_MAX);
	act = bpf_map_lookup_elem(&acts, &key);
	if (!e || !r || !act || act->group == e->last_group)
		return 0;
	e->last_group = act->group;
	policy = act->policy;
	counters = bpf_map_lookup_elem(&policy_counters, &policy);
	if (!counters)
		return 0;
	if (act->flags & ACTION_SIGNAL) {
		if (!(e->enforce.word[word] & bit)) {
			counters->monitor_signal++;
		} else if (act_signal(act->signal)) {
			counters->signal++;
			r->event.signalled.word[word] |= bit;
		}
	}
	if (act->flags & ACTION_POST) {
		counters->post++;
		r->event.posted.word[word] |= bit;
		e->posted_any = 1;
	} else {
		counters->nopost++;
	}
	return 0;
}

/* Carries out the rules that are left: of each hook only the first. */
__noinline int act_on_matches(__u32 level)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = bpf_map_lookup_elem(&site_records, &level);
	__u64 word;

	if (!e || !r)
		return -1;
	e->posted_any = 0;
	e->last_group = 0;
	for (int w = 0; w < RULE_WORDS; w++) {
		r->event.posted.word[w] = 0;
		r->event.signalled.word[w] = 0;
	}
	for (__u32 w = 0; w < RULE_WORDS; w++) {
		word = e->matching.word[w];
		for (int i = 0; i < 64; i++) {
			if (!word)
				break;
			act_on_rule(level, w * 64 + lowest_bit(word));
			word &= word - 1;
		}
	}
	return 0;
}

/* Copies the strings behind the event and sends it. */
__noinline int post_event(__u32 level, __u32 slot)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = bpf_map_lookup_elem(&site_records, &level);
	__u32 used = 0, len;

	if (!e || !r)
		return -1;
	for (__u32 s = 0; s < STRING_ARGS_MAX; s++) {
		len = r->event.string_len[s];
		if (len >= STRING_MAX || !len)
			continue;
		if (used > (STRING_ARGS_MAX - 1) * STRING_MAX)
			break;
		bpf_probe_read_kernel(&r->data[clamp_index(used, (STRING_ARGS_MAX - 1) * STRING_MAX + 1)], bound_index(len, STRING_MAX), e->string[s]);
		used += len;
	}
	if (used > STRING_ARGS_MAX * STRING_MAX)
		used = STRING_ARGS_MAX * STRING_MAX;
	event_header_init(&r->event.h, EVENT_SITE, sizeof(r->event) + used,
			  (struct task_struct *)bpf_get_current_task(), slot);
	if (bpf_ringbuf_output(&events, r, sizeof(r->event) + clamp_index(used, STRING_ARGS_MAX * STRING_MAX + 1), 0))
		event_lost(slot);
	return 0;
}

#endif
