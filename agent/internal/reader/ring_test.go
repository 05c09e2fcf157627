// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/kernelring"
)

// kernelRing is a ring in the kernel that a program fills with a record.
func kernelRing(tb testing.TB, record []byte) *kernelring.Ring {
	tb.Helper()
	testenv.Require(tb, testenv.Root(), testenv.BPF())
	return kernelring.New(tb, 1<<20, record)
}

func TestRunReadsTheKernelsRing(t *testing.T) {
	t.Parallel()
	record := exit(t, 7)
	kernel := kernelRing(t, record)
	r, err := Open(kernel.Events, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const total = 100_000 // several times around the ring
	seen, bad := 0, 0
	batch := func() { kernel.Put(t, 1000) }
	batch()
	err = r.Run(ctx, func(e event.Event) {
		if x, ok := e.(*event.Exit); !ok || x.Tgid != 7 {
			bad++
		}
		if seen++; seen == total {
			cancel()
		} else if seen%1000 == 0 {
			batch()
		}
	})
	if err != nil || seen != total || bad != 0 || r.Undecoded() != 0 {
		t.Errorf("error %v, %d of %d events, %d wrong, %d undecoded", err, seen, total, bad, r.Undecoded())
	}
}

func TestCloseEndsRun(t *testing.T) {
	t.Parallel()
	kernel := kernelRing(t, make([]byte, 8))
	r, err := Open(kernel.Events, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- r.Run(context.Background(), func(event.Event) {}) }()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("Run goes on")
	}
	if err := r.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestOpenRefusesOtherMaps(t *testing.T) {
	t.Parallel()
	testenv.Require(t, testenv.Root(), testenv.BPF())
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if r, err := Open(m, slog.New(slog.DiscardHandler)); err == nil {
		_ = r.Close()
		t.Error("no error")
	}
}

// BenchmarkKernelsRing is the way of an event from the kernel to its handler, with
// the time that the kernel takes to write it.
func BenchmarkKernelsRing(b *testing.B) {
	record := exit(b, 7)
	kernel := kernelRing(b, record)
	r, err := Open(kernel.Events, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	const batch = 1000
	seen := 0
	b.ResetTimer()
	kernel.Put(b, batch)
	err = r.Run(ctx, func(event.Event) {
		if seen++; seen >= b.N {
			cancel()
		} else if seen%batch == 0 {
			kernel.Put(b, batch)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(seen)/b.Elapsed().Seconds(), "events/s")
}
