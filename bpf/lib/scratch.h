/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_SCRATCH_H
#define BOLTSEAL_SCRATCH_H

#include "maps.h"
#include "verifier.h"

/*
 * Per-CPU working memory in levels. Programs of kprobes and of trace events run
 * with preemption disabled and nest only as interrupts do: task, soft interrupt,
 * hard interrupt, NMI. Those of trampolines and security hooks, and from Linux 7.0
 * of raw tracepoints, stay on their CPU but can be preempted there, so that a task
 * can take a level while another is in the middle of its own: levels are taken and
 * given back one by one, in any order.
 */
#define SCRATCH_LEVELS 4

/*
 * Taking a level is one compare-and-exchange since Linux 5.12. Before it the
 * agent sets this to 0 and takes the instruction out; the word is then read and
 * written apart, which interrupts cannot disturb, as they put back what they
 * took, but preemption would: there the agent attaches nothing that can be
 * preempted.
 */
const volatile __u32 scratch_atomic = 1;

/* Bit per level that is taken. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} scratch_taken SEC(".maps");

static __always_inline __u64 *scratch_word(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch_taken, &zero);
}

#define SCRATCH_TRIES 8 /* each failure is another task that came between */

/*
 * The level to use, or SCRATCH_LEVELS when all are taken, which is counted. A
 * function of its own so that the verifier takes the level for any number: it would
 * walk all that follows once for each one, and once for each try.
 */
__noinline int scratch_take(__u32 unused)
{
	__u64 *taken = scratch_word(), before;
	__u32 level;

	keep_argument(unused);
	if (!taken)
		return SCRATCH_LEVELS;
	for (int i = 0; i < SCRATCH_TRIES; i++) {
		before = *(volatile __u64 *)taken;
		for (level = 0; level < SCRATCH_LEVELS; level++)
			if (!(before & (1ULL << level)))
				break;
		if (level == SCRATCH_LEVELS)
			break;
		if (!scratch_atomic) {
			*(volatile __u64 *)taken = before | 1ULL << level;
			return level;
		}
		if (__sync_val_compare_and_swap(taken, before, before | 1ULL << level) == before)
			return level;
	}
	kernel_error(KERR_SCRATCH);
	return SCRATCH_LEVELS;
}

static __always_inline __u32 scratch_enter(void)
{
	return scratch_take(0);
}

static __always_inline void scratch_leave(__u32 level)
{
	__u64 *taken = scratch_word();

	/* The bit is ours, so that taking it away by subtraction borrows from no other. */
	if (taken)
		__sync_fetch_and_add(taken, -(1ULL << (level & 63)));
}

#endif
