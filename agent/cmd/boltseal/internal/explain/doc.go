// SPDX-License-Identifier: Apache-2.0

// Package explain says in plain words what a policy does: for which containers,
// at which hooks, under which conditions, by which mechanism and with which
// guarantee on a given kernel, and where it can be got around. It is pure.
//
// What a policy asks for comes from its own text, in words of this package; what
// the kernel makes of it comes from package compile. A hook that the kernel
// refuses is explained all the same, with the reason.
package explain
