// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
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
	return openBareFor(t, points, kerneltest.TaskRoom(t))
}

// openBareFor is openBare with room for so many tasks; 0: task storage.
func openBareFor(t testing.TB, points Attacher, room uint32) *Engine {
	t.Helper()
	testenv.Require(t, testenv.Root(), testenv.BPF(), testenv.BTF())
	slots := &arraySlots{}
	e, err := Open(Options{Keys: compile.NewKeys(), Slots: slots, Attacher: points, TaskRoom: room, Agent: uint32(os.Getpid())})
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
	// ancestors are this process and those that it descends from.
	ancestors []ancestor
	kernel    compiletest.Kernel
	// returned runs when a call returns; frame is the call's.
	returned *ebpf.Collection
	frame    uint64
	// resultIsText: calls return pointers to text.
	resultIsText bool
}

// kernelOf is the kernel whose structures a source's hooks look into.
func kernelOf(source *compiletest.Source) compiletest.Kernel {
	if source.Data == nil {
		return compiletest.Kernel{}
	}
	return source.Data.Kernel
}

// newRig makes a rig whose site reads all that hooks of the source can.
func newRig(t testing.TB, source *compiletest.Source) *rig {
	t.Helper()
	all := policy.Hook{
		Section: policy.Tracepoints, Subsystem: compiletest.Subsystem, Event: compiletest.Event, Args: source.Args,
		Return: source.ReturnArg != nil, ReturnArg: source.ReturnArg,
	}
	all.Selectors = []policy.Selector{source.Computed()}
	wide := compileFor(t, kernelOf(source), all)
	wide.Hooks[0].Reads = append(wide.Hooks[0].Reads, source.Reads(wide.Hooks[0].Reads)...)
	return newRigOf(t, source, &wide.Hooks[0])
}

// newRigOf makes a rig whose site reads what a hook does.
func newRigOf(t testing.TB, source *compiletest.Source, wide *compile.Hook) *rig {
	t.Helper()
	r := &rig{t: t, Engine: openBare(t, unattached{}), memory: map[int]*region{}, ancestors: ancestry(t), kernel: kernelOf(source)}
	r.pin()
	// Of all the kinds of programs, test runs take those of raw tracepoints.
	r.maps.entry = func(compile.SiteKind) string { return bpf.SiteProgRawEvent }
	r.maps.options.Agent = 0 // this process is signalled as any other
	source.Process = r.process()
	source.Files = r.files()
	var err error
	if r.binary, err = os.Readlink("/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	if r.site, err = r.Engine.site(wide.Site); err != nil {
		t.Fatal(err)
	}
	if err := r.site.table.Extend(wide); err != nil {
		t.Fatal(err)
	}
	r.site.hook = wide
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

// lineage is a word of this process's lineage, by the files of its ancestors.
func (r *rig) lineage(word uint16) (bits uint64) {
	r.t.Helper()
	for _, l := range r.policies {
		for _, wanted := range l.lineages {
			bit := r.lineages.bits[wanted.Key()]
			if bit/64 == int(word) && slices.ContainsFunc(r.ancestors, func(a ancestor) bool { return a.begins(wanted) }) {
				bits |= 1 << (bit % 64)
			}
		}
	}
	return bits
}

// ancestor is a process that this one descends from, or itself.
type ancestor struct {
	binary            string
	pid, namespacePID uint32
}

func (a ancestor) begins(l compile.Lineage) bool {
	pid := a.pid
	if l.NamespacePIDs {
		pid = a.namespacePID
	}
	return slices.Contains(l.Binaries, a.binary) || slices.Contains(l.PIDs, pid)
}

// ancestry is this process and those that it descends from.
func ancestry(t testing.TB) (all []ancestor) {
	t.Helper()
	for pid := os.Getpid(); pid > 0; {
		a := ancestor{pid: uint32(pid)}
		a.binary, _ = os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)) // one that has ended has none
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			key, rest, _ := strings.Cut(line, ":")
			switch fields := strings.Fields(rest); key {
			case "PPid":
				if pid, err = strconv.Atoi(fields[0]); err != nil {
					t.Fatal(err)
				}
			case "NSpid":
				if _, err := fmt.Sscan(fields[len(fields)-1], &a.namespacePID); err != nil {
					t.Fatal(err)
				}
			}
		}
		all = append(all, a)
	}
	return all
}

// files are descriptors of this process and the modes of what they name.
func (r *rig) files() map[uint32]uint32 {
	r.t.Helper()
	var fds []int
	for path, flags := range map[string]int{"/": 0, "/dev/null": 0, "/proc/self/exe": 0, "/proc/self": unix.O_PATH | unix.O_NOFOLLOW} {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			r.t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	pair := [2]int{}
	if err := unix.Pipe2(pair[:], unix.O_CLOEXEC); err != nil {
		r.t.Fatal(err)
	}
	fds = append(fds, pair[:]...)
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	modes := map[uint32]uint32{}
	for _, fd := range append(fds, socket) {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			r.t.Fatal(err)
		}
		modes[uint32(fd)] = st.Mode
		r.t.Cleanup(func() { _ = unix.Close(fd) })
	}
	return modes
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
	return compileFor(t, compiletest.Kernel{}, points...)
}

// compile is compilePoint with what the rig knows of the kernel.
func (r *rig) compile(points ...policy.Hook) *compile.Policy {
	r.t.Helper()
	return compileFor(r.t, r.kernel, points...)
}

// compileFor is compilePoint for a kernel.
func compileFor(t testing.TB, k compile.Kernel, points ...policy.Hook) *compile.Policy {
	t.Helper()
	c, err := compile.Compile(&policy.Policy{Name: "p", Hooks: points}, k)
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
	if bpf.WireEventType(binary.LittleEndian.Uint16(record.RawSample)) == bpf.WireEventTypeEVENT_DATA {
		return r.rest(record.RawSample)
	}
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
	e.kernel, rest = addresses(rest, int(e.KernelStack))
	e.user, rest = addresses(rest, int(e.UserStack))
	e.hash = rest
	return e
}

// rest is the event that the bytes of a record belong to.
func (r *rig) rest(record []byte) *siteEvent {
	r.t.Helper()
	var d bpf.WireEventData
	n, err := binary.Decode(record, binary.LittleEndian, &d)
	if err != nil {
		r.t.Fatal(err)
	}
	e := r.event()
	if e == nil || e.Data != d.Id || e.H.Tid != d.H.Tid || int(d.Len) != len(record)-n || int(d.H.Size) != len(record) {
		r.t.Fatalf("bytes %+v of event %+v", d, e)
	}
	e.rest = string(record[n:]) + e.rest
	return e
}

// siteEvent is an event with what follows it.
type siteEvent struct {
	bpf.WireEventSite
	strings      []string
	kernel, user []uint64
	hash         string
	// rest is the bytes of one that came before it.
	rest string
}

// addresses takes a stack of so many bytes from the front of a record's rest.
func addresses(rest string, n int) (stack []uint64, behind string) {
	for ; n > 0; n -= 8 {
		stack, rest = append(stack, binary.LittleEndian.Uint64([]byte(rest[:8]))), rest[8:]
	}
	return stack, rest
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
