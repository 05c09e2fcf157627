// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// scratchAtomic is the variable by which programs tell whether they may use the
// instruction that DropAtomics takes out.
const scratchAtomic = "scratch_atomic"

// DropAtomics makes programs load on kernels that do not know the instruction
// compare-and-exchange (before Linux 5.12): it tells them so, and replaces the
// instruction, which the kernel refuses also where it is never reached.
func DropAtomics(spec *ebpf.CollectionSpec) error {
	if HasAtomics() {
		return nil
	}
	if v := spec.Variables[scratchAtomic]; v != nil {
		if err := v.Set(uint32(0)); err != nil {
			return fmt.Errorf("set %s: %w", scratchAtomic, err)
		}
	}
	for _, p := range spec.Programs {
		for i, ins := range p.Instructions {
			if ins.OpCode.Class().IsStore() && ins.OpCode.Mode() == asm.AtomicMode && ins.OpCode.AtomicOp() == asm.CmpXchg {
				p.Instructions[i] = asm.Mov.Reg(asm.R0, asm.R0).WithMetadata(ins.Metadata)
			}
		}
	}
	return nil
}

// HasAtomics tells whether the kernel takes the instruction compare-and-exchange
// (Linux 5.12), by loading a program that has it.
func HasAtomics() bool {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "probe_cmpxchg", Type: ebpf.SocketFilter, License: "GPL",
		Instructions: asm.Instructions{
			asm.StoreImm(asm.RFP, -8, 0, asm.DWord),
			asm.Mov.Imm(asm.R0, 0),
			asm.Mov.Imm(asm.R1, 1),
			asm.CmpXchg.Mem(asm.RFP, asm.R1, asm.DWord, -8),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
	})
	if err != nil {
		return false
	}
	_ = prog.Close()
	return true
}
