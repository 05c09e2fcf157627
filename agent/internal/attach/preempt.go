// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/kernel"
)

// errPreempts says that programs of trampolines would write into each other's
// working memory.
var errPreempts = errors.New("this kernel can preempt programs and, being older than Linux 5.12, has no instruction that keeps them apart")

// preempts finds out whether programs of trampolines cannot be used: reason is then
// errPreempts.
func preempts() (reason, err error) {
	if kernel.HasAtomics() {
		return nil, nil
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, fmt.Errorf("read version of the kernel: %w", err)
	}
	if preemptible(unix.ByteSliceToString(name.Version[:])) {
		return errPreempts, nil
	}
	return nil, nil
}

// preemptible tells whether a kernel whose version text this is ("#1 SMP PREEMPT
// Debian ...") preempts itself. Those that can choose at boot (PREEMPT_DYNAMIC,
// since Linux 5.12) may.
func preemptible(version string) bool {
	for word := range strings.FieldsSeq(version) {
		if strings.HasPrefix(word, "PREEMPT") {
			return true
		}
	}
	return false
}
