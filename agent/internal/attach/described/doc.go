// SPDX-License-Identifier: Apache-2.0

// Package described is kernels that are known from a description and not by
// asking them: those of Debian's releases, and one with error injection. A policy
// can be compiled for one of them on any machine and without privileges.
//
// What such a kernel can do is a table of the package. The hooks that it has are
// in hooks.tsv, which was written by the kernels themselves: one line for a hook,
// with the kernels that have it so. The description has the security hooks, the
// security_ functions, the system calls, the raw tracepoints and the events of
// some subsystems. Of other functions it is taken for granted that they are there;
// [Kernel.Describes] tells which are meant.
//
// Tests hold both against what the probes and the lists of hooks say on the
// kernel that is described.
package described
