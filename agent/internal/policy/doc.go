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
// enforcers and filters on a syscall64 name as "list:NAME", also such whose values
// are the kernel's own names; one item of enforcers; podSelector,
// containerSelector, hostSelector and nodeSelector; selectorsMacros; the
// options policy-mode, disable-kprobe-multi and override-method. Arguments of the
// types of [ArgType] with the operators of [Operator]; matchBinaries, matchPIDs,
// matchNamespaces, matchCapabilities, matchNamespaceChanges, matchCapabilityChanges
// and matchWorkloads; the actions of [ActionKind]; labels of selectors.
//
// The types of auto are filled in by [Hook.WithTypes], from what the kernel says of
// its functions, events and structures. It says nothing of system calls hooked as
// functions, nor of several functions that one hook names together: there a type has
// to be named.
//
// An argument can be resolved: a path of at most ten members, with indexes in
// brackets, leads from its type, or from the structure btfType of the kernel or of the
// module btfTypeModule, through pointers to a value. So can an item of data of kprobes
// and fentries, whose source is current_task, a task_struct, or pt_regs, where
// resolve is the name of a register of the machine, at kprobes only. Arguments of
// system calls are memory of the process, and lead nowhere. args and data have at most
// five items together, and so have matchArgs and matchData in a selector.
//
// # Types of arguments
//
// Integers, and bpf_cmd and capability, which are integers with names, take the
// operators of integers. Text takes those of strings: string, filename, data_loc,
// net_device, char_buf, and the paths of fd, file, path, dentry, kiocb, linux_binprm
// and sockaddr_un. A unix socket's name in the abstract name space has "@" in the
// place of its NUL; sizeArgIndex, where there is one, keeps what is behind the
// address out of it. sockaddr_un takes Family as well.
//
// kernel_cap_t, cap_inheritable, cap_permitted and cap_effective are pointers to
// sets of capabilities, or where a path is resolved such sets. They take Equal and
// NotEqual, of whole sets, and Mask, of sets that have any of a value's: a value is a
// mask or names with commas, as in "CAP_NET_RAW,CAP_NET_ADMIN", and of several values
// one is enough.
//
// sock, socket, skb and sockaddr take the operators of their parts. What is left
// takes none: const_buf, char_iovec, iov_iter, int32_arr, user_namespace, cred,
// bpf_attr, bpf_prog, bpf_map, perf_event, module, load_info, and nop, which keeps
// the place of an argument that is not looked at.
//
// All of them are also for what a path leads to, but for const_buf, data_loc and
// syscall64, which are of records. A path that leads to a structure itself is as good
// as one that leads to a pointer to it; a length that sizeArgIndex names is always that
// of an argument.
//
// A system call is given no structures of the kernel, and for types that are such
// it is refused: its pointers are chosen by the process, and following one there
// would show it, or whoever sees the events, any of the kernel's memory.
//
// Of bytes the first 4095 are kept, and compared. Events tell how many there were;
// of vectors beyond the 64th, that there were more. With maxData events show up to
// [MaxDataBytes] bytes of a char_buf: those after the first 4095 as they are when
// the event is sent, which can be later than they were compared.
//
// # Operators that compute
//
// SubString and SubStringIgnCase are for text and take up to 100 values of at most 99
// bytes, on every kernel; of letters only A to Z have another case. FileType and
// NotFileType are about what file, path, dentry, fd, kiocb and linux_binprm name; a
// file that is not known is of no type, and a rule that enforces takes it for a match.
// CapabilitiesGained has two sets in args, each a set of capabilities or a uint64, the
// new one and then the old one, and holds when the new one has a capability, or one of
// those that are its values, that the old one has not. CelExpr has up to 8 expressions
// over integers, see package expression, of which one must be true: arg0 is the first
// item of the hook's args, whatever its index, and neither index nor args is needed; a
// policy has at most 256 of them.
//
// # Calls and lists
//
// A system call is written "sys_name", or with an ABI (x64, i386, arm64, arm32)
// "i386/sys_name"; the names of the kernel's functions for them are understood
// too. In a filter on a syscall64 a list stands for the numbers of its calls in
// the two ABIs of the machine that the agent runs on; those of the 32-bit one
// have the bit 31 set.
//
// A list of the type generated_syscalls stands for the system calls of the machine's
// own ABI that the kernel has and whose numbers are known; one of generated_ftrace
// for the kernel's functions that can be traced, but those whose name another one
// has too. Their pattern is an RE2 expression, which matches anywhere in a name that
// it is not anchored in; generated_ftrace needs one. What they stand for is found
// out when the policy is compiled, see [Policy.WithLists]: nothing is a fault, but
// for a hook with ignore.callNotFound.
//
// # Actions and where they are done
//
// Post, NoPost, Sigkill, Signal, TrackSock and UntrackSock are for all sections.
// Override is for kprobes, with any error, and for lsmhooks, with an error from -4095 to -1: 0 would be
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
// process or everybody (global). kernelStackTrace and userStackTrace do something at
// kprobes and fentries alone: the API's messages for the other sections have no field for
// a stack, of which there is a warning.
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
// GetUrl (argUrl) and DnsLookup (argFqdn) are for all sections, and done by the agent
// after the event, also when NoPost keeps the event from readers. They count as
// enforcement: the mode monitor holds them back. A URL is of http or https, and no
// literal address in it, nor one that a name turns out to have, is one that
// [AddressFault] refuses. An agent does them only if its operator says so.
//
// # What a process has changed
//
// matchNamespaceChanges and matchCapabilityChanges compare what the thread that acts
// has now with what its process had when it last executed a program or, if it has
// executed none, when it was born: unshare, setns, capset, setuid and the like are
// changes, what an exec itself gives or takes (a set-user-id file, a bounding set)
// is none, and what a child has from its parent is none of the child's. In holds
// when any of the values named has changed, NotIn when none of them has; a
// capability has changed when it was gained or lost. What is taken back is no change
// any more, and a match does not begin anew: what has changed holds for every act
// until the next exec. Capabilities are the process's own, and not those that the
// kernel lends it for an operation (access(2), overlay file systems).
//
// What processes begin with is recorded only while a policy asks for it. A process
// that was there before begins with what it has when the policy is loaded; so does,
// with what it has when it is first asked about, one of which there was no room to
// record anything. When there is no room then either, the rule treats it as a value
// that cannot be read. Of a container's set-up nothing is a change: the workload
// begins with the exec that ends it.
//
// # Macros, workloads and labels
//
// A selector takes over the fields of the macros that it names, as if they were
// written in it. A field comes from one side: one that the selector and a macro, or
// two macros, say is a fault, and so is a macro that uses macros. Faults of a field
// are told where it stands, in the macro. A macro that no selector uses is warned
// of: only its keys were looked at.
//
// matchWorkloads says for which of the policy's processes a selector is. Its
// podSelector, containerSelector and hostSelector are read as those of the policy,
// whose own come first: what they leave out no selector takes in. For a container
// that a selector is not for it is as if it were not written, also for the order in
// which the first selector that matches acts. When a container's labels become
// known or change, its rules do so in one step.
//
// The label of a selector, which is cut after 256 bytes, is a name: what a selector
// with a label does is counted apart, and listed under it.
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
// has returned its error. Stacks are those of the entry; a rate keeps back events, and
// so counts those that there would be at the return. What is returned is read as it is:
// there is no path from it. A returnArg without a type has that which the kernel tells.
//
// An argument with returnCopy, of type string, int32_arr or char_buf, is read when the
// function returns; of a char_buf as many bytes as it returned, and no more than the
// argument that sizeArgIndex names says. Such a hook waits for the return also without
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
// A pod's own (pause) container, where the runtime tells which it is, is selected by
// its pod as the others of the pod are; a containerSelector that is not empty never
// selects it, whatever it asks for: "name NotIn (app)" means the other containers
// that the pod's author wrote.
//
// The keys of a podSelector are the pod's labels, and
// "k8s:io.kubernetes.pod.namespace" for its namespace. The keys of a
// containerSelector are "name" (the container's name) and "repo" (its image
// without tag and digest). As an extension of the language there are also
// "boltseal:runtime" (docker, podman, containerd, cri-o or nerdctl; where no
// engine can be told, runc or crun) and "boltseal:namespace" (containerd's), and
// any other key is looked up in the container's labels first, then in its
// annotations; a label or annotation that is itself called as one of the four
// cannot be selected by. Names, images and labels of Docker's containers are
// those that Docker has, com.docker.compose.project and
// com.docker.compose.service among them; of Podman's the name and the image.
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
