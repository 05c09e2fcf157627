/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_EXEC_H
#define BOLTSEAL_EXEC_H

#include "task.h"
#include "path.h"

/*
 * Since Linux 7.0 raw tracepoints leave preemption on. A task that is preempted
 * in one of their programs keeps it for its CPU: the kernel skips the program for
 * every other task that comes there until the first goes on, which with many
 * tasks can be made to take long. Such a program can therefore not be the only
 * one that seals something. What is done about it:
 *
 *   fork  is told by sched_wakeup_new, which has the run queue locked
 *   exec  leaves its number in the task (self_exec_id): who finds a seal behind
 *         it, before a child copies the seal or rules are looked up by it, does
 *         what the program at sched_process_exec would have done
 *
 * The agent sets this to 1 where programs can be preempted.
 */
const volatile __u32 programs_preempted = 0;

static __always_inline void slot_arm(__u32 id, struct slot *slot, struct task_struct *task)
{
	struct event_header *event;

	if (slot->state != SLOT_MAPPED)
		return;
	slot->state = SLOT_ARMED;
	slot->armed_ns = bpf_ktime_get_boot_ns();
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		event_lost(id);
		return;
	}
	event_header_init(event, EVENT_ARMED, sizeof(*event), task, id);
	bpf_ringbuf_submit(event, 0);
}

/* What the execution of a program changes in a seal and its slot. */
static __always_inline void seal_exec(struct task_struct *task, struct task_seal *seal, const struct string_hash *binary)
{
	__u32 slot_id = seal->slot, next;
	struct slot *slot = slot_get(slot_id);

	if (slot) {
		if (!slot->first_exec_ns)
			slot->first_exec_ns = bpf_ktime_get_boot_ns();
		next = state_after_exec(task, seal, slot);
		if (next == TASK_ARMED && seal->state != TASK_ARMED) {
			/* The first workload is the container's init; others are put beside it. */
			seal->tree = slot->state == SLOT_MAPPED ? INIT_TREE_IN : INIT_TREE_OUT;
			slot_arm(slot_id, slot, task);
		}
		seal->state = next;
	}
	seal->binary = *binary;
	seal->exec_id = task_exec_id(task);
	seal->tid = BPF_CORE_READ(task, pid); /* a thread that executes becomes its leader */
	/* Born when no slot was free: the agent has refused it, and nothing of it may run. */
	if (slot_id == SLOT_NO_ROOM && seal->state == TASK_ARMED && bpf_send_signal(9))
		kernel_error(KERR_SIGNAL);
}

/* Makes up for a missed exec of the current task; its own function so that it is verified once. */
__noinline int seal_missed_exec(__u32 unused)
{
	struct task_struct *task = task_current();
	struct task_seal *seal = task_seal(task);
	struct string_hash binary = {};
	struct file *file;
	__u32 level;

	keep_argument(unused);
	if (!programs_preempted || !seal)
		return 0;
	level = scratch_enter();
	if (level >= SCRATCH_LEVELS)
		return 0;
	file = BPF_CORE_READ(task, mm, exe_file);
	path_hash(file ? &file->f_path : NULL, level, &binary);
	seal_exec(task, seal, &binary);
	kernel_error(KERR_EXEC_MISSED);
	scratch_leave(level);
	return 0;
}

/* Brings the seal of the current task up to date with what the task executes. */
static __always_inline void seal_catch_up(struct task_struct *task, const struct task_seal *seal)
{
	if (programs_preempted && seal && seal->exec_id != task_exec_id(task))
		seal_missed_exec(0);
}

#endif
