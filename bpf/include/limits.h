/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_LIMITS_H
#define BOLTSEAL_LIMITS_H

/* Limits, fixed by the layout of values: a part of wire.h. */
enum limits {
	RULES_MAX = 512,                /* rules of one site */
	RULE_WORDS = RULES_MAX / 64,
	READS_MAX = 32,                 /* values that one site looks at; each is a dimension */
	STRINGS_MAX = 6,                /* of them, those that take a buffer: texts and structures */
	STRING_MAX = 4096,              /* bytes with the closing NUL */
	PREFIX_MAX = 256,
	POSTFIX_MAX = 128,
	HASH_LANES = 3,
	HASH_KEYS = STRING_MAX / 4 + 2 * HASH_LANES,
	SITES_MAX = 256,
	PATH_KEY_MAX = 511,             /* longest expected cgroup path; a hash key has at most 512 bytes */
	SLOTS_MAX = 16384,
	POLICIES_MAX = 2048,
	CHAIN_MAX = 10,                 /* pointers that one read follows */
	STACK_MAX = 127,                /* frames of a stack: kernel.perf_event_max_stack as it comes */
	FILE_HASH_MAX = 64,             /* bytes of a file's hash; a power of two */
	RATES_MAX = 32768,              /* values whose rate is remembered */
	DATA_MAX = 327360,              /* bytes of one argument that are sent apart, with those that are not */
	DATA_CHUNK = 16384,
	EXEC_CHUNKS = 128,              /* of arguments and of environment that are sent apart: 2 MiB of each */
	NOTICES_MAX = 16,               /* policies that have enforcers; a power of two, for the verifier */
	LINEAGE_SITE = SITES_MAX - 1,   /* no place in the kernel: its rules are what tasks are asked to descend from */
	AUTOMATON_ROWS = 65536,         /* of all automata that search */
	EXPRESSION_CODE = 512,          /* instructions of one site; a power of two, for the verifier */
	EXPRESSION_MAX = 128,           /* of one expression */
	EXPRESSION_STACK = 16,          /* words; a power of two, for the verifier */
	CALLS_MAX = 4096,               /* calls that are remembered until they return */
	CALL_DATA_MAX = 128,            /* of them, those with more than CALL_DATA bytes of data */
	CALL_DATA = 1024,
	CALLS_DEEP = 8,                 /* of them, those of one task that are one in another */
	SOCKS_MAX = 32000,              /* sockets whose owners are known */
};

#endif
