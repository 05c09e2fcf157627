// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"io"

	"github.com/cilium/ebpf/link"
)

// Missed is how many calls the kernel's probes have passed over: it has no room to
// wait for their return, or is in another probe. Before Linux 6.7 it tells of none.
func (l links) Missed() (n uint64) {
	for _, c := range l {
		n += missed(c)
	}
	return n
}

func missed(c io.Closer) uint64 {
	l, ok := c.(link.Link)
	if !ok {
		return 0
	}
	info, err := l.Info()
	if err != nil {
		return 0
	}
	if multi := info.KprobeMulti(); multi != nil {
		return multi.Missed
	}
	if event := info.PerfEvent(); event != nil && event.Kprobe() != nil {
		return event.Kprobe().Missed
	}
	return 0
}
