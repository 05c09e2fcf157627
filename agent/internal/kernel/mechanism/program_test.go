// SPDX-License-Identifier: Apache-2.0

//go:build linux

package mechanism

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv"
)

// selection is the map of the cgroups that a program acts on: {id: 1}.
type selection struct{ *ebpf.Map }

func newSelection(t *testing.T) selection {
	t.Helper()
	// Before Linux 5.11 memory of BPF is counted against the limit.
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	// One entry: who writes a second by mistake is told so.
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "selected", Type: ebpf.Hash, KeySize: 8, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return selection{m}
}

// add selects a cgroup.
func (s selection) add(cgroup uint64) error {
	if err := s.Put(cgroup, uint32(1)); err != nil {
		return fmt.Errorf("select cgroup %d: %w", cgroup, err)
	}
	return nil
}

// check reads the map back and says how it is not one that selects the cgroup
// and nothing else.
func (s selection) check(cgroup uint64) error {
	got := map[uint64]uint32{}
	var key uint64
	var value uint32
	all := s.Iterate()
	for all.Next(&key, &value) {
		got[key] = value
	}
	if err := all.Err(); err != nil {
		return fmt.Errorf("read the map of selected cgroups: %w", err)
	}
	switch {
	case maps.Equal(got, map[uint64]uint32{cgroup: 1}):
		return nil
	case got[cgroup] == 0:
		return fmt.Errorf("the container's cgroup id %d is not in the map of selected cgroups, which has %v", cgroup, got)
	}
	return fmt.Errorf("the map of selected cgroups has %v, want the container's cgroup id %d alone", got, cgroup)
}

// A write that went wrong is named, before any program could act by it: no
// program reads these maps.
func TestSelectionIsReadBack(t *testing.T) {
	testenv.Require(t, testenv.BPF())
	const cgroup = 4711
	for _, tt := range []struct {
		name  string
		key   uint64
		value uint32
		want  string
	}{
		{"right", cgroup, 1, ""},
		{"another_cgroup", cgroup + 1, 1, "the container's cgroup id 4711 is not in the map of selected cgroups, which has map[4712:1]"},
		{"another_value", cgroup, 256, "the map of selected cgroups has map[4711:256], want the container's cgroup id 4711 alone"},
	} {
		s := newSelection(t)
		if err := s.Put(tt.key, tt.value); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := s.check(cgroup); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	s := newSelection(t)
	if err := errors.Join(s.add(cgroup), s.check(cgroup)); err != nil {
		t.Error(err)
	}
	if err := s.add(cgroup + 1); !errors.Is(err, unix.E2BIG) {
		t.Errorf("select a second cgroup: %v, want that there is no room", err)
	}
}

// returned is where a program's context has what a program before it returned,
// of a hook with one argument.
const returned = 8

// gate begins every program: it goes to pass unless the current task's cgroup is
// selected. R6 is the program's context from then on, R7 is kept.
func gate(s selection) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.FnGetCurrentCgroupId.Call(),
		asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord),
		asm.LoadMapPtr(asm.R1, s.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -8),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
	}
}

// observer is a program that does act to tasks of the selected cgroup, and
// decides nothing by what it returns.
func observer(s selection, act ...asm.Instruction) asm.Instructions {
	return append(append(gate(s), act...), asm.Mov.Imm(asm.R0, 0).WithSymbol("pass"), asm.Return())
}

// denyOpen is a program at file_open(struct file *) that denies the selected
// cgroup one inode, and leaves everything else as programs before it decided.
func denyOpen(s selection, inode uint64, errno unix.Errno) (asm.Instructions, error) {
	toInode, err := offset("file", "f_inode")
	if err != nil {
		return nil, err
	}
	toNumber, err := offset("inode", "i_ino")
	if err != nil {
		return nil, err
	}
	code := append(asm.Instructions{asm.LoadMem(asm.R7, asm.R1, returned, asm.DWord)}, gate(s)...)
	return append(code,
		asm.JNE.Imm(asm.R7, 0, "pass"),
		asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, toInode, asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, toNumber, asm.DWord),
		asm.LoadImm(asm.R2, int64(inode), asm.DWord),
		asm.JNE.Reg(asm.R1, asm.R2, "pass"),
		asm.Mov.Imm(asm.R0, -int32(errno)),
		asm.Return(),
		asm.Mov.Reg(asm.R0, asm.R7).WithSymbol("pass"),
		asm.Return(),
	), nil
}

// offset is where the running kernel's struct has a member, in bytes.
func offset(structure, name string) (int16, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return 0, err
	}
	var found *btf.Struct
	if err := kernel.TypeByName(structure, &found); err != nil {
		return 0, fmt.Errorf("find struct %s: %w", structure, err)
	}
	for _, m := range found.Members {
		if m.Name == name {
			return int16(m.Offset.Bytes()), nil
		}
	}
	return 0, fmt.Errorf("struct %s has no member %s", structure, name)
}
