/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_FILEHASH_H
#define BOLTSEAL_FILEHASH_H

#include "site.h"

/*
 * The hash of a file is read by a program that may sleep, which those that
 * evaluate must not: what they hold belongs to their CPU. So a security hook at
 * which some rule asks for it has three programs, which the kernel runs in this
 * order: hash_wanted evaluates and notes whether a rule that matches asks;
 * hash_file reads the hash, which can mean the whole file; hook_verdict
 * evaluates again, acts, and takes the hash into the event.
 */
struct file_hash {
	__u32 wanted;
	__u32 busy; /* the kernel opens a file once more if it was not opened for reading */
	__u32 algorithm; /* the kernel's enum hash_algo, plus one; 0: none */
	__u32 pad;
	char bytes[FILE_HASH_MAX];
};

/* Kernels that hash files for programs have task storage. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct file_hash);
} file_hashes SEC(".maps");

/* Too large for the stack. */
const volatile struct file_hash no_file_hash;

/* Whether the act is the kernel's own, which hashes the file of another one. */
static __always_inline bool file_hash_busy(void)
{
	struct file_hash *hash = config.hashes ? task_memory(&file_hashes, task_current()) : NULL;

	return hash && hash->busy;
}

/* Notes whether the hash is wanted; what was left of an earlier act is gone. */
static __always_inline void file_hash_want(bool wanted)
{
	struct file_hash *hash = task_memory(&file_hashes, task_current());

	if (!hash && wanted)
		hash = task_memory_make(&file_hashes, task_current(), (const void *)&no_file_hash);
	if (hash) {
		hash->wanted = wanted;
		hash->algorithm = 0;
	} else if (wanted) {
		kernel_error(KERR_FILE_HASH);
	}
}

#endif
