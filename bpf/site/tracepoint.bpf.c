// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * A tracepoint of the kernel's event files as a site. The agent loads one
 * copy for each tracepoint that some policy names, with its own config.
 *
 *   tracepoint_event  the tracepoint itself
 *   syscall_exit      for sys_enter_*: reads what entry could not, when the
 *                     call returns and has faulted the string in
 *   exec_done         the same for execve that succeeded
 *   retry_free        where there is no task storage: what a task that ends
 *                     has left to be read again is forgotten
 */
#include "tracepoint.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tracepoint")
int tracepoint_event(void *ctx)
{
	site_enter(ctx);
	return 0;
}

#define SYSCALL_EXIT_RET 16 /* in the record of every sys_exit_* event */

SEC("tracepoint")
int syscall_exit(void *ctx)
{
	long ret = 0;

	bpf_probe_read_kernel(&ret, sizeof(ret), ctx + SYSCALL_EXIT_RET);
	site_again(ctx, READ_AT_EXIT, NULL, ret);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_done, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	site_again(NULL, READ_AT_EXEC, BPF_CORE_READ(bprm, filename), 0);
	return 0;
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(retry_free, struct task_struct *task)
{
	task_memory_free(&retries, task);
	return 0;
}

/*
 * The same evaluation without a tracepoint, for test runs: the context is an
 * array of words, and arguments are found in it by their offsets.
 */
SEC("raw_tp")
int test_event(void *ctx)
{
	site_enter(ctx);
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
