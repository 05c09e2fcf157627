// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the kernel programs and their generated bindings. It has
// no logic and knows no policy: package seal owns the cgroup and process
// programs, package engine those of sites.
//
// The objects are committed for little-endian amd64 and arm64, so that
// building boltseal needs no clang. Types and constants that the programs and
// the agent share are generated from the BTF of include/export.bpf.c and
// begin with Wire.
package bpf
