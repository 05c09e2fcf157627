// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Use tells how full a ring is, whoever reads from it.
type Use struct {
	size               uint64
	consumer, producer []byte
}

// OpenUse maps the positions of a ring buffer map. Close it when nobody asks any more.
func OpenUse(events *ebpf.Map) (*Use, error) {
	page := os.Getpagesize()
	u := &Use{size: uint64(events.MaxEntries())}
	var err error
	// The first page has how far was read, the second how far was written.
	if u.consumer, err = unix.Mmap(events.FD(), 0, page, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map consumer position of event ring: %w", err)
	}
	if u.producer, err = unix.Mmap(events.FD(), int64(page), page, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, errors.Join(fmt.Errorf("map producer position of event ring: %w", err), unix.Munmap(u.consumer))
	}
	return u, nil
}

// Bytes is how many bytes wait to be read, and how many the ring has.
func (u *Use) Bytes() (used, size uint64) {
	// Read in this order it is never less than none: the reader follows the writer.
	read := atomic.LoadUint64((*uint64)(unsafe.Pointer(&u.consumer[0])))
	written := atomic.LoadUint64((*uint64)(unsafe.Pointer(&u.producer[0])))
	return min(written-read, u.size), u.size
}

// Close unmaps the positions.
func (u *Use) Close() error { return errors.Join(unix.Munmap(u.consumer), unix.Munmap(u.producer)) }
