/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_VALUES_H
#define BOLTSEAL_VALUES_H

#include "kernel.h"
#include "verifier.h"
#include "wire.h"

/*
 * Value -> class. Elements are never replaced, for the kernel reuses them at
 * once and a reader would see another value's class: reclass changes the one
 * word in place.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct value_key);
	__type(value, __u32); /* class */
} match_values SEC(".maps");

/* Class -> the rules whose answer is not the one of a miss. Immutable while anything names the class. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct rule_bits);
} classes SEC(".maps");

static __always_inline struct rule_bits *class_get(__u32 class)
{
	return bpf_map_lookup_elem(&classes, &class);
}

/*
 * Set by tests: readers stay some microseconds at an element that they have found.
 * Else they are gone after 5 ns, which no test could be in time for.
 */
const volatile __u32 readers_pause = 0;

#define PAUSE_STEPS 512

__noinline int reader_pauses(__u32 unused)
{
	keep_argument(unused);
	for (int i = 0; i < PAUSE_STEPS; i++)
		bpf_ktime_get_ns();
	return 0;
}

static __always_inline struct rule_bits *value_class(const struct value_key *key)
{
	__u32 *class = bpf_map_lookup_elem(&match_values, key);

	if (readers_pause && class)
		reader_pauses(0);
	return class ? class_get(*class) : NULL;
}

#endif
