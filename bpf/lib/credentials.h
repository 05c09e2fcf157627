/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_CREDENTIALS_H
#define BOLTSEAL_CREDENTIALS_H

#include "kernel.h"
#include "subject.h"
#include "wire.h"

/* What events tell of credentials and namespaces. */

static __always_inline void read_credentials(struct cred_info *info, const struct cred *cred)
{
	info->uid = BPF_CORE_READ(cred, uid.val);
	info->gid = BPF_CORE_READ(cred, gid.val);
	info->suid = BPF_CORE_READ(cred, suid.val);
	info->sgid = BPF_CORE_READ(cred, sgid.val);
	info->euid = BPF_CORE_READ(cred, euid.val);
	info->egid = BPF_CORE_READ(cred, egid.val);
	info->fsuid = BPF_CORE_READ(cred, fsuid.val);
	info->fsgid = BPF_CORE_READ(cred, fsgid.val);
	info->securebits = BPF_CORE_READ(cred, securebits);
	info->user_ns = BPF_CORE_READ(cred, user_ns, ns.inum);
	info->inheritable = capabilities_of(cred, CAPABILITIES_INHERITABLE);
	info->permitted = capabilities_of(cred, CAPABILITIES_PERMITTED);
	info->effective = capabilities_of(cred, CAPABILITIES_EFFECTIVE);
}

static __always_inline int read_user_namespace(struct user_ns_info *info, const struct user_namespace *ns)
{
	if (bpf_core_read(&info->level, sizeof(info->level), &ns->level))
		return -1;
	info->owner = BPF_CORE_READ(ns, owner.val);
	info->group = BPF_CORE_READ(ns, group.val);
	info->inum = BPF_CORE_READ(ns, ns.inum);
	return sizeof(*info);
}

/* The state of a task by its own credentials: those that the kernel lends it for an operation are not its. */
static __always_inline void read_process_state(struct process_state *state, struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, real_cred);

	read_credentials(&state->cred, cred);
	read_user_namespace(&state->user_ns, BPF_CORE_READ(cred, user_ns));
	for (__u32 i = 0; i < NAMESPACE_KINDS; i++)
		state->namespaces[i] = task_namespace(task, cred, i);
}

/* The host's id of a user namespace's root, or -1. */
static __always_inline __u32 namespace_root(const struct user_namespace *ns)
{
	const struct uid_gid_map *map = &ns->uid_map;
	__u32 extents = BPF_CORE_READ(map, nr_extents);
	const struct uid_gid_extent *extent;

	if (extents > UID_EXTENTS) {
		extent = BPF_CORE_READ(map, forward);
		return BPF_CORE_READ(extent, first) ? -1 : BPF_CORE_READ(extent, lower_first);
	}
	extent = (void *)map + bpf_core_field_offset(struct uid_gid_map, extent);
	for (__u32 i = 0; i < UID_EXTENTS; i++) {
		if (i < extents && !BPF_CORE_READ(extent + i, first))
			return BPF_CORE_READ(extent + i, lower_first);
	}
	return -1;
}

/* include/linux/fs.h, include/linux/mount.h, include/uapi/linux/securebits.h, include/linux/security.h */
#define S_ISUID 04000
#define S_ISGID 02000
#define S_IXGRP 00010
#define MNT_NOSUID 1
#define SECBIT_NOROOT 1
#define LSM_UNSAFE_NO_NEW_PRIVS 4

/*
 * What of the executed file's has given the process more than it had: enum exec_flags.
 *
 * The credentials from before the exec are gone when it is told. What is left is the
 * kernel's own mark that it has applied the mode bits or added capabilities: per_clear,
 * the personality to clear. The real ids are as before; an effective one that differs
 * is the file's when its mode says so. Capabilities of those who are not root, and that
 * are not ambient, can only be the file's.
 */
static __always_inline __u32 privileges_raised(struct linux_binprm *bprm, struct file *file, const struct cred *cred)
{
	struct user_namespace *ns;
	__u64 ambient = 0;
	__u32 mode, uid, euid, root, raised = 0;

	if (!BPF_CORE_READ(bprm, per_clear) || BPF_CORE_READ(bprm, unsafe) & LSM_UNSAFE_NO_NEW_PRIVS)
		return 0;
	mode = BPF_CORE_READ(file, f_inode, i_mode);
	if (BPF_CORE_READ(file, f_path.mnt, mnt_flags) & MNT_NOSUID)
		mode = 0;
	uid = BPF_CORE_READ(cred, uid.val);
	euid = BPF_CORE_READ(cred, euid.val);
	if (mode & S_ISUID && uid != euid)
		raised |= EXEC_SETUID;
	if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && BPF_CORE_READ(cred, gid.val) != BPF_CORE_READ(cred, egid.val))
		raised |= EXEC_SETGID;
	ns = BPF_CORE_READ(cred, user_ns);
	root = namespace_root(ns);
	if ((uid == root || euid == root) && !(BPF_CORE_READ(cred, securebits) & SECBIT_NOROOT))
		return raised;
	BPF_CORE_READ_INTO(&ambient, cred, cap_ambient);
	if (capabilities_of(cred, CAPABILITIES_PERMITTED) & ~ambient)
		raised |= EXEC_CAPABILITIES;
	return raised;
}

#endif
