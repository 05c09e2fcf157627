/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_PATTERN_H
#define BOLTSEAL_PATTERN_H

#include "kernel.h"
#include "verifier.h"

/*
 * What a container's cgroup looks like when nobody announced it: made by a
 * process that is called like a runtime, or named by a runtime's scheme:
 * [PREFIX-]64 hexadecimal digits[.scope], the prefix being in a list. The
 * prefix is compared whole, so that libpod-conmon-ID.scope, which holds the
 * monitor and not the container, does not match. Sealing a cgroup too many
 * costs nothing: it gets the policies that select every container.
 */

#define PATTERNS_MAX 16
#define PATTERN_LEN 16
#define ID_DIGITS 64
#define SCOPE_LEN 6
#define CGROUP_NAME_LEN 128

struct pattern {
	char text[PATTERN_LEN];
};

const volatile struct pattern runtime_comms[PATTERNS_MAX];
const volatile struct pattern name_prefixes[PATTERNS_MAX];
const volatile __u32 runtime_comm_count;
const volatile __u32 name_prefix_count;

static __always_inline bool pattern_equal(const volatile struct pattern *p, const char *text, __u32 len)
{
	for (__u32 i = 0; i < PATTERN_LEN; i++) {
		if (i >= len)
			return p->text[i] == 0;
		if (p->text[i] != text[i])
			return false;
	}
	return len == PATTERN_LEN;
}

static __always_inline bool made_by_runtime(void)
{
	char comm[PATTERN_LEN] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	for (__u32 i = 0; i < PATTERNS_MAX && i < runtime_comm_count; i++) {
		bool equal = true;

		for (__u32 k = 0; k < PATTERN_LEN; k++)
			if (runtime_comms[i].text[k] != comm[k])
				equal = false;
		if (equal)
			return true;
	}
	return false;
}

struct cgroup_name {
	char text[CGROUP_NAME_LEN];
};

static __always_inline bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static __always_inline bool ends_in_scope(struct cgroup_name *name, __u32 len)
{
	const char scope[SCOPE_LEN] = { '.', 's', 'c', 'o', 'p', 'e' };

	if (len <= SCOPE_LEN)
		return false;
	for (__u32 i = 0; i < SCOPE_LEN; i++)
		if (name->text[bound_index(len - SCOPE_LEN + i, CGROUP_NAME_LEN)] != scope[i])
			return false;
	return true;
}

/* len counts no NUL. */
static __always_inline bool named_like_container(struct cgroup_name *name, __u32 len)
{
	__u32 prefix;

	if (ends_in_scope(name, len))
		len -= SCOPE_LEN;
	if (len < ID_DIGITS || len >= CGROUP_NAME_LEN)
		return false;
	prefix = len - ID_DIGITS;
	for (__u32 i = 0; i < ID_DIGITS; i++)
		if (!is_hex(name->text[bound_index(prefix + i, CGROUP_NAME_LEN)]))
			return false;
	if (prefix == 0)
		return true;
	for (__u32 i = 0; i < PATTERNS_MAX && i < name_prefix_count; i++)
		if (pattern_equal(&name_prefixes[i], name->text, prefix))
			return true;
	return false;
}

#endif
