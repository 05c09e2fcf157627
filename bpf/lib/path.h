/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_PATH_H
#define BOLTSEAL_PATH_H

#include "maps.h"
#include "hash.h"
#include "scratch.h"
#include "verifier.h"

/*
 * Path of a file as its mount namespace sees it, written from the end of a
 * buffer to its start. It stops at the namespace's root and not at the
 * process's, so that chroot does not give a file another name. bpf_d_path is
 * not allowed in tracepoint programs.
 */

#define PATH_STEPS 160 /* components and mounts; deeper paths are truncated */
#define NAME_MAX 255

struct path_walk {
	__u64 dentry;
	__u64 mount;
	__u32 len; /* of string, without NUL, or STRING_TRUNCATED */
	__u32 off;
	struct string_hash hash;
	char tail[STRING_MAX + NAME_MAX + 1];
	char string[STRING_MAX + 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_LEVELS);
	__type(key, __u32); /* scratch level */
	__type(value, struct path_walk);
} path_walks SEC(".maps");

/* Prepends one component; false when there is no room for it. */
static __always_inline bool path_prepend(struct path_walk *w, struct dentry *dentry)
{
	__u32 len = BPF_CORE_READ(dentry, d_name.len);
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);
	__u32 off = w->off;

	if (len > NAME_MAX || off < len + 1)
		return false;
	off -= len;
	bpf_probe_read_kernel(&w->tail[bound_index(off, STRING_MAX)], bound_index(len, NAME_MAX + 1), name);
	off--;
	w->tail[bound_index(off, STRING_MAX)] = '/';
	w->off = off;
	return true;
}

/* Makes the name of what is in no directory its path; false for roots, which have none. */
static __always_inline bool path_name(struct path_walk *w, struct dentry *dentry)
{
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);
	char first = '/';

	bpf_probe_read_kernel(&first, 1, name);
	return first && first != '/' && path_prepend(w, dentry);
}

/* Fills string and len of this level's walk from its dentry and mount. */
__noinline int path_resolve(__u32 level)
{
	struct path_walk *w = bpf_map_lookup_elem(&path_walks, &level);
	struct dentry *dentry, *parent;
	struct mount *mount, *above;
	bool whole = false, alone = false;
	__u32 len;

	if (!w)
		return -1;
	dentry = (struct dentry *)w->dentry;
	mount = (struct mount *)w->mount;
	w->off = STRING_MAX - 1;
	for (int i = 0; i < PATH_STEPS; i++) {
		if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
			above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount) {
				whole = true;
				break;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			continue;
		}
		parent = BPF_CORE_READ(dentry, d_parent);
		if (parent == dentry) { /* in no mount: memfd, lazily unmounted */
			whole = alone = true;
			break;
		}
		if (!path_prepend(w, dentry))
			break;
		dentry = parent;
	}
	if (!whole) {
		kernel_error(KERR_PATH_DEPTH);
		w->len = STRING_TRUNCATED;
		return 0;
	}
	if (w->off == STRING_MAX - 1 && !(alone && path_name(w, dentry))) {
		w->off--;
		w->tail[STRING_MAX - 2] = '/';
	}
	len = STRING_MAX - 1 - w->off;
	bpf_probe_read_kernel(w->string, bound_index(len, STRING_MAX), &w->tail[bound_index(w->off, STRING_MAX)]);
	w->len = bound_index(len, STRING_MAX);
	return 0;
}

/* Path of a dentry without its mounts, up to the root of its file system. */
static __always_inline int path_resolve_dentry(__u32 level, struct dentry *dentry)
{
	struct path_walk *w = bpf_map_lookup_elem(&path_walks, &level);

	if (!w || !dentry)
		return -1;
	w->dentry = (__u64)dentry;
	w->mount = 0;
	return path_resolve(level);
}

/* Length of this level's walked path, or STRING_TRUNCATED. */
static __always_inline __u32 path_length(__u32 level)
{
	struct path_walk *w = bpf_map_lookup_elem(&path_walks, &level);

	return w ? w->len : STRING_UNREADABLE;
}

static __always_inline struct path_walk *path_of(struct path *path, __u32 level)
{
	struct path_walk *w = bpf_map_lookup_elem(&path_walks, &level);
	struct vfsmount *mnt;

	if (!w)
		return NULL;
	mnt = BPF_CORE_READ(path, mnt);
	w->dentry = (__u64)BPF_CORE_READ(path, dentry);
	w->mount = (__u64)mnt - bpf_core_field_offset(struct mount, mnt);
	if (!w->dentry || !mnt)
		return NULL;
	if (path_resolve(level))
		return NULL;
	return w;
}

/* Hashes this level's walked path; its own function so that it is verified once. */
__noinline int path_hash_walked(__u32 level)
{
	struct path_walk *w = bpf_map_lookup_elem(&path_walks, &level);

	if (!w)
		return -1;
	hash_string(w->string, w->len, w->hash.lane);
	w->hash.len = w->len;
	return 0;
}

/* Hash of a path, which stays in this level's walk. */
static __always_inline void path_hash(struct path *path, __u32 level, struct string_hash *hash)
{
	struct path_walk *w = path ? path_of(path, level) : NULL;

	hash->len = STRING_UNREADABLE;
	if (!w || w->len >= STRING_MAX || path_hash_walked(level))
		return;
	*hash = w->hash;
}

#endif
