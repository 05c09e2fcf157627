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
 * An index below a bound that is no power of two, else 0: after a comparison
 * that has shown that it is below. clang (19) compares one copy of a register
 * and uses another, which the verifier then knows no bound of; up to 6.1 also
 * when the copy was made after the comparison. Here they are one. It is a
 * 64-bit number, for the conversion would be such a copy.
 */
#define clamp_index(index, size)                                \
	({                                                      \
		__u64 clamped = (index);                        \
		asm volatile("if %0 < %1 goto +1\n\t%0 = 0"     \
			     : "+r"(clamped)                    \
			     : "i"(size));                      \
		clamped;                                        \
	})

/*
 * clang leaves the argument of a global function unset where the function
 * ignores it ("R1 is not a scalar", all kernels).
 */
#define keep_argument(arg) asm volatile("" ::"r"(arg))

#endif
