/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_STORAGE_H
#define BOLTSEAL_STORAGE_H

#include "kernel.h"

/*
 * Memory that belongs to a task. Tracing programs have task storage since
 * Linux 5.13. Before it the agent makes such maps preallocated hashes and sets
 * task_storage to 0: the verifier then walks only what is for hashes, and what
 * it does not walk may be unknown to the kernel.
 *
 * The key of these hashes is the task's address. An element is deleted when
 * the kernel frees the task (sched_process_free): that is a grace period after
 * the last program could find the task, so that, as with storage, no program
 * holds an element that has become another task's. There is room for as many
 * tasks as the machine can have; full is as storage that cannot be allocated.
 */
const volatile __u32 task_storage = 1;

/* The pointer in a field; with task_storage the verifier has to know what it points to. */
#define follow(pointer, field) (task_storage ? (pointer)->field : BPF_CORE_READ(pointer, field))

static __always_inline struct task_struct *task_current(void)
{
	if (task_storage)
		return bpf_get_current_task_btf();
	return (struct task_struct *)bpf_get_current_task();
}

/* What a map holds for a task, or NULL. */
static __always_inline void *task_memory(void *map, struct task_struct *task)
{
	__u64 key = (__u64)task;

	if (task_storage)
		return bpf_task_storage_get(map, task, 0, 0);
	return bpf_map_lookup_elem(map, &key);
}

/*
 * Two programs at once can want memory for one task: a runtime moves a task
 * that executes or forks. One of them is refused, and so is one of two agents.
 * It works at once when tried again.
 */
#define STORAGE_TRIES 4

/* What a map holds for a task, else a copy of init; NULL when there is no room. */
static __always_inline void *task_memory_make(void *map, struct task_struct *task, const void *init)
{
	__u64 key = (__u64)task;
	void *memory;

	for (int i = 0; i < STORAGE_TRIES; i++) {
		if (task_storage) {
			memory = bpf_task_storage_get(map, task, (void *)init, BPF_LOCAL_STORAGE_GET_F_CREATE);
		} else {
			bpf_map_update_elem(map, &key, init, BPF_NOEXIST);
			memory = bpf_map_lookup_elem(map, &key);
		}
		if (memory)
			return memory;
	}
	return NULL;
}

/* Deletes what a hash holds for a task that nobody can find any more. */
static __always_inline void task_memory_free(void *map, struct task_struct *task)
{
	__u64 key = (__u64)task;

	bpf_map_delete_elem(map, &key);
}

#endif
