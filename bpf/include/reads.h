/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_READS_H
#define BOLTSEAL_READS_H

/* What the programs of a site read, and how they are set up: a part of wire.h. */

#include <linux/types.h>
#include "limits.h"

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
	/* Text and bytes. */
	READ_FILENAME = 40,     /* of a struct filename */
	READ_KIOCB = 41,        /* path of the file of a struct kiocb */
	READ_NET_DEVICE = 42,   /* name of a struct net_device */
	READ_SOCKADDR_UN = 43,  /* path of a struct sockaddr_un; its length is in the word at the offset size, or SIZE_UNKNOWN */
	READ_USER_SOCKADDR_UN = 44,
	READ_RECORD_BYTES = 45, /* size bytes in the record itself */
	READ_VECTORS = 46,      /* what an array of struct iovec names; their number is in the word at the offset size */
	READ_USER_VECTORS = 47,
	READ_ITERATOR = 48,     /* what a struct iov_iter names */
	READ_ARRAY = 49,        /* size bytes at a pointer */
	READ_USER_ARRAY = 50,
	/* Structures. */
	READ_USER_NAMESPACE = 51, /* struct user_ns_info of a struct user_namespace */
	READ_BPF_ATTR = 52,       /* struct program_info of a union bpf_attr that loads a program */
	READ_USER_BPF_ATTR = 53,
	READ_BPF_PROG = 54,       /* of a struct bpf_prog */
	READ_BPF_MAP = 55,        /* struct map_info of a struct bpf_map */
	READ_PERF_EVENT = 56,     /* struct perf_info of a struct perf_event */
	READ_MODULE = 57,         /* struct module_info of a struct module */
	READ_LOAD_INFO = 58,      /* of a struct load_info */
	/* Others. */
	READ_NOTHING = 59,        /* an argument that nobody looks at */
	READ_CAPABILITY_SET = 60, /* number at a pointer to a kernel_cap_t */
	READ_UNIX_FAMILY = 61,    /* of the structure in the buffer that the read names */
	READ_USER_UNIX_FAMILY = 62,
	/* Of the current process, since it executed its program; see lib/origin.h. */
	READ_NAMESPACE_CHANGES = 115,  /* bit per enum namespace_kind */
	READ_CAPABILITY_CHANGES = 116, /* bit per capability of the set that the offset names */
};

/* In place of the offset of a length: there is none. */
enum read_size { SIZE_UNKNOWN = 0xffff };

/* Kinds of reads that site_config.kinds has a bit for. */
enum read_kinds { READ_KINDS_FIRST = 40 };

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

struct read_config {
	__u16 offset; /* bytes from the start of the context, or as the kind says */
	__u16 size;   /* integers: 1, 2, 4, 8; inline strings: the most characters that there can be */
	__u8 kind;
	__u8 is_signed;
	__u8 string;  /* which of the STRINGS_MAX buffers */
	__u8 when;    /* enum read_when */
	__u8 rest;    /* bytes that the buffer has no room for are sent apart */
	__u8 pad;
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
	__u8 has_rest;       /* some read has a rest */
	__u8 pad[2];
	__u64 kinds;         /* bit per kind from READ_KINDS_FIRST on that the site reads */
	struct read_config read[READS_MAX];
	struct chain_config chain[READS_MAX];
};

#endif
