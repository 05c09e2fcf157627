/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_SEARCH_H
#define BOLTSEAL_SEARCH_H

#include "match.h"

/*
 * All substrings of a dimension are searched for at once, whatever their number: an
 * automaton takes one step for each byte of the text, so that the workload, which
 * chooses texts, cannot make a search cost more.
 */

static __always_inline struct automaton_row *automaton_row(__u64 automaton, __u32 number)
{
	__u32 row = (automaton >> 32) + number;

	return bpf_map_lookup_elem(&automata, &row);
}

static __always_inline __u16 row_number(const struct automaton_row *row, __u8 half)
{
	return ((const __u16 *)row->words)[bound_index(half, 16)];
}

/* Joins the rules of the substrings that end where a search has come to. */
__noinline int join_substrings(__u32 level, __u64 automaton, __u32 state)
{
	struct evaluation *e = evaluation_get(level);
	struct automaton_row *row = automaton_row(automaton, ((__u32)automaton >> 16) + (state - 1) / 8);
	struct rule_bits *delta;

	if (!e || !row)
		return -1;
	delta = class_get(((__u32 *)row->words)[bound_index(state - 1, 8)]);
	if (!delta)
		return -1;
	for_rule_words(i)
		e->joined.word[i] |= delta->word[i];
	return 0;
}

#define SEARCH_STEPS 64 /* of one call: the verifier walks one of them, and calls of it */

/* Goes on with a search in the bytes of a text from start on. */
__noinline int search_on(__u32 level, __u64 automaton, __u32 string, __u32 start, __u32 len)
{
	struct evaluation *e = evaluation_get(level);
	struct automaton_row *row;
	__u32 state, at;
	const char *text;
	__u8 byte;

	if (!e || string >= STRINGS_MAX)
		return -1;
	text = e->string[clamp_index(string, STRINGS_MAX)];
	state = e->search_state;
	for (__u32 i = 0; i < SEARCH_STEPS; i++) {
		at = start + i;
		if (at >= len)
			break;
		byte = text[bound_index(at, STRING_MAX)];
		row = automaton_row(automaton, state);
		if (!row)
			return -1;
		row = automaton_row(automaton, row_number(row, byte >> 4));
		if (!row)
			return -1;
		state = row_number(row, byte);
		if (state - 1 < (automaton & 0xffff))
			join_substrings(level, automaton, state);
	}
	e->search_state = state;
	return 0;
}

/* Takes away the rules that have no substring in a text of less than STRING_MAX bytes. */
__noinline int match_substrings(__u32 level, __u32 dim, __u32 string, __u32 len)
{
	struct evaluation *e = evaluation_get(level);
	struct dimension *d = dimension_get(dim);
	__u64 automaton;

	if (!e || !d)
		return -1;
	for_rule_words(i)
		e->joined.word[i] = 0;
	e->search_state = 0;
	/* Read once: it is changed as a whole. */
	automaton = *(volatile __u64 *)&d->automaton;
	for (__u32 start = 0; start < STRING_MAX; start += SEARCH_STEPS) {
		if (start >= len)
			break;
		search_on(level, automaton, string, start, len);
	}
	keep(e, &d->miss[MATCH_SUBSTRING], &e->joined);
	return 0;
}

#endif
