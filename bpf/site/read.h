/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_READ_H
#define BOLTSEAL_READ_H

#include "chain.h"
#include "notice.h"
#include "sock.h"
#include "value.h"
#include "../lib/lineage.h"

/* Reads characters in the record itself, which have no NUL when they fill their field. */
static __always_inline __u32 read_record(char *string, const void *from, __u32 size)
{
	size++;
	if (size > STRING_READ)
		size = STRING_READ;
	return string_length(bpf_probe_read_kernel_str(string, clamp_index(size, STRING_READ + 1), from));
}

/* Functions of the kernel are given strings of either memory; addresses tell which. */
static __always_inline long read_pointer_string(char *string, __u64 pointer)
{
	if ((__s64)pointer < 0)
		return bpf_probe_read_kernel_str(string, STRING_READ, (void *)pointer);
	return bpf_probe_read_user_str(string, STRING_READ, (void *)pointer);
}

/* Whether the kind's size is the offset of a word with a number: of bytes or of vectors. */
static __always_inline bool has_number(__u8 kind)
{
	return kind == READ_USER_BYTES || kind == READ_KERNEL_BYTES || kind == READ_SOCKADDR_UN ||
	       kind == READ_USER_SOCKADDR_UN || kind == READ_VECTORS || kind == READ_USER_VECTORS;
}

/*
 * The number that goes with a pointer. The context of a call's return does not have
 * it: there it is what the entry has found.
 */
static __always_inline __u32 read_number(const void *context, const volatile struct read_config *read, struct evaluation *e,
					 bool at_entry)
{
	__u64 number = 0;

	if (!has_number(read->kind) || read->size == SIZE_UNKNOWN)
		return read->size;
	if (at_entry) {
		bpf_probe_read_kernel(&number, sizeof(number), context + read->size);
		/* The length of an address is an int, in the lower half of its word. */
		if (read->kind == READ_SOCKADDR_UN || read->kind == READ_USER_SOCKADDR_UN)
			number = (__u32)number < SIZE_UNKNOWN ? (__u32)number : SIZE_UNKNOWN - 1;
		e->number[read->string] = number > 0xffffffff ? 0xffffffff : number;
	}
	return e->number[read->string];
}

/* Reads bytes, and of more than there is room for the first. */
static __always_inline __u32 read_bytes(char *string, __u8 kind, __u64 word, __u32 size)
{
	long err;

	if (size >= STRING_MAX)
		size = STRING_MAX - 1;
	size = bound_index(size, STRING_MAX);
	err = read_memory(string, size, word, kind == READ_USER_BYTES);
	return err ? STRING_UNREADABLE : size;
}

/* Reads bytes of the record itself. */
static __always_inline __u32 read_record_bytes(char *string, const void *from, const volatile struct read_config *read,
					       struct site_record *r)
{
	__u32 size = read->size < STRING_MAX ? read->size : STRING_MAX - 1;

	note_size(r, read->string, read->size);
	size = bound_index(size, STRING_MAX);
	return bpf_probe_read_kernel(string, size, from) ? STRING_UNREADABLE : size;
}

static __always_inline bool is_bytes(__u8 kind)
{
	return kind == READ_USER_BYTES || kind == READ_KERNEL_BYTES;
}

/* Reads as many bytes as the call says that it has written, within the buffer's room. */
static __always_inline __u32 read_returned_bytes(char *string, const volatile struct read_config *read, struct site_record *r,
						 __u64 word, __u32 room, __u64 ret)
{
	__u32 size = ret;

	if ((__s32)ret < 0)
		return STRING_UNREADABLE;
	/* An argument of its own tells the room, or none. */
	if (read->size != SIZE_UNKNOWN && size > room)
		size = room;
	note_size(r, read->string, size);
	return read_bytes(string, read->kind, word, size);
}

#define ERROR_POINTERS 4095 /* the last addresses there are stand for errors */

static __always_inline bool is_error(__u64 pointer)
{
	return pointer >= (__u64)-ERROR_POINTERS;
}

/* Copies this level's walked path into a buffer; its own function so that it is verified once. */
__noinline int path_keep(__u32 level, __u32 string)
{
	struct path_walk *w = bpf_map_lookup_elem(&path_walks, &level);
	struct evaluation *e = evaluation_get(level);
	__u32 len;

	if (!w || !e || string >= STRINGS_MAX)
		return -1;
	len = w->len;
	if (len >= STRING_MAX)
		return 0;
	bpf_probe_read_kernel(e->string[clamp_index(string, STRINGS_MAX)], bound_index(len, STRING_MAX), w->string);
	return 0;
}

static __always_inline __u32 read_path(struct path *path, __u32 level, __u32 string)
{
	struct path_walk *w = path ? path_of(path, level) : NULL;

	if (!w || path_keep(level, string))
		return STRING_UNREADABLE;
	return w->len;
}

/*
 * The path of the executed file. That of a sealed task is what its exec has
 * hashed, and no file that it named to the kernel later.
 */
static __always_inline __u32 read_binary(__u32 level, __u32 string)
{
	struct task_struct *task = task_current();
	struct task_seal *seal = task_seal(task);
	struct file *file = BPF_CORE_READ(task, mm, exe_file);
	struct path_walk *w;
	__u32 len;

	len = read_path(file ? &file->f_path : NULL, level, string);
	if (!seal || seal->state != TASK_ARMED || len >= STRING_MAX)
		return len;
	w = bpf_map_lookup_elem(&path_walks, &level);
	if (!w || path_hash_walked(level) || seal->binary.len != len)
		return STRING_UNREADABLE;
	for (int l = 0; l < HASH_LANES; l++)
		if (w->hash.lane[l] != seal->binary.lane[l])
			return STRING_UNREADABLE;
	return len;
}

/*
 * The path of what the parent executes. That of a sealed task is what it was at the
 * task's birth: of a parent that has ended, or become another program, nobody can
 * tell it any more.
 */
static __always_inline __u32 read_parent_binary(__u32 level, __u32 string)
{
	struct task_struct *task = task_current();
	struct task_seal *seal = thread_group_seal(task);
	struct file *file = BPF_CORE_READ(task, real_parent, mm, exe_file);
	struct path_walk *w;
	__u32 len = 0;

	if (file)
		len = read_path(&file->f_path, level, string);
	if (!seal || !seal->parent.len || len >= STRING_MAX)
		return len;
	w = bpf_map_lookup_elem(&path_walks, &level);
	if (!w || !len || path_hash_walked(level) || seal->parent.len != len)
		return STRING_UNREADABLE;
	for (int l = 0; l < HASH_LANES; l++)
		if (w->hash.lane[l] != seal->parent.lane[l])
			return STRING_UNREADABLE;
	return len;
}

static __always_inline struct file *file_of_descriptor(__u64 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL, **files;

	if ((__u32)fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + (__u32)fd);
	return file;
}

/* The path of what a file's argument names, with the mode of its inode. */
static __always_inline __u32 read_file(__u8 kind, __u64 word, struct site_record *r, __u32 level, __u32 string)
{
	struct dentry *dentry;
	struct path *path;
	struct file *file;

	if (kind == READ_DENTRY) {
		dentry = (struct dentry *)word;
		r->event.mode[string] = BPF_CORE_READ(dentry, d_inode, i_mode);
		if (path_resolve_dentry(level, dentry) || path_keep(level, string))
			return STRING_UNREADABLE;
		return path_length(level);
	}
	if (kind == READ_PATH) {
		path = (struct path *)word;
	} else {
		if (kind == READ_FD)
			file = file_of_descriptor(word);
		else if (kind == READ_BINPRM)
			file = BPF_CORE_READ((struct linux_binprm *)word, file);
		else if (kind == READ_KIOCB)
			file = BPF_CORE_READ((struct kiocb *)word, ki_filp);
		else
			file = (struct file *)word;
		path = file ? &file->f_path : NULL;
	}
	dentry = path ? BPF_CORE_READ(path, dentry) : NULL;
	r->event.mode[string] = dentry ? BPF_CORE_READ(dentry, d_inode, i_mode) : 0;
	return read_path(path, level, string);
}

/* Reads what needs a buffer; returns its length, or why there is none. */
static __always_inline __u32 read_buffer(struct evaluation *e, const volatile struct read_config *read, bool chained, void *context,
					 struct site_record *r, __u64 word, __u32 number, __u32 level)
{
	char *string = e->string[read->string];

	if (read->kind >= READ_USER_NAMESPACE)
		return read_object(level, read->string, read->kind, word);
	if (read->kind >= READ_FILENAME && read->kind != READ_KIOCB && read->kind != READ_RECORD_BYTES)
		return read_value(level, read->string, read->kind, word, number);

	switch (read->kind) {
	case READ_USER_STRING:
		return string_length(bpf_probe_read_user_str(string, STRING_READ, (void *)word));
	case READ_KERNEL_STRING:
		return string_length(read_pointer_string(string, word));
	case READ_BINARY_PATH:
		return read_binary(level, read->string);
	case READ_PARENT_BINARY_PATH:
		return read_parent_binary(level, read->string);
	case READ_USER_BYTES:
	case READ_KERNEL_BYTES:
		note_size(r, read->string, number);
		return read_bytes(string, read->kind, word, number);
	case READ_DATA_LOC:
		return read_record(string, context + (word & 0xffff), word >> 16 & 0xffff);
	case READ_INLINE_STRING:
		return read_record(string, chained ? (void *)word : context + read->offset, read->size);
	case READ_RECORD_BYTES:
		return read_record_bytes(string, context + read->offset, read, r);
	case READ_FILE:
	case READ_PATH:
	case READ_DENTRY:
	case READ_FD:
	case READ_BINPRM:
	case READ_KIOCB:
		return read_file(read->kind, word, r, level, read->string);
	case READ_SOCK:
	case READ_SOCKET:
	case READ_SOCKADDR:
	case READ_USER_SOCKADDR:
	case READ_SKB:
		return read_sock(level, read->string, read->kind, word) ? STRING_UNREADABLE : sizeof(struct sock_info);
	case READ_CRED:
		return read_cred(level, read->string, word) ? STRING_UNREADABLE : sizeof(struct cred_info);
	}
	return 0;
}

/* Widens an integer as its type says. */
static __always_inline __u64 widen(const volatile struct read_config *read, __u64 word)
{
	if (read->size == 1)
		return read->is_signed ? (__s64)(__s8)word : (__u8)word;
	if (read->size == 2)
		return read->is_signed ? (__s64)(__s16)word : (__u16)word;
	if (read->size == 4)
		return read->is_signed ? (__s64)(__s32)word : (__u32)word;
	return word;
}

/* One word of the context; integers are widened as their type says. */
static __always_inline __u64 read_word(const volatile struct read_config *read, void *context)
{
	__u64 word = 0;

	if (read->kind == READ_DATA_LOC) {
		bpf_probe_read_kernel(&word, 4, context + read->offset);
		return word;
	}
	if (read->kind != READ_INT && read->kind != READ_SYSCALL)
		bpf_probe_read_kernel(&word, 8, context + read->offset);
	else if (read->size == 1)
		bpf_probe_read_kernel(&word, 1, context + read->offset);
	else if (read->size == 2)
		bpf_probe_read_kernel(&word, 2, context + read->offset);
	else if (read->size == 4)
		bpf_probe_read_kernel(&word, 4, context + read->offset);
	else
		bpf_probe_read_kernel(&word, 8, context + read->offset);
	if (read->kind == READ_INT)
		word = widen(read, word);
	if (read->kind == READ_SYSCALL)
		word = (__u32)word | (task_is_compat() ? SYSCALL_COMPAT : 0);
	return word;
}

/* Whether the read is a word of the context, and not of something else. */
static __always_inline bool in_context(__u8 kind)
{
	if (kind >= READ_FILENAME)
		return kind != READ_RECORD_BYTES && (kind <= READ_LOAD_INFO || kind == READ_CAPABILITY_SET);
	return kind && kind != READ_INLINE_STRING && kind != READ_BINARY && kind != READ_BINARY_PATH &&
	       (kind < READ_SOURCE_ADDRESS || kind == READ_SYSCALL);
}

/* Whether the value is computed from those of other reads. */
static __always_inline bool is_computed(__u8 kind)
{
	return kind >= READ_SUBSTRING && kind <= READ_EXPRESSION;
}

static __always_inline bool in_user_memory(__u8 kind)
{
	return kind == READ_USER_STRING || kind == READ_USER_SOCKADDR || kind == READ_USER_BYTES ||
	       kind == READ_USER_SOCKADDR_UN || kind == READ_USER_VECTORS || kind == READ_USER_ARRAY ||
	       kind == READ_USER_BPF_ATTR;
}

static __always_inline bool takes_buffer(__u8 kind)
{
	return (kind > READ_INT && kind < READ_SOURCE_ADDRESS && kind != READ_BINARY) || kind == READ_PARENT_BINARY_PATH ||
	       (kind >= READ_FILENAME && kind <= READ_LOAD_INFO);
}

/* Whether filters compare what is read as text. */
static __always_inline bool is_text(__u8 kind)
{
	return (kind > READ_INT && kind < READ_BINARY) || kind == READ_PARENT_BINARY_PATH ||
	       (kind >= READ_FILENAME && kind < READ_RECORD_BYTES);
}

/* A number that is a part of the structure in a buffer, or of the current process. */
static __always_inline __u64 read_part(const struct evaluation *e, const struct site_record *r,
				       const volatile struct read_config *read)
{
	const struct sock_info *info = (const void *)e->string[read->string];

	switch (read->kind) {
	case READ_SOURCE_PORT:
		return info->source_port;
	case READ_TARGET_PORT:
		return info->target_port;
	case READ_PROTOCOL:
		return info->protocol;
	case READ_FAMILY:
		return info->family;
	case READ_STATE:
		return info->state;
	case READ_PID:
		return bpf_get_current_pid_tgid() >> 32;
	case READ_NAMESPACE_PID:
		return process_namespace_pid();
	case READ_NAMESPACE:
		return process_namespace(read->offset);
	case READ_CAPABILITIES:
		return process_capabilities(read->offset);
	case READ_NOTICES:
		return notices_pending();
	case READ_LINEAGE:
		return lineage_word(read->offset);
	case READ_UNIX_FAMILY:
	case READ_USER_UNIX_FAMILY:
		return r->event.mode[read->string];
	}
	return 0;
}

#endif
