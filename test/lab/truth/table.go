// SPDX-License-Identifier: Apache-2.0

package truth

// What a cell of the table can say.
const (
	has        = "yes"
	hasNot     = "no"
	withModule = "lsm" // if the BPF security module is active
)

// row is what is known of a feature: one cell for each kernel.
type row struct{ feature, kernels, because string }

// rows is the table. Effects were measured by programs that libbpf and bpftool
// loaded, against a control that they had to leave alone.
func rows() []row {
	const effect = "measured by its effect"
	return []row{
		// feature, "5.10 6.1 6.12 7 6.12-inject", how it is known
		{"btf", "yes yes yes yes yes", "CONFIG_DEBUG_INFO_BTF=y; bpftool reads it"},
		{"btf_modules", "no yes yes yes no", "CONFIG_DEBUG_INFO_BTF_MODULES=y and drivers are modules; 5.10 does not know it, 6.12-inject has no modules"},
		{"raw_tracepoint_btf", "yes yes yes yes yes", effect},
		{"raw_tracepoint_test_run", "yes yes yes yes yes", "the kernels have the symbol bpf_prog_test_run_raw_tp"},
		{"task_storage", "no yes yes yes yes", effect + " in tracing programs; 5.10 lacks task_storage_map_alloc"},
		{"ringbuf", "yes yes yes yes yes", effect},
		{"iter_task", "yes yes yes yes yes", "the kernels have the symbol bpf_iter_task"},
		{"cgroup_id", "yes yes yes yes yes", "the measured effects were limited to one cgroup by it"},
		{"tracefs", "yes yes yes yes yes", "CONFIG_EVENT_TRACING=y; it has scheduler events"},
		{"syscall_tracepoints", "yes yes yes yes yes", "CONFIG_FTRACE_SYSCALLS=y; tracefs has hundreds of them"},
		{"kprobe", "yes yes yes yes yes", effect + ", a kill"},
		{"kprobe_multi", "no no yes yes yes", effect + "; CONFIG_FPROBE is off in 6.1, where programs load and do not attach"},
		{"uprobe", "yes yes yes yes yes", effect},
		{"uprobe_multi", "no no yes yes yes", effect + "; since 6.6, before that programs load and do not attach"},
		{"uprobe_refctroff", "yes yes yes yes yes", "the kernels have the symbol update_ref_ctr"},
		{"uprobe_regs_change", "no no no yes no", "since 6.18; only 7 has kprobe_write_ctx among its types"},
		{"fentry", "yes yes yes yes yes", effect + " at a system call"},
		{"fmodret", "yes yes yes yes yes", effect + ", a denial at security_file_open, whatever the security modules"},
		{"fmodret_syscall", "no no no yes yes", effect + ", a denial; 7 allows it at system calls also without error injection, older ones say not modifiable"},
		{"override_return", "no no no no yes", effect + ", a denial; CONFIG_BPF_KPROBE_OVERRIDE is off in all of Debian's kernels"},
		{"lsm", "lsm lsm lsm lsm lsm", effect + ", a denial at file_open; without bpf in lsm= programs attach and do nothing"},
		{"ima_file_hash", "no lsm lsm lsm lsm", effect + ", a hash at bprm_committed_creds; since 5.18, and like lsm without bpf in lsm="},
		{"signal", "yes yes yes yes yes", effect + ", a kill"},
		{"probe_write_user", "yes yes yes yes yes", "the file lockdown says [none]; the kernels have the symbol bpf_probe_write_user"},
		{"large", "yes yes yes yes yes", "since 5.2"},
		{"batch_update", "yes yes yes yes yes", "the kernels have the symbol generic_map_update_batch"},
		{"link_pin", "no yes yes yes yes", "since 5.15; 5.10 lacks bpf_perf_link_attach"},
		{"buildid", "yes yes yes yes yes", "the kernels have the symbol stack_map_get_build_id_offset"},
		{"missed_stats_kprobe", "no no yes yes yes", "since 6.7; struct bpf_link_info in C as bpftool prints it has perf_event.kprobe.missed"},
		{"missed_stats_kprobe_multi", "no no yes yes yes", "since 6.7; struct bpf_link_info in C as bpftool prints it has kprobe_multi.missed"},
		{"audit_loginuid", "yes yes yes yes yes", "CONFIG_AUDIT=y; struct task_struct has loginuid, and /proc/self/loginuid is there"},
	}
}
