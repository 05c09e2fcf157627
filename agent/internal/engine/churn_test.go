// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

var evaluations = flag.Uint64("boltseal.evaluations", 200_000, "how many evaluations under churn are compared")

// pauseTakes is how many times longer an evaluation takes whose readers pause.
const pauseTakes = 20

// churn is policies that come and go at a site while threads on all processors
// pass it, and a judge who knows of each version what it has to say.
type churn struct {
	*bench
	random *rand.Rand
	hook   policy.Hook
	// paths are what the threads act on, and rules ask for parts of.
	paths []string
	base  PolicyID

	mu sync.Mutex
	// history is the hooks of each version, and verdicts what was worked out of it.
	history map[uint32][]judged
	wrong   []string

	compared, changes atomic.Uint64
	// enough is how many evaluations are to be compared.
	enough uint64
}

// judged is a hook whose rules have bits from first on.
type judged struct {
	hook    *compile.Hook
	first   int
	enforce bool
}

// Evaluations on all processors go on while policies change: each says what the
// plain evaluator says of the version that it read. Programs of security hooks
// can be preempted in the middle of it.
func TestChurn(t *testing.T) {
	for _, c := range []struct {
		name  string
		needs compile.Mechanism
		pause bool
		hook  policy.Hook
		act   func(path *byte)
	}{
		{
			"system call", 0, false,
			policy.Hook{Section: policy.Tracepoints, Subsystem: "syscalls", Event: "sys_enter_chroot", Args: []policy.Arg{{Index: 5, Type: policy.ArgString}}},
			func(path *byte) {
				_, _, _ = unix.RawSyscall(unix.SYS_CHROOT, uintptr(unsafe.Pointer(path)), 0, 0)
			},
		},
		{
			"system call, readers that pause", 0, true,
			policy.Hook{Section: policy.Tracepoints, Subsystem: "syscalls", Event: "sys_enter_chroot", Args: []policy.Arg{{Index: 5, Type: policy.ArgString}}},
			func(path *byte) {
				_, _, _ = unix.RawSyscall(unix.SYS_CHROOT, uintptr(unsafe.Pointer(path)), 0, 0)
			},
		},
		{
			"security hook", compile.CanLSM, false,
			policy.Hook{Section: policy.LSMHooks, Calls: []string{"file_open"}, Args: []policy.Arg{{Index: 0, Type: policy.ArgFile}}},
			func(path *byte) {
				cwd := unix.AT_FDCWD
				fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(cwd), uintptr(unsafe.Pointer(path)), 0, 0, 0, 0)
				if errno == 0 {
					_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
				}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newProbedBench(t)
			if c.needs != 0 {
				testenv.Require(t, able(c.needs, b))
			}
			b.maps.options.readersPause = c.pause
			b.maps.options.Agent = 0 // this process is signalled as any other
			seed := rand.Uint64()    //nolint:gosec // it chooses among policies
			t.Logf("seed %d", seed)
			churn := &churn{
				bench: b, hook: c.hook, enough: *evaluations, history: map[uint32][]judged{},
				random: rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // see above
			}
			if c.pause {
				churn.enough /= pauseTakes
			}
			churn.makePaths()
			churn.run(c.act)
		})
	}
}

// makePaths makes files whose names have much in common.
func (c *churn) makePaths() {
	dir := testenv.Dir(c.t)
	for i := range 48 {
		path := filepath.Join(dir, strings.Repeat("ab", i%5)+fmt.Sprint(i%7), strings.Repeat("x", i)+fmt.Sprint(i%3))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600)); err != nil {
			c.t.Fatal(err)
		}
		c.paths = append(c.paths, path)
	}
	base := c.hook
	// Every act on these paths makes an event, whatever else there is.
	base.Selectors = []policy.Selector{{
		Args:    []policy.ArgFilter{{Op: policy.OpPrefix, Values: []string{dir}, Strings: []string{dir}}},
		Actions: []policy.Action{{Kind: policy.Post}},
	}}
	c.base = c.loadHook(base)
}

func (c *churn) loadHook(h policy.Hook) PolicyID {
	c.t.Helper()
	return c.load(c.twice(h))
}

// twice compiles a hook until it comes out the same twice. On a real processor
// that is at once. QEMU's emulation stores the wrong byte where SETcc meets a page
// that is not there yet (a loop of setl into fresh pages is wrong every time), and
// one of thousands of rules is then not the one that was asked for.
func (c *churn) twice(h policy.Hook) *compile.Policy {
	c.t.Helper()
	const tries = 5
	for range tries {
		var out [2]*compile.Policy
		for i := range out {
			var err error
			if out[i], err = compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{h}}, c.points); err != nil {
				c.t.Fatal(err)
			}
		}
		if reflect.DeepEqual(out[0].Hooks, out[1].Hooks) {
			return out[0]
		}
	}
	c.t.Fatalf("one hook was compiled %d times to different rules", 2*tries)
	return nil
}

// draw makes a policy about parts of the paths.
func (c *churn) draw() policy.Hook {
	h := c.hook
	ops := []policy.Operator{
		policy.OpEqual, policy.OpNotEqual, policy.OpPrefix, policy.OpNotPrefix, policy.OpPostfix, policy.OpNotPostfix,
	}
	for range 1 + c.random.IntN(6) {
		var s policy.Selector
		for range 1 + c.random.IntN(2) {
			f := policy.ArgFilter{Op: ops[c.random.IntN(len(ops))]}
			for range 1 + c.random.IntN(6) {
				path := c.paths[c.random.IntN(len(c.paths))]
				switch f.Op {
				case policy.OpPrefix, policy.OpNotPrefix:
					path = path[:len(path)-c.random.IntN(len(filepath.Base(path)))]
				case policy.OpPostfix, policy.OpNotPostfix:
					path = path[len(path)-1-c.random.IntN(len(filepath.Base(path))):]
				}
				f.Strings = append(f.Strings, path)
			}
			f.Values = f.Strings
			s.Args = append(s.Args, f)
		}
		// Nothing but these paths: the host's other processes are not judged.
		s.Args = append(s.Args, policy.ArgFilter{Op: policy.OpPrefix, Strings: []string{filepath.Dir(filepath.Dir(c.paths[0]))}})
		s.Actions = []policy.Action{{Kind: policy.Post}}
		if c.random.IntN(8) == 0 {
			s.Actions = append(s.Actions, policy.Action{Kind: policy.Signal, Signal: uint8(unix.SIGWINCH)})
		}
		h.Selectors = append(h.Selectors, s)
	}
	return h
}

// apply puts a set in force, and notes what its version has to say.
func (c *churn) apply(set []Member, wait bool) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.Apply([]Assignment{{Slots: []uint32{0}, Set: set}}, wait); err != nil {
		c.t.Error(err)
		return
	}
	var all []judged
	for _, m := range set {
		for _, h := range c.policies[m.Policy].hooks {
			if h.first >= 0 {
				all = append(all, judged{h.hook, h.first, m.Enforce})
			}
		}
	}
	c.history[c.versions.slots[0].id] = all
	c.changes.Add(1)
}

// run changes policies until enough evaluations were compared.
func (c *churn) run(act func(*byte)) {
	c.apply([]Member{{Policy: c.base}}, true)
	stop := c.threads(act)
	judged := make(chan struct{})
	var ended atomic.Bool
	go func() {
		defer close(judged)
		if err := c.judge(&ended); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.wrong = append(c.wrong, err.Error())
		}
	}()
	var loaded []PolicyID
	begin := time.Now()
	for c.compared.Load() < c.enough && !c.t.Failed() && c.faults() == 0 {
		if len(loaded) < 3 || c.random.IntN(3) == 0 {
			loaded = append(loaded, c.loadHook(c.draw()))
		}
		for range 1 + c.random.IntN(20) {
			set := []Member{{Policy: c.base}}
			for _, id := range loaded {
				if c.random.IntN(2) == 0 {
					set = append(set, Member{id, c.random.IntN(2) == 0})
				}
			}
			c.apply(set, c.random.IntN(10) == 0)
		}
		if len(loaded) > 6 {
			c.apply([]Member{{Policy: c.base}}, true)
			for _, id := range loaded[:4] {
				if err := c.Unload(id); err != nil {
					c.t.Error(err)
				}
			}
			// What was deleted is reused at once, if anybody lets it.
			loaded = append(loaded[4:], c.loadHook(c.draw()))
		}
	}
	stop()
	ended.Store(true)
	<-judged
	for _, fault := range c.wrong {
		c.t.Error(fault)
	}
	testenv.Report(c.t, "%d evaluations compared, %d wrong, %d changes of the rules, in %.1f s",
		c.compared.Load(), len(c.wrong), c.changes.Load(), time.Since(begin).Seconds())
}

func (c *churn) faults() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.wrong)
}

// threads act on all processors until they are stopped: on each two that do
// nothing else, and one that wakes up in between and goes before them, in the
// middle of an evaluation where the kernel lets it.
func (c *churn) threads(act func(*byte)) (stop func()) {
	var ended atomic.Bool
	var done sync.WaitGroup
	cpus := runtime.NumCPU()
	for i := range 3 * cpus {
		names := make([]*byte, len(c.paths))
		for j, path := range c.paths {
			names[j], _ = unix.BytePtrFromString(path)
		}
		done.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with its affinity
			var one unix.CPUSet
			one.Set(i % cpus)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				c.t.Error(err)
			}
			first := i >= 2*cpus
			if first {
				err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
				if err != nil {
					c.t.Logf("no thread goes before others: %v", err)
				}
			}
			for n := i; !ended.Load(); n++ {
				act(names[n%len(names)])
				if first {
					pause := unix.NsecToTimespec(int64(2 * time.Millisecond))
					_ = unix.Nanosleep(&pause, nil)
				} else if n%64 == 0 {
					runtime.Gosched() // to who reads the events
				}
			}
		})
	}
	return func() {
		ended.Store(true)
		done.Wait()
	}
}

// judge compares events until the ring is empty after the end.
func (c *churn) judge(ended *atomic.Bool) error {
	var record ringbuf.Record
	memory := map[uint32]map[string][2]compile.Bits{}
	for {
		c.ring.SetDeadline(time.Now().Add(20 * time.Millisecond))
		if err := c.ring.ReadInto(&record); errors.Is(err, os.ErrDeadlineExceeded) {
			if ended.Load() {
				return nil
			}
			continue
		} else if err != nil {
			return err
		}
		raw := record.RawSample
		e := (*bpf.WireEventSite)(unsafe.Pointer(&raw[0]))
		text := raw[unsafe.Sizeof(*e):]
		if e.H.Type != uint16(bpf.WireEventTypeEVENT_SITE) || uint64(e.StringLen[0]) > uint64(len(text)) {
			return fmt.Errorf("event of type %d with a string of %d bytes in %d", e.H.Type, int32(e.StringLen[0]), len(text))
		}
		text = text[:e.StringLen[0]]
		want, ok := memory[e.Version][string(text)]
		if !ok {
			if len(memory) > 64 {
				clear(memory)
			}
			if memory[e.Version] == nil {
				memory[e.Version] = map[string][2]compile.Bits{}
			}
			var err error
			if want, err = c.expected(e.Version, string(text)); err != nil {
				return err
			}
			memory[e.Version][string(text)] = want
		}
		c.compared.Add(1)
		if e.Posted != want[0] || e.Signalled != want[1] {
			c.mu.Lock()
			c.wrong = append(c.wrong, fmt.Sprintf("%s in version %d: posted %x and signalled %x, want %x and %x",
				text, e.Version, e.Posted.Word, e.Signalled.Word, want[0].Word, want[1].Word))
			c.explain(e, want)
			enough := len(c.wrong) >= 5
			c.mu.Unlock()
			if enough {
				return nil
			}
		}
	}
}

// explain tells of the bits in which a verdict differs whose they were.
func (c *churn) explain(e *bpf.WireEventSite, want [2]compile.Bits) {
	for bit := range compile.MaxRules {
		if compile.Has(e.Posted, bit) == compile.Has(want[0], bit) && compile.Has(e.Signalled, bit) == compile.Has(want[1], bit) {
			continue
		}
		inSet := false
		for _, j := range c.history[e.Version] {
			inSet = inSet || bit >= j.first && bit < j.first+len(j.hook.Rules)
		}
		of, ok := c.Resolve(e.Site, e.Version, bit)
		act := c.maps.acts.Load(int(e.Site)*compile.MaxRules + bit)
		c.wrong = append(c.wrong, fmt.Sprintf("rule %d: in the version %v, known %v: %+v; it does %+v now; event of thread %d of %d, level-word regs %x",
			bit, inSet, ok, of.Rule, act, e.H.Tid, e.H.Tgid, e.Regs[:2]))
	}
}

// expected is which rules of a version post and which signal for a path.
func (c *churn) expected(version uint32, path string) (bits [2]compile.Bits, err error) {
	c.mu.Lock() // and so after a change that is under way
	defer c.mu.Unlock()
	hooks, ok := c.history[version]
	if !ok {
		return bits, fmt.Errorf("event of version %d, which there never was", version)
	}
	for _, j := range hooks {
		i := j.hook.First([]compile.Value{{String: path}}, j.enforce)
		if i < 0 {
			continue
		}
		if r := j.hook.Rules[i]; r.Post {
			bits[0] = compile.With(bits[0], j.first+i)
			if r.Signal != 0 && j.enforce {
				bits[1] = compile.With(bits[1], j.first+i)
			}
		}
	}
	return bits, nil
}
