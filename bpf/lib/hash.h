/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_HASH_H
#define BOLTSEAL_HASH_H

#include "kernel.h"
#include "wire.h"
#include "verifier.h"

/*
 * NH (the hash of UMAC, RFC 4418) with Toeplitz-shifted keys: each lane
 * collides for at most 2^-32 of the keys for any pair of equal-length strings
 * that was chosen without seeing hashes. The workload chooses paths, so the
 * key is drawn at each start of the agent and hashes never leave the kernel
 * and the agent. The length is part of every map key, not of the hash.
 */
const volatile __u32 hash_keys[HASH_KEYS];

#define HASH_WORDS (STRING_MAX / 8)

static __always_inline void hash_word(__u64 *lane, __u64 word, __u32 i)
{
	__u32 lo = word, hi = word >> 32;

	for (int l = 0; l < HASH_LANES; l++)
		lane[l] += (__u64)(__u32)(lo + hash_keys[2 * i + 2 * l]) *
			   (__u32)(hi + hash_keys[2 * i + 2 * l + 1]);
}

/* The first `bytes` (0 to 7) bytes of a word, the rest zero. */
static __always_inline __u64 word_head(__u64 word, __u32 bytes)
{
	return word & ((1ULL << (8 * bytes)) - 1);
}

/*
 * Hashes len bytes at string, of which HASH_WORDS * 8 must be readable. The
 * last word is handled after the loop: a branch inside would double the
 * verifier's states at each step.
 */
static __always_inline void hash_string(const char *string, __u32 len, __u64 *lane)
{
	__u32 words = bound_index(len / 8, HASH_WORDS);

	for (int l = 0; l < HASH_LANES; l++)
		lane[l] = 0;
	for (__u32 i = 0; i < HASH_WORDS; i++) {
		if (i >= words)
			break;
		hash_word(lane, *(const __u64 *)(string + i * 8), i);
	}
	if (len % 8)
		hash_word(lane, word_head(*(const __u64 *)(string + words * 8), len % 8), words);
}

#endif
