// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"strings"
)

// Kernel is one kernel of the lab.
type Kernel struct {
	// Name is what people call it.
	Name string
	// Suite is the Debian release that it comes from.
	Suite string
	// Package is the package that depends on the newest build. It is empty for
	// the kernel that the lab builds.
	Package string
	// NeedsCX16 tells that something that is tested is only there on a processor
	// with CMPXCHG16B: since 6.18 the memory of task storage is allocated by
	// kmalloc_nolock, which gives nothing without it. Every real processor has it.
	NeedsCX16 bool
}

// Kernels returns the kernels that the project is tested on, oldest first.
func Kernels() []Kernel {
	const cloud = "linux-image-cloud-amd64" // the smallest flavour, and the fastest to boot
	return []Kernel{
		{Name: "5.10", Suite: "bullseye", Package: cloud},
		{Name: "6.1", Suite: "bookworm", Package: cloud},
		{Name: "6.12", Suite: "trixie", Package: cloud},
		{Name: "7", Suite: "sid", Package: cloud, NeedsCX16: true},
		// With error injection, which no Debian kernel has.
		{Name: "6.12-inject", Suite: "trixie"},
	}
}

// KernelByName returns the kernel of a name.
func KernelByName(name string) (Kernel, error) {
	var names []string
	for _, k := range Kernels() {
		if k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	return Kernel{}, fmt.Errorf("no kernel is called %q: there are %s", name, strings.Join(names, ", "))
}

// LSM lists, for the kernel's parameter lsm=. Debian 5.10 leaves BPF out by
// default, later ones have it: the lab says what it wants. Integrity is in both,
// for 6.1 does not boot without it where IMA is used.
const (
	LSMWithBPF    = "landlock,lockdown,yama,integrity,apparmor,bpf"
	LSMWithoutBPF = "landlock,lockdown,yama,integrity,apparmor"
)

// modules are the drivers that a guest needs and what containers use, in an
// order that suits kernels that would otherwise load them on demand: there is no
// udev or modprobe in a guest.
func modules() []string {
	return []string{
		"crc32c_generic", "crc32c_intel", "virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "ext4", "overlay",
		"loop", "veth", "bridge", "dummy", "tun", "fuse", "binfmt_misc", "nf_tables", "nft_compat", "nft_ct", "vsock",
	}
}
