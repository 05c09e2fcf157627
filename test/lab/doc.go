// SPDX-License-Identifier: Apache-2.0

// Package lab boots Linux kernels that this machine does not run, in QEMU
// without KVM, and runs programs on them.
//
// Kernels and the guests' root file system are put together from Debian packages
// that apt fetches and checks. They are kept in a cache: what is in it needs no
// network. Each machine is thrown away after its job.
//
// It needs a Debian host on x86-64, its root user, QEMU and e2fsprogs.
package lab
