// SPDX-License-Identifier: Apache-2.0

// Package bpfarray reads and writes memory-mapped BPF arrays: a change costs
// stores and no system call, and each 64-bit word changes in one piece, which
// is what programs that read meanwhile rely on.
package bpfarray

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Array is a mapped array of T, whose size is a multiple of 8 bytes and the
// value size of the map. Words are stored atomically, values are not. It is
// safe for concurrent use, as far as that goes.
type Array[T any] struct {
	memory []byte
	stride int
	len    int
}

// Map maps an array that was created with BPF_F_MMAPABLE (Linux 5.5). The
// caller keeps the map and closes both.
func Map[T any](m *ebpf.Map) (*Array[T], error) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	if size%8 != 0 || uint32(size) != m.ValueSize() {
		return nil, fmt.Errorf("map %s: values have %d bytes, not %d", m, m.ValueSize(), size)
	}
	a := &Array[T]{stride: size, len: int(m.MaxEntries())}
	page := os.Getpagesize()
	bytes := (size*a.len + page - 1) / page * page
	memory, err := unix.Mmap(m.FD(), 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map memory of %s: %w", m, err)
	}
	a.memory = memory
	return a, nil
}

// Len is the number of elements.
func (a *Array[T]) Len() int { return a.len }

// Close unmaps the memory; the array must not be used afterwards.
func (a *Array[T]) Close() error {
	if a.memory == nil {
		return nil
	}
	err := unix.Munmap(a.memory)
	a.memory = nil
	return err
}

func (a *Array[T]) words(i int) []uint64 {
	if i < 0 || i >= a.len {
		panic(fmt.Sprintf("element %d of an array of %d", i, a.len))
	}
	element := a.memory[i*a.stride : (i+1)*a.stride]
	return unsafe.Slice((*uint64)(unsafe.Pointer(&element[0])), a.stride/8)
}

// Load is element i. Its words are read one after the other.
func (a *Array[T]) Load(i int) T {
	var v T
	to := unsafe.Slice((*uint64)(unsafe.Pointer(&v)), a.stride/8)
	from := a.words(i)
	for w := range from {
		to[w] = atomic.LoadUint64(&from[w])
	}
	return v
}

// Store writes those words of element i that differ from v, in order.
func (a *Array[T]) Store(i int, v T) {
	from := unsafe.Slice((*uint64)(unsafe.Pointer(&v)), a.stride/8)
	to := a.words(i)
	for w := range to {
		if atomic.LoadUint64(&to[w]) != from[w] {
			atomic.StoreUint64(&to[w], from[w])
		}
	}
}

// Word is the word at a byte offset of element i, for atomic use.
func (a *Array[T]) Word(i int, offset uintptr) *uint64 {
	return &a.words(i)[offset/8]
}
