// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"testing"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/bpf"
)

// records is a ring that holds records, and then ends with an error.
type records struct {
	list   [][]byte
	end    error
	closed chan struct{}
}

func (r *records) ReadInto(to *ringbuf.Record) error {
	if len(r.list) > 0 {
		to.RawSample, r.list = r.list[0], r.list[1:]
		return nil
	}
	if r.end != nil {
		return r.end
	}
	<-r.closed
	return ringbuf.ErrClosed
}

func (r *records) Close() error {
	select {
	case <-r.closed:
	default:
		close(r.closed)
	}
	return nil
}

func exit(t testing.TB, tgid uint32) []byte {
	t.Helper()
	var b bytes.Buffer
	record := bpf.WireEventExit{H: bpf.WireEventHeader{
		Type: uint16(bpf.WireEventTypeEVENT_EXIT), Size: uint32(binary.Size(bpf.WireEventExit{})), Tgid: tgid,
	}}
	if err := binary.Write(&b, binary.LittleEndian, record); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRunHandsOnWhatIsWholeAndCountsTheRest(t *testing.T) {
	t.Parallel()
	ring := &records{list: [][]byte{exit(t, 1), {1, 2, 3}, exit(t, 2)}, closed: make(chan struct{})}
	r := &Reader{ring: ring, log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	var seen []uint32
	err := r.Run(ctx, func(e event.Event) {
		if seen = append(seen, e.Head().Tgid); len(seen) == 2 {
			cancel()
		}
	})
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	if len(seen) != 2 || seen[0] != 1 || seen[1] != 2 {
		t.Errorf("events of processes %v, want 1 and 2", seen)
	}
	if r.Undecoded() != 1 {
		t.Errorf("%d records undecoded, want 1", r.Undecoded())
	}
}

func TestRunTellsOfABrokenRing(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	r := &Reader{ring: &records{end: broken, closed: make(chan struct{})}, log: slog.New(slog.DiscardHandler)}
	if err := r.Run(t.Context(), func(event.Event) {}); !errors.Is(err, broken) {
		t.Errorf("run of a broken ring: %v, want %v", err, broken)
	}
}
