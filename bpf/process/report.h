/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_REPORT_H
#define BOLTSEAL_REPORT_H

#include "../lib/credentials.h"
#include "../lib/exec.h"

/* Reports of the life of processes. */

/* The agent sets these to 1 for what somebody asks for. */
const volatile __u32 tells_environment = 0; /* of execs */
const volatile __u32 tells_fork_state = 0;  /* credentials and namespaces; execs tell theirs always */

static __always_inline void report_fork(struct task_struct *parent, struct task_struct *child, __u32 slot, __u32 tree)
{
	struct event_fork *event;

	event_reserve(event, EVENT_FORK, child, slot);
	if (!event)
		return;
	event->parent_tgid = BPF_CORE_READ(child, real_parent, tgid);
	event->parent_start = BPF_CORE_READ(child, real_parent, group_leader, start_boottime);
	event->nspid = task_namespace_pid(child);
	event->tree = tree;
	event->maker_tgid = BPF_CORE_READ(parent, tgid);
	event->maker_start = BPF_CORE_READ(parent, group_leader, start_boottime);
	if (tells_fork_state)
		read_process_state(&event->state, child);
	else
		__builtin_memset(&event->state, 0, sizeof(event->state));
	bpf_ringbuf_submit(event, 0);
}

/* Everything an exec event holds, and the texts behind it; or, before that, one event_data. */
struct exec_scratch {
	struct event_exec event;
	char data[5 * STRING_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_LEVELS);
	__type(key, __u32); /* scratch level */
	__type(value, struct exec_scratch);
} exec_scratches SEC(".maps");

/*
 * Sends some bytes of a text that the event has no room for; returns how many. What
 * programs are given can be long, and must not cost others their events: none are sent
 * while half of the ring waits to be read. Its own function so that it is verified once.
 */
__noinline int exec_chunk(__u32 level, __u32 slot, __u32 text, __u64 from, __u32 offset)
{
	struct exec_scratch *s = bpf_map_lookup_elem(&exec_scratches, &level);
	struct event_data *d;
	__u32 size, n;

	if (!s || text >= EXEC_TEXTS)
		return 0;
	size = s->event.text_size[text == EXEC_ENV];
	if (offset >= size)
		return 0;
	/* Text gives way before anything has to be refused. */
	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) + sizeof(*d) + DATA_CHUNK + RING_RECORD_HEADER > ring_bytes / 4)
		return 0;
	n = size - offset < DATA_CHUNK ? size - offset : DATA_CHUNK;
	d = (void *)s->data;
	if (bpf_probe_read_user(d + 1, clamp_index(n, DATA_CHUNK + 1), (void *)from))
		return 0;
	event_header_init(&d->h, EVENT_DATA, sizeof(*d) + n, (struct task_struct *)bpf_get_current_task(), slot);
	if (!s->event.data)
		s->event.data = d->h.ktime;
	d->id = s->event.data;
	d->string = text;
	d->offset = offset;
	d->len = n;
	d->pad = 0;
	return event_output(d, sizeof(*d) + clamp_index(n, DATA_CHUNK + 1), slot) ? n : 0;
}

/* Sends, before the event, what it has no room for of a text; returns how much of the text is told then. */
__noinline int exec_rest(__u32 level, __u32 slot, __u32 text, __u64 start)
{
	__u32 offset = STRING_MAX - 1;
	int n;

	for (int i = 0; i < EXEC_CHUNKS; i++) {
		n = exec_chunk(level, slot, text, start + offset, offset);
		if (n <= 0)
			break;
		offset += n;
	}
	return offset;
}

/* Takes the size of a text, and sends what the event has no room for. */
static __always_inline void measure_text(struct exec_scratch *s, __u32 level, __u32 slot, __u32 text,
					 unsigned long start, unsigned long end, __u32 truncated)
{
	__u32 size = start && end > start ? end - start : 0;

	s->event.text_size[text] = size;
	if (size >= STRING_MAX && (__u32)exec_rest(level, slot, text, start) < size)
		s->event.flags |= truncated;
}

/* Appends a walked path at offset used; its length, or 0 with a flag set. */
static __always_inline __u32 append_path(struct exec_scratch *s, __u32 used, struct path_walk *w, __u32 truncated)
{
	if (!w)
		return 0;
	if (w->len >= STRING_MAX) {
		s->event.flags |= truncated;
		return 0;
	}
	bpf_probe_read_kernel(&s->data[bound_index(used, 4 * STRING_MAX)], bound_index(w->len, STRING_MAX), w->string);
	return w->len;
}

/* Appends the beginning of a text as the program finds it: strings with NUL between them. */
static __always_inline __u32 append_text(struct exec_scratch *s, __u32 used, __u32 text, unsigned long start,
					 __u32 unreadable)
{
	__u32 len = s->event.text_size[text];

	if (!len)
		return 0;
	if (len >= STRING_MAX)
		len = STRING_MAX - 1;
	if (bpf_probe_read_user(&s->data[bound_index(used, 4 * STRING_MAX)], bound_index(len, STRING_MAX), (void *)start)) {
		s->event.flags |= unreadable;
		return 0;
	}
	return len;
}

static __always_inline __u32 append_cwd(struct exec_scratch *s, __u32 used, struct task_struct *task, __u32 level)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct path_walk *w = fs ? path_of(&fs->pwd, level) : NULL;

	if (!w)
		s->event.flags |= EXEC_CWD_UNREADABLE;
	return append_path(s, used, w, EXEC_CWD_TRUNCATED);
}

static __always_inline __u32 audit_uid(struct task_struct *task)
{
	if (bpf_core_field_exists(task->loginuid))
		return BPF_CORE_READ(task, loginuid.val);
	return -1;
}

/* What the file and the task are, apart from texts. */
static __always_inline void exec_facts(struct exec_scratch *s, struct task_struct *task, struct linux_binprm *bprm)
{
	struct file *file = BPF_CORE_READ(bprm, file), *judged = file;

	s->event.parent_tgid = BPF_CORE_READ(task, real_parent, tgid);
	s->event.parent_start = BPF_CORE_READ(task, real_parent, group_leader, start_boottime);
	s->event.auid = audit_uid(task);
	s->event.nspid = task_namespace_pid(task);
	s->event.inode = BPF_CORE_READ(file, f_inode, i_ino);
	s->event.links = BPF_CORE_READ(file, f_inode, i_nlink);
	read_process_state(&s->event.state, task);
	if (BPF_CORE_READ_BITFIELD_PROBED(bprm, execfd_creds))
		judged = BPF_CORE_READ(bprm, executable);
	s->event.flags |= privileges_raised(bprm, judged, BPF_CORE_READ(task, real_cred));
}

static __always_inline void report_exec(struct task_struct *task, struct linux_binprm *bprm, __u32 level, __u32 slot,
					__u32 tree)
{
	struct exec_scratch *s = bpf_map_lookup_elem(&exec_scratches, &level);
	struct path_walk *binary = bpf_map_lookup_elem(&path_walks, &level);
	unsigned long args = BPF_CORE_READ(task, mm, arg_start);
	unsigned long env = BPF_CORE_READ(task, mm, env_start);
	__u32 used, len;

	if (!s || !binary)
		return;
	s->event.flags = 0;
	s->event.data = 0;
	s->event.tree = tree;
	exec_facts(s, task, bprm);
	measure_text(s, level, slot, EXEC_ARGS, args, BPF_CORE_READ(task, mm, arg_end), EXEC_ARGS_TRUNCATED);
	if (tells_environment)
		measure_text(s, level, slot, EXEC_ENV, env, BPF_CORE_READ(task, mm, env_end), EXEC_ENV_TRUNCATED);
	else
		s->event.text_size[EXEC_ENV] = 0;
	s->event.binary_len = used = append_path(s, 0, binary, EXEC_BINARY_TRUNCATED);
	s->event.args_len = len = append_text(s, used, EXEC_ARGS, args, EXEC_ARGS_UNREADABLE);
	used += len;
	s->event.cwd_len = len = append_cwd(s, used, task, level);
	used += len;
	s->event.env_len = len = append_text(s, used, EXEC_ENV, env, EXEC_ENV_UNREADABLE);
	used = bound_index(used + len, 4 * STRING_MAX);
	event_header_init(&s->event.h, EVENT_EXEC, sizeof(s->event) + used, task, slot);
	event_output(s, sizeof(s->event) + bound_index(used, 4 * STRING_MAX), slot);
}

#define SIGNAL_GROUP_EXIT 4 /* include/linux/sched/signal.h */

/* How a process has ended, as wait4 tells it: as the group was told to, or else as its leader did. */
static __always_inline __u32 exit_status(struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);

	if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
		return BPF_CORE_READ(signal, group_exit_code);
	return BPF_CORE_READ(task, group_leader, exit_code);
}

static __always_inline void report_exit(struct task_struct *task, __u32 slot)
{
	struct event_exit *event;

	/* The last thread of the group; two that end at once both report, and the agent takes the first. */
	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return;
	event_reserve(event, EVENT_EXIT, task, slot);
	if (!event)
		return;
	event->code = exit_status(task);
	event->pad = 0;
	bpf_ringbuf_submit(event, 0);
}

#endif
