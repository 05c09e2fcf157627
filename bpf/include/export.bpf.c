// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Not a program: an object whose BTF holds every type of wire.h, from which
 * Go's twins are generated.
 */
#include "kernel.h"
#include "wire.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define EXPORT_TYPE(kind, name) const kind name *export_##name __attribute__((unused))

EXPORT_TYPE(enum, limits);
EXPORT_TYPE(enum, reserved_slots);
EXPORT_TYPE(enum, slot_state);
EXPORT_TYPE(enum, sealed_by);
EXPORT_TYPE(enum, task_state);
EXPORT_TYPE(enum, string_status);
EXPORT_TYPE(enum, match_kind);
EXPORT_TYPE(enum, action_flags);
EXPORT_TYPE(enum, rate_scope);
EXPORT_TYPE(enum, hash_source);
EXPORT_TYPE(enum, track);
EXPORT_TYPE(enum, read_kind);
EXPORT_TYPE(enum, read_when);
EXPORT_TYPE(enum, read_size);
EXPORT_TYPE(enum, call_frame);
EXPORT_TYPE(enum, syscall_abi);
EXPORT_TYPE(enum, namespace_kind);
EXPORT_TYPE(enum, capability_kind);
EXPORT_TYPE(enum, expression_op);
EXPORT_TYPE(enum, chain_start);
EXPORT_TYPE(enum, read_kinds);
EXPORT_TYPE(enum, event_type);
EXPORT_TYPE(enum, exec_flags);
EXPORT_TYPE(enum, exec_text);
EXPORT_TYPE(enum, init_tree);
EXPORT_TYPE(enum, kernel_error);
EXPORT_TYPE(struct, slot);
EXPORT_TYPE(struct, ring_use);
EXPORT_TYPE(struct, cgroup_seal);
EXPORT_TYPE(struct, cgroup_path);
EXPORT_TYPE(struct, string_hash);
EXPORT_TYPE(struct, task_seal);
EXPORT_TYPE(struct, rule_bits);
EXPORT_TYPE(enum, lineage_dimension);
EXPORT_TYPE(struct, lineage);
EXPORT_TYPE(struct, lineage_control);
EXPORT_TYPE(struct, dimension);
EXPORT_TYPE(struct, site);
EXPORT_TYPE(struct, value_key);
EXPORT_TYPE(struct, bound);
EXPORT_TYPE(struct, automaton_row);
EXPORT_TYPE(struct, set_key);
EXPORT_TYPE(struct, set_rules);
EXPORT_TYPE(struct, act);
EXPORT_TYPE(struct, policy_counters);
EXPORT_TYPE(struct, instruction);
EXPORT_TYPE(struct, read_config);
EXPORT_TYPE(struct, chain_config);
EXPORT_TYPE(struct, site_config);
EXPORT_TYPE(struct, sock_info);
EXPORT_TYPE(struct, sock_owner);
EXPORT_TYPE(struct, cred_info);
EXPORT_TYPE(struct, user_ns_info);
EXPORT_TYPE(struct, process_state);
EXPORT_TYPE(struct, program_info);
EXPORT_TYPE(struct, map_info);
EXPORT_TYPE(struct, perf_info);
EXPORT_TYPE(struct, module_info);
EXPORT_TYPE(struct, event_header);
EXPORT_TYPE(struct, event_cgroup);
EXPORT_TYPE(struct, event_fork);
EXPORT_TYPE(struct, event_exec);
EXPORT_TYPE(struct, event_exit);
EXPORT_TYPE(struct, event_site);
EXPORT_TYPE(struct, event_data);
EXPORT_TYPE(struct, call_key);
EXPORT_TYPE(struct, call);
