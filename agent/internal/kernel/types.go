// SPDX-License-Identifier: Apache-2.0

package kernel

import "github.com/cilium/ebpf/btf"

// types is shared by all that loads programs: to decode the kernel's types takes some
// 20 ms, and half of an agent's start when each program does it.
var types = btf.NewCache() //nolint:gochecknoglobals // of the one kernel that there is

// Types are the types of the running kernel, which are decoded once in a process (Linux
// 5.4 and later, built with CONFIG_DEBUG_INFO_BTF). Of modules it knows those that are
// loaded when the first one is asked for. It is safe for concurrent use.
func Types() *btf.Cache { return types }

// TypesWith are types that the function is among: those of [Types], or fresh ones when it
// may be in a module that has been loaded since.
func TypesWith(function string) *btf.Cache {
	kernel, err := types.Kernel()
	if err == nil {
		_, err = kernel.AnyTypesByName(function)
	}
	if err != nil {
		return btf.NewCache()
	}
	return types
}
