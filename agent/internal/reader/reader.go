// SPDX-License-Identifier: Apache-2.0

// Package reader reads the ring that the kernel programs report to.
package reader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/boltseal/boltseal/agent/internal/event"
)

// ring is what a Reader reads from: a *ringbuf.Reader.
type ring interface {
	ReadInto(*ringbuf.Record) error
	Close() error
}

// Reader hands the ring's events on, one after the other.
type Reader struct {
	ring ring
	log  *slog.Logger
	bad  atomic.Uint64
}

// Open reads from a ring buffer map. Close the reader, or let Run's context end.
func Open(events *ebpf.Map, log *slog.Logger) (*Reader, error) {
	r, err := ringbuf.NewReader(events)
	if err != nil {
		return nil, fmt.Errorf("open event ring: %w", err)
	}
	return &Reader{ring: r, log: log}, nil
}

// Run calls handle with each event until the context ends or the reader is
// closed. An event is handle's until it returns. A record that cannot be decoded is logged and counted: it is a fault
// of the programs, and the next one may be whole.
func (r *Reader) Run(ctx context.Context, handle func(event.Event)) error {
	stop := context.AfterFunc(ctx, func() { _ = r.Close() })
	defer stop()
	var record ringbuf.Record
	var decoder event.Decoder
	for {
		err := r.ring.ReadInto(&record)
		if errors.Is(err, ringbuf.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read event ring: %w", err)
		}
		e, err := decoder.Decode(record.RawSample)
		if err != nil {
			r.bad.Add(1)
			r.log.Error("decode event", "error", err, "bytes", len(record.RawSample))
			continue
		}
		handle(e)
	}
}

// Undecoded is how many records could not be decoded. Safe for concurrent use.
func (r *Reader) Undecoded() uint64 { return r.bad.Load() }

// Close ends Run.
func (r *Reader) Close() error { return r.ring.Close() }
