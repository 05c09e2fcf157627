// SPDX-License-Identifier: Apache-2.0

// Package cgroup reads the unified (version 2) control group hierarchy: which
// directory is which id, where a process is, and where a container is going
// to be.
//
// The id of a cgroup is what bpf_get_current_cgroup_id returns for its tasks.
// It is unique within the hierarchy and not used again soon after the cgroup
// is gone. Ids of version 1 hierarchies overlap with it, so nothing outside of
// the unified hierarchy is ever given an id here.
//
// Paths are absolute below the root of the hierarchy ("/a/b"), as the third
// field of /proc/PID/cgroup has them. Names are bytes that a container may
// have chosen: every look-up stays beneath the root and follows no symbolic
// link.
package cgroup
