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
// Post, NoPost, Sigkill, Signal, TrackSock and UntrackSock are for all sections. Override is for kprobes,
// with any error, and for lsmhooks, with an error from -4095 to -1: 0 would be
// what happens without the action, and is refused. NotifyEnforcer is for
// tracepoints and kprobes of a policy that has enforcers; argError and argSig are
// 0 where nothing is asked for, and one of them is not.
//
// # What functions return
//
// An item of kprobes or fentries with "return: true" makes its events when the
// function returns: they have what it was called with, and what it returned, which
// returnArg gives a type. As the function is entered the first selector whose
// matchArgs and other filters hold is chosen and its matchActions are done; when it
// returns, matchReturnArgs of that selector decide whether there is an event and
// whether matchReturnActions are done, which are those for all sections, TrackSock
// and UntrackSock. The index of a filter in matchReturnArgs is that of returnArg, or
// 0. A NoPost of either list is one of the selector. A call that Override makes fail
// has returned its error.
//
// An argument with returnCopy, of type string or char_buf, is read when the function
// returns; of a char_buf as many bytes as it returned, and no more than the argument
// that sizeArgIndex names says. Such a hook waits for the return also without
// "return: true". Filters on the return are of matchReturnArgs alone.
//
// # Owners of sockets
//
// TrackSock notes that the socket in argument argSock (or what is returned, when
// matchReturnActions names the index of returnArg and no argument has it) belongs to
// the process; returnArgAction does it to what is returned, for each return whose
// selector's matchReturnArgs hold. What happens to the socket afterwards in an
// interrupt or in a thread of the kernel is judged by the rules of that process's
// container and told of as its doing; of such an event matchPIDs know the process,
// and other filters on it (matchBinaries, matchNamespaces, matchCapabilities, and
// matchPIDs in its own namespace) see a value that cannot be read. It is not
// signalled by what it does not do itself. Without UntrackSock it stays the owner
// until 32,000 other sockets have been tracked since.
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
