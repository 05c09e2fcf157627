/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_SITE_H
#define BOLTSEAL_SITE_H

#include "../lib/exec.h"
#include "../lib/hash.h"
#include "../lib/values.h"

/*
 * One program serves all policies of its site. Each rule is a bit; each
 * dimension looks its value up once per kind of match in use and takes away
 * the bits of the rules that it does not satisfy; what is left acts. How the
 * agent changes these maps without an evaluation seeing half of a change is
 * told in agent/internal/engine.
 */

const volatile struct site_config config;

/* The agent, whom no rule may signal. */
const volatile __u32 agent_tgid;

/* Written word by word by the agent, and only bits of rules that no version in force has. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SITES_MAX);
	__type(key, __u32);
	__type(value, struct site);
} sites SEC(".maps");

/* A version's rules at a site. Insert only; deleted a grace period after no slot names the version. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct set_key);
	__type(value, struct set_rules);
} set_rules SEC(".maps");

/* Range tables, one after the other; dimension.bounds names one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct bound);
} bounds SEC(".maps");

/* Automata, one after the other; dimension.automaton names one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, AUTOMATON_ROWS);
	__type(key, __u32);
	__type(value, struct automaton_row);
} automata SEC(".maps");

/* site * RULES_MAX + rule -> what the rule does. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SITES_MAX * RULES_MAX);
	__type(key, __u32);
	__type(value, struct act);
} acts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, POLICIES_MAX);
	__type(key, __u32);
	__type(value, struct policy_counters);
} policy_counters SEC(".maps");

/* Which events are alike. */
struct rate_key {
	__u64 lane[HASH_LANES]; /* the values, and when the task started */
	__u32 rate;             /* act.rate */
	__u32 who;              /* thread or process, in the initial pid namespace; 0: everybody */
};

/*
 * When the last one was made. The kernel gives elements of such a map to other
 * keys while somebody looks at them: the check is the time with the key's first
 * lane, so that no other key's time is taken for this one's.
 */
struct rated {
	__u64 made; /* boot time clock */
	__u64 check;
};

/* On whose behalf something is done. */
enum aside {
	ASIDE_NOT = 0,     /* the current task's */
	ASIDE_OWNED = 1,   /* the owner's of a socket */
	ASIDE_UNKNOWN = 2, /* nobody's, as far as is known */
};

/* One evaluation. */
struct evaluation {
	struct rule_bits matching;
	struct rule_bits enforce;
	struct string_hash hash;  /* of the dimension in hand */
	struct rule_bits joined;  /* answers of several lengths */
	struct {
		__u64 lane[HASH_LANES];
	} prefix[PREFIX_MAX / 8 + 1]; /* hash of the first 8*i bytes */
	__u32 last_group;         /* hook whose first matching rule has acted */
	__u32 posted_any;
	__u32 denied;             /* some rule decided on error */
	__s32 error;
	__u32 pending_any;
	__u32 aside;              /* enum aside */
	struct rule_bits pending; /* rules that wait for the call's return */
	struct sock_owner owner;
	__u32 search_state;
	__u32 stack_depth;
	__u32 operand_unreadable; /* some word of the expression in hand could not be read */
	__u32 pad;
	__u64 stack[EXPRESSION_STACK];
	__u32 number[STRINGS_MAX]; /* that go with pointers, of bytes or of parts */
	__u64 word;               /* to which the chain of the read in hand leads */
	__u64 changes;            /* of the process: what read_changes has found */
	struct rate_key rate;     /* of the rule in hand */
	struct rated rated;       /* when an event of it is made */
	__u32 stacks;             /* ACTION_KERNEL_STACK and ACTION_USER_STACK: what events ask for */
	__u64 trace[2][STACK_MAX + 1]; /* stacks: of the kernel, of the process */
	struct {
		__u64 at;          /* the array of struct iovec, or with whole the bytes */
		__u64 count;       /* of vectors */
		__u64 skip;        /* bytes of the first vector that are not looked at */
		__u64 limit;       /* of bytes that are left */
		__u64 total;       /* bytes that they name */
		__u32 used;        /* bytes that are in hand */
		__u8 whole;        /* there is no array */
		__u8 user_array;   /* the array is in the memory of the process, wherever it points */
		__u8 user_bytes;   /* the same of the bytes */
		__u8 pad;
	} vectors;                /* in hand */
	char string[STRINGS_MAX][STRING_MAX + 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_LEVELS);
	__type(key, __u32); /* scratch level */
	__type(value, struct evaluation);
} evaluations SEC(".maps");

/* The event is assembled apart from the strings, which it holds without gaps. */
#define STACK_ROOM ((STACK_MAX + 1) * 8)
#define RECORD_ROOM (STRINGS_MAX * STRING_MAX + 2 * STACK_ROOM + FILE_HASH_MAX)

struct site_record {
	struct event_site event;
	char data[RECORD_ROOM];
	__u64 rest_of_user; /* bytes that are sent apart are the process's, wherever their pointer points */
};

/* The kernel allocates no larger values for each CPU. */
#define PER_CPU_MAX 32768
_Static_assert(sizeof(struct evaluation) <= PER_CPU_MAX, "an evaluation fits a map");
_Static_assert(sizeof(struct site_record) <= PER_CPU_MAX, "a record fits a map");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_LEVELS);
	__type(key, __u32); /* scratch level */
	__type(value, struct site_record);
} site_records SEC(".maps");

/* One byte more than any string, so that one of STRING_MAX with its NUL is told from a longer one. */
#define STRING_READ (STRING_MAX + 1)

/*
 * What a bpf_probe_read_*_str of STRING_READ bytes says of the string. Before
 * Linux 6.2 it counts no NUL of a user's string that is empty.
 */
static __always_inline __u32 string_length(long read)
{
	if (read < 0)
		return STRING_UNREADABLE;
	if (!read)
		return 0;
	if (read > STRING_MAX)
		return STRING_TRUNCATED;
	return read - 1;
}

static __always_inline struct evaluation *evaluation_get(__u32 level)
{
	return bpf_map_lookup_elem(&evaluations, &level);
}

static __always_inline struct dimension *dimension_get(__u32 dim)
{
	__u32 id = config.id;
	struct site *site = bpf_map_lookup_elem(&sites, &id);

	if (!site || dim >= READS_MAX)
		return NULL;
	return &site->dims[clamp_index(dim, READS_MAX)];
}

static __always_inline struct site_record *record_get(__u32 level)
{
	return bpf_map_lookup_elem(&site_records, &level);
}

#endif
