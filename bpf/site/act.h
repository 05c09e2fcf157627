/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_ACT_H
#define BOLTSEAL_ACT_H

#include "call.h"
#include "filehash.h"
#include "owner.h"
#include "rate.h"
#include "rest.h"

/* What is done about the rules that are left, and what is told of it. */

#define SIGKILL 9

/* Sends a rule's signal to the current process, unless nobody may. */
static __always_inline bool act_signal(const struct evaluation *e, __u8 signal)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (is_aside(e)) {
		kernel_error(KERR_ASIDE);
		return false;
	}
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
		act_signal(e, asked.signal);
	if (!asked.error || !config.denies)
		return;
	if (!e->denied)
		e->error = asked.error;
	e->denied = 1;
}

/* Tells the socket's owner, or forgets it, as a rule says. */
static __always_inline void act_on_sock(__u32 level, const struct site_record *r, __u32 slot, __u8 track, __u8 dim)
{
	if (track)
		sock_track(level, slot, r->event.regs[clamp_index(dim, READS_MAX)], track);
}

/* Makes an event of a rule, or none. */
static __always_inline void act_post(struct evaluation *e, struct site_record *r, __u32 level, const struct act *act,
				     struct policy_counters *counters, __u32 word, __u64 bit)
{
	bool made = act->flags & ACTION_POST;

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
		return;
	r->event.posted.word[word] |= bit;
	if (!made)
		r->event.silent.word[word] |= bit;
	e->posted_any = 1;
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
		} else if (act_signal(e, act->signal)) {
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
		if (is_aside(e)) {
			kernel_error(KERR_ASIDE);
		} else if (!(e->enforce.word[word] & bit)) {
			counters->monitor_notify++;
		} else if (notice_leave(act->notice, act->notice_error, act->notice_signal)) {
			counters->notify++;
			r->event.notified.word[word] |= bit;
		} else {
			/* Nobody will stop the call: the process does not get to it. */
			kernel_error(KERR_NOTICE);
			act_signal(e, SIGKILL);
		}
	}
	if (act->flags & ACTION_NOTICED) {
		if (e->enforce.word[word] & bit)
			act_on_notice(e, act->notice);
		return 0;
	}
	if (act->flags & ACTION_UNNOTIFY && !is_aside(e))
		notice_forget(act->notice);
	if (config.tracks && act->track)
		act_on_sock(level, r, r->event.h.slot, act->track, act->sock);
	if (config.returns && act->flags & ACTION_RETURN) {
		e->pending.word[word] |= bit;
		e->pending_any = 1;
		/* The event has the stacks of the entry, as it has its arguments. */
		e->stacks |= act->flags & (ACTION_KERNEL_STACK | ACTION_USER_STACK);
		return 0;
	}
	act_post(e, r, level, act, counters, word, bit);
	return 0;
}

/*
 * Carries out what a rule that was chosen at a call's entry does when it returns.
 * The bit can be another rule's by now.
 */
__noinline int act_on_returned_rule(__u32 level, __u32 rule)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u32 word = bound_index(rule / 64, RULE_WORDS), policy, key;
	__u64 bit = 1ULL << (rule % 64);
	struct policy_counters *counters;
	struct act *act;

	if (!config.returns)
		return 0;
	key = config.id * RULES_MAX + bound_index(rule, RULES_MAX);
	act = bpf_map_lookup_elem(&acts, &key);
	if (!e || !r || !act || act->since > r->event.version)
		return 0;
	policy = act->policy;
	counters = bpf_map_lookup_elem(&policy_counters, &policy);
	if (!counters)
		return 0;
	if (act->return_signal) {
		if (!(e->enforce.word[word] & bit)) {
			counters->monitor_signal++;
		} else if (act_signal(e, act->return_signal)) {
			counters->signal++;
			r->event.return_signalled.word[word] |= bit;
		}
	}
	if (config.tracks && act->track_return)
		act_on_sock(level, r, r->event.h.slot, act->track_return, act->sock_return);
	act_post(e, r, level, act, counters, word, bit);
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
	e->pending_any = 0;
	e->stacks = 0;
	for (int w = 0; w < RULE_WORDS; w++) {
		e->pending.word[w] = 0;
		r->event.posted.word[w] = 0;
		r->event.signalled.word[w] = 0;
		r->event.overridden.word[w] = 0;
		r->event.notified.word[w] = 0;
		r->event.silent.word[w] = 0;
		r->event.return_signalled.word[w] = 0;
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

/* The same of rules that were chosen at a call's entry, when it returns. */
__noinline int act_on_returns(__u32 level)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u64 word;

	if (!config.returns || !e || !r)
		return -1;
	e->posted_any = 0;
	e->stacks = 0;
	for (int w = 0; w < RULE_WORDS; w++) {
		r->event.posted.word[w] = 0;
		r->event.silent.word[w] = 0;
		r->event.return_signalled.word[w] = 0;
	}
	for (__u32 w = 0; w < RULE_WORDS && w < config.words; w++) {
		word = e->matching.word[w];
		for (int i = 0; i < 64; i++) {
			if (!word)
				break;
			act_on_returned_rule(level, w * 64 + lowest_bit(word));
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
	/* That of the program that has called execve is gone, and that of a bystander says nothing. */
	if ((config.stacks & ACTION_USER_STACK) && (e->stacks & ACTION_USER_STACK) && !executed && !is_aside(e))
		n = bpf_get_stack(ctx, e->trace[1], STACK_MAX * 8, BPF_F_USER_STACK);
	r->event.user_stack = n > 0 ? n : 0;
}

/* Copies the stacks behind the strings; how much of the data is used then. */
static __always_inline __u32 pack_stacks(struct evaluation *e, struct site_record *r, __u32 used)
{
	__u32 len = r->event.kernel_stack;

	bpf_probe_read_kernel(&r->data[clamp_index(used, STRINGS_MAX * STRING_MAX + 1)], bound_index(len, STACK_ROOM), e->trace[0]);
	used += bound_index(len, STACK_ROOM);
	len = r->event.user_stack;
	bpf_probe_read_kernel(&r->data[clamp_index(used, STRINGS_MAX * STRING_MAX + STACK_ROOM + 1)], bound_index(len, STACK_ROOM), e->trace[1]);
	return used + bound_index(len, STACK_ROOM);
}

/* Copies the strings and stacks behind the event; how many bytes they are. */
__noinline int pack_data(__u32 level)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u32 used = 0, len;

	if (!e || !r)
		return 0;
	for (__u32 s = 0; s < STRINGS_MAX; s++) {
		len = r->event.string_len[s];
		if (len >= STRING_MAX || !len)
			continue;
		if (used > TEXTS_BEFORE_LAST)
			break;
		bpf_probe_read_kernel(&r->data[clamp_index(used, TEXTS_BEFORE_LAST + 1)], bound_index(len, STRING_MAX), e->string[s]);
		used += len;
	}
	if (config.stacks)
		used = pack_stacks(e, r, used);
	return used;
}

/* Copies the file's hash behind the rest, if there is one; how much of the data is used then. */
static __always_inline __u32 post_file_hash(struct site_record *r, __u32 used)
{
	struct file_hash *hash = task_memory(&file_hashes, task_current());

	if (!hash || !hash->algorithm)
		return used;
	r->event.file_hash = hash->algorithm;
	bpf_probe_read_kernel(&r->data[clamp_index(used, RECORD_ROOM - FILE_HASH_MAX + 1)], FILE_HASH_MAX, hash->bytes);
	return used + FILE_HASH_MAX;
}

/* Sends the event with what stands behind it. */
__noinline int post_event(__u32 level, __u32 slot)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u32 used = pack_data(level);

	if (!e || !r)
		return -1;
	if (used > RECORD_ROOM - FILE_HASH_MAX)
		used = RECORD_ROOM - FILE_HASH_MAX;
	r->event.file_hash = 0;
	if (config.hashes)
		used = post_file_hash(r, used);
	if (used > RECORD_ROOM)
		used = RECORD_ROOM;
	event_header_init(&r->event.h, EVENT_SITE, sizeof(r->event) + used,
			  (struct task_struct *)bpf_get_current_task(), slot);
	if (is_aside(e))
		event_of_owner(&r->event.h, &e->owner);
	event_output(r, sizeof(r->event) + clamp_index(used, RECORD_ROOM + 1), slot);
	return 0;
}

#endif
