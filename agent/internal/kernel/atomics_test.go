// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// The instruction came with Linux 5.12: the answer that trying gives is held
// against the version, and programs keep the instruction where it is known.
func TestAtomics(t *testing.T) {
	testenv.Require(t, testenv.Root(), testenv.BPF())
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	want := atLeast(release, 5, 12)
	if got := HasAtomics(); got != want {
		t.Errorf("kernel %s: %v, want %v", release, got, want)
	}
	spec, err := bpf.LoadSite()
	if err != nil {
		t.Fatal(err)
	}
	before := exchanges(spec)
	if err := DropAtomics(spec); err != nil {
		t.Fatal(err)
	}
	after := before
	if !want {
		after = 0
	}
	if got := exchanges(spec); before == 0 || got != after {
		t.Errorf("%d instructions of %d are left, want %d", got, before, after)
	}
	var known uint32
	if err := spec.Variables[scratchAtomic].Get(&known); err != nil || (known != 0) != want {
		t.Errorf("programs are told %d (%v)", known, err)
	}
}

func exchanges(spec *ebpf.CollectionSpec) (n int) {
	for _, p := range spec.Programs {
		for _, ins := range p.Instructions {
			if ins.OpCode.Class().IsStore() && ins.OpCode.Mode() == asm.AtomicMode && ins.OpCode.AtomicOp() == asm.CmpXchg {
				n++
			}
		}
	}
	return n
}
