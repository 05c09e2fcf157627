/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_VALUE_H
#define BOLTSEAL_VALUE_H

#include "site.h"
#include "../lib/credentials.h"

/*
 * Values of types that few sites have. Each is read by a function that is
 * verified in every program; of the kinds that the site does not read nothing is
 * left in it, so that it asks for no structure that the kernel lacks.
 */

static __always_inline bool site_reads(__u32 kind)
{
	return config.kinds >> (kind - READ_KINDS_FIRST) & 1;
}

/* The kernel's functions are given pointers to either memory, system calls to the process's alone. */
static __always_inline long read_memory(void *to, __u32 size, __u64 from, bool user)
{
	if (user || (__s64)from >= 0)
		return bpf_probe_read_user(to, size, (void *)from);
	return bpf_probe_read_kernel(to, size, (void *)from);
}

static __always_inline void note_size(struct site_record *r, __u32 string, __u64 size)
{
	if (size > 0xffffffff)
		size = 0xffffffff;
	r->event.mode[clamp_index(string, STRINGS_MAX)] = size;
}

#define VECTORS_MAX 64 /* of what more of them name only the size is unknown */

/*
 * Appends the bytes of one of the evaluation's vectors to those that are in hand,
 * up to those that there is room for. They are put together where the event's
 * strings will be, which has room for any of them behind any other. Its own
 * function so that it is verified once.
 */
__noinline int append_vector(__u32 level, __u32 index)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	struct iovec vector;
	__u64 size, base;
	__u32 used, len;

	if (!e || !r || (!site_reads(READ_VECTORS) && !site_reads(READ_USER_VECTORS) && !site_reads(READ_ITERATOR)))
		return -1;
	used = e->vectors.used;
	if (e->vectors.whole) {
		vector.iov_base = (void *)e->vectors.at;
		vector.iov_len = e->vectors.skip + e->vectors.limit;
	} else if (read_memory(&vector, sizeof(vector), e->vectors.at + index * sizeof(vector), e->vectors.user_array)) {
		return -1;
	}
	size = vector.iov_len > e->vectors.skip ? vector.iov_len - e->vectors.skip : 0;
	base = (__u64)vector.iov_base + e->vectors.skip;
	e->vectors.skip = 0;
	if (size > e->vectors.limit)
		size = e->vectors.limit;
	e->vectors.limit -= size;
	e->vectors.total += size;
	if (used >= STRING_MAX - 1)
		return 0;
	len = size < STRING_MAX - 1 - used ? size : STRING_MAX - 1 - used;
	len = bound_index(len, STRING_MAX);
	if (len && read_memory(&r->data[bound_index(used, STRING_MAX)], len, base, e->vectors.user_bytes))
		return -1;
	e->vectors.used = used + len;
	return 0;
}

/* Joins the bytes that the evaluation's vectors name; returns how many there was room for. */
__noinline int join_vectors(__u32 level, __u32 string)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	__u32 used;

	if (!e || !r || string >= STRINGS_MAX)
		return -1;
	e->vectors.used = 0;
	e->vectors.total = 0;
	for (__u32 i = 0; i < VECTORS_MAX; i++) {
		if (i >= e->vectors.count || !e->vectors.limit)
			break;
		if (append_vector(level, i))
			return -1;
	}
	used = bound_index(e->vectors.used, STRING_MAX);
	if (e->vectors.total == used && e->vectors.limit && e->vectors.count > VECTORS_MAX)
		e->vectors.total++;
	bpf_probe_read_kernel(e->string[clamp_index(string, STRINGS_MAX)], used, r->data);
	note_size(r, string, e->vectors.total);
	return used;
}

static __always_inline int read_vectors(struct evaluation *e, __u32 level, __u32 string, __u32 kind, __u64 at, __u32 count)
{
	e->vectors.at = at;
	e->vectors.count = count;
	e->vectors.skip = 0;
	e->vectors.limit = ~0ULL;
	e->vectors.whole = 0;
	e->vectors.user_array = kind == READ_USER_VECTORS;
	/* Those of an array that the process has written are not checked yet: they may point anywhere. */
	e->vectors.user_bytes = kind == READ_USER_VECTORS || (__s64)at >= 0;
	return join_vectors(level, string);
}

static __always_inline __u32 iterator_kind(const struct iov_iter *iterator)
{
	const struct iov_iter___flags *old = (const void *)iterator;

	if (bpf_core_field_exists(iterator->iter_type))
		return BPF_CORE_READ(iterator, iter_type);
	/* The lowest bit is the direction. */
	return BPF_CORE_READ(old, type) & ~1;
}

static __always_inline int read_iterator(struct evaluation *e, __u32 level, __u32 string, const struct iov_iter *iterator)
{
	__u32 kind = iterator_kind(iterator);

	e->vectors.skip = BPF_CORE_READ(iterator, iov_offset);
	e->vectors.limit = BPF_CORE_READ(iterator, count);
	e->vectors.whole = 0;
	e->vectors.user_array = 0;
	e->vectors.user_bytes = 1;
	if (bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) && kind == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		e->vectors.at = (__u64)BPF_CORE_READ(iterator, ubuf);
		e->vectors.count = e->vectors.whole = 1;
		return join_vectors(level, string);
	}
	e->vectors.count = BPF_CORE_READ(iterator, nr_segs);
	if (kind == bpf_core_enum_value(enum iter_type, ITER_IOVEC)) {
		if (bpf_core_field_exists(iterator->__iov))
			e->vectors.at = (__u64)BPF_CORE_READ(iterator, __iov);
		else
			e->vectors.at = (__u64)BPF_CORE_READ(iterator, iov);
		return join_vectors(level, string);
	}
	if (kind != bpf_core_enum_value(enum iter_type, ITER_KVEC))
		return -1; /* pages: nothing that has an address */
	e->vectors.at = (__u64)BPF_CORE_READ(iterator, kvec);
	e->vectors.user_bytes = 0;
	return join_vectors(level, string);
}

#define AF_UNIX 1
#define UNIX_NAME_MAX 108 /* sun_path */

/*
 * The path of a unix address, or @ and its name in the abstract name space. The
 * kernel looks at no more of an address than its length says: without it the path
 * goes up to its NUL.
 */
static __always_inline int read_unix(char *to, struct site_record *r, __u32 string, __u64 from, __u32 size, bool user)
{
	__u32 room = UNIX_NAME_MAX, len;
	__u16 family = 0;
	long n;

	if (size < sizeof(family) || read_memory(&family, sizeof(family), from, user))
		return -1;
	note_size(r, string, family);
	if (family != AF_UNIX)
		return 0;
	if (size - sizeof(family) < room)
		room = size - sizeof(family);
	if (!room)
		return 0;
	from += sizeof(family);
	if (user || (__s64)from >= 0)
		n = bpf_probe_read_user_str(to, UNIX_NAME_MAX + 1, (void *)from);
	else
		n = bpf_probe_read_kernel_str(to, UNIX_NAME_MAX + 1, (void *)from);
	len = string_length(n);
	if (len > UNIX_NAME_MAX)
		return -1;
	if (len)
		return len < room ? len : room;
	from++;
	to[0] = '@';
	if (size != SIZE_UNKNOWN) {
		len = bound_index(room - 1, UNIX_NAME_MAX + 20);
		if (len && read_memory(to + 1, len, from, user))
			return -1;
		return len ? len + 1 : 0;
	}
	if (user || (__s64)from >= 0)
		n = bpf_probe_read_user_str(to + 1, UNIX_NAME_MAX, (void *)from);
	else
		n = bpf_probe_read_kernel_str(to + 1, UNIX_NAME_MAX, (void *)from);
	len = string_length(n);
	if (len > UNIX_NAME_MAX)
		return -1;
	return len ? len + 1 : 0;
}

/* Of union bpf_attr (include/uapi/linux/bpf.h), as BPF_PROG_LOAD has it. */
enum { BPF_ATTR_NAME = 48 };

static __always_inline int read_bpf_attr(struct program_info *info, __u64 attr, bool user)
{
	if (read_memory(info, 8, attr, user))
		return -1;
	/* Older callers know of no name, and pass less. */
	if (read_memory(info->name, sizeof(info->name), attr + BPF_ATTR_NAME, user))
		info->name[0] = 0;
	return sizeof(*info);
}

static __always_inline int read_bpf_prog(struct program_info *info, const struct bpf_prog *prog)
{
	const struct bpf_prog_aux *aux = BPF_CORE_READ(prog, aux);

	if (bpf_core_read(&info->type, sizeof(info->type), &prog->type))
		return -1;
	info->instructions = BPF_CORE_READ(prog, len);
	bpf_core_read(info->name, sizeof(info->name), &aux->name);
	return sizeof(*info);
}

static __always_inline int read_bpf_map(struct map_info *info, const struct bpf_map *map)
{
	if (bpf_core_read(&info->type, sizeof(info->type), &map->map_type))
		return -1;
	info->key_size = BPF_CORE_READ(map, key_size);
	info->value_size = BPF_CORE_READ(map, value_size);
	info->max_entries = BPF_CORE_READ(map, max_entries);
	bpf_core_read(info->name, sizeof(info->name), &map->name);
	return sizeof(*info);
}

#define PERF_TYPE_MAX 6 /* types from here on are given to drivers, those of probes among them */

static __always_inline int read_perf_event(struct perf_info *info, const struct perf_event *event)
{
	__u64 function;

	if (bpf_core_read(&info->type, sizeof(info->type), &event->attr.type))
		return -1;
	info->config = BPF_CORE_READ(event, attr.config);
	if (info->type < PERF_TYPE_MAX)
		return sizeof(*info);
	/* Of a probe config1 is a pointer to the function's name and config2 the offset; of others the first is none. */
	function = BPF_CORE_READ(event, attr.config1);
	if (bpf_probe_read_user_str(info->function, sizeof(info->function), (void *)function) > 0)
		info->offset = BPF_CORE_READ(event, attr.config2);
	return sizeof(*info);
}

static __always_inline int read_module(struct module_info *info, const struct module *module)
{
	if (!bpf_core_type_exists(struct module))
		return -1;
	if (bpf_core_read_str(info->name, sizeof(module->name), &module->name) < 0)
		return -1;
	info->taints = BPF_CORE_READ(module, taints);
	if (bpf_core_field_exists(module->sig_ok)) {
		info->has_signature = 1;
		info->signature_ok = BPF_CORE_READ(module, sig_ok);
	}
	return sizeof(*info);
}

static __always_inline int read_load_info(struct module_info *info, const struct load_info *load)
{
	const struct module *module;
	const char *name;

	if (!bpf_core_type_exists(struct load_info) || bpf_core_read(&name, sizeof(name), &load->name))
		return -1;
	/* Not known before the kernel has looked for it. */
	if (bpf_probe_read_kernel_str(info->name, sizeof(info->name), name) < 0)
		info->name[0] = 0;
	module = BPF_CORE_READ(load, mod);
	info->taints = BPF_CORE_READ(module, taints);
	if (bpf_core_field_exists(load->sig_ok)) {
		info->has_signature = 1;
		info->signature_ok = BPF_CORE_READ(load, sig_ok);
	}
	return sizeof(*info);
}

#define OBJECT_MAX 128 /* no smaller than any of the structures */

/* Puts what a pointer's structure tells into a buffer; returns its length, or -1. */
__noinline int read_object(__u32 level, __u32 string, __u32 kind, __u64 pointer)
{
	struct evaluation *e = evaluation_get(level);
	void *to;

	if (!e || string >= STRINGS_MAX || !pointer)
		return -1;
	to = e->string[clamp_index(string, STRINGS_MAX)];
	__builtin_memset(to, 0, OBJECT_MAX);
	if (site_reads(READ_USER_NAMESPACE) && kind == READ_USER_NAMESPACE)
		return read_user_namespace(to, (void *)pointer);
	if (site_reads(READ_BPF_ATTR) && kind == READ_BPF_ATTR)
		return read_bpf_attr(to, pointer, false);
	if (site_reads(READ_USER_BPF_ATTR) && kind == READ_USER_BPF_ATTR)
		return read_bpf_attr(to, pointer, true);
	if (site_reads(READ_BPF_PROG) && kind == READ_BPF_PROG)
		return read_bpf_prog(to, (void *)pointer);
	if (site_reads(READ_BPF_MAP) && kind == READ_BPF_MAP)
		return read_bpf_map(to, (void *)pointer);
	if (site_reads(READ_PERF_EVENT) && kind == READ_PERF_EVENT)
		return read_perf_event(to, (void *)pointer);
	if (site_reads(READ_MODULE) && kind == READ_MODULE)
		return read_module(to, (void *)pointer);
	if (site_reads(READ_LOAD_INFO) && kind == READ_LOAD_INFO)
		return read_load_info(to, (void *)pointer);
	return -1;
}

/*
 * Puts text or bytes that a pointer leads to into a buffer; returns their length,
 * or an enum string_status. What number is depends on the kind.
 */
__noinline int read_value(__u32 level, __u32 string, __u32 kind, __u64 pointer, __u32 number)
{
	struct evaluation *e = evaluation_get(level);
	struct site_record *r = record_get(level);
	char *to;

	if (!e || !r || string >= STRINGS_MAX || !pointer)
		return -1;
	to = e->string[clamp_index(string, STRINGS_MAX)];
	if (site_reads(READ_FILENAME) && kind == READ_FILENAME)
		return string_length(bpf_probe_read_kernel_str(to, STRING_READ, BPF_CORE_READ((struct filename *)pointer, name)));
	if (site_reads(READ_NET_DEVICE) && kind == READ_NET_DEVICE)
		return string_length(bpf_core_read_str(to, sizeof(((struct net_device *)0)->name), &((struct net_device *)pointer)->name));
	if (site_reads(READ_SOCKADDR_UN) && kind == READ_SOCKADDR_UN)
		return read_unix(to, r, string, pointer, number, false);
	if (site_reads(READ_USER_SOCKADDR_UN) && kind == READ_USER_SOCKADDR_UN)
		return read_unix(to, r, string, pointer, number, true);
	if (site_reads(READ_ARRAY) && kind == READ_ARRAY)
		return read_memory(to, bound_index(number, STRING_MAX), pointer, false) ? -1 : (int)bound_index(number, STRING_MAX);
	if (site_reads(READ_USER_ARRAY) && kind == READ_USER_ARRAY)
		return read_memory(to, bound_index(number, STRING_MAX), pointer, true) ? -1 : (int)bound_index(number, STRING_MAX);
	if (site_reads(READ_VECTORS) && kind == READ_VECTORS)
		return read_vectors(e, level, string, READ_VECTORS, pointer, number);
	if (site_reads(READ_USER_VECTORS) && kind == READ_USER_VECTORS)
		return read_vectors(e, level, string, READ_USER_VECTORS, pointer, number);
	if (site_reads(READ_ITERATOR) && kind == READ_ITERATOR)
		return read_iterator(e, level, string, (void *)pointer);
	return -1;
}

/* Replaces a word of the event that points to a number by the number; notes where it cannot be read. */
__noinline int follow_word(__u32 level, __u32 read)
{
	struct site_record *r = record_get(level);
	__u64 number = 0, *word;

	if (!r || read >= READS_MAX || !site_reads(READ_CAPABILITY_SET))
		return -1;
	word = &r->event.regs[clamp_index(read, READS_MAX)];
	if ((__s64)*word >= 0 || bpf_probe_read_kernel(&number, sizeof(number), (void *)*word))
		r->event.unreadable |= 1u << (read & 31);
	*word = number;
	return 0;
}

#endif
