/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_KERNEL_H
#define BOLTSEAL_KERNEL_H

/*
 * The few fields of kernel structures that these programs read. CO-RE moves
 * each access to where the running kernel has the field, so order and size
 * here mean nothing; a field that some supported kernel lacks is guarded by
 * bpf_core_field_exists where it is read.
 */

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

typedef int pid_t;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id; /* the cgroup id: what bpf_get_current_cgroup_id returns */
	const char *name;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup_root {
	int hierarchy_id; /* 0 is the unified (v2) hierarchy */
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
	unsigned int i_nlink;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
	int mnt_flags;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path pwd;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	unsigned long env_start;
	unsigned long env_end;
	struct file *exe_file;
};

struct task_struct;

struct ns_common {
	unsigned int inum;
};

struct uts_namespace {
	struct ns_common ns;
};

struct ipc_namespace {
	struct ns_common ns;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct net {
	struct ns_common ns;
};

struct time_namespace {
	struct ns_common ns;
};

struct cgroup_namespace {
	struct ns_common ns;
};


struct pid_namespace {
	struct task_struct *child_reaper; /* the namespace's process 1 */
	unsigned int level;		  /* 0 is the host's */
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1]; /* one for each level, the last is the process's own */
};

struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct time_namespace *time_ns;
	struct time_namespace *time_ns_for_children;
	struct cgroup_namespace *cgroup_ns;
};

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

#define UID_EXTENTS 5

struct uid_gid_extent { /* the user's ids from first on are the host's from lower_first on */
	__u32 first;
	__u32 lower_first;
	__u32 count;
};

struct uid_gid_map {
	__u32 nr_extents;
	struct uid_gid_extent extent[UID_EXTENTS];
	struct uid_gid_extent *forward; /* in place of those when there are more, sorted */
};

struct user_namespace {
	struct uid_gid_map uid_map;
	int level;
	kuid_t owner;
	kgid_t group;
	struct ns_common ns;
};

/* Two words before Linux 6.3: read as memory, never by a field. */
typedef struct {
	__u64 val;
} kernel_cap_t;

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t suid;
	kgid_t sgid;
	kuid_t euid;
	kgid_t egid;
	kuid_t fsuid;
	kgid_t fsgid;
	unsigned int securebits;
	kernel_cap_t cap_inheritable;
	kernel_cap_t cap_permitted;
	kernel_cap_t cap_effective;
	kernel_cap_t cap_ambient;
	struct user_namespace *user_ns;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__s64 counter;
} atomic64_t;

struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned int flags;
};

struct thread_info {
	unsigned long flags;
	__u32 status; /* only on x86 */
};

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags;
	pid_t pid;
	pid_t tgid;
	int exit_state;
	int exit_code;
	__u64 start_boottime;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct css_set *cgroups;
	struct nsproxy *nsproxy;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct signal_struct *signal;
	struct pid *thread_pid;
	const struct cred *real_cred; /* its own */
	const struct cred *cred;      /* those that it acts by */
	kuid_t loginuid; /* only with CONFIG_AUDIT */
	__u64 self_exec_id; /* also counts those of the tasks that it is a copy of */
};

struct linux_binprm {
	const char *filename;
	struct file *file;
	struct file *executable;
	unsigned int execfd_creds : 1; /* credentials are those of executable, and not of its interpreter */
	int unsafe;
	unsigned int per_clear;
};

struct in6_addr {
	__u64 words[2]; /* of bytes: read as memory, never by a field */
};

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport; /* network byte order */
	__u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
	__u32 sk_mark;
	__u32 sk_priority;
};

struct socket {
	struct sock *sk;
};

struct sk_buff {
	unsigned char *head;
	__u16 network_header;
	__u16 transport_header;
	__u16 protocol; /* network byte order */
	unsigned int len;
	__u32 mark;
	__u32 priority;
	__u32 hash;
};

struct filename {
	const char *name;
};

struct kiocb {
	struct file *ki_filp;
};

struct net_device {
	char name[16];
};

struct iovec {
	void *iov_base;
	__u64 iov_len;
};

struct iov_iter {
	__u8 iter_type; /* since Linux 5.14 */
	__u64 iov_offset;
	__u64 count;
	const struct iovec *__iov; /* since Linux 6.4 */
	const struct iovec *iov;   /* before */
	const struct iovec *kvec;
	void *ubuf; /* since Linux 6.0 */
	unsigned long nr_segs;
};

struct iov_iter___flags {
	unsigned int type; /* before Linux 5.14: kind and direction */
};

/* The kernel changes the numbers. */
enum iter_type {
	ITER_UBUF = 0,
	ITER_IOVEC = 1,
	ITER_KVEC = 3,
};

struct bpf_prog_aux {
	char name[16];
};

struct bpf_prog {
	enum bpf_prog_type type;
	__u32 len;
	struct bpf_prog_aux *aux;
};

struct bpf_map {
	enum bpf_map_type map_type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	char name[16];
};

struct perf_event_attr {
	__u32 type;
	__u64 config;
	__u64 config1;
	__u64 config2;
};

struct perf_event {
	struct perf_event_attr attr;
};

struct module {
	char name[56];
	unsigned long taints;
	bool sig_ok; /* only with CONFIG_MODULE_SIG */
};

struct load_info {
	const char *name;
	struct module *mod;
	bool sig_ok; /* only with CONFIG_MODULE_SIG */
};

struct bpf_iter_meta {
	__u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

#endif
