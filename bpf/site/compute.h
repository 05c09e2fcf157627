/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_COMPUTE_H
#define BOLTSEAL_COMPUTE_H

#include "match.h"

/*
 * Expressions of policies: a machine with a stack of 64-bit words. The agent has
 * compiled them (agent/internal/policy/expression) and bounds length and depth.
 */

const volatile struct instruction expression_code[EXPRESSION_CODE];

static __always_inline __u64 binary(__u8 op, __u64 a, __u64 b)
{
	switch (op) {
	case EXPRESSION_ADD:
		return a + b;
	case EXPRESSION_SUBTRACT:
		return a - b;
	case EXPRESSION_AND:
		return a & b;
	case EXPRESSION_OR:
		return a | b;
	case EXPRESSION_XOR:
		return a ^ b;
	case EXPRESSION_EQUAL:
		return a == b;
	case EXPRESSION_NOT_EQUAL:
		return a != b;
	case EXPRESSION_LESS:
		return a < b;
	case EXPRESSION_LESS_EQUAL:
		return a <= b;
	case EXPRESSION_LESS_SIGNED:
		return (__s64)a < (__s64)b;
	case EXPRESSION_LESS_EQUAL_SIGNED:
		return (__s64)a <= (__s64)b;
	}
	return 0;
}

/* Runs one instruction; its own function so that the verifier walks each case once. */
__noinline int step_expression(__u32 level, __u32 at)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	const volatile struct instruction *in = &expression_code[bound_index(at, EXPRESSION_CODE)];
	__u64 value = in->value, a, b;
	__u8 op = in->op;
	__u32 depth;

	if (!e || !r)
		return -1;
	depth = e->stack_depth;
	a = e->stack[bound_index(depth - 2, EXPRESSION_STACK)];
	b = e->stack[bound_index(depth - 1, EXPRESSION_STACK)];
	if (op == EXPRESSION_CONSTANT) {
		b = value;
		depth++;
	} else if (op == EXPRESSION_WORD) {
		b = value < READS_MAX ? r->event.regs[clamp_index(value, READS_MAX)] : 0;
		e->operand_unreadable |= r->event.unreadable >> (value & 31) & 1;
		depth++;
	} else if (op == EXPRESSION_SIGNED32) {
		b = (__s64)(__s32)b;
	} else if (op == EXPRESSION_UNSIGNED32) {
		b = (__u32)b;
	} else {
		b = binary(op, a, b);
		depth--;
	}
	e->stack[bound_index(depth - 1, EXPRESSION_STACK)] = b;
	e->stack_depth = depth;
	return 0;
}

/* Leaves the value of an expression at the bottom of the stack. */
__noinline int run_expression(__u32 level, __u32 first, __u32 size)
{
	struct evaluation *e = evaluation_get(level);

	if (!e)
		return -1;
	e->stack_depth = 0;
	e->operand_unreadable = 0;
	e->stack[0] = 0;
	for (__u32 i = 0; i < EXPRESSION_MAX; i++) {
		if (i >= size)
			break;
		step_expression(level, first + i);
	}
	return 0;
}

#endif
