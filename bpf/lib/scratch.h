/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_SCRATCH_H
#define BOLTSEAL_SCRATCH_H

#include "maps.h"

/*
 * Per-CPU working memory in levels. Tracepoint programs run with preemption
 * disabled, so on one CPU they nest only as interrupts do: task, soft
 * interrupt, hard interrupt, NMI; the inner one always finishes first and
 * puts the depth back. Programs that can be preempted (LSM, fmod_ret) must
 * not use this.
 */
#define SCRATCH_LEVELS 4

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32); /* levels in use */
} scratch_depth SEC(".maps");

/* The level to use, or SCRATCH_LEVELS when all are taken, which is counted. */
static __always_inline __u32 scratch_enter(void)
{
	__u32 zero = 0, level;
	__u32 *depth = bpf_map_lookup_elem(&scratch_depth, &zero);

	if (!depth)
		return SCRATCH_LEVELS;
	level = *depth;
	if (level >= SCRATCH_LEVELS) {
		kernel_error(KERR_SCRATCH);
		return SCRATCH_LEVELS;
	}
	*depth = level + 1;
	return level;
}

static __always_inline void scratch_leave(void)
{
	__u32 zero = 0;
	__u32 *depth = bpf_map_lookup_elem(&scratch_depth, &zero);

	if (depth)
		*depth -= 1;
}

#endif
