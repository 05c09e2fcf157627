// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Follows what tasks descend from, while some policy asks (see lib/lineage.h):
 *
 *   lineage_fork   the child gets its parent's bits, and those of its own pid
 *   lineage_wakeup the same, where programs can be preempted (lib/exec.h)
 *   lineage_exec   the task gets the bits of the program
 *   lineage_free   where there is no task storage: the memory's end
 *   lineage_clear  iterator: bits that are used again are taken from all tasks
 *   lineage_mark   iterator: tasks that are there already get their bits
 *
 * Which bits a program or a pid has is kept as rules of a site of its own,
 * LINEAGE_SITE. The iterators are run until one pass changes nothing, with the
 * other programs attached: what is forked meanwhile has its parent's bits or is
 * met by the next pass. Words are read and written apart, for 5.10 has no atomic
 * OR: a bit that is lost between an iterator and an exec is found by that pass too.
 */
#include "../lib/exec.h"
#include "../lib/hash.h"
#include "../lib/lineage.h"
#include "../lib/subject.h"
#include "../lib/values.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lineage_control);
} lineage_control SEC(".maps");

#define for_words(i) for (int i = 0; i < RULE_WORDS; i++)

/* Adds the bits that a value has; true when some are new. */
static __always_inline bool add_value(struct rule_bits *bits, __u32 dimension, const struct string_hash *hash)
{
	struct value_key key = { .tag = LINEAGE_SITE << 16 | dimension << 8 | MATCH_EXACT, .len = hash->len };
	struct rule_bits *class;
	__u64 new = 0;

	for (int l = 0; l < HASH_LANES; l++)
		key.lane[l] = hash->lane[l];
	class = value_class(&key);
	if (!class)
		return false;
	for_words(i) {
		new |= class->word[i] & ~bits->word[i];
		bits->word[i] |= class->word[i];
	}
	return new != 0;
}

static __always_inline bool add_number(struct rule_bits *bits, __u32 dimension, __u64 number)
{
	struct string_hash hash = { .lane = { number }, .len = sizeof(number) };

	return add_value(bits, dimension, &hash);
}

static __always_inline bool add_pids(struct rule_bits *bits, struct task_struct *task)
{
	struct upid *upid = own_upid(BPF_CORE_READ(task, group_leader, thread_pid));
	bool new = add_number(bits, LINEAGE_PID, BPF_CORE_READ(task, tgid));

	return add_number(bits, LINEAGE_NAMESPACE_PID, BPF_CORE_READ(upid, nr)) || new;
}

static __always_inline bool any_of(const struct lineage *lineage)
{
	__u64 any = 0;

	for_words(i)
		any |= lineage->own.word[i] | lineage->inherited.word[i];
	return any != 0;
}

/* Adds bits to those of a task; true when some are new. */
static __always_inline bool lineage_add(struct task_struct *task, const struct lineage *more)
{
	struct lineage *lineage;
	__u64 new = 0;

	if (!any_of(more))
		return false;
	lineage = task_memory_make(&lineages, task, more);
	if (!lineage) {
		kernel_error(KERR_LINEAGE);
		return false;
	}
	for_words(i) {
		new |= more->own.word[i] & ~lineage->own.word[i];
		new |= more->inherited.word[i] & ~lineage->inherited.word[i];
		lineage->own.word[i] |= more->own.word[i];
		lineage->inherited.word[i] |= more->inherited.word[i];
	}
	return new != 0;
}

/* What a task has from one that it comes of: of its process's first thread all, of its parent what that passes on. */
static __always_inline void take_over(struct lineage *to, const struct lineage *from, bool thread)
{
	for_words(i) {
		to->own.word[i] |= from->own.word[i];
		to->inherited.word[i] |= thread ? from->inherited.word[i] : from->own.word[i];
	}
}

static __always_inline void lineage_birth(struct task_struct *parent, struct task_struct *child)
{
	bool thread = BPF_CORE_READ(parent, tgid) == BPF_CORE_READ(child, tgid);
	struct lineage *parents, value = {};
	struct task_seal *seal;

	/* What a new task finds at its address is another one's. */
	if (!task_storage)
		task_memory_free(&lineages, child);
	parents = task_memory(&lineages, parent);
	if (parents)
		take_over(&value, parents, thread);
	/* The parent's exec can have been missed; its seal has been brought up to date. */
	seal = programs_preempted ? task_seal(parent) : NULL;
	if (seal && seal->state == TASK_ARMED && add_value(&value.own, LINEAGE_BINARY, &seal->binary) && !thread)
		add_value(&value.inherited, LINEAGE_BINARY, &seal->binary);
	add_pids(&value.own, child);
	lineage_add(child, &value);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(lineage_fork, struct task_struct *parent, struct task_struct *child)
{
	lineage_birth(parent, child);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(lineage_wakeup, struct task_struct *child)
{
	struct task_struct *parent = task_current();

	if (parent)
		lineage_birth(parent, child);
	return 0;
}

/* Hash of what a task executes: as its seal has it, for that nobody changes later, or of the file. */
static __always_inline bool binary_of(struct task_struct *task, struct file *file, struct string_hash *hash)
{
	struct task_seal *seal = task_seal(task);
	__u32 level;

	if (seal && seal->state == TASK_ARMED && seal->exec_id == task_exec_id(task)) {
		*hash = seal->binary;
		return true;
	}
	level = scratch_enter();
	if (level >= SCRATCH_LEVELS)
		return false;
	path_hash(file ? &file->f_path : NULL, level, hash);
	scratch_leave(level);
	return true;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(lineage_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct lineage value = {};
	struct string_hash hash;

	if (binary_of(task, BPF_CORE_READ(bprm, file), &hash) && add_value(&value.own, LINEAGE_BINARY, &hash))
		lineage_add(task, &value);
	return 0;
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(lineage_free, struct task_struct *task)
{
	task_memory_free(&lineages, task);
	return 0;
}

static __always_inline struct lineage_control *control_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lineage_control, &zero);
}

SEC("iter/task")
int lineage_clear(struct bpf_iter__task *ctx)
{
	struct lineage_control *control = control_get();
	struct task_struct *task = ctx->task;
	struct lineage *lineage;
	__u64 stale = 0;

	if (!task || !control)
		return 0;
	lineage = task_memory(&lineages, task);
	if (!lineage)
		return 0;
	for_words(i) {
		stale |= (lineage->own.word[i] | lineage->inherited.word[i]) & control->stale.word[i];
		lineage->own.word[i] &= ~control->stale.word[i];
		lineage->inherited.word[i] &= ~control->stale.word[i];
	}
	if (stale)
		control->changed++;
	return 0;
}

SEC("iter/task")
int lineage_mark(struct bpf_iter__task *ctx)
{
	struct lineage_control *control = control_get();
	struct lineage *froms, value = {};
	struct task_struct *task = ctx->task, *from;
	struct string_hash hash;
	bool thread;

	if (!task || !control)
		return 0;
	thread = BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid);
	from = thread ? follow(task, group_leader) : follow(task, real_parent);
	froms = from ? task_memory(&lineages, from) : NULL;
	if (froms)
		take_over(&value, froms, thread);
	if (BPF_CORE_READ(task, mm) && binary_of(task, BPF_CORE_READ(task, mm, exe_file), &hash))
		add_value(&value.own, LINEAGE_BINARY, &hash);
	add_pids(&value.own, task);
	if (lineage_add(task, &value))
		control->changed++;
	return 0;
}
