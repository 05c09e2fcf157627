// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Preallocate gives the hash maps of a collection their memory at once on
// kernels before 6.1. There a program at a tracepoint whose maps allocate as
// they grow makes the kernel warn, with a trace in its log, and panic where
// panic_on_warn is set: that is why it is told by the version and not by trying.
func Preallocate(spec *ebpf.CollectionSpec) error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("read version of the kernel: %w", err)
	}
	if allocates(unix.ByteSliceToString(name.Release[:])) {
		return nil
	}
	for _, m := range spec.Maps {
		if m.Type == ebpf.Hash || m.Type == ebpf.PerCPUHash {
			m.Flags &^= noPrealloc
		}
	}
	return nil
}

// allocates tells whether maps of tracepoint programs may allocate as they grow,
// on a kernel of that release ("6.1.0-56-amd64"). What cannot be read may not.
func allocates(release string) bool { return atLeast(release, 6, 1) }

// atLeast tells whether a release is of that version or a later one.
func atLeast(release string, major, minor int) bool {
	first, rest, _ := strings.Cut(release, ".")
	second := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	x, err := strconv.Atoi(first)
	if err != nil {
		return false
	}
	y, err := strconv.Atoi(second)
	return err == nil && (x > major || x == major && y >= minor)
}
