// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"testing"

	"github.com/cilium/ebpf/ringbuf"
)

func TestUse(t *testing.T) {
	t.Parallel()
	record := exit(t, 7)
	kernel := kernelRing(t, record)
	u, err := OpenUse(kernel.Events)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}()
	r, err := ringbuf.NewReader(kernel.Events)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	each := uint64(8 + (len(record)+7)/8*8) // with the ring's own header
	check := func(records uint64) {
		t.Helper()
		if used, size := u.Bytes(); used != records*each || size != 1<<20 {
			t.Errorf("%d bytes of %d are in use, want %d", used, size, records*each)
		}
	}
	check(0)
	kernel.Put(t, 3)
	check(3)
	if _, err := r.Read(); err != nil {
		t.Fatal(err)
	}
	check(2)
	const more = 100_000 // than fit
	kernel.Put(t, more)
	if used, size := u.Bytes(); used > size || used < size-each {
		t.Errorf("%d bytes of a full ring are in use", used)
	}
}
