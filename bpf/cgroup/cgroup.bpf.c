// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Seals cgroups as they are made, before any task can be in them, and tasks
 * as they enter.
 *
 *   cgroup_mkdir        an expected path, a child of a sealed cgroup, or what
 *                       looks like a container is sealed
 *   cgroup_attach_task  a task that enters a sealed cgroup from outside is in
 *                       set-up
 *   cgroup_rmdir        the seal ends (cgroup_release may come seconds later)
 *
 * v1 hierarchies have ids of their own that collide with v2's: ignored.
 */
#include "../lib/task.h"
#include "../lib/pattern.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct mkdir_scratch {
	struct cgroup_path path;
	char beyond[8]; /* tells a path that fills the key from one that does not fit */
	struct cgroup_name name;
};

/* mkdir holds the cgroup mutex: never two at once, so one entry is enough. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mkdir_scratch);
} mkdir_scratches SEC(".maps");

static __always_inline bool on_unified(struct cgroup *cgroup)
{
	return BPF_CORE_READ(cgroup, root, hierarchy_id) == 0;
}

static __always_inline void report_sealed(__u64 id, struct cgroup_path *path, __u32 slot, __u32 by)
{
	struct event_cgroup *event;

	seal_event_reserve(event, EVENT_CGROUP_SEALED, (struct task_struct *)bpf_get_current_task(), slot);
	if (!event)
		return;
	event->slot = slot;
	event->by = by;
	event->id = id;
	__builtin_memcpy(event->path, path->path, sizeof(event->path));
	bpf_ringbuf_submit(event, 0);
}

/* Stores the seal of one cgroup. Full: counted, and reported so that the agent refuses what comes. */
static __always_inline bool seal_store(__u64 id, __u32 slot, __u32 by)
{
	struct cgroup_seal seal = { .slot = slot, .by = by };

	if (bpf_map_update_elem(&seals, &id, &seal, BPF_NOEXIST) == 0)
		return true;
	kernel_error(KERR_SEALS_FULL);
	return false;
}

static __always_inline void slot_map(__u32 id, __u64 cgroup_id)
{
	struct slot *slot = slot_get(id);

	if (!slot)
		return;
	slot->cgroup_id = cgroup_id;
	slot->sealed_ns = bpf_ktime_get_boot_ns();
	slot->state = SLOT_MAPPED;
}

static __always_inline void seal_root(__u64 id, struct cgroup_path *path, __u32 slot, __u32 by)
{
	if (slot != SLOT_NO_ROOM)
		slot_map(slot, id);
	if (seal_store(id, slot, by))
		report_sealed(id, path, slot, by);
	else
		report_sealed(id, path, slot, SEALED_BY_NOBODY);
}

/*
 * A runtime makes the directories above its container's one by one, and each
 * looks like the container when it is made. As long as nothing has run in the
 * upper one, the seal moves down.
 */
static __always_inline bool seal_moves_down(struct cgroup_seal *parent, struct slot *slot)
{
	return parent->by == SEALED_BY_PATTERN && slot->state == SLOT_MAPPED && !slot->first_task_ns &&
	       made_by_runtime();
}

static __always_inline void seal_child(__u64 id, struct cgroup *parent_cgroup, struct cgroup_seal *parent,
				       struct cgroup_path *path)
{
	__u32 slot_id = parent->slot, by = parent->by;
	struct slot *slot = slot_get(slot_id);
	__u64 above;

	if (!slot)
		return;
	if (seal_moves_down(parent, slot)) {
		/* In this order, so that the agent never finds the slot without a cgroup. */
		above = BPF_CORE_READ(parent_cgroup, kn, id);
		seal_root(id, path, slot_id, by);
		bpf_map_delete_elem(&seals, &above);
		return;
	}
	seal_store(id, slot_id, by);
}

static __always_inline void seal_unexpected(__u64 id, struct cgroup_path *path)
{
	__u32 slot;

	if (bpf_map_pop_elem(&free_slots, &slot)) {
		kernel_error(KERR_NO_SLOT);
		slot = SLOT_NO_ROOM;
	}
	seal_root(id, path, slot, SEALED_BY_PATTERN);
}

static __always_inline bool looks_like_container(struct cgroup *cgroup, struct cgroup_name *name)
{
	long len;

	if (made_by_runtime())
		return true;
	len = bpf_probe_read_kernel_str(name->text, sizeof(name->text), BPF_CORE_READ(cgroup, kn, name));
	if (len <= 1)
		return false;
	return named_like_container(name, len - 1);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	struct mkdir_scratch *s;
	struct cgroup_seal *parent;
	struct cgroup *above;
	__u32 zero = 0, *expected, slot;
	__u64 id;
	long len;

	if (!on_unified(cgroup))
		return 0;
	s = bpf_map_lookup_elem(&mkdir_scratches, &zero);
	if (!s)
		return 0;
	__builtin_memset(&s->path, 0, sizeof(s->path));
	len = bpf_probe_read_kernel_str(s->path.path, sizeof(s->path.path) + 1, path);
	id = BPF_CORE_READ(cgroup, kn, id);
	above = BPF_CORE_READ(cgroup, self.parent, cgroup);
	parent = cgroup_seal(above);

	if (len > (long)sizeof(s->path.path))
		s->path.path[PATH_KEY_MAX] = 0; /* cut, for the report; it equals no expectation */
	else if (len > 0) {
		expected = bpf_map_lookup_elem(&expectations, &s->path);
		/* Inside a container nobody makes another one's cgroup but a runtime that runs there. */
		if (expected && (!parent || !parent->slot)) {
			slot = *expected;
			bpf_map_delete_elem(&expectations, &s->path);
			seal_root(id, &s->path, slot, SEALED_BY_PATH);
			return 0;
		}
		if (expected && parent->by == SEALED_BY_PATTERN) {
			struct slot *upper = slot_get(parent->slot);

			/* The directory above was taken for a container; nothing has run in it. */
			if (upper && upper->state == SLOT_MAPPED && !upper->first_task_ns) {
				slot = *expected;
				bpf_map_delete_elem(&expectations, &s->path);
				seal_root(id, &s->path, slot, SEALED_BY_PATH);
				return 0;
			}
		}
	}
	if (parent) {
		seal_child(id, above, parent, &s->path);
		return 0;
	}
	if (looks_like_container(cgroup, &s->name))
		seal_unexpected(id, &s->path);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(cgroup_attach_task, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	struct cgroup_seal *destination;
	struct task_seal *seal, init = { .state = TASK_SETUP };

	if (!on_unified(cgroup))
		return 0;
	destination = cgroup_seal(cgroup);
	seal = task_seal(task);
	if (seal) {
		/*
		 * A runtime that only passed through would stay exempt for ever,
		 * and one on its way to another container is that one's.
		 */
		if (seal->state != TASK_SETUP || (destination && destination->slot == seal->slot))
			return 0;
		task_seal_drop(task);
	}
	if (!destination)
		return 0;
	init.slot = destination->slot;
	task_seal_set(task, &init);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_rmdir, struct cgroup *cgroup, const char *path)
{
	__u64 id = BPF_CORE_READ(cgroup, kn, id);
	struct cgroup_seal *seal;
	struct event_cgroup *event;
	struct slot *slot;
	__u32 slot_id;

	if (!on_unified(cgroup))
		return 0;
	seal = cgroup_seal_by_id(id);
	if (!seal)
		return 0;
	slot_id = seal->slot;
	bpf_map_delete_elem(&seals, &id);
	slot = slot_get(slot_id);
	if (!slot || slot->cgroup_id != id)
		return 0;
	seal_event_reserve(event, EVENT_CGROUP_GONE, (struct task_struct *)bpf_get_current_task(), slot_id);
	if (!event)
		return 0;
	event->slot = slot_id;
	event->by = 0;
	event->id = id;
	__builtin_memset(event->path, 0, sizeof(event->path));
	bpf_ringbuf_submit(event, 0);
	return 0;
}
