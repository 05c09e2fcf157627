/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_WIRE_H
#define BOLTSEAL_WIRE_H

/*
 * What the kernel programs and the agent share: records in the ring, values
 * of maps, limits. Go's twins of these are generated from BTF. Only
 * fixed-width types, explicit padding, header first.
 */

#include <linux/types.h>

/* Limits, fixed by the layout of values. */
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

/* Slots that are not a container's. */
enum reserved_slots {
	SLOT_HOST = 0,     /* every task that carries no seal */
	SLOT_NO_ROOM = 1,  /* born when no slot was free: nothing may run in it */
	SLOTS_RESERVED = 2,
};

enum slot_state {
	SLOT_FREE = 0,
	SLOT_EXPECTED = 1, /* the cgroup does not exist yet */
	SLOT_MAPPED = 2,   /* the cgroup is sealed, its entrypoint has not run */
	SLOT_ARMED = 3,    /* the entrypoint has been executed */
};

enum sealed_by {
	SEALED_BY_NOBODY = 0,
	SEALED_BY_PATH = 1,    /* the agent expected this path */
	SEALED_BY_PATTERN = 2, /* name or maker are a runtime's */
	SEALED_BY_AGENT = 3,   /* the agent sealed a cgroup that existed */
};

/*
 * One container, as the kernel knows it. The agent writes version, init_pid
 * and what it resets before a slot is used again; the rest is the kernel's.
 * One cache line.
 */
struct slot {
	__u64 version;       /* rule set in force; 0: none. The one word that flips all sites at once */
	__u64 cgroup_id;     /* root cgroup of the container */
	__u64 sealed_ns;     /* boot time clock */
	__u64 first_task_ns;
	__u64 first_exec_ns; /* first exec in the cgroup, set-up included */
	__u64 armed_ns;      /* exec of the entrypoint */
	__s64 tasks;         /* live tasks that carry this slot */
	__u32 state;         /* enum slot_state */
	__u32 init_pid;      /* in the initial pid namespace; 0 until a hook named it. SLOT_HOST: see lib/task.h */
};

/* Seal of one cgroup: a container's root cgroup or one below it. */
struct cgroup_seal {
	__u32 slot;
	__u32 by; /* enum sealed_by */
};

/* Key of an expectation: the path below the v2 root, padded with zeros. */
struct cgroup_path {
	char path[PATH_KEY_MAX + 1];
};

enum task_state {
	TASK_SETUP = 1, /* entered from outside, has not executed the workload yet */
	TASK_HOOK = 2,  /* an OCI hook inside the container; exempt while its slot is mapped */
	TASK_ARMED = 3, /* never leaves */
};

/* A string as keyed hash: equal strings only, but for 2^-96 a pair. */
struct string_hash {
	__u64 lane[HASH_LANES];
	__u32 len; /* without NUL; see string_status for values over STRING_MAX */
	__u32 pad;
};

/* Seal of one task. */
struct task_seal {
	__u32 slot;
	__u32 state; /* enum task_state */
	__s32 uses;  /* of the slot that are counted for this task; with none it carries no seal */
	__u32 tid;   /* initial pid namespace */
	__u64 exec_id; /* the task's self_exec_id when it last executed a program as far as this tells */
	struct string_hash binary; /* executed file, taken at exec: later PR_SET_MM_EXE_FILE changes nothing */
	struct string_hash parent; /* the parent's, taken at birth: the parent can end before; length 0: not known */
};

/* Not lengths, but why there is no string. */
enum string_status {
	STRING_UNREADABLE = 0xffffffff,
	STRING_TRUNCATED = 0xfffffffe, /* longer than STRING_MAX */
};

/* One way to look a value up. Each dimension has all of them. */
enum match_kind {
	MATCH_EXACT = 0,
	MATCH_PREFIX = 1,
	MATCH_NOT_PREFIX = 2,
	MATCH_POSTFIX = 3,
	MATCH_NOT_POSTFIX = 4,
	MATCH_RANGE = 5,
	MATCH_MASK = 6,     /* some bit of the value is in the rule's mask */
	MATCH_NOT_MASK = 7,
	MATCH_KINDS = 8, /* a power of two, for the verifier */
	MATCH_SUBSTRING = MATCH_EXACT, /* dimensions that search do nothing else */
};

/* A set of rules of one site. */
struct rule_bits {
	__u64 word[RULE_WORDS];
};

/* What a dimension of a site looks up, and with which result on a miss. */
struct dimension {
	__u32 kinds;               /* bit per match_kind that some rule uses */
	__u32 pad;
	__u64 prefix_lengths[PREFIX_MAX / 64 + 1];   /* bit per length in use, 0..256: bytes, of addresses bits */
	__u64 postfix_lengths[POSTFIX_MAX / 64 + 1];
	__u64 bounds;              /* the range table: first element << 32 | number of elements */
	__u64 automaton;           /* see struct automaton_row */
	struct rule_bits uses;     /* rules that constrain this dimension */
	struct rule_bits miss[MATCH_KINDS];
};

struct site {
	struct dimension dims[READS_MAX];
};

/* What LINEAGE_SITE looks up. */
enum lineage_dimension {
	LINEAGE_BINARY = 0,
	LINEAGE_PID = 1,
	LINEAGE_NAMESPACE_PID = 2,
};

/* Rules of LINEAGE_SITE that a task satisfies: with those that it has inherited, and these alone. */
struct lineage {
	struct rule_bits own;
	struct rule_bits inherited;
};

/* What the agent and the iterators of lineages tell each other. */
struct lineage_control {
	struct rule_bits stale; /* to be taken from every task */
	__u64 changed;          /* tasks that a pass has changed */
};

/* Key of a matched value: site << 16 | dimension << 8 | kind. */
struct value_key {
	__u32 tag;
	__u32 len;
	__u64 lane[HASH_LANES];
};

/* Range table element: numbers from bound on, up to the next element. */
struct bound {
	__u64 bound; /* signed types: with the sign bit inverted, so that order is unsigned */
	__u32 class;
	__u32 pad;
};

/*
 * An automaton that finds all of a dimension's substrings in one pass: a state
 * has a row, with the number of another row for each high half of a byte, and that
 * has the next state for each low half. dimension.automaton is the first row << 32 |
 * number of the first row of classes << 16 | number of states that end a substring.
 * These are 1 and up; 0 is where a search begins. The rest of the rows, read as words
 * of 32 bits, are their classes. Numbers of rows count from the first.
 */
struct automaton_row {
	__u64 words[4]; /* 16 numbers of 16 bits, or 8 classes */
};

/* Rules of one version of a set at one site; immutable once a slot names the version. */
struct set_key {
	__u32 version;
	__u32 site;
};

struct set_rules {
	struct rule_bits rules;
	struct rule_bits enforce; /* of the rules, those whose enforcement actions are carried out */
};

enum action_flags {
	ACTION_POST = 1,
	ACTION_SIGNAL = 2, /* send act.signal */
	ACTION_NOPOST = 4,
	ACTION_OVERRIDE = 8, /* what the site decides about returns act.error */
	ACTION_NOTIFY = 16,  /* leave act.notice_signal and act.notice_error for the enforcers of act.notice */
	ACTION_NOTICED = 32, /* do what was left for the enforcers of act.notice */
	ACTION_KERNEL_STACK = 64, /* the event has the stack of the kernel */
	ACTION_USER_STACK = 128,  /* and that of the process */
	ACTION_FILE_HASH = 256,   /* and the hash of the file that a security hook is about */
	ACTION_UNNOTIFY = 512,    /* take back what was left for the enforcers of act.notice */
	ACTION_RETURN = 1024, /* the event waits for the call's return, where act.return_signal and act.track_return are done */
	ACTION_REMOTE = 4096,     /* the agent hears of the match also when there is no event */
};

/* Who shares the rate of a rule's events. */
enum rate_scope {
	RATE_THREAD = 0,
	RATE_PROCESS = 1,
	RATE_GLOBAL = 2,
};

/* What a rule does about the owner of a socket. */
enum track {
	TRACK_NOT = 0,
	TRACK_SOCK = 1,
	UNTRACK_SOCK = 2,
	TRACK_SOCKET = 4, /* with one of these: the dimension holds a struct socket */
};

/* What a rule does. */
struct act {
	__u16 flags; /* enum action_flags */
	__u16 group;  /* rules of one hook, in order: only the first that matches acts */
	__u32 policy; /* index of its counters */
	__s32 error;
	__s32 notice_error;
	__u8 signal;
	__u8 notice_signal;
	__u8 notice;  /* below NOTICES_MAX */
	__u8 return_signal;
	__u32 since;  /* no version before this one has the rule */
	__u8 track, track_return; /* enum track */
	__u8 sock, sock_return;   /* the dimensions that hold the sockets */
	__u32 rate_seconds;  /* between two events of the same values; 0: no limit */
	__u32 rate;          /* number of the rule among all that have a rate */
	__u32 rate_reads;    /* bit per read whose value counts */
	__u8 rate_scope;     /* enum rate_scope */
	__u8 pad[7];
};

struct policy_counters {
	__u64 post;
	__u64 nopost;
	__u64 signal;
	__u64 monitor_signal;
	__u64 override;
	__u64 monitor_override;
	__u64 notify;
	__u64 monitor_notify;
	__u64 limited; /* events that were not made because of their rate */
};

/* Where a site's program has one value from. */
enum read_kind {
	READ_NONE = 0,
	READ_INT = 1,           /* integer in the context */
	READ_USER_STRING = 2,   /* text at a pointer to user memory */
	READ_KERNEL_STRING = 3, /* text at a pointer to kernel memory */
	READ_DATA_LOC = 4,      /* text whose offset is in the low half of a word */
	READ_INLINE_STRING = 5, /* text in the record itself */
	READ_FILE = 6,          /* path of a struct file */
	READ_PATH = 7,          /* of a struct path */
	READ_DENTRY = 8,        /* of a struct dentry, inside its file system */
	READ_FD = 9,            /* of a descriptor of the current process */
	READ_BINPRM = 10,       /* of the file that a struct linux_binprm executes */
	READ_USER_BYTES = 11,   /* bytes at a pointer; their number is in the word at the offset size */
	READ_KERNEL_BYTES = 12,
	READ_BINARY_PATH = 13,  /* path of the current process's executed file */
	READ_BINARY = 14,       /* the same for exact comparison: what exec has hashed */
	READ_SOCK = 15,         /* struct sock_info of a struct sock */
	READ_SOCKET = 16,       /* of a struct socket */
	READ_SOCKADDR = 17,     /* of a struct sockaddr in kernel memory */
	READ_USER_SOCKADDR = 18,
	READ_SKB = 19,
	READ_CRED = 20,         /* struct cred_info of a struct cred */
	/* Parts of the structure in the buffer that the read names. */
	READ_SOURCE_ADDRESS = 21,
	READ_TARGET_ADDRESS = 22,
	READ_SOURCE_PORT = 23,
	READ_TARGET_PORT = 24,
	READ_PROTOCOL = 25,
	READ_FAMILY = 26,
	READ_STATE = 27,
	/* Of the current process. */
	READ_PID = 28,
	READ_NAMESPACE_PID = 29,
	READ_NAMESPACE = 30,    /* inode number; the offset says of which, as in enum namespace_kind */
	READ_CAPABILITIES = 31, /* the offset says which set, as in enum capability_kind */
	READ_SYSCALL = 32,      /* number of a system call in the context, with SYSCALL_COMPAT */
	READ_NOTICES = 33,      /* of the current task: bit per policy whose enforcers were notified */
	READ_LINEAGE = 34,      /* a word of the current task's struct lineage, which the offset counts */
	READ_PARENT_BINARY = 35,      /* as READ_BINARY, of the current process's parent */
	READ_PARENT_BINARY_PATH = 36, /* as READ_BINARY_PATH, of the parent */
	/* Computed from other reads. */
	READ_SUBSTRING = 80,        /* what the text in a buffer has in it */
	READ_SUBSTRING_FOLDED = 81, /* the same, where the automaton takes letters of both cases for one */
	READ_FILE_TYPE = 82,        /* the highest four bits of the mode of the file in a buffer */
	READ_GAINED = 83,           /* bits of the word of dimension offset that dimension size has not */
	READ_EXPRESSION = 84,       /* size instructions from expression_code[offset] */
	/* Of the current process, since it executed its program; see lib/origin.h. */
	READ_NAMESPACE_CHANGES = 115,  /* bit per enum namespace_kind */
	READ_CAPABILITY_CHANGES = 116, /* bit per capability of the set that the offset names */
};

/* With the number of a system call: it is of the ABI for 32 bits. */
enum syscall_abi { SYSCALL_COMPAT = 1u << 31 };

enum namespace_kind {
	NAMESPACE_UTS = 0,
	NAMESPACE_IPC = 1,
	NAMESPACE_MNT = 2,
	NAMESPACE_PID = 3,
	NAMESPACE_PID_FOR_CHILDREN = 4,
	NAMESPACE_NET = 5,
	NAMESPACE_TIME = 6,
	NAMESPACE_TIME_FOR_CHILDREN = 7,
	NAMESPACE_CGROUP = 8,
	NAMESPACE_USER = 9,
	NAMESPACE_KINDS = 10,
};

enum capability_kind {
	CAPABILITIES_EFFECTIVE = 0,
	CAPABILITIES_INHERITABLE = 1,
	CAPABILITIES_PERMITTED = 2,
	CAPABILITY_KINDS = 3,
};

/* What an instruction does with the words on top of the stack: a below b. */
enum expression_op {
	EXPRESSION_CONSTANT = 0, /* pushes the value */
	EXPRESSION_WORD = 1,     /* pushes the word of the dimension that the value says */
	EXPRESSION_ADD = 2,      /* these take both and leave one */
	EXPRESSION_SUBTRACT = 3,
	EXPRESSION_AND = 4,
	EXPRESSION_OR = 5,
	EXPRESSION_XOR = 6,
	EXPRESSION_EQUAL = 7,
	EXPRESSION_NOT_EQUAL = 8,
	EXPRESSION_LESS = 9,
	EXPRESSION_LESS_EQUAL = 10,
	EXPRESSION_LESS_SIGNED = 11,
	EXPRESSION_LESS_EQUAL_SIGNED = 12,
	EXPRESSION_SIGNED32 = 13, /* these change b */
	EXPRESSION_UNSIGNED32 = 14,
};

struct instruction {
	__u64 value;
	__u8 op; /* enum expression_op */
	__u8 pad[7];
};

/* When a value is read. */
enum read_when {
	READ_WHEN_ENTERED = 0,
	READ_RESULT = 1,   /* when the call returns: it is what the call returns */
	READ_RETURNED = 2, /* when the call returns, at the pointer that it was called with */
};

/* As the size of bytes that are read when the call returns: no argument tells it. */
enum read_size { NO_SIZE = 0xffff };

struct read_config {
	__u16 offset; /* bytes from the start of the context, or as the kind says */
	__u16 size;   /* integers: 1, 2, 4, 8; inline strings: the most characters that there can be */
	__u8 kind;
	__u8 is_signed;
	__u8 string;  /* which of the STRINGS_MAX buffers */
	__u8 when;    /* enum read_when */
};

/* How a call's return is told from those of calls in it and around it, see site/call.h. */
enum call_frame {
	FRAME_SYSCALL = 0, /* there is one at a time */
	FRAME_STACK = 1,   /* by the stack pointer at stack_offset */
	FRAME_CONTEXT = 2, /* by the context, which is one for both ends of the call */
};

/* Where a chain of pointers begins that leads to a read's word. */
enum chain_start {
	CHAIN_NONE = 0,     /* no chain: the word is in the context */
	CHAIN_WORD = 1,     /* with the word in the context */
	CHAIN_TASK = 2,     /* with the current task */
	CHAIN_REGISTER = 3, /* the word is at the offset in the program's own context, and leads nowhere */
};

/* How the word of a read is found. What is at each offset but the last is a pointer. */
struct chain_config {
	__u8 from;  /* enum chain_start */
	__u8 steps; /* pointers that are followed, to CHAIN_MAX */
	__u8 load;  /* bytes of the word at the end: 1, 2, 4, 8; 0: the word is the address */
	__u8 shift; /* where in the word the value is */
	__u8 bits;  /* of the value; 0: all that is loaded */
	__u8 pad[3];
	__u32 offset[CHAIN_MAX + 1];
};

/* Which file a security hook is about. */
enum hash_source {
	HASH_NONE = 0,
	HASH_FILE = 1,   /* its first argument is a struct file */
	HASH_BINPRM = 2, /* or a struct linux_binprm, which has one */
};

struct site_config {
	__u32 id;
	__u32 serial; /* of the site among all that there were, from 1: ids are used again */
	__u32 words;  /* of rule bits, 1 to RULE_WORDS */
	__u8 is_exec;  /* the site sees a program being executed */
	__u8 has_exit;   /* an exit program reads again what entry could not */
	__u8 denies;     /* the program's result decides: error numbers are carried out */
	__u8 indirect;   /* the values are in registers that the word at regs_offset points to */
	__u16 regs_offset;
	__u16 result_offset; /* of what a program that ran before has decided, or of what the call returned */
	__u8 notifies;       /* some rule leaves notices */
	__u8 limits;         /* some rule's events have a rate */
	__u8 stacks;         /* some rule's events have stacks: ACTION_KERNEL_STACK, ACTION_USER_STACK */
	__u8 hashes;         /* enum hash_source */
	__u8 returns;        /* some rule waits for the call's return */
	__u8 frame;          /* enum call_frame */
	__u8 stack_popped;   /* what the stack pointer is higher by when the call has returned */
	__u8 sock_kind;
	__u16 stack_offset;  /* of the stack pointer in the context */
	__u16 load;          /* of the site's programs: others of the site may run beside these for a moment */
	__u16 sock_offset;   /* of the socket that an event can be about, whose read has the kind sock_kind */
	__u8 in_context;     /* the context is on the stack of whoever runs the program */
	__u8 tracks;         /* some rule tracks sockets */
	__u8 has_stack;      /* the stack pointer is at stack_offset */
	__u8 pad[3];
	struct read_config read[READS_MAX];
	struct chain_config chain[READS_MAX];
};

/* Addresses as the network has them, IPv4 in the first four bytes. */
struct sock_info {
	__u64 source[2];
	__u64 target[2];
	__u16 source_port; /* host byte order */
	__u16 target_port;
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u8 state;
	__u8 pad;
	__u32 mark;
	__u32 priority;
	__u32 len;  /* of an skb */
	__u64 cookie;
	__u32 hash; /* of an skb */
	__u32 pad2;
};

struct cred_info {
	__u32 uid, gid, suid, sgid, euid, egid, fsuid, fsgid;
	__u32 securebits;
	__u32 user_ns;
	__u64 inheritable, permitted, effective;
};

enum event_type {
	EVENT_CGROUP_SEALED = 1,
	EVENT_CGROUP_GONE = 2,
	EVENT_FORK = 3,
	EVENT_EXEC = 4,
	EVENT_EXIT = 5,
	EVENT_SITE = 6,
	EVENT_TASK_UNSEALED = 7, /* a task of a container could not be sealed: the agent kills it */
	EVENT_ARMED = 8,
};

struct event_header {
	__u16 type;
	__u16 pad;
	__u32 size;
	__u64 ktime;  /* boot time clock */
	__u32 tgid;   /* initial pid namespace */
	__u32 tid;
	__u64 start;  /* start time of the thread group leader, ns, boot time clock: tgid and start name a process */
	__u32 slot;
	__u32 uid;
	__u64 cgroup_id;
};

struct event_cgroup {
	struct event_header h;
	__u32 slot;
	__u32 by; /* enum sealed_by */
	__u64 id; /* the cgroup; h.cgroup_id is the maker's */
	char path[PATH_KEY_MAX + 1];
};

struct event_fork {
	struct event_header h; /* of the child */
	__u64 parent_start;
	__u32 parent_tgid;
	__u32 pad;
};

enum exec_flags {
	EXEC_BINARY_TRUNCATED = 1,
	EXEC_ARGS_TRUNCATED = 2,
	EXEC_CWD_TRUNCATED = 4,
	EXEC_ARGS_UNREADABLE = 8,
};

/* Followed by binary, arguments (each with its NUL) and working directory. */
struct event_exec {
	struct event_header h;
	__u64 parent_start;
	__u32 parent_tgid;
	__u32 auid;
	__u32 flags;
	__u16 binary_len;
	__u16 args_len;
	__u16 cwd_len;
	__u16 pad;
	__u32 pad2;
};

struct event_exit {
	struct event_header h;
	__u32 code; /* as wait4 gives it */
	__u32 pad;
};

/*
 * Followed by the strings of the arguments, in the order of their buffers,
 * without NUL; string_len holds their lengths or an enum string_status. Then
 * come the addresses of the kernel's stack, those of the process's, and
 * FILE_HASH_MAX bytes that begin with the file's hash.
 */
struct event_site {
	struct event_header h;
	__u32 site;
	__u32 version;
	__u64 regs[READS_MAX];
	__u32 string_len[STRINGS_MAX];
	__u32 mode[STRINGS_MAX]; /* of the inodes of files */
	__u32 unreadable; /* bit per word that some pointer did not lead to */
	__u32 file_hash; /* the kernel's enum hash_algo, plus one; 0: no hash follows */
	__u16 kernel_stack; /* bytes */
	__u16 user_stack;
	__u16 at_exit;  /* strings were read when the call returned */
	__u16 returned; /* the event is of the call's return */
	struct rule_bits posted;
	struct rule_bits signalled; /* of the posted or not: rules whose signal was sent */
	struct rule_bits overridden; /* the same: rules whose error was returned */
	struct rule_bits notified;   /* the same: rules that left a notice */
	struct rule_bits silent;     /* of the posted: rules that only the agent is told of */
	struct rule_bits return_signalled; /* of the posted or not: rules whose signal was sent when the call returned */
};

/* The process that has tracked a socket. */
struct sock_owner {
	__u64 sock;           /* its address */
	__u64 start;
	__u64 cgroup_id;      /* of its task */
	__u64 slot_cgroup_id; /* of its slot, which another container can have later */
	__u32 tgid;
	__u32 tid;
	__u32 uid;
	__u32 slot;
};

/* Key of a call that is remembered: of a task's that are one in another, from 0 on. */
struct call_key {
	__u64 task; /* its address */
	__u32 depth;
	__u32 pad;
};

/* A call, as it was when it was entered. */
struct call {
	__u64 frame;
	__u32 serial; /* of the site */
	__u16 load;   /* of its programs */
	__u8 kind;    /* enum call_frame */
	__u8 pad;
	__u32 used;   /* bytes of data: more than CALL_DATA are in call_data */
	__u32 aside;  /* on whose behalf, as in struct evaluation */
	struct sock_owner owner;
	struct rule_bits pending;
	struct rule_bits enforce;
	struct event_site event;
	char data[CALL_DATA]; /* what stands behind the event: texts and stacks */
};

/* Reasons of failure that the programs count; never silent. */
enum kernel_error {
	KERR_SEALS_FULL = 0,      /* a cgroup could not be sealed */
	KERR_NO_SLOT = 1,         /* no free slot: SLOT_NO_ROOM was used */
	KERR_TASK_SEAL = 2,       /* a task could not be sealed */
	KERR_RING_FULL = 3,       /* an event was lost */
	KERR_SIGNAL = 4,          /* bpf_send_signal refused */
	KERR_SCRATCH = 5,         /* evaluations nested too deep */
	KERR_RETRY = 6,           /* no storage to read again at exit */
	KERR_PATH_DEPTH = 7,      /* a path has more components than the walk follows */
	KERR_GUARDED = 8,         /* a rule would have signalled init or the agent */
	KERR_EXEC_MISSED = 9,     /* the program at sched_process_exec was skipped, and a later one made up for it */
	KERR_NOTICE = 10,         /* no storage for a notice to enforcers */
	KERR_MISSED = 11,         /* the kernel skipped a base program, see lib/exec.h; it counts that itself */
	KERR_LINEAGE = 12,        /* no storage for what a task descends from */
	KERR_ORIGIN = 13,         /* no storage for what a process had at its exec */
	KERR_FILE_HASH = 14,      /* no storage for a file's hash */
	KERR_CALL = 15,           /* no room to remember a call until it returns */
	KERR_RETURN_MISSED = 16,  /* a call that was remembered has ended, and its return was not seen */
	KERR_ASIDE = 17,          /* a signal was held back: what runs is not the process that the event is about */
	KERR_SOCK = 18,           /* no room for the owner of a socket */
	KERR_MAX = 19,
};

#endif
