/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_OWNER_H
#define BOLTSEAL_OWNER_H

#include "site.h"

/*
 * Owners of sockets. Packets are handled in interrupts and in the kernel's threads,
 * where the current task says nothing. A rule that tracks a socket notes its
 * process; what happens to the socket on nobody's behalf is then judged by that
 * process's rules and told of as its doing. What a process does itself, to whosesoever
 * socket, is judged as its own.
 */

/*
 * Full: the socket that was looked at least recently is forgotten. A socket that
 * ends untracked keeps its place, and so its address its owner, until then.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SOCKS_MAX);
	__type(key, __u64); /* address of the struct sock */
	__type(value, struct sock_owner);
} sock_owners SEC(".maps");

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define PF_IO_WORKER 0x00000010

/* Of tasks, on x86-64 and arm64; more with debugging options, where its upper part is taken for another's. */
#define STACK_SIZE 16384

/* Whether the program is where it is by the current task's doing, as far as can be told. */
static __always_inline bool in_own_context(void *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 flags = BPF_CORE_READ(task, flags);
	__u64 at = 0;

	if (flags & PF_KTHREAD && !(flags & PF_IO_WORKER))
		return false;
	/* Interrupts have stacks of their own. */
	if (config.in_context)
		bpf_probe_read_kernel(&at, sizeof(at), &ctx);
	else if (config.has_stack)
		bpf_probe_read_kernel(&at, sizeof(at), ctx + config.stack_offset);
	else
		return true; /* there is no telling */
	return at - (__u64)BPF_CORE_READ(task, stack) < STACK_SIZE;
}

static __always_inline __u64 sock_of(__u64 pointer, bool socket)
{
	struct socket *of = (struct socket *)pointer;

	return socket ? (__u64)BPF_CORE_READ(of, sk) : pointer;
}

/* The slot of a socket's owner, or -1 when none is known. */
__noinline int sock_owner_slot(__u64 sock)
{
	struct sock_owner *owner = bpf_map_lookup_elem(&sock_owners, &sock);
	struct slot *slot;
	__u32 id;

	if (!owner)
		return -1;
	id = owner->slot;
	slot = slot_get(id);
	/* The agent gives slots to other containers later. */
	return slot && slot->cgroup_id == owner->slot_cgroup_id ? (int)id : -1;
}

/* Makes the evaluation one about a socket's owner; -1 when that has changed meanwhile. */
__noinline int sock_owner_copy(__u32 level, __u64 sock, __u32 slot)
{
	struct sock_owner *owner = bpf_map_lookup_elem(&sock_owners, &sock);
	struct evaluation *e = evaluation_get(level);

	if (!e || !owner)
		return -1;
	e->owner = *owner;
	/* The kernel gives elements to other sockets at once. */
	return e->owner.sock == sock && e->owner.slot == slot ? 0 : -1;
}

/* Notes whose a socket is, or no longer. */
__noinline int sock_track(__u32 level, __u32 slot_id, __u64 pointer, __u32 track)
{
	struct evaluation *e = evaluation_get(level);
	__u64 sock = sock_of(pointer, track & TRACK_SOCKET);
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct slot *slot = slot_get(slot_id);

	if (!e || !slot || !sock)
		return 0;
	if (track & UNTRACK_SOCK) {
		bpf_map_delete_elem(&sock_owners, &sock);
		return 0;
	}
	if (e->aside == ASIDE_UNKNOWN) {
		kernel_error(KERR_ASIDE);
		return 0;
	}
	if (e->aside != ASIDE_OWNED) {
		e->owner.start = BPF_CORE_READ(task, group_leader, start_boottime);
		e->owner.cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
		e->owner.slot_cgroup_id = slot->cgroup_id;
		e->owner.tgid = BPF_CORE_READ(task, tgid);
		e->owner.tid = BPF_CORE_READ(task, pid);
		e->owner.uid = BPF_CORE_READ(task, cred, uid.val);
		e->owner.slot = slot_id;
	}
	e->owner.sock = sock;
	if (bpf_map_update_elem(&sock_owners, &sock, &e->owner, BPF_ANY))
		kernel_error(KERR_SOCK);
	return 0;
}

/* Whether what runs is not the process that the evaluation is about. */
static __always_inline bool is_aside(const struct evaluation *e)
{
	return config.sock_kind && e->aside == ASIDE_OWNED;
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

#endif
