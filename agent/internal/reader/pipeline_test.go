// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/enrich"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/agent/internal/filter"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// oneRule is a rule with a path and a number.
type oneRule struct{}

func (oneRule) Resolve(uint32, uint32, int) (enrich.Rule, bool) {
	return enrich.Rule{
		PolicyName: "policy", Subsys: "syscalls", Event: "sys_enter_openat", Signal: 9,
		Args: []enrich.Arg{{Type: policy.ArgString, Label: "path"}, {Type: policy.ArgInt32, Reg: 1}},
	}, true
}

func siteRecord(b *testing.B, path string) []byte {
	b.Helper()
	record := bpf.WireEventSite{
		H:         bpf.WireEventHeader{Type: uint16(bpf.WireEventTypeEVENT_SITE), Tgid: 7, Tid: 7, Start: 1, Slot: 5, CgroupId: 50},
		StringLen: [6]uint32{uint32(len(path))},
	}
	record.H.Size = uint32(binary.Size(record) + len(path))
	record.Posted.Word[0] = 1
	var buffer bytes.Buffer
	if err := binary.Write(&buffer, binary.LittleEndian, record); err != nil {
		b.Fatal(err)
	}
	buffer.WriteString(path)
	return buffer.Bytes()
}

// BenchmarkRingToSubscriber is the way of a match from the kernel's ring through
// all of the agent to a subscriber with a filter.
func BenchmarkRingToSubscriber(b *testing.B) {
	record := siteRecord(b, "/etc/shadow")
	ring, prog := kernelRing(b, len(record))
	r, err := Open(ring, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	containers := container.New(0)
	if err := containers.Put(&container.Container{ID: "c", Name: "c", Slot: 5, CgroupID: 50}); err != nil {
		b.Fatal(err)
	}
	var hub export.Hub
	enricher, err := enrich.New(enrich.Options{
		Node: "node", Processes: process.New(process.Options{Node: "node"}), Containers: containers, Rules: oneRule{},
		Sink: &hub, BootTime: func() (time.Time, error) { return time.Unix(0, 0), nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	passes, err := filter.Compile([]*tetragon.Filter{{PolicyNames: []string{"policy"}, ContainerNameRegex: []string{"^c$"}}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	sub, err := hub.Subscribe(b.Context(), export.Options{View: whole{passes}})
	if err != nil {
		b.Fatal(err)
	}
	received := make(chan uint64)
	go func() {
		n := uint64(0)
		for {
			e, err := sub.Next(b.Context())
			if errors.Is(err, export.ErrClosed) {
				received <- n
				return
			}
			if e.GetRateLimitInfo() == nil {
				n++
			}
		}
	}()
	ctx, cancel := context.WithCancel(b.Context())
	const batch = 1000
	seen := uint64(0)
	b.ResetTimer()
	send(b, prog, record, batch)
	err = r.Run(ctx, func(e event.Event) {
		enricher.Handle(e)
		if seen++; seen >= uint64(b.N) {
			cancel()
		} else if seen%batch == 0 {
			send(b, prog, record, batch)
		}
	})
	hub.Close()
	got := <-received
	if err != nil || got+sub.Stats().Lost != seen {
		b.Fatalf("error %v, %d received and %d lost of %d", err, got, sub.Stats().Lost, seen)
	}
	b.ReportMetric(float64(got)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(sub.Stats().Lost), "lost")
}

// whole is a view of whole events.
type whole struct{ *filter.Filter }

func (whole) Fields(e *tetragon.GetEventsResponse) *tetragon.GetEventsResponse { return e }
