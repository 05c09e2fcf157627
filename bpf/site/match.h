/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_MATCH_H
#define BOLTSEAL_MATCH_H

#include "site.h"

#define AF_INET 2
#define AF_INET6 10

/* Sites with few rules have few words of them; the verifier walks no others. */
#define for_rule_words(i) for (int i = 0; i < RULE_WORDS && i < config.words; i++)

/* What the site reads comes first; of what is behind it nothing is left in the program. */
#define for_reads(i) for (int i = 0; i < READS_MAX && config.read[i].kind; i++)

/*
 * Position of the lowest set bit. BPF has no instruction for it: the lowest
 * bit times a de Bruijn sequence has a different top for each position.
 */
const volatile __u8 bit_positions[64] = {
	0,  1,	2,  53, 3,  7,	54, 27, 4,  38, 41, 8,	34, 55, 48, 28,
	62, 5,	39, 46, 44, 42, 22, 9,	24, 35, 59, 56, 49, 18, 29, 11,
	63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21, 23, 58, 17, 10,
	51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
};

static __always_inline __u32 lowest_bit(__u64 word)
{
	return bit_positions[((word & -word) * 0x022fdd63cc95386dULL) >> 58];
}

/* The rules to take away bits from: none left means that nothing else needs looking up. */
static __always_inline bool any_bit(const struct rule_bits *bits)
{
	__u64 any = 0;

	for_rule_words(i)
		any |= bits->word[i];
	return any != 0;
}

static __always_inline void keep(struct evaluation *e, const struct rule_bits *miss, const struct rule_bits *delta)
{
	for_rule_words(i)
		e->matching.word[i] &= delta ? miss->word[i] ^ delta->word[i] : miss->word[i];
}

static __always_inline __u32 value_tag(__u32 dim, __u32 kind)
{
	return config.id << 16 | dim << 8 | kind;
}

static __always_inline void match_exact(struct evaluation *e, struct dimension *d, __u32 dim)
{
	struct value_key key = { .tag = value_tag(dim, MATCH_EXACT), .len = e->hash.len };

	for (int l = 0; l < HASH_LANES; l++)
		key.lane[l] = e->hash.lane[l];
	keep(e, &d->miss[MATCH_EXACT], value_class(&key));
}

/*
 * Every length in use is looked up and the answers are joined, so that a
 * short prefix need not be folded into longer ones.
 */
static __always_inline void join(struct evaluation *e, const struct value_key *key)
{
	struct rule_bits *delta = value_class(key);

	if (!delta)
		return;
	for_rule_words(i)
		e->joined.word[i] |= delta->word[i];
}

/* Looks up the first len bytes of the string in hand. */
__noinline int join_prefix(__u32 level, __u32 tag, __u32 string, __u32 len)
{
	struct evaluation *e = evaluation_get(level);
	struct value_key key = { .tag = tag, .len = len };
	__u64 words = clamp_index(len / 8, PREFIX_MAX / 8 + 1);
	const char *text;

	if (!e || string >= STRINGS_MAX || len > PREFIX_MAX)
		return -1;
	text = e->string[clamp_index(string, STRINGS_MAX)];
	for (int l = 0; l < HASH_LANES; l++)
		key.lane[l] = e->prefix[words].lane[l];
	if (len % 8)
		hash_word(key.lane, word_head(*(__u64 *)&text[words * 8], len % 8), words);
	join(e, &key);
	return 0;
}

/* Looks up the last len bytes of the string in hand. */
__noinline int join_postfix(__u32 level, __u32 tag, __u32 string, __u32 len)
{
	struct evaluation *e = evaluation_get(level);
	struct value_key key = { .tag = tag, .len = len };
	__u32 words = len / 8, start;
	const char *text;

	if (!e || string >= STRINGS_MAX || words > POSTFIX_MAX / 8 || e->hash.len < len)
		return -1;
	text = e->string[clamp_index(string, STRINGS_MAX)];
	start = bound_index(e->hash.len - len, STRING_MAX);
	for (__u32 i = 0; i < POSTFIX_MAX / 8; i++) {
		__u32 at = start + i * 8;

		if (i >= words || at > STRING_MAX)
			break;
		hash_word(key.lane, *(__u64 *)&text[clamp_index(at, STRING_MAX + 1)], i);
	}
	start += words * 8;
	if (len % 8 == 0 || start > STRING_MAX)
		return join(e, &key), 0;
	hash_word(key.lane, word_head(*(__u64 *)&text[clamp_index(start, STRING_MAX + 1)], len % 8), words);
	join(e, &key);
	return 0;
}

/* Takes away the rules whose prefixes or postfixes the string in hand does not satisfy. */
__noinline int match_affixes(__u32 level, __u32 dim, __u32 kind, __u32 string)
{
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);
	bool postfix = kind >= MATCH_POSTFIX;
	__u32 len, tag = value_tag(dim, kind);
	__u64 lengths;

	if (!e || !d)
		return -1;
	for_rule_words(i)
		e->joined.word[i] = 0;
	for (__u32 w = 0; w <= PREFIX_MAX / 64; w++) {
		if (postfix)
			lengths = w <= POSTFIX_MAX / 64 ? d->postfix_lengths[w] : 0;
		else
			lengths = d->prefix_lengths[w];
		for (int i = 0; i < 64; i++) {
			if (!lengths)
				break;
			len = w * 64 + lowest_bit(lengths);
			lengths &= lengths - 1;
			if (len > e->hash.len)
				break;
			if (postfix)
				join_postfix(level, tag, string, len);
			else
				join_prefix(level, tag, string, len);
		}
	}
	keep(e, &d->miss[bound_index(kind, MATCH_KINDS)], &e->joined);
	return 0;
}

/* Hashes a string of this evaluation, keeping the hashes of its prefixes. */
__noinline int hash_argument(__u32 level, __u32 string)
{
	struct evaluation *e = evaluation_get(level);
	__u64 lane[HASH_LANES] = {};
	const char *text;
	__u32 len, words;

	if (!e || string >= STRINGS_MAX)
		return -1;
	text = e->string[clamp_index(string, STRINGS_MAX)];
	len = e->hash.len;
	words = bound_index(len / 8, HASH_WORDS);
	for (__u32 i = 0; i < HASH_WORDS; i++) {
		if (i <= PREFIX_MAX / 8)
			for (int l = 0; l < HASH_LANES; l++)
				e->prefix[i].lane[l] = lane[l];
		if (i >= words)
			break;
		hash_word(lane, *(const __u64 *)&text[i * 8], i);
	}
	if (len % 8)
		hash_word(lane, word_head(*(const __u64 *)&text[words * 8], len % 8), words);
	for (int l = 0; l < HASH_LANES; l++)
		e->hash.lane[l] = lane[l];
	return 0;
}

#define BOUNDS_STEPS 12 /* 2^11 - 1 elements a table and one step to end */

/* The last element that is not above the number. */
__noinline int match_range(__u32 level, __u32 dim, __u64 number)
{
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);
	struct bound *b;
	__u32 low, high, middle, class = 0, found = 0;
	__u64 table;

	if (!e || !d)
		return -1;
	table = d->bounds;
	low = table >> 32;
	high = low + (__u32)table;
	for (int i = 0; i < BOUNDS_STEPS; i++) {
		if (low >= high)
			break;
		middle = low + (high - low) / 2;
		b = bpf_map_lookup_elem(&bounds, &middle);
		if (!b)
			return -1;
		if (b->bound > number) {
			high = middle;
			continue;
		}
		class = b->class;
		found = 1;
		low = middle + 1;
	}
	keep(e, &d->miss[MATCH_RANGE], found ? class_get(class) : NULL);
	return 0;
}

/*
 * A value that cannot be read satisfies the rules that enforce, so that
 * hiding it gains nothing, and no others.
 */
static __always_inline void match_unreadable(struct evaluation *e, const struct dimension *d)
{
	for_rule_words(i)
		e->matching.word[i] &= ~d->uses.word[i] | e->enforce.word[i];
}

#define MASK_BITS 64

/* Joins the rules whose mask has a bit of the number. */
__noinline int match_mask(__u32 level, __u32 dim, __u32 kind, __u64 number)
{
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);
	struct value_key key = { .tag = value_tag(dim, kind) };

	if (!e || !d)
		return -1;
	for_rule_words(i)
		e->joined.word[i] = 0;
	for (int i = 0; i < MASK_BITS; i++) {
		if (!number)
			break;
		key.len = lowest_bit(number);
		number &= number - 1;
		join(e, &key);
	}
	keep(e, &d->miss[bound_index(kind, MATCH_KINDS)], &e->joined);
	return 0;
}

/* The first bits of a word, in the order of the network; the rest zero. */
static __always_inline __u64 address_head(__u64 word, __u32 bits)
{
	if (bits >= 64)
		return word;
	return word & ~__builtin_bswap64(~0ULL >> (bits & 63));
}

#define ADDRESS_WORDS 3 /* of lengths: 0 to 128 */

/* Joins the rules that have a network around an address of the structure in a buffer. */
__noinline int match_address(__u32 level, __u32 dim, __u32 kind, __u32 string, __u32 target)
{
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);
	struct value_key key = { .tag = value_tag(dim, kind) };
	const struct sock_info *info;
	__u64 lengths, high, low;
	__u32 most = 0;

	if (!e || !d || string >= STRINGS_MAX)
		return -1;
	info = (void *)e->string[clamp_index(string, STRINGS_MAX)];
	high = target ? info->target[0] : info->source[0];
	low = target ? info->target[1] : info->source[1];
	key.lane[2] = info->family;
	if (info->family == AF_INET)
		most = 32;
	else if (info->family == AF_INET6)
		most = 128;
	for_rule_words(i)
		e->joined.word[i] = 0;
	for (__u32 w = 0; w < ADDRESS_WORDS; w++) {
		lengths = d->prefix_lengths[w];
		for (int i = 0; i < 64; i++) {
			if (!lengths || !most)
				break;
			key.len = w * 64 + lowest_bit(lengths);
			lengths &= lengths - 1;
			if (key.len > most)
				break;
			key.lane[0] = address_head(high, key.len);
			key.lane[1] = key.len > 64 ? address_head(low, key.len - 64) : 0;
			join(e, &key);
		}
	}
	keep(e, &d->miss[bound_index(kind, MATCH_KINDS)], &e->joined);
	return 0;
}

static __always_inline void match_string(struct evaluation *e, struct dimension *d, __u32 dim, __u32 level,
					 __u32 string)
{
	__u32 kinds = d->kinds;

	if (kinds & (1 << MATCH_EXACT))
		match_exact(e, d, dim);
	for (__u32 kind = MATCH_PREFIX; kind <= MATCH_NOT_POSTFIX; kind++)
		if (kinds & (1 << kind))
			match_affixes(level, dim, kind, string);
}

#endif
