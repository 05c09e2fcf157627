// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"maps"
	"runtime"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// Registers is compile.Kernel.
func (p *Points) Registers() compile.Registers { return RegistersOf(runtime.GOARCH) }

// RegistersOf are those of an architecture, by its Go name, amd64 or arm64: offsets
// into struct pt_regs of arch/x86/include/asm/ptrace.h and arch/arm64/include/asm/ptrace.h.
func RegistersOf(arch string) compile.Registers {
	if arch == "arm64" {
		words := []uint16{0, 8, 16, 24, 32, 40}
		return compile.Registers{Args: words, Call: words, Compat: words, Result: 0, Stack: 248, Named: namedARM64()}
	}
	const bx, cx, dx, si, di, bp, r8, r9, r10, ax, sp = 40, 88, 96, 104, 112, 32, 72, 64, 56, 80, 152
	return compile.Registers{
		Args: []uint16{di, si, dx, cx, r8, r9}, Call: []uint16{di, si, dx, r10, r8, r9},
		Compat: []uint16{bx, cx, dx, si, di, bp}, Result: ax, Named: namedAMD64(),
		Stack: sp, Popped: 8, // the address to return to
	}
}

// namedAMD64 are the registers of amd64 with the names of their lower parts.
func namedAMD64() map[string]compile.Register {
	named := map[string]compile.Register{}
	for name, offset := range map[string]uint16{"a": 80, "b": 40, "c": 88, "d": 96} {
		maps.Copy(named, parts(offset, "r"+name+"x", "e"+name+"x", name+"x", name+"l"))
	}
	for name, offset := range map[string]uint16{"si": 104, "di": 112, "bp": 32, "sp": 152} {
		maps.Copy(named, parts(offset, "r"+name, "e"+name, name, name+"l"))
	}
	for i, offset := range []uint16{72, 64, 56, 48, 24, 16, 8, 0} {
		name := fmt.Sprintf("r%d", 8+i)
		maps.Copy(named, parts(offset, name, name+"d", name+"w", name+"b"))
	}
	maps.Copy(named, parts(128, "rip", "eip", "ip"))
	maps.Copy(named, parts(144, "rflags", "eflags", "flags"))
	return named
}

// namedARM64 are the registers of arm64, x for 64 and w for 32 bits.
func namedARM64() map[string]compile.Register {
	named := map[string]compile.Register{}
	const general = 31
	for i := range uint16(general) {
		maps.Copy(named, parts(8*i, fmt.Sprintf("x%d", i), fmt.Sprintf("w%d", i)))
	}
	for name, offset := range map[string]uint16{"fp": 8 * 29, "lr": 8 * 30, "sp": 8 * 31, "pc": 8 * 32, "pstate": 8 * 33} {
		maps.Copy(named, parts(offset, name))
	}
	return named
}

// parts are the names of a register of 8 bytes and of its lower halves.
func parts(offset uint16, names ...string) map[string]compile.Register {
	named := make(map[string]compile.Register, len(names))
	size := uint8(8)
	for _, name := range names {
		named[name] = compile.Register{Offset: offset, Size: size}
		size /= 2
	}
	return named
}
