// SPDX-License-Identifier: Apache-2.0

// Package target is the kernel that a policy is compiled for without an agent:
// the one that runs here, or one that is described. What cannot be asked of the
// running one, for want of privileges, is taken from the description of the newest
// kernel, and is told.
package target
