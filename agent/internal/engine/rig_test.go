// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/bpfarray"
	"github.com/boltseal/boltseal/agent/internal/kernel/kerneltest"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// unattached is tracepoints to which nothing is attached: test runs call the
// programs instead.
type unattached struct{}

func (unattached) Attach(*ebpf.Program, compile.Site) (io.Closer, error) { return unattached{}, nil }
func (unattached) AttachExit(*ebpf.Program, compile.Site) (io.Closer, error) {
	return unattached{}, nil
}
func (unattached) AttachTracing(prog *ebpf.Program) (io.Closer, error) {
	return link.AttachTracing(link.TracingOptions{Program: prog})
}
func (unattached) Close() error { return nil }

// arraySlots puts versions in force in the engine's own map of slots.
type arraySlots struct {
	*bpfarray.Array[bpf.WireSlot]
}

func (s *arraySlots) SetVersion(slot, version uint32) {
	*s.Word(int(slot), unsafe.Offsetof(bpf.WireSlot{}.Version)) = uint64(version)
}

// openBare opens an engine of its own, without base programs.
func openBare(t testing.TB, points Attacher) *Engine {
	t.Helper()
	testenv.Require(t, testenv.Root(), testenv.BPF(), testenv.BTF())
	slots := &arraySlots{}
	e, err := Open(Options{Keys: compile.NewKeys(), Slots: slots, Attacher: points, TaskRoom: kerneltest.TaskRoom(t), Agent: uint32(os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	if slots.Array, err = bpfarray.Map[bpf.WireSlot](e.maps.coll.Maps[bpf.SiteMapSlots]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(slots.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// rig runs one site's evaluation on made-up records. It ties the test to one
// thread and one CPU: the state of an evaluation is read from there.
type rig struct {
	*Engine
	t      testing.TB
	cpu    int
	tid    int
	binary string
	site   *site
	ring   *ringbuf.Reader
	memory map[int]*region
	// returned runs when a call returns; frame is the call's.
	returned *ebpf.Collection
	frame    uint64
}

// newRig makes a rig whose site reads all that hooks of the source can.
func newRig(t testing.TB, source *compiletest.Source) *rig {
	t.Helper()
	r := &rig{t: t, Engine: openBare(t, unattached{}), memory: map[int]*region{}}
	r.pin()
	// Of all the kinds of programs, test runs take those of raw tracepoints.
	r.maps.entry = func(compile.SiteKind) string { return bpf.SiteProgRawEvent }
	r.maps.options.Agent = 0 // this process is signalled as any other
	source.Process = r.process()
	var err error
	if r.binary, err = os.Readlink("/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	wide := compilePoint(t, policy.Hook{
		Section: policy.Tracepoints, Subsystem: compiletest.Subsystem, Event: compiletest.Event, Args: source.Args,
		Return: source.ReturnArg != nil, ReturnArg: source.ReturnArg,
	})
	wide.Hooks[0].Reads = append(wide.Hooks[0].Reads, source.Reads(wide.Hooks[0].Reads)...)
	if r.site, err = r.Engine.site(wide.Hooks[0].Site); err != nil {
		t.Fatal(err)
	}
	if err := r.site.table.Extend(&wide.Hooks[0]); err != nil {
		t.Fatal(err)
	}
	r.site.hook = &wide.Hooks[0]
	if source.ReturnArg != nil {
		r.returns(t)
	}
	if r.site.program, err = r.site.attached(r.maps); err != nil {
		t.Fatalf("%+v", err)
	}
	if source.ReturnArg != nil {
		r.loadReturn(t)
	}
	if r.ring, err = ringbuf.NewReader(r.maps.coll.Maps[bpf.SiteMapEvents]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.ring.Close() })
	return r
}

// process is what filters can ask of this process, by its own files.
func (r *rig) process() (p compiletest.Process) {
	r.t.Helper()
	p.PID = uint32(os.Getpid()) // tests are not in a pid namespace of their own
	p.NamespacePID = uint32(os.Getpid())
	for i, name := range map[policy.Namespace]string{policy.NamespaceMnt: "mnt", policy.NamespacePid: "pid"} {
		var st unix.Stat_t
		if err := unix.Stat("/proc/thread-self/ns/"+name, &st); err != nil {
			r.t.Fatal(err)
		}
		p.Namespaces[i] = uint32(st.Ino)
	}
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		r.t.Fatal(err)
	}
	for i, key := range []string{"CapEff", "CapInh", "CapPrm"} {
		_, rest, _ := strings.Cut(string(status), key+":\t")
		if _, err := fmt.Sscanf(rest, "%x", &p.Capabilities[i]); err != nil {
			r.t.Fatal(err)
		}
	}
	return p
}

func (r *rig) pin() {
	runtime.LockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		r.t.Fatal(err)
	}
	for !all.IsSet(r.cpu) {
		r.cpu++
	}
	one.Set(r.cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		r.t.Fatal(err)
	}
	r.tid = unix.Gettid()
	r.t.Cleanup(func() {
		_ = unix.SchedSetaffinity(0, &all)
		runtime.UnlockOSThread()
	})
}

// compilePoint compiles a policy of these hooks for the test's event.
func compilePoint(t testing.TB, points ...policy.Hook) *compile.Policy {
	t.Helper()
	c, err := compile.Compile(&policy.Policy{Name: "p", Hooks: points}, compiletest.Kernel{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run evaluates a record.
func (r *rig) run(record *compiletest.Record) {
	r.t.Helper()
	bytes := record.Bytes
	if r.returned != nil {
		binary.LittleEndian.PutUint64(bytes[compiletest.StackOffset:], r.frame)
	}
	for offset, text := range record.Users {
		if r.memory[offset] == nil {
			r.memory[offset] = newRegion(r.t)
		}
		binary.LittleEndian.PutUint64(bytes[offset:], uint64(r.memory[offset].place(text)))
	}
	if _, err := r.site.program.coll.Programs[bpf.SiteProgRawEvent].Run(&ebpf.RunOptions{Context: bytes}); err != nil {
		r.t.Fatalf("run the evaluation: %v", err)
	}
}

// matching is the rules that the last evaluation was left with, before only the
// first of each hook acts. It is the first field of the evaluation's state.
func (r *rig) matching() (b compile.Bits) {
	m := r.maps.coll.Maps[bpf.SiteMapEvaluations]
	all, err := m.LookupBytes(uint32(0))
	if err != nil {
		r.t.Fatal(err)
	}
	stride := (int(m.ValueSize()) + 7) / 8 * 8
	for w := range b.Word {
		b.Word[w] = binary.LittleEndian.Uint64(all[r.cpu*stride+8*w:])
	}
	return b
}

// event is the next event in the ring, nil when there is none.
func (r *rig) event() *siteEvent {
	r.t.Helper()
	r.ring.SetDeadline(time.Now())
	record, err := r.ring.Read()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	e := &siteEvent{}
	n, err := binary.Decode(record.RawSample, binary.LittleEndian, &e.WireEventSite)
	if err != nil {
		r.t.Fatal(err)
	}
	if int(e.H.Size) != len(record.RawSample) {
		r.t.Errorf("event says it has %d bytes, and has %d", e.H.Size, len(record.RawSample))
	}
	rest := string(record.RawSample[n:])
	for _, length := range e.StringLen {
		if length >= uint32(bpf.WireLimitsSTRING_MAX) {
			length = 0
		}
		e.strings = append(e.strings, rest[:length])
		rest = rest[length:]
	}
	return e
}

// siteEvent is an event with its strings.
type siteEvent struct {
	bpf.WireEventSite
	strings []string
}

// region is memory whose end is not readable.
type region struct {
	readable []byte
	n        int
}

const regionPages = 2

func newRegion(t testing.TB) *region {
	t.Helper()
	page := os.Getpagesize()
	memory, err := unix.Mmap(-1, 0, (regionPages+1)*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(memory) })
	if err := unix.Mprotect(memory[regionPages*page:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return &region{readable: memory[:regionPages*page]}
}

// place puts a string where a program finds it, now at the end of the memory, now
// before it, and says where. An unreadable one is put where there is nothing, or
// is without its end.
func (m *region) place(text compiletest.Text) uintptr {
	m.n++
	end := uintptr(unsafe.Pointer(&m.readable[0])) + uintptr(len(m.readable))
	if text.Unreadable {
		switch m.n % 5 {
		case 0:
			return 0
		case 1:
			return end
		case 2:
			return 0x1234_5678_1234_5678
		case 3:
			return 0xffff_ffff_8100_0000 // the kernel's
		}
		for i := range text.Most {
			m.readable[len(m.readable)-1-i] = 'x'
		}
		return end - uintptr(text.Most)
	}
	at := len(m.readable) - len(text.String) - 1
	if m.n%2 == 0 {
		at = m.n % max(at, 1)
	}
	m.readable[at+copy(m.readable[at:], text.String)] = 0
	return uintptr(unsafe.Pointer(&m.readable[at]))
}
