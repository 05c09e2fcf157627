/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_EVALUATE_H
#define BOLTSEAL_EVALUATE_H

#include "changes.h"
#include "filehash.h"
#include "rate.h"
#include "read.h"
#include "compute.h"
#include "search.h"

/* Takes away the rules that a number does not satisfy. */
__noinline int evaluate_number(__u32 level, __u32 dim, __u64 value, __u32 is_signed)
{
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);
	__u32 kinds;

	if (!e || !d)
		return -1;
	kinds = d->kinds;
	if (kinds & (1 << MATCH_EXACT)) {
		e->hash.len = sizeof(value);
		e->hash.lane[0] = value;
		for (int l = 1; l < HASH_LANES; l++)
			e->hash.lane[l] = 0;
		match_exact(e, d, dim);
	}
	if (kinds & (1 << MATCH_RANGE))
		match_range(level, dim, is_signed ? value ^ (1ULL << 63) : value);
	for (__u32 kind = MATCH_MASK; kind <= MATCH_NOT_MASK; kind++)
		if (kinds & (1 << kind))
			match_mask(level, dim, kind, value);
	return 0;
}

/* Takes away the rules that an address of the structure in a buffer does not satisfy. */
__noinline int evaluate_address(__u32 level, __u32 dim, __u32 string, __u32 target)
{
	struct dimension *d = dimension_get(dim);
	__u32 kinds;

	if (!d)
		return -1;
	kinds = d->kinds;
	for (__u32 kind = MATCH_PREFIX; kind <= MATCH_NOT_PREFIX; kind++)
		if (kinds & (1 << kind))
			match_address(level, dim, kind, string, target);
	return 0;
}

/* Takes away the rules that a text does not satisfy. */
__noinline int evaluate_string(__u32 level, __u32 dim, __u32 string, __u32 len)
{
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);

	if (!e || !d || string >= STRINGS_MAX)
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
__noinline int evaluate_binary(__u32 level, __u32 dim)
{
	struct task_struct *task = task_current();
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);
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
		match_exact(e, d, dim);
	return 0;
}

/* The same of the parent. One that executes nothing, as the kernel's threads, has an empty path. */
__noinline int evaluate_parent_binary(__u32 level, __u32 dim)
{
	struct task_struct *task = task_current();
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);
	struct task_seal *seal = thread_group_seal(task);
	struct file *file;

	if (!e || !d)
		return -1;
	if (!d->kinds)
		return 0;
	if (seal && seal->parent.len) {
		e->hash = seal->parent;
	} else {
		file = BPF_CORE_READ(task, real_parent, mm, exe_file);
		if (file)
			path_hash(&file->f_path, level, &e->hash);
		else
			__builtin_memset(&e->hash, 0, sizeof(e->hash));
	}
	if (e->hash.len >= STRING_MAX) {
		match_unreadable(e, d);
		return 0;
	}
	if (d->kinds & (1 << MATCH_EXACT))
		match_exact(e, d, dim);
	return 0;
}

/* Takes away the rules that have no substring in a text. */
__noinline int evaluate_substrings(__u32 level, __u32 dim, __u32 string, __u32 len)
{
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);

	if (!e || !d || string >= STRINGS_MAX)
		return -1;
	if (!d->kinds)
		return 0;
	if (len >= STRING_MAX) {
		match_unreadable(e, d);
		return 0;
	}
	match_substrings(level, dim, string, len);
	return 0;
}

/* Takes away the rules whose expression is false. */
__noinline int evaluate_expression(__u32 level, __u32 dim, __u32 first, __u32 size)
{
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);

	if (!e || !d)
		return -1;
	if (!d->kinds)
		return 0;
	run_expression(level, first, size);
	if (e->operand_unreadable)
		match_unreadable(e, d);
	else
		evaluate_number(level, dim, e->stack[0], 0);
	return 0;
}

/* A structure that cannot be read, or is not there: its parts are as a text that cannot be read. */
__noinline int evaluate_unreadable(__u32 level, __u32 dim)
{
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);

	if (!e || !d)
		return -1;
	if (d->kinds)
		match_unreadable(e, d);
	return 0;
}

/* Takes away the rules that something computed from other reads does not satisfy. */
static __always_inline void evaluate_computed(const struct site_record *r, __u32 level, __u32 dim,
					      const volatile struct read_config *read)
{
	__u16 mode;

	if (read->kind == READ_FILE_TYPE) {
		mode = r->event.mode[read->string];
		if (mode)
			evaluate_number(level, dim, mode >> 12, 0);
		else
			evaluate_unreadable(level, dim);
	} else if (read->kind == READ_GAINED) {
		if (read->offset >= READS_MAX || read->size >= READS_MAX)
			return;
		if (r->event.unreadable & (1u << read->offset | 1u << read->size))
			evaluate_unreadable(level, dim);
		else
			evaluate_number(level, dim, r->event.regs[read->offset] & ~r->event.regs[read->size], 0);
	} else if (read->kind == READ_EXPRESSION) {
		evaluate_expression(level, dim, read->offset, read->size);
	} else {
		evaluate_substrings(level, dim, read->string, r->event.string_len[read->string]);
	}
}

/* Takes away the rules that what the process has changed does not satisfy. */
static __always_inline void evaluate_changes(struct evaluation *e, __u32 level, __u32 dim, const volatile struct read_config *read)
{
	if (read_changes(level, read->kind, read->offset))
		evaluate_unreadable(level, dim);
	else
		evaluate_number(level, dim, e->changes, 0);
}

static __always_inline bool is_part(__u8 kind)
{
	return (kind >= READ_SOURCE_ADDRESS && kind <= READ_STATE) || kind == READ_UNIX_FAMILY || kind == READ_USER_UNIX_FAMILY;
}

/* A number that is neither an argument's own word nor a text. */
static __always_inline bool is_number(__u8 kind)
{
	return (kind >= READ_SOURCE_PORT && kind <= READ_LINEAGE) || kind == READ_UNIX_FAMILY || kind == READ_USER_UNIX_FAMILY;
}

static __always_inline void evaluate_reads(struct evaluation *e, struct site_record *r, __u32 level)
{
	for_reads(i) {
		const volatile struct read_config *read = &config.read[i];

		if (read->string >= STRINGS_MAX)
			continue;
		if ((config.chain[i].from || read->kind == READ_CAPABILITY_SET) && r->event.unreadable & (1u << i))
			evaluate_unreadable(level, i);
		else if (is_text(read->kind))
			evaluate_string(level, i, read->string, r->event.string_len[read->string]);
		else if (read->kind == READ_BINARY)
			evaluate_binary(level, i);
		else if (read->kind == READ_PARENT_BINARY)
			evaluate_parent_binary(level, i);
		else if (read->kind == READ_INT || read->kind == READ_SYSCALL)
			evaluate_number(level, i, r->event.regs[i], read->is_signed);
		else if (read->kind == READ_CAPABILITY_SET)
			evaluate_number(level, i, r->event.regs[i], 0);
		else if (is_part(read->kind) && r->event.string_len[read->string] == STRING_UNREADABLE)
			evaluate_unreadable(level, i);
		else if (read->kind == READ_SOURCE_ADDRESS || read->kind == READ_TARGET_ADDRESS)
			evaluate_address(level, i, read->string, read->kind == READ_TARGET_ADDRESS);
		else if (is_computed(read->kind))
			evaluate_computed(r, level, i, read);
		else if (read->kind == READ_NAMESPACE_CHANGES || read->kind == READ_CAPABILITY_CHANGES)
			evaluate_changes(e, level, i, read);
		else if (is_number(read->kind))
			evaluate_number(level, i, read_part(e, r, read), 0);
	}
}

#define SIGKILL 9

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

/* Carries out what a rule of the same policy has asked for at the call's entry. */
static __always_inline void act_on_notice(struct evaluation *e, __u32 by)
{
	struct notice asked;

	if (!notice_take(by, &asked))
		return;
	if (asked.signal)
		act_signal(asked.signal);
	if (!asked.error || !config.denies)
		return;
	if (!e->denied)
		e->error = asked.error;
	e->denied = 1;
}

/* Carries out a matching rule, unless an earlier one of its hook has acted. */
__noinline int act_on_rule(__u32 level, __u32 rule)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u32 word = bound_index(rule / 64, RULE_WORDS), policy, key;
	__u64 bit = 1ULL << (rule % 64);
	struct policy_counters *counters;
	struct act *act;
	bool made;

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
	if (act->flags & ACTION_OVERRIDE) {
		if (!(e->enforce.word[word] & bit)) {
			counters->monitor_override++;
		} else if (config.denies) {
			counters->override++;
			r->event.overridden.word[word] |= bit;
			/* Of several rules the first one's error is returned. */
			if (!e->denied)
				e->error = act->error;
			e->denied = 1;
		}
	}
	if (act->flags & ACTION_NOTIFY) {
		if (!(e->enforce.word[word] & bit)) {
			counters->monitor_notify++;
		} else if (notice_leave(act->notice, act->notice_error, act->notice_signal)) {
			counters->notify++;
			r->event.notified.word[word] |= bit;
		} else {
			/* Nobody will stop the call: the process does not get to it. */
			kernel_error(KERR_NOTICE);
			act_signal(SIGKILL);
		}
	}
	if (act->flags & ACTION_NOTICED) {
		if (e->enforce.word[word] & bit)
			act_on_notice(e, act->notice);
		return 0;
	}
	if (act->flags & ACTION_UNNOTIFY)
		notice_forget(act->notice);
	made = act->flags & ACTION_POST;
	if (!made) {
		counters->nopost++;
	} else if (act->rate_seconds &&
		   rate_exceeded(level, act->rate, act->rate_scope, act->rate_seconds, act->rate_reads)) {
		counters->limited++;
		made = false;
	} else {
		counters->post++;
		e->stacks |= act->flags & (ACTION_KERNEL_STACK | ACTION_USER_STACK);
	}
	if (!made && !(act->flags & ACTION_REMOTE))
		return 0;
	r->event.posted.word[word] |= bit;
	if (!made)
		r->event.silent.word[word] |= bit;
	e->posted_any = 1;
	return 0;
}

/* Carries out the rules that are left: of each hook only the first. */
__noinline int act_on_matches(__u32 level)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u64 word;

	if (!e || !r)
		return -1;
	e->posted_any = 0;
	e->last_group = 0;
	e->denied = 0;
	e->stacks = 0;
	for (int w = 0; w < RULE_WORDS; w++) {
		r->event.posted.word[w] = 0;
		r->event.signalled.word[w] = 0;
		r->event.overridden.word[w] = 0;
		r->event.notified.word[w] = 0;
		r->event.silent.word[w] = 0;
	}
	for (__u32 w = 0; w < RULE_WORDS && w < config.words; w++) {
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

/* Whether a rule that is left asks for the file's hash. */
__noinline int file_hash_asked(__u32 level)
{
	struct evaluation *e = evaluation_get(level);
	struct act *act;
	__u32 key, asked = 0;
	__u64 word;

	if (!config.hashes || !e)
		return 0;
	for (__u32 w = 0; w < RULE_WORDS && w < config.words; w++) {
		word = e->matching.word[w];
		for (int i = 0; i < 64; i++) {
			if (!word)
				break;
			key = config.id * RULES_MAX + bound_index(w * 64 + lowest_bit(word), RULES_MAX);
			act = bpf_map_lookup_elem(&acts, &key);
			if (act)
				asked |= act->flags & ACTION_FILE_HASH;
			word &= word - 1;
		}
	}
	return asked;
}

/* Takes the stacks that events ask for; where there is none its length is 0. */
static __always_inline void take_stacks(void *ctx, struct evaluation *e, struct site_record *r, bool executed)
{
	long n = 0;

	if ((config.stacks & ACTION_KERNEL_STACK) && (e->stacks & ACTION_KERNEL_STACK))
		n = bpf_get_stack(ctx, e->trace[0], STACK_MAX * 8, 0);
	r->event.kernel_stack = n > 0 ? n : 0;
	n = 0;
	/* That of the program that has called execve is gone. */
	if ((config.stacks & ACTION_USER_STACK) && (e->stacks & ACTION_USER_STACK) && !executed)
		n = bpf_get_stack(ctx, e->trace[1], STACK_MAX * 8, BPF_F_USER_STACK);
	r->event.user_stack = n > 0 ? n : 0;
}

/* Copies the stacks behind the strings; how much of the data is used then. */
static __always_inline __u32 post_stacks(struct evaluation *e, struct site_record *r, __u32 used)
{
	__u32 len = r->event.kernel_stack;

	bpf_probe_read_kernel(&r->data[clamp_index(used, STRINGS_MAX * STRING_MAX + 1)], bound_index(len, STACK_ROOM), e->trace[0]);
	used += bound_index(len, STACK_ROOM);
	len = r->event.user_stack;
	bpf_probe_read_kernel(&r->data[clamp_index(used, STRINGS_MAX * STRING_MAX + STACK_ROOM + 1)], bound_index(len, STACK_ROOM), e->trace[1]);
	return used + bound_index(len, STACK_ROOM);
}

/* The same for the file's hash, if there is one. */
static __always_inline __u32 post_file_hash(struct site_record *r, __u32 used)
{
	struct file_hash *hash = task_memory(&file_hashes, task_current());

	if (!hash || !hash->algorithm)
		return used;
	r->event.file_hash = hash->algorithm;
	bpf_probe_read_kernel(&r->data[clamp_index(used, RECORD_ROOM - FILE_HASH_MAX + 1)], FILE_HASH_MAX, hash->bytes);
	return used + FILE_HASH_MAX;
}

/*
 * Sends some of the bytes of an argument that the event has no room for; returns
 * how many. Its own function so that it is verified once.
 */
__noinline int post_chunk(__u32 level, __u32 slot, __u32 string, __u64 from, __u32 offset)
{
	struct site_record *r = record_get(level);
	struct event_data *d;
	__u32 size, n;

	if (!config.has_rest || !r || string >= STRINGS_MAX)
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
	if (!r->event.data)
		r->event.data = d->h.ktime;
	d->id = r->event.data;
	d->string = string;
	d->offset = offset;
	d->len = n;
	d->pad = 0;
	if (bpf_ringbuf_output(&events, d, sizeof(*d) + clamp_index(n, DATA_CHUNK + 1), 0)) {
		event_lost(slot);
		return 0;
	}
	return n;
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

/* Sends, before the event, what it has no room for. */
static __always_inline void post_rests(struct site_record *r, __u32 level, __u32 slot)
{
	r->event.data = 0;
	if (!config.has_rest)
		return;
	for_reads(i) {
		const volatile struct read_config *read = &config.read[i];

		if (read->rest)
			post_rest(level, slot, read->string, r->event.regs[i], read->kind == READ_USER_BYTES);
	}
}

/* Copies the strings behind the event and sends it. */
__noinline int post_event(__u32 level, __u32 slot)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u32 used = 0, len;

	if (!e || !r)
		return -1;
	for (__u32 s = 0; s < STRINGS_MAX; s++) {
		len = r->event.string_len[s];
		if (len >= STRING_MAX || !len)
			continue;
		if (used > (STRINGS_MAX - 1) * STRING_MAX)
			break;
		bpf_probe_read_kernel(&r->data[clamp_index(used, (STRINGS_MAX - 1) * STRING_MAX + 1)], bound_index(len, STRING_MAX), e->string[s]);
		used += len;
	}
	if (used > STRINGS_MAX * STRING_MAX)
		used = STRINGS_MAX * STRING_MAX;
	if (config.stacks)
		used = post_stacks(e, r, used);
	r->event.file_hash = 0;
	if (config.hashes)
		used = post_file_hash(r, used);
	if (used > RECORD_ROOM)
		used = RECORD_ROOM;
	event_header_init(&r->event.h, EVENT_SITE, sizeof(r->event) + used,
			  (struct task_struct *)bpf_get_current_task(), slot);
	if (bpf_ringbuf_output(&events, r, sizeof(r->event) + clamp_index(used, RECORD_ROOM + 1), 0))
		event_lost(slot);
	return 0;
}

#endif
