/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_TRACEPOINT_H
#define BOLTSEAL_TRACEPOINT_H

#include "evaluate.h"

#define EFAULT 14

/* Arguments of a call whose strings could not be read at its entry. */
struct retry {
	__u32 pending; /* serial of the site whose call it is; 0: none */
	__u32 pad;
	__u64 regs[ARGS_MAX];
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
};

/* The slot of a task without a seal: the host's, unless sealing it failed once. */
static __always_inline __u32 unsealed_slot(struct task_struct *task)
{
	struct slot *host = slot_get(SLOT_HOST);
	struct cgroup_seal *seal;

	if (!host || !host->init_pid)
		return SLOT_HOST;
	seal = cgroup_seal(task_cgroup(task));
	return seal ? seal->slot : SLOT_HOST;
}

/* The rules that apply to the current task here, NULL when none do. */
static __always_inline struct set_rules *rules_for(struct subject *subject)
{
	struct task_struct *task = task_current();
	struct task_seal *seal = task_seal(task);
	struct set_key key = { .site = config.id };
	struct set_rules *rules;
	struct slot *slot;

	subject->slot = seal ? seal->slot : unsealed_slot(task);
	slot = slot_get(subject->slot);
	if (!slot || !slot->version)
		return NULL;
	key.version = subject->version = slot->version;
	rules = bpf_map_lookup_elem(&set_rules, &key);
	if (!rules || !seal || !task_exempt(seal, slot))
		return rules;
	/* The exec that ends set-up is the workload's first act. */
	if (config.is_exec && state_after_exec(task, seal, slot) == TASK_ARMED)
		return rules;
	return NULL;
}

/* Remembers a call whose string is in memory that is not there yet. */
static __always_inline bool retry_later(struct site_record *r)
{
	struct retry none = {}, *retry = task_memory_make(&retries, task_current(), &none);

	if (!retry) {
		kernel_error(KERR_RETRY);
		return false;
	}
	for (int i = 0; i < ARGS_MAX; i++)
		retry->regs[i] = r->event.regs[i];
	retry->pending = config.serial;
	return true;
}

/* Reads the arguments; false when the evaluation is put off. */
static __always_inline bool read_args(void *ctx, struct evaluation *e, struct site_record *r, enum reading reading,
				      const char *exec_name)
{
	bool unreadable = false;
	__u32 len;

	for (int s = 0; s < STRING_ARGS_MAX; s++)
		r->event.string_len[s] = 0;
	for (int i = 0; i < ARGS_MAX; i++) {
		const struct arg_config arg = config.arg[i];

		if (reading == READ_AT_ENTRY)
			r->event.regs[i] = arg.kind ? read_word(arg, ctx) : 0;
		if (!is_string(arg.kind) || arg.string >= STRING_ARGS_MAX)
			continue;
		if (reading == READ_AT_EXEC) {
			len = string_length(bpf_probe_read_kernel_str(e->string[arg.string], STRING_READ, exec_name));
		} else {
			len = read_string(e, arg, ctx, r->event.regs[i]);
		}
		r->event.string_len[arg.string] = len;
		if (len == STRING_UNREADABLE)
			unreadable = true;
	}
	if (unreadable && reading == READ_AT_ENTRY && config.has_exit)
		return !retry_later(r);
	return true;
}

static __always_inline bool any_unreadable(const struct site_record *r)
{
	for (int s = 0; s < STRING_ARGS_MAX; s++)
		if (r->event.string_len[s] == STRING_UNREADABLE)
			return true;
	return false;
}

static __always_inline void evaluate_args(struct evaluation *e, struct site_record *r, __u32 level)
{
	for (int i = 0; i < ARGS_MAX; i++) {
		const struct arg_config arg = config.arg[i];

		if (arg.kind == ARG_INT)
			evaluate_int(e, level, i, r->event.regs[i], arg.is_signed);
		else if (is_string(arg.kind) && arg.string < STRING_ARGS_MAX)
			evaluate_string(level, i, arg.string, r->event.string_len[arg.string]);
	}
	evaluate_binary(level);
}

static __always_inline void evaluate_at(void *ctx, struct set_rules *rules, const struct subject *subject,
					__u32 level, enum reading reading, const struct retry *retry,
					const char *exec_name, long ret)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = bpf_map_lookup_elem(&site_records, &level);

	if (!e || !r)
		return;
	if (retry)
		for (int i = 0; i < ARGS_MAX; i++)
			r->event.regs[i] = retry->regs[i];
	if (!read_args(ctx, e, r, reading, exec_name))
		return;
	/* The kernel could not read the string either: nothing happened. */
	if (reading == READ_AT_EXIT && ret == -EFAULT && any_unreadable(r))
		return;
	e->matching = rules->rules;
	e->enforce = rules->enforce;
	evaluate_args(e, r, level);
	if (!any_bit(&e->matching))
		return;
	r->event.site = config.id;
	r->event.version = subject->version;
	r->event.at_exit = reading != READ_AT_ENTRY;
	act_on_matches(level);
	if (e->posted_any)
		post_event(level, subject->slot);
}

static __always_inline void site_enter(void *ctx)
{
	struct subject subject = {};
	struct set_rules *rules = rules_for(&subject);
	__u32 level;

	if (!rules)
		return;
	level = scratch_enter();
	if (level >= SCRATCH_LEVELS)
		return;
	evaluate_at(ctx, rules, &subject, level, READ_AT_ENTRY, NULL, NULL, 0);
	scratch_leave();
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
	evaluate_at(ctx, rules, &subject, level, reading, retry, exec_name, ret);
	scratch_leave();
}

#endif
