// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"

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
	switch preemptible, err := kernel.Preemptible(); {
	case err != nil:
		return nil, err
	case preemptible:
		return errPreempts, nil
	}
	return nil, nil
}
