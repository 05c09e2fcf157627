/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_MAPS_H
#define BOLTSEAL_MAPS_H

#include "kernel.h"
#include "wire.h"

/*
 * Containers. Memory-mapped by the agent: it changes slot.version with one
 * store. Never full: slots are handed out through free_slots.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

/*
 * Slots that nobody uses, each already holding the version of the default
 * set. Both the kernel and the agent take from here, so a container that
 * nobody announced has a slot of its own from its first instruction. Empty:
 * SLOT_NO_ROOM.
 */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, SLOTS_MAX);
	__type(value, __u32);
} free_slots SEC(".maps");

/*
 * Cgroup id -> seal. Off the hot path: hooks find a task's slot in
 * task_seals. Full: the cgroup stays unsealed and is reported; tasks below an
 * already sealed one keep the seal that they carry. Preallocated, for raw
 * tracepoint programs on 5.10 warn about anything else.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* cgroup id */
	__type(value, struct cgroup_seal);
} seals SEC(".maps");

/* Path below the v2 root -> slot, for containers announced before their cgroup is made. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct cgroup_path);
	__type(value, __u32); /* slot */
} expectations SEC(".maps");

/*
 * The seal that rides on a task, wherever it moves. A hash where there is no
 * task storage, see storage.h. No room: see task_seal_set. Dropped seals stay
 * until their task is freed, for somebody may be counting a use of theirs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_seal);
} task_seals SEC(".maps");

/* Events for the agent, see ring.h. No room: the event is lost and counted; enforcement does not depend on it. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20); /* set before load */
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KERR_MAX);
	__type(key, __u32); /* enum kernel_error */
	__type(value, __u64);
} kernel_errors SEC(".maps");

/* What each slot has in the ring, and what it lost. Memory-mapped by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLOTS_MAX);
	__type(key, __u32); /* slot */
	__type(value, struct ring_use);
} ring_uses SEC(".maps");

static __always_inline void kernel_error(__u32 error)
{
	__u64 *count = bpf_map_lookup_elem(&kernel_errors, &error);

	if (count)
		(*count)++;
}

static __always_inline struct slot *slot_get(__u32 slot)
{
	return bpf_map_lookup_elem(&slots, &slot);
}

#endif
