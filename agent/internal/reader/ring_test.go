// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/test/testenv"
)

// kernelRing is a ring in the kernel and a program that copies the packet that it
// is run with into it.
func kernelRing(tb testing.TB, recordSize int) (*ebpf.Map, *ebpf.Program) {
	tb.Helper()
	testenv.Require(tb, testenv.Root(), testenv.BPF())
	if err := rlimit.RemoveMemlock(); err != nil {
		tb.Fatal(err)
	}
	ring, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 1 << 20})
	if err != nil {
		tb.Fatalf("make ring: %v", err)
	}
	tb.Cleanup(func() { _ = ring.Close() })
	at := int32(-(recordSize + 7) / 8 * 8)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, at),
		asm.Mov.Imm(asm.R4, int32(recordSize)),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "out"),
		asm.LoadMapPtr(asm.R1, ring.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, at),
		asm.Mov.Imm(asm.R3, int32(recordSize)),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.Return().WithSymbol("out"),
	}})
	if err != nil {
		tb.Fatalf("load program: %v", err)
	}
	tb.Cleanup(func() { _ = prog.Close() })
	return ring, prog
}

// send has the kernel put a record into the ring a number of times.
func send(tb testing.TB, prog *ebpf.Program, record []byte, times uint32) {
	tb.Helper()
	const ethernetHeader = 14 // which socket filters do not see
	if code, err := prog.Run(&ebpf.RunOptions{Data: append(make([]byte, ethernetHeader), record...), Repeat: times}); err != nil || code != 0 {
		tb.Fatalf("run program: %d, %v", int32(code), err)
	}
}

func TestRunReadsTheKernelsRing(t *testing.T) {
	t.Parallel()
	record := exit(t, 7)
	ring, prog := kernelRing(t, len(record))
	r, err := Open(ring, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const total = 100_000 // several times around the ring
	seen, bad := 0, 0
	batch := func() { send(t, prog, record, 1000) }
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
	ring, _ := kernelRing(t, 8)
	r, err := Open(ring, slog.New(slog.DiscardHandler))
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
	ring, prog := kernelRing(b, len(record))
	r, err := Open(ring, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	const batch = 1000
	seen := 0
	b.ResetTimer()
	send(b, prog, record, batch)
	err = r.Run(ctx, func(event.Event) {
		if seen++; seen >= b.N {
			cancel()
		} else if seen%batch == 0 {
			send(b, prog, record, batch)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(seen)/b.Elapsed().Seconds(), "events/s")
}
