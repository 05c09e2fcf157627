/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_ENTER_H
#define BOLTSEAL_ENTER_H

#include "act.h"
#include "evaluate.h"
#include "retry.h"

#define EAGAIN 11
#define EFAULT 14

/* When the strings are read. */
enum reading {
	READ_AT_ENTRY,
	READ_AT_EXIT, /* what entry could not read */
	READ_AT_EXEC, /* the same, for execve that succeeded: its memory is gone, the kernel has the name */
};

/* Whom the rules are about, and which. */
struct subject {
	__u32 slot;
	__u32 version;
	__u32 aside; /* enum aside */
	__u64 sock;  /* whose owner they are, if they are */
};

/*
 * The slot of a task without a seal: the host's, unless sealing one failed once. A
 * worker of io_uring without a seal is one whose thread group leader has ended.
 */
static __always_inline __u32 unsealed_slot(struct task_struct *task)
{
	struct slot *host = slot_get(SLOT_HOST);
	struct cgroup_seal *seal;

	if ((!host || !host->init_pid) && !(BPF_CORE_READ(task, flags) & PF_IO_WORKER))
		return SLOT_HOST;
	seal = cgroup_seal(task_cgroup(task));
	return seal ? seal->slot : SLOT_HOST;
}

/* The rules that apply to the current task here, NULL when none do. */
static __always_inline struct set_rules *rules_for(struct subject *subject)
{
	struct task_struct *task = task_current();
	/* Workers of io_uring are threads that no fork event has told of. */
	struct task_seal *seal = thread_group_seal(task);
	struct set_key key = { .site = config.id };
	struct set_rules *rules;
	struct slot *slot;

	subject->slot = seal ? seal->slot : unsealed_slot(task);
	slot = slot_get(subject->slot);
	if (!slot || !slot->version)
		return NULL;
	key.version = subject->version = slot->version;
	rules = bpf_map_lookup_elem(&set_rules, &key);
	if (rules)
		seal_catch_up(task, seal);
	if (!rules || !seal || !task_exempt(seal, slot))
		return rules;
	/* The exec that ends set-up is the workload's first act. */
	if (config.is_exec && state_after_exec(task, seal, slot) == TASK_ARMED)
		return rules;
	return NULL;
}

/* Where the words are that the site reads: the context, or registers that it points to. */
static __always_inline void *site_context(void *ctx)
{
	void *regs = NULL;

	if (!config.indirect)
		return ctx;
	bpf_probe_read_kernel(&regs, sizeof(regs), ctx + config.regs_offset);
	return regs;
}

/*
 * The rules of the process whose socket something is done to on nobody's behalf.
 * Without such a socket the current task's rules apply.
 */
static __always_inline struct set_rules *rules_at(void *ctx, struct subject *subject)
{
	struct set_key key = { .site = config.id };
	struct slot *slot;
	__u64 word = 0;
	int owner;

	if (!config.sock_kind || in_own_context(ctx))
		return rules_for(subject);
	bpf_probe_read_kernel(&word, sizeof(word), site_context(ctx) + config.sock_offset);
	subject->sock = sock_of(word, config.sock_kind == READ_SOCKET);
	owner = sock_owner_slot(subject->sock);
	subject->aside = owner < 0 ? ASIDE_UNKNOWN : ASIDE_OWNED;
	if (owner < 0)
		return rules_for(subject);
	subject->slot = owner;
	slot = slot_get(subject->slot);
	if (!slot || !slot->version)
		return NULL;
	key.version = subject->version = slot->version;
	return bpf_map_lookup_elem(&set_rules, &key);
}

/* Follows the chain of a read, and keeps its word in the record. */
static __always_inline void read_chain(void *ctx, void *context, const volatile struct read_config *read, struct evaluation *e,
				       struct site_record *r, __u32 level, int i)
{
	__u64 start = 0;

	if (config.chain[i].from == CHAIN_TASK)
		start = is_aside(e) ? 0 : bpf_get_current_task(); /* nobody tells where its owner's is */
	else if (config.chain[i].from == CHAIN_REGISTER)
		bpf_probe_read_kernel(&start, sizeof(start), ctx + read->offset);
	else
		bpf_probe_read_kernel(&start, sizeof(start), context + read->offset);
	if (chain_follow(level, i, start)) {
		r->event.unreadable |= 1u << i;
		r->event.regs[i] = 0;
		return;
	}
	r->event.unreadable &= ~(1u << i);
	r->event.regs[i] = e->word;
}

/*
 * Reads the words of the site. When the call returns the ones of entry stand, but
 * for addresses of what may be gone: the task has its own there again.
 */
static __always_inline void read_words(void *ctx, void *context, struct evaluation *e, struct site_record *r,
				       __u32 level, enum reading reading)
{
	if (reading == READ_AT_ENTRY)
		r->event.unreadable = 0;
	for_reads(i) {
		const volatile struct read_config *read = &config.read[i];

		if (config.chain[i].from) {
			if (reading == READ_AT_ENTRY || (config.chain[i].from == CHAIN_TASK && takes_buffer(read->kind)))
				read_chain(ctx, context, read, e, r, level, i);
		} else if (reading == READ_AT_ENTRY) {
			r->event.regs[i] = in_context(read->kind) && read->when != READ_RESULT ? read_word(read, context) : 0;
		}
		if (reading == READ_AT_ENTRY && read->kind == READ_CAPABILITY_SET && read->when == READ_WHEN_ENTERED)
			follow_word(level, i);
		/* The room of a buffer, until it is read. */
		if (read->when == READ_RETURNED && read->string < STRINGS_MAX)
			r->event.mode[read->string] = read_number(context, read, e, reading == READ_AT_ENTRY);
	}
}

/*
 * Reads what the site reads; true when some of it is in user memory that cannot be
 * read. Its own function so that its stack is not below that of evaluations.
 */
static __noinline bool read_all(void *ctx, __u32 level, enum reading reading, const char *exec_name)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	void *context = ctx;
	bool unreadable = false;
	__u32 len, number;

	if (!e || !r)
		return false;
	if (reading == READ_AT_ENTRY)
		context = site_context(ctx);
	else if (reading == READ_AT_EXEC)
		context = NULL;
	for (int s = 0; s < STRINGS_MAX; s++) {
		r->event.string_len[s] = 0;
		r->event.mode[s] = 0;
	}
	read_words(ctx, context, e, r, level, reading);
	for_reads(i) {
		const volatile struct read_config *read = &config.read[i];
		bool chained = config.chain[i].from;

		if (!takes_buffer(read->kind) || read->string >= STRINGS_MAX || read->when != READ_WHEN_ENTERED)
			continue;
		number = read_number(context, read, e, reading == READ_AT_ENTRY);
		if (chained && r->event.unreadable & (1u << i)) {
			len = STRING_UNREADABLE;
		} else if ((read->kind == READ_BINARY_PATH || read->kind == READ_PARENT_BINARY_PATH) && is_aside(e)) {
			len = STRING_UNREADABLE;
		} else if (reading == READ_AT_EXEC && read->kind == READ_USER_STRING) {
			len = string_length(bpf_probe_read_kernel_str(e->string[read->string], STRING_READ, exec_name));
		} else {
			len = read_buffer(e, read, chained, context, r, r->event.regs[i], number, level);
		}
		r->event.string_len[read->string] = len;
		if (len == STRING_UNREADABLE && in_user_memory(read->kind))
			unreadable = true;
	}
	return unreadable;
}

/*
 * Reads what a call that returns has returned, and written where it was told to; its
 * own function so that its stack is not below that of evaluations.
 */
__noinline int read_results(__u32 level, __u64 ret)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u64 word;
	__u32 len;

	if (!config.returns || !e || !r)
		return 0;
	for_reads(i) {
		const volatile struct read_config *read = &config.read[i];

		if (read->when == READ_WHEN_ENTERED)
			continue;
		if (read->when == READ_RESULT && in_context(read->kind))
			r->event.regs[i] = read->kind == READ_INT ? widen(read, ret) : ret;
		if (read->kind == READ_CAPABILITY_SET)
			follow_word(level, i);
		if (!takes_buffer(read->kind) || read->string >= STRINGS_MAX)
			continue;
		word = r->event.regs[i];
		if (read->when == READ_RETURNED && is_bytes(read->kind))
			len = read_returned_bytes(e->string[read->string], read, r, word, r->event.mode[read->string], ret);
		else if (read->when == READ_RESULT && read->kind != READ_FD && is_error(word))
			len = STRING_UNREADABLE;
		else
			len = read_buffer(e, read, false, NULL, r, word, read->size, level);
		r->event.string_len[read->string] = len;
	}
	return 0;
}

/* Judges a call that has returned by the rules that wait for that. */
static __always_inline void judge_return(__u32 level, __u64 ret)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);

	if (!e || !r)
		return;
	for_rule_words(w)
		e->matching.word[w] = e->pending.word[w];
	read_results(level, ret);
	evaluate_reads(e, r, level, true);
	r->event.returned = 1;
	act_on_returns(level);
	if (!e->posted_any)
		return;
	post_rests(r, level, r->event.h.slot, true);
	post_event(level, r->event.h.slot);
}

/* What is left to do of the rules that wait for the call's return. */
static __always_inline void await_return(void *ctx, struct evaluation *e, __u32 level, enum reading reading, long ret)
{
	if (!e->pending_any)
		return;
	/* Whoever is denied has its answer, and does not get to the function. */
	if (e->denied || reading != READ_AT_ENTRY)
		judge_return(level, e->denied ? e->error : ret);
	else
		call_remember(level, call_frame(ctx, 0), pack_data(level));
}

/* Evaluates; the error that rules decide on, 0 for none. */
static __always_inline __s32 evaluate_at(void *ctx, struct set_rules *rules, const struct subject *subject,
					 __u32 level, enum reading reading, const struct retry *retry,
					 const char *exec_name, long ret)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	bool unreadable;

	if (!e || !r)
		return 0;
	if (retry)
		recall(e, r, retry);
	unreadable = read_all(ctx, level, reading, exec_name);
	/* What can be denied, here or by an enforcer, cannot be put off: when it returns it has been done. */
	if (unreadable && reading == READ_AT_ENTRY && config.has_exit && !config.denies && !config.notifies && retry_later(e, r))
		return 0;
	/* The kernel could not read it either: nothing happened. */
	if (unreadable && reading == READ_AT_EXIT && ret == -EFAULT)
		return 0;
	e->matching = rules->rules;
	e->enforce = rules->enforce;
	evaluate_reads(e, r, level, false);
	if (!any_bit(&e->matching))
		return 0;
	r->event.h.slot = subject->slot;
	r->event.returned = 0;
	r->event.data = 0;
	r->event.site = config.id;
	r->event.version = subject->version;
	r->event.at_exit = reading != READ_AT_ENTRY;
	act_on_matches(level);
	if (e->posted_any || (config.returns && e->pending_any)) {
		take_stacks(ctx, e, r, reading == READ_AT_EXEC);
		post_rests(r, level, subject->slot, false);
	}
	if (e->posted_any)
		post_event(level, subject->slot);
	if (config.returns)
		await_return(ctx, e, level, reading, ret);
	return e->denied ? e->error : 0;
}

/* Notes on whose behalf the evaluation is; -1 when that has changed meanwhile. */
static __always_inline int aside_set(__u32 level, const struct subject *subject)
{
	struct evaluation *e = evaluation_get(level);

	if (!e)
		return -1;
	e->aside = subject->aside;
	if (!config.sock_kind || subject->aside != ASIDE_OWNED)
		return 0;
	return sock_owner_copy(level, subject->sock, subject->slot);
}

/*
 * Evaluates the rules of the current task; the error that they decide on, 0 for
 * none. Without working memory nobody can tell what they say: where they could
 * deny, everything is denied until there is some again.
 */
static __always_inline __s32 site_enter(void *ctx)
{
	struct subject subject = {};
	struct set_rules *rules;
	__s32 error = 0;
	__u32 level;

	/* Also of a task that no rules are about now. */
	if (config.returns && call_any())
		calls_forget(call_frame(ctx, 0), call_position(ctx));
	rules = rules_at(ctx, &subject);
	if (!rules)
		return 0;
	if (config.notifies && subject.aside != ASIDE_OWNED)
		notices_forget();
	level = scratch_enter();
	if (level >= SCRATCH_LEVELS)
		return config.denies && any_bit(&rules->enforce) ? -EAGAIN : 0;
	if (!aside_set(level, &subject))
		error = evaluate_at(ctx, rules, &subject, level, READ_AT_ENTRY, NULL, NULL, 0);
	scratch_leave(level);
	return error;
}

/* Evaluates a call that was put off. */
static __always_inline void site_again(void *ctx, enum reading reading, const char *exec_name, long ret)
{
	struct retry *retry = task_memory(&retries, task_current());
	struct subject subject = {};
	struct set_rules *rules;
	__u32 level;

	if (!retry || retry->pending != config.serial)
		return;
	retry->pending = 0;
	rules = rules_for(&subject);
	if (!rules)
		return;
	level = scratch_enter();
	if (level >= SCRATCH_LEVELS)
		return;
	aside_set(level, &subject);
	evaluate_at(ctx, rules, &subject, level, reading, retry, exec_name, ret);
	scratch_leave(level);
}

/*
 * Leaves of the rules that were chosen at the call's entry those that are still in
 * force: nothing acts by what was withdrawn meanwhile, or by what has come.
 */
__noinline int call_rules_in_force(__u32 level)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	struct set_key key = { .site = config.id };
	struct set_rules *rules;
	struct slot *slot;

	if (!e || !r)
		return 0;
	slot = slot_get(r->event.h.slot);
	if (!slot || !slot->version)
		return 0;
	if ((__u32)slot->version == r->event.version)
		return 1;
	key.version = slot->version;
	rules = bpf_map_lookup_elem(&set_rules, &key);
	if (!rules)
		return 0;
	for_rule_words(w) {
		e->pending.word[w] &= rules->rules.word[w];
		e->enforce.word[w] &= rules->enforce.word[w];
	}
	return any_bit(&e->pending);
}

/* Judges a call of which some rule has waited for the return. */
static __always_inline void site_return(void *ctx, long ret)
{
	__u32 level;

	if (!call_any())
		return;
	level = scratch_enter();
	if (level >= SCRATCH_LEVELS)
		return;
	if (call_recall(level, call_frame(ctx, config.stack_popped)) && call_rules_in_force(level))
		judge_return(level, ret);
	scratch_leave(level);
}

/* What the programs do that run when a call has returned. */
static __always_inline void site_exit(void *ctx)
{
	long ret = 0;

	bpf_probe_read_kernel(&ret, sizeof(ret), ctx + config.result_offset);
	if (config.has_exit)
		site_again(ctx, READ_AT_EXIT, NULL, ret);
	if (config.returns)
		site_return(ctx, ret);
}

/* Finds out whether a rule that will act wants the hash of the file. */
static __always_inline void site_foresee(void *ctx)
{
	struct subject subject = {};
	struct set_rules *rules;
	struct site_record *r;
	struct evaluation *e;
	__u32 level;

	if (file_hash_busy())
		return;
	file_hash_want(false);
	rules = rules_for(&subject);
	if (!rules)
		return;
	level = scratch_enter();
	if (level >= SCRATCH_LEVELS)
		return;
	e = evaluation_get(level);
	r = record_get(level);
	if (e && r) {
		aside_set(level, &subject);
		read_all(ctx, level, READ_AT_ENTRY, NULL);
		e->matching = rules->rules;
		e->enforce = rules->enforce;
		evaluate_reads(e, r, level, false);
		if (file_hash_asked(level))
			file_hash_want(true);
	}
	scratch_leave(level);
}

#endif
