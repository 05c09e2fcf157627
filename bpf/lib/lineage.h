/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_LINEAGE_H
#define BOLTSEAL_LINEAGE_H

#include "storage.h"
#include "verifier.h"
#include "wire.h"

/*
 * What filters with followChildren and followForks ask of a task: whether it, or
 * one that it descends from, has executed one of some programs or had one of some
 * pids. Each such question is a bit, which a task that satisfies it gets and
 * passes on; tasks without one have no memory here. Kept by the programs of
 * lineage.bpf.c, which are attached while some policy asks.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct lineage);
} lineages SEC(".maps");

/* A word of the current task's lineage: of its own bits, then of those that it inherited. */
static __always_inline __u64 lineage_word(__u32 word)
{
	struct task_struct *task = task_current(), *leader;
	struct lineage *lineage = task_memory(&lineages, task);

	if (!lineage) {
		/* Workers of io_uring are threads that no fork event has told of. */
		leader = follow(task, group_leader);
		lineage = leader ? task_memory(&lineages, leader) : NULL;
	}
	if (!lineage)
		return 0;
	if (word < RULE_WORDS)
		return lineage->own.word[bound_index(word, RULE_WORDS)];
	return lineage->inherited.word[bound_index(word, RULE_WORDS)];
}

#endif
