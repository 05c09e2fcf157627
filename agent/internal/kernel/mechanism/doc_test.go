// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package mechanism holds a canary for each mechanism by which a kernel can stop
// what a container does: a BPF LSM program and fmod_ret, which deny, an override
// of a system call by a kprobe, and a signal that kills. Each acts on one real
// container, chosen by the id of its cgroup in a map, while a second container
// and the host do the same thing and are left alone.
//
// Whether the running kernel has a mechanism is for package kernel's probes to
// say; these tests prove that what the probes promise holds for containers. The
// package is below that one because only code of the agent may ask it.
//
// The programs are loaded into a kernel that others use: each asks the map first
// and does nothing to whom it does not find there, and none is attached before
// the map was read back and found to name the one container alone.
package mechanism

import (
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
