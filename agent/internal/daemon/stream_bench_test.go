// SPDX-License-Identifier: Apache-2.0

//go:build linux

package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/enrich"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/agent/internal/reader"
	"github.com/boltseal/boltseal/agent/internal/server"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/kernelring"
)

// oneRule is a rule of a tracepoint with a path and a number.
type oneRule struct{}

func (oneRule) Resolve(uint32, uint32, int) (enrich.Rule, bool) {
	return enrich.Rule{
		PolicyName: "policy", Section: policy.Tracepoints, Subsys: "syscalls", Event: "sys_enter_openat", Signal: 9,
		Args: []enrich.Arg{{Type: policy.ArgString, Label: "path"}, {Type: policy.ArgInt32, Reg: 1}},
	}, true
}

// siteRecord is a match of that rule, as the kernel writes it.
func siteRecord(tb testing.TB) []byte {
	tb.Helper()
	const path = "/etc/shadow"
	record := bpf.WireEventSite{
		H: bpf.WireEventHeader{
			Type: uint16(bpf.WireEventTypeEVENT_SITE), Ktime: 1e12, Tgid: 7, Tid: 7, Start: 1, Slot: 5, CgroupId: 50,
		},
		StringLen: [6]uint32{uint32(len(path))},
	}
	record.H.Size = uint32(binary.Size(record) + len(path))
	record.Posted.Word[0] = 1
	var buffer bytes.Buffer
	if err := binary.Write(&buffer, binary.LittleEndian, record); err != nil {
		tb.Fatal(err)
	}
	buffer.WriteString(path)
	return buffer.Bytes()
}

// path is the agent's way of events from a ring to subscribers.
type path struct {
	kernel   *kernelring.Ring
	events   *events
	client   tetragon.FineGuidanceSensorsClient
	received atomic.Uint64
	arrived  chan struct{} // whenever some have been received
}

// ringBytes is the size of the agent's ring unless it is told another.
const ringBytes = 8 << 20

// newPath opens the agent's way; it ends with the benchmark.
func newPath(b *testing.B) *path {
	b.Helper()
	testenv.Require(b, testenv.Root(), testenv.BPF())
	log := slog.New(slog.DiscardHandler)
	p := &path{kernel: kernelring.New(b, ringBytes, siteRecord(b)), arrived: make(chan struct{}, 1)}
	r, err := reader.Open(p.kernel.Events, log)
	if err != nil {
		b.Fatal(err)
	}
	containers := container.New(0)
	if err := containers.Put(&container.Container{ID: "c", Name: "c", Slot: 5, CgroupID: 50}); err != nil {
		b.Fatal(err)
	}
	p.events = &events{reader: r, trees: &stackTrees{}, log: log}
	processes := process.New(process.Options{Node: "node"})
	shell := process.Info{Key: process.Key{Tgid: 7, Start: 1}, Binary: "/bin/sh", Args: []string{"sh", "-c", "cat /etc/shadow"}, Cwd: "/", Slot: 5}
	processes.Exec(2, shell)
	p.events.enricher, err = enrich.New(enrich.Options{
		Node: "node", Processes: processes, Containers: containers, Rules: oneRule{}, Sink: &p.events.hub, BootTime: kernel.BootTime,
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.events.run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return p
}

// request is for the events of one policy in one container.
func request() *tetragon.GetEventsRequest {
	return &tetragon.GetEventsRequest{AllowList: []*tetragon.Filter{{PolicyNames: []string{"policy"}, ContainerNameRegex: []string{"^c$"}}}}
}

func (p *path) count() {
	p.received.Add(1)
	select {
	case p.arrived <- struct{}{}:
	default:
	}
}

// subscriber takes events until the returned function is called; one that is stuck
// takes the first and no more.
type subscriber func(b *testing.B, p *path, stuck bool) (stop func())

// inAgent subscribes in the same process.
func inAgent(b *testing.B, p *path, stuck bool) func() {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	subscribed, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- p.events.Stream(ctx, request(), func() error { close(subscribed); return nil }, func(*tetragon.GetEventsResponse) error {
			if stuck {
				<-ctx.Done()
				return ctx.Err()
			}
			p.count()
			return nil
		})
	}()
	<-subscribed
	return func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			b.Error(err)
		}
	}
}

// overSocket subscribes over the agent's socket.
func overSocket(b *testing.B, p *path, stuck bool) func() {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := p.client.GetEvents(ctx, request())
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !stuck {
			if _, err := stream.Recv(); err != nil {
				return
			}
			p.count()
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// serve serves the API on a socket and connects to it.
func (p *path) serve(b *testing.B) {
	b.Helper()
	socket := filepath.Join(b.TempDir(), "s")
	listener, err := server.Listen(b.Context(), socket)
	if err != nil {
		b.Fatal(err)
	}
	s := server.New(server.Options{Events: p.events, Health: server.NewHealth(), Level: &slog.LevelVar{}, Log: slog.New(slog.DiscardHandler)})
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(listener) }()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	p.client = tetragon.NewFineGuidanceSensorsClient(conn)
}

const (
	// block is how many events are measured in turn with those of others.
	block = 40_000
	// ahead is how many may be on their way: fewer than a subscriber's queue holds.
	ahead = 8_000
	// offered is the rate per second that no event may be lost at.
	offered = 200_000
)

// cost is what events took: time, and CPU time with what the kernel took for them.
type cost struct {
	events    int
	wall, cpu time.Duration
}

func (c *cost) add(events int, take func()) {
	start, before := time.Now(), cpu()
	take()
	c.events, c.wall, c.cpu = c.events+events, c.wall+time.Since(start), c.cpu+cpu()-before
}

// each is the CPU time of one event in ns.
func (c *cost) each() float64 { return float64(c.cpu) / float64(c.events) }

func (c *cost) rate() float64 { return float64(c.events) / c.wall.Seconds() }

func cpu() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err) // every process can ask for its own
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// flood has block events come as fast as they are taken.
func (p *path) flood(b *testing.B) {
	b.Helper()
	const batch = 1000
	from := p.received.Load()
	for sent := uint64(0); sent < block; sent += batch {
		for sent >= p.received.Load()-from+ahead {
			<-p.arrived
		}
		p.kernel.Put(b, batch)
	}
	for p.received.Load()-from < block {
		<-p.arrived
	}
}

// offer puts block events into the ring at a rate; it returns how many were lost, and
// how long it took to put them.
func (p *path) offer(b *testing.B) (lost uint64, took time.Duration) {
	b.Helper()
	const every, batch = time.Millisecond, offered / 1000
	from, start := p.received.Load(), time.Now()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for sent := 0; sent < block; {
		<-ticker.C
		// A busy machine is late: what is due is made up for.
		for due := int(time.Since(start)/every) * batch; sent < min(due, block); sent += batch {
			p.kernel.Put(b, batch)
		}
	}
	took = time.Since(start)
	// What has not come when nothing has for so long never will.
	patience := time.NewTimer(2 * time.Second)
	defer patience.Stop()
	for p.received.Load()-from < block {
		select {
		case <-p.arrived:
		case <-patience.C:
			return block - (p.received.Load() - from), took
		}
	}
	return 0, took
}

// empty is flood for a consumer that does nothing.
func empty(b *testing.B, kernel *kernelring.Ring) {
	b.Helper()
	const batch = 1000
	bare, err := ringbuf.NewReader(kernel.Events)
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	ended := make(chan error, 1)
	var taken atomic.Uint64
	arrived := make(chan struct{}, 1)
	go func() {
		var record ringbuf.Record
		for range block {
			if err := bare.ReadInto(&record); err != nil {
				ended <- err
				return
			}
			taken.Add(1)
			select {
			case arrived <- struct{}{}:
			default:
			}
		}
		ended <- nil
	}()
	for sent := uint64(0); sent < block; sent += batch {
		for sent >= taken.Load()+ahead {
			<-arrived
		}
		kernel.Put(b, batch)
	}
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkStream is the way of a match of a tracepoint from the kernel's ring to one
// subscriber with a filter, in the agent and over its socket: as fast as it goes, beside
// a consumer of such a ring that does nothing, and at 200,000 events/s, of which none may
// be lost. Both also with a second subscriber that is stuck. Target: no loss on two
// processors that have nothing else to do, and no difference by the second subscriber.
// The ratio to the empty consumer, and the CPU time of one event, with that of the client
// and of the program that fills the ring, tell what the way costs on any machine.
func BenchmarkStream(b *testing.B) {
	for _, to := range []struct {
		name string
		subscriber
	}{{"agent", inAgent}, {"socket", overSocket}} {
		b.Run(to.name, func(b *testing.B) { stream(b, to.subscriber) })
	}
}

func stream(b *testing.B, subscribe subscriber) {
	p, other := newPath(b), kernelring.New(b, ringBytes, siteRecord(b))
	p.serve(b)
	var bare, alone, beside cost
	var lost, lostBeside uint64
	var offering time.Duration
	for b.Loop() {
		bare.add(block, func() { empty(b, other) })
		stop := subscribe(b, p, false)
		alone.add(block, func() { p.flood(b) })
		n, took := p.offer(b)
		lost, offering = lost+n, offering+took
		stopStuck := subscribe(b, p, true)
		beside.add(block, func() { p.flood(b) })
		n, took = p.offer(b)
		lostBeside, offering = lostBeside+n, offering+took
		stopStuck()
		stop()
	}
	b.ReportMetric(0, "ns/op") // a round of all is no operation
	b.ReportMetric(bare.rate(), "empty-events/s")
	b.ReportMetric(alone.rate(), "events/s")
	b.ReportMetric(beside.rate(), "beside-stuck-events/s")
	b.ReportMetric(alone.wall.Seconds()/bare.wall.Seconds(), "ratio")
	b.ReportMetric(bare.each(), "empty-cpu-ns/event")
	b.ReportMetric(alone.each(), "cpu-ns/event")
	b.ReportMetric(beside.each(), "beside-stuck-cpu-ns/event")
	b.ReportMetric(2*float64(alone.events)/offering.Seconds(), "offered/s")
	b.ReportMetric(float64(lost), "lost")
	b.ReportMetric(float64(lostBeside), "lost-beside-stuck")
	b.ReportMetric(float64(p.kernel.Lost(b)), "lost-in-ring")
}
