// SPDX-License-Identifier: Apache-2.0

// Package policy turns the YAML text of a TracingPolicy or a
// TracingPolicyNamespaced into a typed, immutable [Policy], or says everything
// that is wrong with it. It is pure: it asks neither the kernel nor a file.
//
// [Parse] is strict. Unknown keys, duplicate keys, values outside a limit and
// mismatches of type and operator are faults. Every fault is a [*FieldError]
// with the path and the line of the field, and all faults of a text are
// reported at once. What the language knows and this version does not do is
// refused by name, as [ErrUnsupported]; a key that only says the default
// (false, an empty list) is no fault. Nothing is ignored in silence.
//
// # What is understood
//
// The sections tracepoints (also raw), kprobes, lsmhooks and fentries, several of
// them in one policy; lists of functions and of system calls, which hooks,
// enforcers and filters on a syscall64 name as "list:NAME"; one item of
// enforcers; podSelector, containerSelector, hostSelector and nodeSelector; the
// options policy-mode, disable-kprobe-multi and override-method. Arguments of the
// types of [ArgType] with the operators of [Operator]; matchBinaries, matchPIDs,
// matchNamespaces and matchCapabilities; the actions of [ActionKind].
//
// The type auto is for tracepoints, lsmhooks and fentries; an item of kprobes
// names its types. The types of auto are filled in by [Hook.WithTypes].
//
// A system call is written "sys_name", or with an ABI (x64, i386, arm64, arm32)
// "i386/sys_name"; the names of the kernel's functions for them are understood
// too. In a filter on a syscall64 a list stands for the numbers of its calls in
// the two ABIs of the machine that the agent runs on; those of the 32-bit one
// have the bit 31 set.
//
// # Actions and where they are done
//
// Post, NoPost, Sigkill and Signal are for all sections. Override is for kprobes,
// with any error, and for lsmhooks, with an error from -4095 to -1: 0 would be
// what happens without the action, and is refused. NotifyEnforcer is for
// tracepoints and kprobes of a policy that has enforcers; argError and argSig are
// 0 where nothing is asked for, and one of them is not. CleanupEnforcerNotification
// takes back what the same task was asked for and no enforcer has done yet; it is
// for the same sections.
//
// A Post takes more, and no other action does. rateLimit ("N" or "Ns" seconds, "Nm",
// "Nh"; 0 is none) keeps back events, and nothing else: after one that was made, those
// of the same selector whose arguments have the same first 40 bytes each, until the time
// has passed. rateLimitScope says for whom: the thread (thread, the default), the
// process or everybody (global). kernelStackTrace and userStackTrace are for
// kprobes and fentries: the events of the other sections have no field for a stack.
// imaHash is for the lsmhooks at which a program may read
// the file: bprm_check_security, bprm_committed_creds, bprm_committing_creds,
// bprm_creds_from_file, file_ioctl, file_lock, file_open, file_post_open, file_receive
// and mmap_file. At file_open a file that is opened for reading cannot be read yet; its
// hash is there only where an IMA policy has measured it.
//
// What hooks of the kernel have not is refused by name: FollowFD, UnfollowFD and CopyFD
// with argFd and argName were withdrawn from the language, Set with argIndex and argValue
// is for usdts, argRegs, argNewSymbol, argNewAddr and argNewOffset are for uprobes.
//
// # Which containers a policy selects
//
// With no selector at all a policy is for every process, those of the host
// included. A podSelector or a containerSelector (also an empty one) leaves the
// host out, unless "hostSelector: {}" takes it in again; with only
// "hostSelector: {}" the policy is for the host alone. An empty podSelector
// selects every container that is in a pod, an empty containerSelector every
// container; with both, both must select. A TracingPolicyNamespaced selects
// only containers of pods in its namespace, and never the host.
//
// The keys of a podSelector are the pod's labels, and
// "k8s:io.kubernetes.pod.namespace" for its namespace. The keys of a
// containerSelector are "name" (the container's name) and "repo" (its image
// without tag and digest). As an extension of the language any other key is
// looked up in the container's labels first, then in its annotations; a label
// or annotation that is itself called "name" or "repo" cannot be selected by.
// As annotations follow no syntax of Kubernetes, a key may be any printable
// text without white space, at most 317 bytes, and a value any text up to 4096
// bytes.
//
// # Bounds
//
// A text is at most [MaxTextBytes] long, and is refused before it is parsed
// when it could hold more than [MaxNodes] YAML nodes. Aliases are followed at
// their use and counted there, and so are lists, so that a text that expands
// exponentially ends after [MaxNodes] steps.
package policy
