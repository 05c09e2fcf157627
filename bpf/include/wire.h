/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_WIRE_H
#define BOLTSEAL_WIRE_H

/*
 * What the kernel programs and the agent share: records in the ring, values
 * of maps, limits. Go's twins of these are generated from BTF. Only
 * fixed-width types, explicit padding, header first.
 */

#include <linux/types.h>
#include "limits.h"
#include "object.h"
#include "reads.h"

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

/* A slot's use of the ring, see ring.h. */
struct ring_use {
	__u64 lost;  /* events that there was no room for */
	__u64 epoch; /* of bytes */
	__u64 bytes;
	__u64 pad;
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

/* Whether a process descends from the first one of its container. */
enum init_tree {
	INIT_TREE_UNKNOWN = 0, /* in no container, in set-up, or there before its seal */
	INIT_TREE_IN = 1,
	INIT_TREE_OUT = 2, /* the runtime has put it into the running container, or one that it descends from */
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
	__u32 tree; /* enum init_tree */
	__u32 pad;
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

/* What a process may do, and what it sees. */
struct process_state {
	struct cred_info cred;
	struct user_ns_info user_ns; /* of cred */
	__u32 namespaces[NAMESPACE_KINDS]; /* inode numbers; 0: the kernel has no such */
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
	EVENT_DATA = 20,
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
	__u32 nspid; /* tgid in the pid namespace that the child was born into */
	__u32 tree;  /* enum init_tree */
	__u32 maker_tgid; /* of the process that the child is a copy of */
	__u64 maker_start;
	struct process_state state; /* zero unless the agent asks for it */
};

enum exec_flags {
	EXEC_BINARY_TRUNCATED = 1,
	EXEC_ARGS_TRUNCATED = 2,
	EXEC_CWD_TRUNCATED = 4,
	EXEC_ARGS_UNREADABLE = 8,
	EXEC_ENV_TRUNCATED = 16,
	EXEC_ENV_UNREADABLE = 32,
	EXEC_CWD_UNREADABLE = 64,
	/* What of the file's has given the process more than it had. */
	EXEC_SETUID = 128,
	EXEC_SETGID = 256,
	EXEC_CAPABILITIES = 512,
};

/* Texts of an exec that are sent apart where the event has no room for all of them. */
enum exec_text {
	EXEC_ARGS = 0,
	EXEC_ENV = 1,
	EXEC_TEXTS = 2,
};

/* Followed by binary, arguments (each with its NUL), working directory and environment (like arguments). */
struct event_exec {
	struct event_header h;
	__u64 parent_start;
	__u32 parent_tgid;
	__u32 auid;
	__u32 flags;
	__u16 binary_len;
	__u16 args_len;
	__u16 cwd_len;
	__u16 env_len;
	__u32 nspid; /* as in event_fork */
	__u32 tree;  /* enum init_tree */
	__u32 text_size[EXEC_TEXTS]; /* bytes that there are, with those that do not follow */
	__u32 links; /* to the executed file */
	__u64 data;  /* names, with the task, the event_data that have more of the texts; 0: none */
	__u64 inode;
	struct process_state state;
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
	/* Of files the mode of the inode, of bytes how many there were (at most 2^32 - 1), of unix addresses the family. */
	__u32 mode[STRINGS_MAX];
	__u32 unreadable; /* bit per word of regs that a pointer leads to, and that could not be read */
	__u32 file_hash; /* the kernel's enum hash_algo, plus one; 0: no hash follows */
	__u16 kernel_stack; /* bytes */
	__u16 user_stack;
	__u16 at_exit;  /* strings were read when the call returned */
	__u16 returned; /* the event is of the call's return */
	__u64 data;     /* names, with the task, the event_data that belong to it; 0: none */
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

/*
 * Followed by bytes of an argument that its event has no room for; those of an
 * event come before it, in their order.
 */
struct event_data {
	struct event_header h;
	__u64 id;     /* of the task's */
	__u32 string; /* the argument's buffer; of an exec, enum exec_text */
	__u32 offset; /* of the first byte in the argument */
	__u32 len;
	__u32 pad;
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
