// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The programs of sites. The agent loads one copy for each place that some
 * policy names, with its own config, of the kind that the place takes:
 *
 *   tracepoint_event  a tracepoint of the kernel's event files
 *   raw_event         a raw tracepoint: the context is an array of words
 *   function_entry    a kprobe, alone or of many functions at once
 *   function_called   fentry; arguments are an array of words
 *   function_verdict  fmod_ret: what it returns, if not 0, is returned in the
 *                     function's place
 *   prefault          makes what function_verdict reads of user memory be there
 *   hook_verdict      an LSM hook
 *   hash_wanted       runs before it where events have the hash of a file, and
 *   hash_file         between the two
 *   syscall_exit      for system calls: when they return, judges by the rules
 *                     that wait for that, and reads what entry could not and
 *                     the call has faulted in
 *   function_return   the same for functions, by a return probe
 *   function_exit     the same by a trampoline
 *   exec_done         the same for execve that succeeded
 *   calls_free        forgets the calls of a task that has ended
 *   retry_free        where there is no task storage: what a task that ends
 *                     has left to be read again, or for enforcers, is forgotten
 */
#include "enter.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tracepoint")
int tracepoint_event(void *ctx)
{
	site_enter(ctx);
	return 0;
}

SEC("raw_tp")
int raw_event(void *ctx)
{
	site_enter(ctx);
	return 0;
}

SEC("kprobe")
int function_entry(void *ctx)
{
	__s32 error = site_enter(ctx);

	if (config.denies && error)
		bpf_override_return(ctx, error);
	return 0;
}

SEC("fentry")
int function_called(void *ctx)
{
	site_enter(ctx);
	return 0;
}

#define PAGE_LAST 4095ULL

/* Faults a byte in, if the process has one there. */
static __always_inline void touch(__u64 address)
{
	char byte;

	if (bpf_probe_read_user(&byte, 1, (void *)address))
		bpf_copy_from_user(&byte, 1, (void *)address);
}

/*
 * Runs before function_verdict, which cannot sleep: a system call's strings are
 * often in memory that is not there yet, and the call would fault it in later
 * anyway. Those that are read have at most two pages.
 */
SEC("fentry.s")
int prefault(void *ctx)
{
	void *context = site_context(ctx);
	__u64 word;

	for_reads(i) {
		const volatile struct read_config *read = &config.read[i];

		if (!in_user_memory(read->kind))
			continue;
		word = 0;
		bpf_probe_read_kernel(&word, sizeof(word), context + read->offset);
		touch(word);
		touch((word | PAGE_LAST) + 1);
	}
	return 0;
}

#define ERROR_MAX 4095

/* An error as programs return it: the verifier wants to know that it is one. */
static __always_inline long verdict(__s32 error)
{
	__u64 above = (__u32)(error + ERROR_MAX);

	above = bound_index(above, ERROR_MAX + 1);
	return (long)above - ERROR_MAX;
}

SEC("fmod_ret")
long function_verdict(void *ctx)
{
	return verdict(site_enter(ctx));
}

/* What programs before this one decided stands. */
SEC("lsm")
long hook_verdict(void *ctx)
{
	__s32 before = 0, error = file_hash_busy() ? 0 : site_enter(ctx);

	if (config.result_offset)
		bpf_probe_read_kernel(&before, sizeof(before), ctx + config.result_offset);
	return verdict(before ? before : error);
}

SEC("lsm")
long hash_wanted(void *ctx)
{
	site_foresee(ctx);
	return 0;
}

SEC("lsm.s")
long hash_file(__u64 *ctx)
{
	struct file_hash *hash = task_memory(&file_hashes, task_current());
	struct file *file;
	long algorithm;

	if (!hash || !hash->wanted || hash->busy)
		return 0;
	if (config.hashes == HASH_BINPRM)
		file = ((struct linux_binprm *)ctx[0])->file;
	else
		file = (struct file *)ctx[0];
	if (!file)
		return 0;
	hash->busy = 1;
	algorithm = bpf_ima_file_hash(file, hash->bytes, FILE_HASH_MAX);
	hash->busy = 0;
	hash->algorithm = algorithm >= 0 ? algorithm + 1 : 0;
	return 0;
}

SEC("tracepoint")
int syscall_exit(void *ctx)
{
	site_exit(ctx);
	return 0;
}

SEC("kretprobe")
int function_return(void *ctx)
{
	site_exit(ctx);
	return 0;
}

SEC("fexit")
int function_exit(void *ctx)
{
	site_exit(ctx);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_done, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	site_again(ctx, READ_AT_EXEC, BPF_CORE_READ(bprm, filename), 0);
	return 0;
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(retry_free, struct task_struct *task)
{
	task_memory_free(&retries, task);
	task_memory_free(&notices, task);
	return 0;
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(calls_free, struct task_struct *task)
{
	calls_free_task(task);
	return 0;
}

/* Arguments of reclass, as a test run passes them. */
struct reclass_args {
	__u64 tag_len; /* tag << 32 | len */
	__u64 lane[HASH_LANES];
	__u64 class;
};

/* Changes a value's class in place; returns 1 when the value is there. */
SEC("raw_tp")
int reclass(struct reclass_args *args)
{
	struct value_key key = { .tag = args->tag_len >> 32, .len = args->tag_len };
	__u32 *class;

	for (int l = 0; l < HASH_LANES; l++)
		key.lane[l] = args->lane[l];
	class = bpf_map_lookup_elem(&match_values, &key);
	if (!class)
		return 0;
	*(volatile __u32 *)class = args->class;
	return 1;
}
