// SPDX-License-Identifier: Apache-2.0

// Package kernel finds out what the running kernel can do, and gives access to
// what the agent needs of it besides BPF: trace events and clocks.
//
// A feature is asked for by doing it, never by reading a version number:
// vendors backport, and configuration, boot parameters, lockdown, capabilities
// and seccomp filters each take things away. What kills or denies is proved by
// a canary: a process that is really killed, a call that is really denied.
package kernel
