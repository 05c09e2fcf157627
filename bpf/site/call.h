/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_CALL_H
#define BOLTSEAL_CALL_H

#include "site.h"

/*
 * Calls that are remembered from their entry, where rules chose what to do, until
 * they return, where the rest of these rules is judged and told of.
 *
 * The calls of a task that are one in another have depths from 0 on. Each has a
 * frame, which names it among all calls of the task that there are at one time, and
 * which the program at the return finds again:
 *
 *   FRAME_SYSCALL  a task is in one system call at a time
 *   FRAME_STACK    the stack pointer at a function's first instruction
 *   FRAME_CONTEXT  a trampoline's arguments, which lie on the stack too
 *
 * A return need not come: the kernel runs out of memory for return probes, a
 * program is replaced, some functions do not return. Stacks grow down, so that where
 * a program is, calls of the same stack whose frames are below have ended. They are
 * forgotten then, and counted, so that no return is ever taken for that of an
 * earlier call. What a task leaves when it ends calls_free forgets.
 *
 * A call that is forgotten below others has the serial 0 until they are, too: there
 * are no gaps.
 */

/* Full: the call's return is not seen, and that is counted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CALLS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

struct call_data {
	char data[RECORD_ROOM];
};

/* The same. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CALL_DATA_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct call_key);
	__type(value, struct call_data);
} call_data SEC(".maps");

/* Too large for the stack. */
const volatile struct call no_call;

#define FRAME_OUTERMOST ~0ULL /* of a system call: below it on the stack is nothing */

/* Stacks of tasks begin at multiples of this, so that no two have such a block in common. */
#define STACK_SHIFT 14

/* The frame of the call that the program is at; popped: what the call's return has taken from the stack. */
static __always_inline __u64 call_frame(void *ctx, __u8 popped)
{
	__u64 frame = 0;

	if (config.frame == FRAME_SYSCALL)
		return FRAME_OUTERMOST;
	if (config.frame == FRAME_CONTEXT) {
		/* The verifier lets no pointer pass for a number. */
		bpf_probe_read_kernel(&frame, sizeof(frame), &ctx);
		return frame;
	}
	bpf_probe_read_kernel(&frame, sizeof(frame), ctx + config.stack_offset);
	return frame - popped;
}

static __always_inline struct call_key call_key(__u32 depth)
{
	struct call_key key = { .task = bpf_get_current_task(), .depth = depth };

	return key;
}

static __always_inline bool call_is(const struct call *call, __u64 frame)
{
	return call->frame == frame && call->serial == config.serial;
}

/* Where on the stack the program is, among frames of the kind that its own calls have or would have. */
static __always_inline __u64 call_position(void *ctx)
{
	__u64 at = 0;

	if (config.in_context)
		bpf_probe_read_kernel(&at, sizeof(at), &ctx);
	else if (config.has_stack)
		bpf_probe_read_kernel(&at, sizeof(at), ctx + config.stack_offset);
	return at;
}

/* Whether a call has ended, as the program is at a position. */
static __always_inline bool call_ended(const struct call *call, __u64 position)
{
	return call->kind == (config.in_context ? FRAME_CONTEXT : FRAME_STACK) &&
	       call->frame >> STACK_SHIFT == position >> STACK_SHIFT && call->frame < position;
}

static __always_inline void call_forget(const struct call_key *key, struct call *call)
{
	if (call->used > CALL_DATA)
		bpf_map_delete_elem(&call_data, key);
	call->used = 0;
	call->serial = 0;
}

/* Deletes what is forgotten and has nothing above it. */
static __always_inline void calls_trim(__u32 depth)
{
	struct call_key key;

	for (; depth < CALLS_DEEP; depth++) {
		key = call_key(depth);
		if (bpf_map_delete_elem(&calls, &key))
			break;
	}
}

/* Forgets the calls of the task that have ended unseen when one with a frame begins. */
__noinline int calls_forget(__u64 frame, __u64 position)
{
	struct call_key key;
	struct call *call;
	__u32 live = 0;
	bool again;

	for (__u32 depth = 0; depth < CALLS_DEEP; depth++) {
		key = call_key(depth);
		call = bpf_map_lookup_elem(&calls, &key);
		if (!call)
			break;
		again = call_is(call, frame);
		if (call->serial && !again && !call_ended(call, position)) {
			live = depth + 1;
			continue;
		}
		/* While programs are replaced each remembers the call. */
		if (call->serial && (!again || call->load == config.load))
			kernel_error(KERR_RETURN_MISSED);
		call_forget(&key, call);
	}
	calls_trim(live);
	return 0;
}

/* Room for one more call of the task; NULL when there is none. */
static __always_inline struct call *call_make(struct call_key *key)
{
	struct call *call;

	for (__u32 depth = 0; depth < CALLS_DEEP; depth++) {
		*key = call_key(depth);
		call = bpf_map_lookup_elem(&calls, key);
		if (call && call->serial)
			continue;
		if (call)
			return call;
		if (bpf_map_update_elem(&calls, key, (const void *)&no_call, BPF_NOEXIST))
			return NULL;
		return bpf_map_lookup_elem(&calls, key);
	}
	return NULL;
}

/* Remembers the call in hand, whose texts and stacks are behind its event. */
__noinline int call_remember(__u32 level, __u64 frame, __u32 used)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	struct call_key key;
	struct call *call;

	if (!e || !r)
		return -1;
	call = call_make(&key);
	if (!call) {
		kernel_error(KERR_CALL);
		return -1;
	}
	call->frame = frame;
	call->serial = config.serial;
	call->used = 0;
	call->load = config.load;
	call->kind = config.frame;
	call->aside = e->aside;
	call->owner = e->owner;
	for (int w = 0; w < RULE_WORDS; w++) {
		call->pending.word[w] = e->pending.word[w];
		call->enforce.word[w] = e->enforce.word[w];
	}
	bpf_probe_read_kernel(&call->event, sizeof(call->event), &r->event);
	if (used <= CALL_DATA) {
		bpf_probe_read_kernel(call->data, clamp_index(used, CALL_DATA + 1), r->data);
		call->used = used;
		return 0;
	}
	if (bpf_map_update_elem(&call_data, &key, r->data, BPF_ANY)) {
		call_forget(&key, call);
		kernel_error(KERR_CALL);
		return -1;
	}
	call->used = used;
	return 0;
}

#define TEXTS_BEFORE_LAST ((STRINGS_MAX - 1) * STRING_MAX)

/* Puts the texts and stacks of a call that is remembered back where they were. */
static __always_inline void call_data_recall(struct evaluation *e, const struct site_record *r, const char *data)
{
	__u32 used = 0, len;

	for (__u32 s = 0; s < STRINGS_MAX; s++) {
		len = r->event.string_len[s];
		if (len >= STRING_MAX || !len)
			continue;
		if (used > TEXTS_BEFORE_LAST)
			break;
		bpf_probe_read_kernel(e->string[s], bound_index(len, STRING_MAX), data + clamp_index(used, TEXTS_BEFORE_LAST + 1));
		used += len;
	}
	if (!config.stacks)
		return;
	data += clamp_index(used, STRINGS_MAX * STRING_MAX + 1);
	len = bound_index(r->event.kernel_stack, STACK_ROOM);
	bpf_probe_read_kernel(e->trace[0], len, data);
	bpf_probe_read_kernel(e->trace[1], bound_index(r->event.user_stack, STACK_ROOM), data + len);
}

/* Takes the call that returns, if it is remembered: 1. */
__noinline int call_recall(__u32 level, __u64 frame)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	struct call_data *outside;
	struct call_key key;
	struct call *call;
	__u32 live = 0;
	int found = 0;

	if (!e || !r)
		return 0;
	for (__u32 depth = 0; depth < CALLS_DEEP; depth++) {
		key = call_key(depth);
		call = bpf_map_lookup_elem(&calls, &key);
		if (!call)
			break;
		if (!call->serial)
			continue;
		if (!call_is(call, frame)) {
			if (call_ended(call, frame)) {
				kernel_error(KERR_RETURN_MISSED);
				call_forget(&key, call);
			} else {
				live = depth + 1;
			}
			continue;
		}
		found = 1;
		e->aside = call->aside;
		e->owner = call->owner;
		for (int w = 0; w < RULE_WORDS; w++) {
			e->pending.word[w] = call->pending.word[w];
			e->enforce.word[w] = call->enforce.word[w];
		}
		bpf_probe_read_kernel(&r->event, sizeof(r->event), &call->event);
		if (call->used <= CALL_DATA) {
			call_data_recall(e, r, call->data);
		} else {
			outside = bpf_map_lookup_elem(&call_data, &key);
			if (outside)
				call_data_recall(e, r, outside->data);
		}
		call_forget(&key, call);
	}
	calls_trim(live);
	return found;
}

/* Whether the task is in a call that is remembered. */
static __always_inline bool call_any(void)
{
	struct call_key key = call_key(0);

	return bpf_map_lookup_elem(&calls, &key) != NULL;
}

/* Forgets what a task that has ended was in. */
static __always_inline void calls_free_task(struct task_struct *task)
{
	struct call_key key = { .task = (__u64)task };
	struct call *call;

	for (__u32 depth = 0; depth < CALLS_DEEP; depth++) {
		key.depth = depth;
		call = bpf_map_lookup_elem(&calls, &key);
		if (!call)
			return;
		call_forget(&key, call);
		bpf_map_delete_elem(&calls, &key);
	}
}

#endif
