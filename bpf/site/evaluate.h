/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_EVALUATE_H
#define BOLTSEAL_EVALUATE_H

#include "changes.h"
#include "owner.h"
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
static __always_inline void evaluate_changes(struct evaluation *e, __u32 level, __u32 dim,
					     const volatile struct read_config *read)
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

/* Of the current process: of another one, which the evaluation is about, it cannot be told. */
static __always_inline bool is_of_process(__u8 kind)
{
	return kind == READ_BINARY || kind == READ_BINARY_PATH || kind == READ_NAMESPACE_PID || kind == READ_NAMESPACE ||
	       kind == READ_CAPABILITIES || (kind >= READ_LINEAGE && kind <= READ_PARENT_BINARY_PATH) ||
	       kind == READ_NAMESPACE_CHANGES || kind == READ_CAPABILITY_CHANGES;
}

/* Takes away the rules that what was read at the call's entry, or as it returned, does not satisfy. */
static __always_inline void evaluate_reads(struct evaluation *e, struct site_record *r, __u32 level, bool returned)
{
	for_reads(i) {
		const volatile struct read_config *read = &config.read[i];

		if (read->string >= STRINGS_MAX || (read->when != READ_WHEN_ENTERED) != returned)
			continue;
		if (is_of_process(read->kind) && is_aside(e))
			evaluate_unreadable(level, i);
		else if ((config.chain[i].from || read->kind == READ_CAPABILITY_SET) && r->event.unreadable & (1u << i))
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
		else if (read->kind == READ_PID && is_aside(e))
			evaluate_number(level, i, e->owner.tgid, 0);
		else if (is_number(read->kind))
			evaluate_number(level, i, read_part(e, r, read), 0);
	}
}

#endif
