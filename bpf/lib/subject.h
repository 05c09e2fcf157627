/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_SUBJECT_H
#define BOLTSEAL_SUBJECT_H

#include "kernel.h"
#include "wire.h"

/* What filters ask of the current process. */

/* kernel_cap_t is two words of 32 bits before Linux 6.3 and one of 64 since. */
static __always_inline __u64 capabilities_of(const struct cred *cred, __u32 which)
{
	__u64 set = 0;

	if (which == CAPABILITIES_EFFECTIVE)
		BPF_CORE_READ_INTO(&set, cred, cap_effective);
	else if (which == CAPABILITIES_INHERITABLE)
		BPF_CORE_READ_INTO(&set, cred, cap_inheritable);
	else
		BPF_CORE_READ_INTO(&set, cred, cap_permitted);
	return set;
}

static __always_inline __u64 process_capabilities(__u32 which)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return capabilities_of(BPF_CORE_READ(task, cred), which);
}

/* What the process's own pid namespace says of a pid. */
static __always_inline struct upid *own_upid(struct pid *pid)
{
	__u64 first = (__u64)pid + bpf_core_field_offset(struct pid, numbers);

	return (struct upid *)(first + BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid));
}

/* Whether the current process makes system calls by the ABI for 32 bits. */
static __always_inline bool task_is_compat(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(task, thread_info.status) & 2; /* TS_COMPAT */
#else
	return BPF_CORE_READ(task, thread_info.flags) >> 22 & 1; /* TIF_32BIT of arm64 */
#endif
}

/* Inode number of one of a task's namespaces, 0 where the task or the kernel has no such. */
static __always_inline __u64 task_namespace(struct task_struct *task, const struct cred *cred, __u32 which)
{
	struct nsproxy *proxy = BPF_CORE_READ(task, nsproxy);
	struct upid *upid;

	switch (which) {
	case NAMESPACE_UTS:
		return BPF_CORE_READ(proxy, uts_ns, ns.inum);
	case NAMESPACE_IPC:
		return BPF_CORE_READ(proxy, ipc_ns, ns.inum);
	case NAMESPACE_MNT:
		return BPF_CORE_READ(proxy, mnt_ns, ns.inum);
	case NAMESPACE_PID:
		upid = own_upid(BPF_CORE_READ(task, thread_pid));
		return BPF_CORE_READ(upid, ns, ns.inum);
	case NAMESPACE_PID_FOR_CHILDREN:
		return BPF_CORE_READ(proxy, pid_ns_for_children, ns.inum);
	case NAMESPACE_NET:
		return BPF_CORE_READ(proxy, net_ns, ns.inum);
	case NAMESPACE_TIME:
		return bpf_core_field_exists(proxy->time_ns) ? BPF_CORE_READ(proxy, time_ns, ns.inum) : 0;
	case NAMESPACE_TIME_FOR_CHILDREN:
		return bpf_core_field_exists(proxy->time_ns_for_children) ?
			       BPF_CORE_READ(proxy, time_ns_for_children, ns.inum) : 0;
	case NAMESPACE_CGROUP:
		return BPF_CORE_READ(proxy, cgroup_ns, ns.inum);
	case NAMESPACE_USER:
		return BPF_CORE_READ(cred, user_ns, ns.inum);
	}
	return 0;
}

static __always_inline __u64 process_namespace(__u32 which)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return task_namespace(task, BPF_CORE_READ(task, cred), which);
}

/* The process id of a task in its own pid namespace. */
static __always_inline __u32 task_namespace_pid(struct task_struct *task)
{
	struct upid *upid = own_upid(BPF_CORE_READ(task, group_leader, thread_pid));

	return BPF_CORE_READ(upid, nr);
}

static __always_inline __u64 process_namespace_pid(void)
{
	return task_namespace_pid((struct task_struct *)bpf_get_current_task());
}

#endif
