// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Preemptible tells whether the kernel can take a processor from a task in the
// middle of a program of a trampoline or a security hook. Kernels that choose at
// boot (PREEMPT_DYNAMIC, since Linux 5.12) are taken for ones that do.
func Preemptible() (bool, error) {
	_, version, err := uname()
	return err == nil && preemptible(version), err
}

// RawTracepointsPreempted tells whether the same holds for programs at raw
// tracepoints, as on preemptible kernels since Linux 7.0. While a task is
// preempted in such a program the kernel skips it for all others of that
// processor.
func RawTracepointsPreempted() (bool, error) {
	release, version, err := uname()
	return err == nil && rawTracepointsPreempted(release, version), err
}

// SyscallTracepointsPreempted tells the same of programs at the event files of system
// calls, as on preemptible kernels since Linux 7.2, which may sleep there
// (trace_call_bpf_faultable). Before it they run with preemption off.
func SyscallTracepointsPreempted() (bool, error) {
	release, version, err := uname()
	return err == nil && syscallTracepointsPreempted(release, version), err
}

// uname is what uname -r and uname -v print.
func uname() (release, version string, err error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", "", fmt.Errorf("read version of the kernel: %w", err)
	}
	return unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Version[:]), nil
}

// preemptible judges a version's text ("#1 SMP PREEMPT Debian ...").
func preemptible(version string) bool {
	for word := range strings.FieldsSeq(version) {
		if strings.HasPrefix(word, "PREEMPT") {
			return true
		}
	}
	return false
}

func rawTracepointsPreempted(release, version string) bool {
	return atLeast(release, 7, 0) && preemptible(version)
}

func syscallTracepointsPreempted(release, version string) bool {
	return atLeast(release, 7, 2) && preemptible(version)
}

// preemptedVariable is how programs are told that they can be skipped.
const preemptedVariable = "programs_preempted"

// SetPreempted tells the programs of a collection whether those at raw
// tracepoints can be preempted.
func SetPreempted(spec *ebpf.CollectionSpec, preempted bool) error {
	value := uint32(0)
	if preempted {
		value = 1
	}
	return setVariable(spec, preemptedVariable, value)
}

// ringVariable is how programs are told the size of the ring that they write to.
const ringVariable = "ring_bytes"

// SetRingBytes tells the programs of a collection the size of the ring that they
// write events to.
func SetRingBytes(spec *ebpf.CollectionSpec, bytes uint32) error {
	return setVariable(spec, ringVariable, uint64(bytes))
}

func setVariable(spec *ebpf.CollectionSpec, name string, value any) error {
	variable := spec.Variables[name]
	if variable == nil {
		return fmt.Errorf("the programs have no variable %s", name)
	}
	if err := variable.Set(value); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}
