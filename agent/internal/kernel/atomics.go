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

// cmpXchg is BPF_CMPXCHG of the kernel's linux/bpf.h.
const cmpXchg = 0xf1

// HasAtomics tells whether the kernel takes the instruction compare-and-exchange
// (Linux 5.12), by loading a program that has it.
func HasAtomics() bool {
	// The library writes an instruction's immediate from Constant, and would write
	// an addition, which all kernels know.
	exchange := asm.CmpXchg.Mem(asm.RFP, asm.R1, asm.DWord, -8)
	exchange.Constant = cmpXchg
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "probe_cmpxchg", Type: ebpf.SocketFilter, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R0, 0),
			asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord),
			asm.Mov.Imm(asm.R1, 1),
			exchange,
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
