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
// The section tracepoints, with arguments of integer and string types,
// matchArgs, matchBinaries and the actions Post, NoPost, Sigkill and Signal;
// podSelector, containerSelector and hostSelector; the option policy-mode.
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
// their use and counted there, so that a text that expands exponentially ends
// after [MaxNodes] steps.
package policy
