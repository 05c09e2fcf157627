// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// Preempted tells in programs of which kinds a kernel preempts tasks, so that it skips
// them for others meanwhile.
type Preempted struct {
	Trampolines, RawTracepoints bool
	// SyscallTracepoints are the event files of system calls; those of other events run
	// with preemption off.
	SyscallTracepoints bool
}

// Misses is compile.Kernel. The kernel counts who is in a program for each
// processor, and takes somebody who comes meanwhile for a recursion; it does not
// for programs of security hooks, and others run with preemption off.
func (p Preempted) Misses(kind compile.SiteKind, syscall bool) bool {
	switch kind {
	case compile.Fentry, compile.ModifyReturn:
		return p.Trampolines
	case compile.RawTracepoint:
		return p.RawTracepoints
	case compile.Tracepoint:
		return syscall && p.SyscallTracepoints
	default:
		return false
	}
}

// errPreempts says that programs of trampolines would write into each other's
// working memory.
var errPreempts = errors.New("this kernel can preempt programs and, being older than Linux 5.12, has no instruction that keeps them apart")

// preempts finds out whether programs of trampolines cannot be used: reason is then
// errPreempts.
func preempts() (reason, err error) {
	if kernel.HasAtomics() {
		return nil, nil
	}
	switch preemptible, err := kernel.Preemptible(); {
	case err != nil:
		return nil, err
	case preemptible:
		return errPreempts, nil
	}
	return nil, nil
}
