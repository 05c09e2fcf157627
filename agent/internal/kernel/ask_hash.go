// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// hashRoom is as long as the longest hash.
const hashRoom = 64

// fileHash locks a file, and counts where it is hashed.
func (p *prober) fileHash() error {
	room, err := newMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: hashRoom, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer room.Close()
	return p.counts(
		trial{
			kind: kind{typ: ebpf.LSM, at: ebpf.AttachLSMMac, to: "file_lock", flags: sleepable},
			attach: func(prog *ebpf.Program) (io.Closer, error) {
				return link.AttachLSM(link.LSMOptions{Program: prog})
			},
			trigger: lockMemory,
		},
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, room.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord), // the struct file
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.Mov.Imm(asm.R3, hashRoom),
		asm.FnImaFileHash.Call(),
		asm.JSLT.Imm(asm.R0, 0, "pass"),
	)
}

// sleepable is BPF_F_SLEEPABLE.
const sleepable = 1 << 4

// lockMemory locks a file of one byte that is nowhere on a disk.
func lockMemory(int) error {
	fd, err := unix.MemfdCreate("boltseal-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make a file to hash: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte{1}); err != nil {
		return fmt.Errorf("write a file to hash: %w", err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock a file to hash: %w", err)
	}
	return nil
}
