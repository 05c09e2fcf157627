/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_VERIFIER_H
#define BOLTSEAL_VERIFIER_H

/*
 * Idioms that exist only because of the verifier. Each says which pair of
 * kernel and compiler needs it.
 */

/*
 * An index below a power of two. clang (14 to 19) re-derives a bound from
 * earlier comparisons and drops a plain mask, and the verifier (all kernels)
 * then no longer knows the bound of the register that is used.
 */
#define bound_index(index, size)                                \
	({                                                      \
		__u32 bounded = (index);                        \
		asm volatile("%0 &= %1" : "+r"(bounded) : "i"((size) - 1)); \
		bounded;                                        \
	})

/*
 * After a comparison with a bound that is no power of two: clang (19)
 * computes the address before it compares, from a register that the verifier
 * then knows no bound of.
 */
#define compared(index) asm volatile("" : "+r"(index))

/*
 * clang leaves the argument of a global function unset where the function
 * ignores it ("R1 is not a scalar", all kernels).
 */
#define keep_argument(arg) asm volatile("" ::"r"(arg))

#endif
