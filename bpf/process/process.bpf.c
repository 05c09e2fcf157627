// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Follows tasks: passes seals to children, tells set-up from the workload at
 * exec, and reports the life of every process.
 *
 *   sched_process_fork  the child gets the parent's seal; a child born into a
 *                       sealed cgroup (CLONE_INTO_CGROUP) gets the cgroup's
 *   sched_wakeup_new    the same, where programs can be preempted (lib/exec.h)
 *   sched_process_exec  set-up ends, the container is armed
 *   sched_process_exit  the seal's use of its slot ends
 *   sched_process_free  the same for uses that were counted meanwhile; and the
 *                       seal's memory, where it is no task storage
 *   iter/task           seals tasks of a cgroup that was sealed after them; and,
 *                       another one, keeps the origins of processes (lib/origin.h)
 */
#include "../lib/exec.h"
#include "../lib/origin.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Whether origins are kept; set by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} origins_kept SEC(".maps");

static __always_inline bool keeps_origins(void)
{
	__u32 zero = 0, *kept = bpf_map_lookup_elem(&origins_kept, &zero);

	return kept && *kept;
}

static __always_inline void report_fork(struct task_struct *parent, struct task_struct *child, __u32 slot)
{
	struct event_fork *event;

	event_reserve(event, EVENT_FORK, child, slot);
	if (!event)
		return;
	event->parent_tgid = BPF_CORE_READ(child, real_parent, tgid);
	event->parent_start = BPF_CORE_READ(child, real_parent, group_leader, start_boottime);
	event->pad = 0;
	bpf_ringbuf_submit(event, 0);
}

/* A child of a task without a seal: born by CLONE_INTO_CGROUP, or of a thread that migration did not name. */
static __always_inline bool seal_of_birth(struct task_struct *parent, struct task_struct *child,
					  struct task_seal *init)
{
	struct cgroup *cgroup = task_cgroup(child);
	struct cgroup_seal *seal = cgroup_seal(cgroup);
	struct slot *slot;

	if (!seal)
		return false;
	slot = slot_get(seal->slot);
	init->slot = seal->slot;
	init->state = TASK_ARMED;
	if (cgroup != task_cgroup(parent) || (slot && slot->state != SLOT_ARMED))
		init->state = TASK_SETUP;
	return true;
}

static __always_inline void follow_fork(struct task_struct *parent, struct task_struct *child)
{
	struct task_seal *seal = thread_group_seal(parent), init = {};
	__u32 slot = SLOT_HOST;

	seal_catch_up(parent, seal);
	task_seal_forget(child);

	/* CLONE_INTO_CGROUP by a runtime is as if the child had moved there: it follows its cgroup. */
	if (seal && seal->state == TASK_SETUP && task_cgroup(child) != task_cgroup(parent))
		seal = NULL;
	if (seal) {
		init = *seal;
		init.uses = 0;
		if (BPF_CORE_READ(parent, tgid) != BPF_CORE_READ(child, tgid))
			init.parent = seal->binary;
		slot = init.slot;
		task_seal_set(child, &init);
	} else if (seal_of_birth(parent, child, &init)) {
		slot = init.slot;
		task_seal_set(child, &init);
	}
	if (child->pid != child->tgid)
		return;
	if (keeps_origins())
		origin_keep(child);
	report_fork(parent, child, slot);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	follow_fork(parent, child);
	return 0;
}

/* The same, where sched_process_fork can be missed: nothing comes between, the child has not run. */
SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(sched_wakeup_new, struct task_struct *child)
{
	struct task_struct *parent = task_current();

	if (parent)
		follow_fork(parent, child);
	return 0;
}

/* Everything an exec event holds, and the paths it is made of. */
struct exec_scratch {
	struct event_exec event;
	char data[3 * STRING_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_LEVELS);
	__type(key, __u32); /* scratch level */
	__type(value, struct exec_scratch);
} exec_scratches SEC(".maps");

/* Appends a walked path at offset used; its length, or 0 with the flag set. */
static __always_inline __u32 append_path(struct exec_scratch *s, __u32 used, struct path_walk *w, __u32 truncated)
{
	if (!w)
		return 0;
	if (w->len >= STRING_MAX) {
		s->event.flags |= truncated;
		return 0;
	}
	bpf_probe_read_kernel(&s->data[bound_index(used, 2 * STRING_MAX)], bound_index(w->len, STRING_MAX), w->string);
	return w->len;
}

/* The arguments as the program finds them, NUL between them. */
static __always_inline __u32 append_args(struct exec_scratch *s, __u32 used, struct task_struct *task)
{
	unsigned long start = BPF_CORE_READ(task, mm, arg_start);
	unsigned long end = BPF_CORE_READ(task, mm, arg_end);
	unsigned long len = end - start;

	if (!start || end <= start)
		return 0;
	if (len >= STRING_MAX) {
		s->event.flags |= EXEC_ARGS_TRUNCATED;
		len = STRING_MAX - 1;
	}
	if (bpf_probe_read_user(&s->data[bound_index(used, STRING_MAX)], bound_index(len, STRING_MAX), (void *)start)) {
		s->event.flags |= EXEC_ARGS_UNREADABLE;
		return 0;
	}
	return len;
}

static __always_inline __u32 audit_uid(struct task_struct *task)
{
	if (bpf_core_field_exists(task->loginuid))
		return BPF_CORE_READ(task, loginuid.val);
	return -1;
}

static __always_inline void report_exec(struct task_struct *task, __u32 level, __u32 slot)
{
	struct exec_scratch *s = bpf_map_lookup_elem(&exec_scratches, &level);
	struct path_walk *binary = bpf_map_lookup_elem(&path_walks, &level);
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	__u32 used, len;

	if (!s || !binary)
		return;
	s->event.flags = 0;
	s->event.binary_len = used = append_path(s, 0, binary, EXEC_BINARY_TRUNCATED);
	s->event.args_len = len = append_args(s, used, task);
	used += len;
	s->event.cwd_len = len = fs ? append_path(s, used, path_of(&fs->pwd, level), EXEC_CWD_TRUNCATED) : 0;
	used += len;
	s->event.parent_tgid = BPF_CORE_READ(task, real_parent, tgid);
	s->event.parent_start = BPF_CORE_READ(task, real_parent, group_leader, start_boottime);
	s->event.auid = audit_uid(task);
	s->event.pad = s->event.pad2 = 0;
	used = bound_index(used, 4 * STRING_MAX);
	if (used > 3 * STRING_MAX)
		used = 3 * STRING_MAX;
	event_header_init(&s->event.h, EVENT_EXEC, sizeof(s->event) + used, task, slot);
	event_output(s, sizeof(s->event) + clamp_index(used, 3 * STRING_MAX + 1), slot);
}

/*
 * Seal of the first process of the pid namespace that the task is in. A
 * namespace that a process has unshared or joined is its children's: its level
 * is another than that of the process's own.
 */
static __always_inline struct task_seal *pid_namespace_seal(struct task_struct *task)
{
	struct nsproxy *nsproxy = follow(task, nsproxy);
	struct pid_namespace *ns;
	struct task_struct *first;
	__u32 level;

	if (!nsproxy)
		return NULL;
	ns = follow(nsproxy, pid_ns_for_children);
	if (!ns)
		return NULL;
	level = BPF_CORE_READ(ns, level);
	if (!level || level != BPF_CORE_READ(task, thread_pid, level))
		return NULL;
	first = follow(ns, child_reaper);
	return first ? task_seal(first) : NULL;
}

/*
 * A task that was in its sealed cgroup before its seal was there to see it
 * enter; or that a runtime put into a container which had left its cgroup and
 * removed it, so that the runtime found no cgroup to put it into.
 */
static __always_inline struct task_seal *seal_found_at_exec(struct task_struct *task)
{
	struct task_seal init = { .state = TASK_SETUP };
	struct cgroup_seal *cgroup = cgroup_seal(task_cgroup(task));
	struct task_seal *first;
	struct slot *slot;

	if (cgroup) {
		init.slot = cgroup->slot;
	} else {
		first = pid_namespace_seal(task);
		if (!first)
			return NULL;
		init.slot = first->slot;
	}
	slot = slot_get(init.slot);
	if (slot && slot->state == SLOT_ARMED)
		init.state = TASK_ARMED;
	task_seal_set(task, &init);
	return task_seal(task);
}

/* Keeps the origin of the current task; its own function so that it is verified once. */
__noinline int keep_own_origin(__u32 unused)
{
	keep_argument(unused);
	origin_keep(task_current());
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct task_seal *seal = task_seal(task);
	struct string_hash binary = {};
	struct file *file;
	__u32 level, slot_id = SLOT_HOST;

	if (keeps_origins())
		keep_own_origin(0);
	level = scratch_enter();
	if (level >= SCRATCH_LEVELS)
		return 0;
	file = BPF_CORE_READ(bprm, file);
	path_hash(file ? &file->f_path : NULL, level, &binary);
	if (!seal)
		seal = seal_found_at_exec(task);
	if (seal) {
		slot_id = seal->slot;
		seal_exec(task, seal, &binary);
	}
	report_exec(task, level, slot_id);
	scratch_leave(level);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit, struct task_struct *task)
{
	struct task_seal *seal = task_seal(task);
	struct event_exit *event;
	__u32 slot = seal ? seal->slot : SLOT_HOST;

	/* The last thread of the group; two that end at once both report, and the agent takes the first. */
	if (BPF_CORE_READ(task, signal, live.counter) == 0) {
		event_reserve(event, EVENT_EXIT, task, slot);
		if (event) {
			event->code = BPF_CORE_READ(task, exit_code);
			event->pad = 0;
			bpf_ringbuf_submit(event, 0);
		}
	}
	task_seal_drop(task);
	return 0;
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(sched_process_free, struct task_struct *task)
{
	task_seal_free(task);
	origin_free(task);
	return 0;
}

/*
 * Seals every task that is in a sealed cgroup and carries no seal. One pass
 * is enough: what such a task forks during the pass is sealed at its birth.
 */
SEC("iter/task")
int adopt_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_seal init = { .state = TASK_ARMED };
	struct cgroup_seal *cgroup;
	struct file *file;
	struct slot *slot;
	__u32 level;

	if (!task || task_seal(task))
		return 0;
	cgroup = cgroup_seal(task_cgroup(task));
	if (!cgroup)
		return 0;
	slot = slot_get(cgroup->slot);
	if (!slot)
		return 0;
	init.slot = cgroup->slot;
	if (slot->state == SLOT_MAPPED)
		init.state = TASK_SETUP;
	level = scratch_enter();
	if (level >= SCRATCH_LEVELS)
		return 0;
	file = BPF_CORE_READ(task, mm, exe_file);
	path_hash(file ? &file->f_path : NULL, level, &init.binary);
	file = BPF_CORE_READ(task, real_parent, mm, exe_file);
	if (file)
		path_hash(&file->f_path, level, &init.parent);
	scratch_leave(level);
	task_seal_set(task, &init);
	return 0;
}

/* Keeps the origins of processes that there are, unless theirs are kept already. */
SEC("iter/task")
int keep_origins(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct origin *o;

	if (!task || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	o = task_memory(&origins, task);
	if (!o || !origin_holds(o, task))
		origin_keep(task);
	return 0;
}
