/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_OBJECT_H
#define BOLTSEAL_OBJECT_H

/*
 * What events tell of structures of the kernel that no filter looks into: a part
 * of wire.h.
 */

#include <linux/types.h>

enum object_limits {
	NAME_INFO_MAX = 64,
};

struct user_ns_info {
	__s32 level;
	__u32 owner, group;
	__u32 inum;
};

struct program_info {
	__u32 type;
	__u32 instructions;
	char name[16];
};

struct map_info {
	__u32 type;
	__u32 key_size, value_size;
	__u32 max_entries;
	char name[16];
};

struct perf_info {
	__u32 type;
	__u32 pad;
	__u64 config;
	__u64 offset; /* of a probe */
	char function[NAME_INFO_MAX];
};

struct module_info {
	__u64 taints;
	__u32 signature_ok;
	__u32 has_signature; /* the kernel looks at signatures */
	char name[NAME_INFO_MAX];
};

#endif
