/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_CHAIN_H
#define BOLTSEAL_CHAIN_H

#include "match.h"

/*
 * Words that are not in the context, but where pointers lead that begin there or
 * at the current task. What kind of value is read then is another matter: a chain
 * only finds the word that the kind is about.
 */

/* Addresses of the kernel are those with the highest bit, on all architectures. */
static __always_inline bool in_kernel(__u64 address)
{
	return (__s64)address < 0;
}

/* A part of a word: bits from shift on, widened as the type says. */
static __always_inline __u64 word_part(__u64 word, __u32 shift, __u32 bits, bool is_signed)
{
	__u32 above = bound_index(64 - bits, 64);

	word >>= bound_index(shift, 64);
	word <<= above;
	return is_signed ? (__u64)((__s64)word >> above) : word >> above;
}

/*
 * Reads a word of 1, 2, 4 or 8 bytes. Not a call for each size: clang (19) makes
 * them one, of a size that the verifier (5.10) knows no bound of.
 */
static __always_inline long load_word(__u64 *word, __u32 bytes, __u64 address)
{
	__u64 words[2] = {};
	long err = bpf_probe_read_kernel(words, bound_index(bytes, sizeof(words)), (void *)address);

	*word = words[0];
	return err;
}

/*
 * Follows the chain of a read from a start and leaves the word in the evaluation;
 * -1 when a pointer on the way leads nowhere. Its own function so that it is
 * verified once, for any chain.
 */
__noinline int chain_follow(__u32 level, __u32 dim, __u64 at)
{
	struct evaluation *e = evaluation_get(level);
	__u32 bits, load;
	__u64 word;

	if (!e || dim >= READS_MAX)
		return -1;
	dim = clamp_index(dim, READS_MAX);
	for (__u32 i = 0; i < CHAIN_MAX && i < config.chain[dim].steps; i++) {
		if (!in_kernel(at) || bpf_probe_read_kernel(&word, sizeof(word), (void *)(at + config.chain[dim].offset[i])))
			return -1;
		at = word;
	}
	bits = config.chain[dim].bits;
	load = config.chain[dim].load;
	if (config.chain[dim].from == CHAIN_REGISTER) {
		word = at;
	} else {
		if (!in_kernel(at))
			return -1;
		at += config.chain[dim].offset[clamp_index(config.chain[dim].steps, CHAIN_MAX + 1)];
		word = at;
		if (load && load_word(&word, load, at))
			return -1;
		if (!bits)
			bits = 8 * load;
	}
	e->word = bits ? word_part(word, config.chain[dim].shift, bits, config.read[dim].is_signed) : word;
	return 0;
}

#endif
