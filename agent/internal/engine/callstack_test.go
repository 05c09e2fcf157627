// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// kernelStackAtCalls asks the kernel, by a program of its own, whether programs at the
// tracepoints of system calls get the kernel's stack there. Older kernels give them the
// registers that the process had, which lead to its own stack alone.
func (b *bench) kernelStackAtCalls() bool {
	t := b.t
	t.Helper()
	const depth = 16
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8 + 8*depth, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.TracePoint, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "exit"),
			asm.Mov.Reg(asm.R7, asm.R0),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R2, asm.R7),
			asm.Add.Imm(asm.R2, 8),
			asm.Mov.Imm(asm.R3, 8*depth),
			asm.Mov.Imm(asm.R4, 0),
			asm.FnGetStack.Call(),
			asm.StoreMem(asm.R7, 0, asm.R0, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("exit"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer prog.Close()
	at, err := b.points.Points.Attach(prog, compile.Site{Kind: compile.Tracepoint, Subsystem: "syscalls", Name: "sys_enter_chroot"})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	if err := unix.Chroot("/there is no such directory"); !errors.Is(err, unix.ENOENT) {
		t.Fatal(err)
	}
	var value [1 + depth]int64
	if err := m.Lookup(uint32(0), &value); err != nil {
		t.Fatal(err)
	}
	return value[0] > 0
}
