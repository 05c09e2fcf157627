// SPDX-License-Identifier: Apache-2.0

// Package kernelring gives tests a ring buffer in the kernel that a program of the kernel
// fills, as the project's own programs do, as fast as it is asked to.
package kernelring

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
)

// Ring is a ring buffer that one record is put into. It needs BPF; see
// testenv.Require.
type Ring struct {
	// Events is the ring.
	Events *ebpf.Map

	lost *ebpf.Map
	put  *ebpf.Program
}

// New makes a ring of so many bytes, a power of two.
func New(tb testing.TB, size uint32, record []byte) *Ring {
	tb.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		tb.Fatal(err)
	}
	r := &Ring{Events: newMap(tb, &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: size})}
	of := newMap(tb, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(record)), MaxEntries: 1})
	if err := of.Put(uint32(0), record); err != nil {
		tb.Fatalf("keep the record: %v", err)
	}
	r.lost = newMap(tb, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	var err error
	r.put, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMapValue(asm.R2, of.FD(), 0),
		asm.LoadMapPtr(asm.R1, r.Events.FD()),
		asm.Mov.Imm(asm.R3, int32(len(record))),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMapValue(asm.R1, r.lost.FD(), 0),
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}})
	if err != nil {
		tb.Fatalf("load program: %v", err)
	}
	tb.Cleanup(func() { _ = r.put.Close() })
	return r
}

func newMap(tb testing.TB, spec *ebpf.MapSpec) *ebpf.Map {
	tb.Helper()
	m, err := ebpf.NewMap(spec)
	if err != nil {
		tb.Fatalf("make %s: %v", spec.Type, err)
	}
	tb.Cleanup(func() { _ = m.Close() })
	return m
}

// Put puts the record into the ring a number of times. It can be called by several
// goroutines, one of which is not the test's.
func (r *Ring) Put(tb testing.TB, times uint32) {
	tb.Helper()
	const shortest = 14 // an Ethernet header, which such programs do not see
	if _, err := r.put.Run(&ebpf.RunOptions{Data: make([]byte, shortest+1), Repeat: times}); err != nil {
		tb.Errorf("run program: %v", err)
	}
}

// Lost is how many records found no room.
func (r *Ring) Lost(tb testing.TB) (n uint64) {
	tb.Helper()
	if err := r.lost.Lookup(uint32(0), &n); err != nil {
		tb.Errorf("read the count of what was lost: %v", err)
	}
	return n
}
