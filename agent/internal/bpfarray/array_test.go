// SPDX-License-Identifier: Apache-2.0

package bpfarray_test

import (
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/bpfarray"
	"github.com/boltseal/boltseal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// element is no power of two, as some of the kernel's.
type element struct {
	A, B uint64
	C, D uint32
}

func newMap(t *testing.T, valueSize uint32, n uint32, flags uint32) *ebpf.Map {
	t.Helper()
	testenv.Require(t, testenv.Root(), testenv.BPF())
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.Array, KeySize: 4, ValueSize: valueSize, MaxEntries: n, Flags: flags,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// What is stored is what the kernel has, and the other way round, at every element.
func TestMemoryIsTheMap(t *testing.T) {
	const n = 1000
	m := newMap(t, uint32(unsafe.Sizeof(element{})), n, unix.BPF_F_MMAPABLE)
	a, err := bpfarray.Map[element](m)
	if err != nil {
		t.Fatal(err)
	}
	if a.Len() != n {
		t.Errorf("length %d, want %d", a.Len(), n)
	}
	for i := range n {
		a.Store(i, element{A: uint64(i), B: ^uint64(i), C: uint32(i), D: 7})
	}
	for i := range n {
		want := element{A: uint64(i), B: ^uint64(i), C: uint32(i), D: 7}
		var got element
		if err := m.Lookup(uint32(i), &got); err != nil || got != want {
			t.Fatalf("element %d in the kernel: %+v (%v), want %+v", i, got, err, want)
		}
		want.B = uint64(i)
		if err := m.Put(uint32(i), want); err != nil {
			t.Fatal(err)
		}
		if got := a.Load(i); got != want {
			t.Fatalf("element %d in memory: %+v, want %+v", i, got, want)
		}
		atomic.AddUint64(a.Word(i, unsafe.Offsetof(want.B)), 5)
		if want.B += 5; a.Load(i) != want {
			t.Fatalf("element %d after its word was changed: %+v, want %+v", i, a.Load(i), want)
		}
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

// Words that stay as they are are not written: a program may be changing them. Here
// memory that cannot be written to shows it.
func TestStoreWritesWhatDiffers(t *testing.T) {
	m := newMap(t, uint32(unsafe.Sizeof(element{})), 1, unix.BPF_F_MMAPABLE)
	a, err := bpfarray.Map[element](m)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	v := element{A: 1, B: 2, C: 3, D: 4}
	a.Store(0, v)
	page := unsafe.Slice((*byte)(unsafe.Pointer(a.Word(0, 0))), os.Getpagesize())
	if err := unix.Mprotect(page, unix.PROT_READ); err != nil {
		t.Fatal(err)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			t.Errorf("store of what is there wrote: %v", fault)
		}
	}()
	a.Store(0, v)
}

func TestMapsThatDoNotFit(t *testing.T) {
	before := len(maps(t))
	for name, m := range map[string]*ebpf.Map{
		"another size":     newMap(t, 16, 4, unix.BPF_F_MMAPABLE),
		"not to be mapped": newMap(t, uint32(unsafe.Sizeof(element{})), 4, 0),
		"no multiple of 8": newMap(t, 4, 4, unix.BPF_F_MMAPABLE),
		"larger elements":  newMap(t, 32, 4, unix.BPF_F_MMAPABLE),
	} {
		if _, err := bpfarray.Map[element](m); err == nil {
			t.Errorf("%s: mapped", name)
		}
	}
	if _, err := bpfarray.Map[uint32](newMap(t, 4, 4, unix.BPF_F_MMAPABLE)); err == nil {
		t.Error("elements of 4 bytes: mapped")
	}
	if after := len(maps(t)); after != before {
		t.Errorf("%d maps in memory, %d before", after, before)
	}
}

// maps is the lines of the process's memory map that are BPF maps.
func maps(t *testing.T) (lines []string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "bpf-map") {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestElementsOutside(t *testing.T) {
	m := newMap(t, uint32(unsafe.Sizeof(element{})), 2, unix.BPF_F_MMAPABLE)
	a, err := bpfarray.Map[element](m)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, i := range []int{-1, 2} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("element %d of 2 could be read", i)
				}
			}()
			a.Load(i)
		}()
	}
}
