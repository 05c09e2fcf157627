// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv/probe"
)

// StrictVariable is the environment variable that, set to 1, turns a missing
// feature that a machine should have from a skip into a failure.
const StrictVariable = "BOLTSEAL_TEST_STRICT"

// Feature is something that a test needs of the machine.
type Feature struct {
	name string
	// optional features depend on the kernel or the machine's set-up, not on
	// packages or rights: a test that lacks one is skipped also when strict.
	optional bool
	// needed features fail a test that lacks one, strict or not.
	needed bool
	probe  func() error
}

// String returns the feature's name as skips print it.
func (f Feature) String() string { return f.name }

// Root is the host's root user.
func Root() Feature { return Feature{name: "root", probe: probe.Root} }

// BPF is a kernel that loads BPF programs for this process.
func BPF() Feature { return Feature{name: "bpf", probe: probe.BPF} }

// BTF is a kernel that tells its own types.
func BTF() Feature { return Feature{name: "btf", probe: probe.BTF} }

// Cgroup2 is a writable cgroup v2 hierarchy, also beside v1 ones.
func Cgroup2() Feature { return Feature{name: "cgroup2", probe: probe.Cgroup2} }

// Tracefs is a tracefs that can be mounted.
func Tracefs() Feature { return Feature{name: "tracefs", probe: probe.Tracefs} }

// Containers is runc and a static busybox, with the rights to use them.
func Containers() Feature {
	return Feature{name: "containers", probe: func() error {
		for _, need := range []func() error{probe.Root, probe.Cgroup2, probe.Runc} {
			if err := need(); err != nil {
				return err
			}
		}
		_, err := probe.Busybox()
		return err
	}}
}

// SysResource is CAP_SYS_RESOURCE, which some virtual machines keep from root.
func SysResource() Feature {
	return Feature{name: "sys_resource", optional: true, probe: func() error {
		return probe.Capability(unix.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE")
	}}
}

// Optional makes a feature of a test's own, one that machines may lack: the
// test is skipped with what check returns. Name it as skips shall print it.
func Optional(name string, check func() error) Feature {
	return Feature{name: name, optional: true, probe: check}
}

// Needed makes a feature of a test's own, one that is there wherever the test
// asks for it: without it the test fails with what check returns, strict or not.
func Needed(name string, check func() error) Feature {
	return Feature{name: name, needed: true, probe: check}
}

// Require skips the test, with the reason, where the machine lacks one of the
// features; strict runs fail instead if a machine that is able should have it,
// and all runs do for those that are [Needed].
func Require(tb testing.TB, features ...Feature) {
	tb.Helper()
	for _, f := range features {
		err := f.probe()
		switch {
		case err == nil:
		case f.needed || Strict() && !f.optional:
			tb.Fatalf("needs %s, which this machine should have: %v", f.name, err)
		default:
			tb.Skipf("needs %s: %v", f.name, err)
		}
	}
}

// Strict reports whether missing features fail tests instead of skipping them.
func Strict() bool { return os.Getenv(StrictVariable) == "1" }
