/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_EVALUATE_H
#define BOLTSEAL_EVALUATE_H

#include "call.h"
#include "owner.h"
#include "read.h"

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

static __always_inline bool is_part(__u8 kind)
{
	return kind >= READ_SOURCE_ADDRESS && kind <= READ_STATE;
}

/* Of the current process: of another one, which the evaluation is about, it cannot be told. */
static __always_inline bool is_of_process(__u8 kind)
{
	return kind == READ_BINARY || kind == READ_BINARY_PATH || kind == READ_NAMESPACE_PID || kind == READ_NAMESPACE ||
	       kind == READ_CAPABILITIES;
}

/* Takes away the rules that what was read at the call's entry, or as it returned, does not satisfy. */
static __always_inline void evaluate_reads(struct evaluation *e, struct site_record *r, __u32 level, bool returned)
{
	for_reads(i) {
		const struct read_config read = config.read[i];

		if (read.string >= STRINGS_MAX || (read.when != READ_WHEN_ENTERED) != returned)
			continue;
		if (is_of_process(read.kind) && is_aside(e))
			evaluate_unreadable(level, i);
		else if (is_text(read.kind))
			evaluate_string(level, i, read.string, r->event.string_len[read.string]);
		else if (read.kind == READ_BINARY)
			evaluate_binary(level, i);
		else if (read.kind == READ_INT || read.kind == READ_SYSCALL)
			evaluate_number(level, i, r->event.regs[i], read.is_signed);
		else if (is_part(read.kind) && r->event.string_len[read.string] == STRING_UNREADABLE)
			evaluate_unreadable(level, i);
		else if (read.kind == READ_SOURCE_ADDRESS || read.kind == READ_TARGET_ADDRESS)
			evaluate_address(level, i, read.string, read.kind == READ_TARGET_ADDRESS);
		else if (read.kind == READ_PID && is_aside(e))
			evaluate_number(level, i, e->owner.tgid, 0);
		else if (read.kind >= READ_SOURCE_PORT)
			evaluate_number(level, i, read_part(e, read), 0);
	}
}

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
static __always_inline void act_post(struct evaluation *e, struct site_record *r, const struct act *act,
				     struct policy_counters *counters, __u32 word, __u64 bit)
{
	if (!(act->flags & ACTION_POST)) {
		counters->nopost++;
		return;
	}
	counters->post++;
	r->event.posted.word[word] |= bit;
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
	if (config.tracks && act->track)
		act_on_sock(level, r, r->event.h.slot, act->track, act->sock);
	if (config.returns && act->flags & ACTION_RETURN) {
		e->pending.word[word] |= bit;
		e->pending_any = 1;
		return 0;
	}
	act_post(e, r, act, counters, word, bit);
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
	act_post(e, r, act, counters, word, bit);
	return 0;
}

/* Carries out the rules that are left: of each hook only the first. */
__noinline int act_on_matches(__u32 level, __u32 returned)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u64 word;

	if (!e || !r)
		return -1;
	e->posted_any = 0;
	e->last_group = 0;
	e->pending_any = 0;
	if (!returned)
		e->denied = 0;
	for (int w = 0; w < RULE_WORDS; w++) {
		r->event.posted.word[w] = 0;
		r->event.return_signalled.word[w] = 0;
		if (returned)
			continue;
		e->pending.word[w] = 0;
		r->event.signalled.word[w] = 0;
		r->event.overridden.word[w] = 0;
		r->event.notified.word[w] = 0;
	}
	for (__u32 w = 0; w < RULE_WORDS && w < config.words; w++) {
		word = e->matching.word[w];
		for (int i = 0; i < 64; i++) {
			if (!word)
				break;
			if (returned)
				act_on_returned_rule(level, w * 64 + lowest_bit(word));
			else
				act_on_rule(level, w * 64 + lowest_bit(word));
			word &= word - 1;
		}
	}
	return 0;
}

/* Copies the strings behind the event; their length. */
__noinline int pack_texts(__u32 level)
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
	return used;
}

/* Makes the owner of a socket the one that an event is about. */
static __always_inline void event_of_owner(struct event_header *h, const struct sock_owner *owner)
{
	h->tgid = owner->tgid;
	h->tid = owner->tid;
	h->start = owner->start;
	h->uid = owner->uid;
	h->cgroup_id = owner->cgroup_id;
}

/* Sends the event with its strings. */
__noinline int post_event(__u32 level, __u32 slot)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u32 used = pack_texts(level);

	if (!e || !r)
		return -1;
	if (used > STRINGS_MAX * STRING_MAX)
		used = STRINGS_MAX * STRING_MAX;
	event_header_init(&r->event.h, EVENT_SITE, sizeof(r->event) + used,
			  (struct task_struct *)bpf_get_current_task(), slot);
	if (is_aside(e))
		event_of_owner(&r->event.h, &e->owner);
	if (bpf_ringbuf_output(&events, r, sizeof(r->event) + clamp_index(used, STRINGS_MAX * STRING_MAX + 1), 0))
		event_lost(slot);
	return 0;
}

#endif
