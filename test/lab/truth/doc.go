// SPDX-License-Identifier: Apache-2.0

// Package truth is what is known of the kernels of the lab without asking the
// project's own probes: from effects that were measured with other tools, from
// the kernels' configuration, types and symbols, and from their history. What
// probes answer is held against it.
//
// A kernel counts twice, by whether the BPF security module is active: the list
// of security modules is a parameter at boot.
package truth
