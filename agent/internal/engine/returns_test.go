// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

const (
	// someFrame is in the middle of a stack.
	someFrame = 0xffff_c900_0012_2000
	// popped is what a return takes from it.
	popped = 8
)

// returns makes the site of a rig one whose calls return.
func (r *rig) returns(t testing.TB) {
	t.Helper()
	hook := *r.site.hook
	hook.ResultOffset = compiletest.ResultOffset
	hook.Frame = compile.Frame{Kind: bpf.WireCallFrameFRAME_STACK, HasStack: true, StackOffset: compiletest.StackOffset, StackPopped: popped}
	r.site.hook = &hook
	r.resultIsText = hook.Result != nil && hook.Result.Type == policy.ArgString
	r.frame = someFrame
	// A rule that waits for the return, so that the programs are for such.
	rule := &compile.Rule{Returns: true}
	r.site.table.Add(compile.MaxRules-1, r.site.hook, rule)
}

// loadReturn loads what runs at the return as a program that can be test run.
func (r *rig) loadReturn(t testing.TB) {
	t.Helper()
	r.site.table.Remove(compile.MaxRules - 1)
	r.loadReturnOf(t)
}

// loadReturnOf loads it for the site as it is now.
func (r *rig) loadReturnOf(t testing.TB) {
	t.Helper()
	config := siteConfig(r.site, r.site.shape())
	config.Load = r.site.loads
	spec, options, err := r.site.programSpec(r.maps, config, []string{bpf.SiteProgFunctionReturn})
	if err != nil {
		t.Fatal(err)
	}
	spec.Programs[bpf.SiteProgFunctionReturn].Type = ebpf.RawTracepoint
	if r.returned, err = ebpf.NewCollectionWithOptions(spec, options); err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(r.returned.Close)
}

// leave makes the call of a record return.
func (r *rig) leave(record *compiletest.Record) {
	r.t.Helper()
	word := record.Result.Word
	if text := record.Result.Text; r.resultIsText {
		const region = -1
		if r.memory[region] == nil {
			r.memory[region] = newRegion(r.t)
		}
		word = uint64(r.memory[region].place(text))
		for text.Unreadable && int64(word) < 0 {
			word = uint64(r.memory[region].place(text)) // what functions return can be the kernel's own
		}
	}
	var bytes [compiletest.RecordSize]byte
	binary.LittleEndian.PutUint64(bytes[compiletest.StackOffset:], r.frame+popped)
	binary.LittleEndian.PutUint64(bytes[compiletest.ResultOffset:], word)
	if _, err := r.returned.Programs[bpf.SiteProgFunctionReturn].Run(&ebpf.RunOptions{Context: bytes}); err != nil {
		r.t.Fatalf("run the return: %v", err)
	}
}

// errors is how often the programs have failed in one way.
func (e *Engine) errors(t testing.TB, kind bpf.WireKernelError) (total uint64) {
	t.Helper()
	var perCPU []uint64
	if err := e.maps.coll.Maps[bpf.SiteMapKernelErrors].Lookup(uint32(kind), &perCPU); err != nil {
		t.Fatal(err)
	}
	for _, n := range perCPU {
		total += n
	}
	return total
}

// remembered is how many calls are remembered, and how many of their texts apart.
func (e *Engine) remembered(t testing.TB) (calls, texts int) {
	t.Helper()
	for name, n := range map[string]*int{bpf.SiteMapCalls: &calls, bpf.SiteMapCallData: &texts} {
		var key bpf.WireCallKey
		all := e.maps.coll.Maps[name]
		for err := all.NextKey(nil, &key); !errors.Is(err, ebpf.ErrKeyNotExist); err = all.NextKey(key, &key) {
			if err != nil {
				t.Fatal(err)
			}
			*n++
		}
	}
	return calls, texts
}

// calls is a rig whose one policy is about calls with a number, which return.
type calls struct {
	*rig
	source *compiletest.Source
	hook   policy.Hook
	number int // the offset of the number
	id     PolicyID
}

// wanted is the number that the policy is about.
const wanted = 7

func newCalls(t *testing.T, filters ...policy.ArgFilter) *calls {
	t.Helper()
	source := compiletest.NewReturning(2) // they return an int
	c := &calls{rig: newRig(t, source), source: source}
	c.hook = policy.Hook{Section: policy.Tracepoints, Subsystem: compiletest.Subsystem, Event: compiletest.Event, Return: true, ReturnArg: source.ReturnArg}
	for _, arg := range source.Args {
		switch field := compiletest.Fields()[arg.Index]; field.Name {
		case "u64", "path":
			if field.Name == "u64" {
				c.number = field.Offset
				c.hook.Args = append([]policy.Arg{arg}, c.hook.Args...)
				continue
			}
			c.hook.Args = append(c.hook.Args, arg)
		}
	}
	c.hook.Selectors = []policy.Selector{{
		Args:    []policy.ArgFilter{number(0, policy.OpEqual, wanted, wanted)},
		Actions: []policy.Action{{Kind: policy.Post}}, ReturnArgs: filters,
	}}
	c.id = c.add()
	c.inForce(c.id)
	return c
}

// add loads a policy of the hook.
func (c *calls) add() PolicyID {
	c.t.Helper()
	id, err := c.Load(compilePoint(c.t, c.hook))
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

func (c *calls) inForce(ids ...PolicyID) {
	c.t.Helper()
	var set []Member
	for _, id := range ids {
		set = append(set, Member{id, true})
	}
	if err := c.Apply([]Assignment{{Slots: []uint32{0}, Set: set}}, true); err != nil {
		c.t.Fatal(err)
	}
}

// enter enters a call with a number and a path, in a frame.
func (c *calls) enter(frame, number uint64, path string) {
	c.t.Helper()
	record := c.source.Record(c.binary)
	binary.LittleEndian.PutUint64(record.Bytes[c.number:], number)
	record.Users[8] = compiletest.Text{String: path}
	c.frame = frame
	c.run(record)
}

// leaves makes the call of a frame return, and compares the paths of the events that
// are made.
func (c *calls) leaves(frame uint64, result int32, want ...string) {
	c.t.Helper()
	c.frame = frame
	c.leave(&compiletest.Record{Result: compiletest.Result{Word: uint64(uint32(result))}})
	result64 := uint64(int64(result))
	for _, path := range want {
		e := c.event()
		if e == nil {
			c.t.Errorf("no event about %s", path)
			return
		}
		rule, ok := c.Resolve(e.Site, e.Version, c.policies[c.id].hooks[0].first)
		if !ok {
			c.t.Fatal("the event's rule is not known")
		}
		if got := e.strings[rule.Strings[1]]; got != path || e.Returned != 1 || e.Regs[rule.Result] != result64 || e.Regs[rule.Dimensions[0]] != wanted {
			c.t.Errorf("event about %.40q, returned %d with %d, of number %d; want %.40q with %d", got, e.Returned, e.Regs[rule.Result], e.Regs[rule.Dimensions[0]], path, result64)
		}
	}
	if e := c.event(); e != nil {
		c.t.Errorf("an event too many: about %q", e.strings)
	}
}

// check checks what the programs have counted, and that nothing is left.
func (c *calls) check(missed, full uint64) {
	c.t.Helper()
	if got := c.errors(c.t, bpf.WireKernelErrorKERR_RETURN_MISSED); got != missed {
		c.t.Errorf("%d returns were missed, want %d", got, missed)
	}
	if got := c.errors(c.t, bpf.WireKernelErrorKERR_CALL); got != full {
		c.t.Errorf("%d calls had no room, want %d", got, full)
	}
	if calls, texts := c.remembered(c.t); calls+texts != 0 {
		c.t.Errorf("%d calls and %d texts are left", calls, texts)
	}
}

// Frames of calls that are one in another.
const (
	outer  = someFrame
	middle = outer - 512
	inner  = middle - 64
	// aside is on another stack.
	aside = outer - 1<<20
)

func TestReturnsAreOfTheirCalls(t *testing.T) {
	long := string(make([]byte, 0, 4000))
	for len(long) < 3000 {
		long += "/component"
	}
	for _, test := range []struct {
		name         string
		do           func(c *calls)
		missed, full uint64
	}{
		{"one call", func(c *calls) {
			c.enter(outer, wanted, "/a")
			c.leaves(outer, -2, "/a")
			c.leaves(outer, 0)
		}, 0, 0},
		{"nothing was entered", func(c *calls) { c.leaves(outer, 0) }, 0, 0},
		{"one in another", func(c *calls) {
			c.enter(outer, wanted, "/outer")
			c.enter(middle, wanted, "/middle")
			c.enter(inner, wanted, "/inner")
			c.leaves(inner, 1, "/inner")
			c.leaves(middle, 2, "/middle")
			c.leaves(outer, 3, "/outer")
		}, 0, 0},
		{"one that is not chosen in another", func(c *calls) {
			c.enter(outer, wanted, "/outer")
			c.enter(inner, wanted+1, "/inner")
			c.leaves(inner, 1)
			c.leaves(outer, 2, "/outer")
		}, 0, 0},
		{"an interrupt's in another", func(c *calls) {
			c.enter(outer, wanted, "/outer")
			c.enter(aside+4096, wanted, "/interrupt")
			c.leaves(aside+4096, 1, "/interrupt")
			c.enter(inner, wanted, "/inner")
			c.leaves(inner, 1, "/inner")
			c.leaves(outer, 2, "/outer")
		}, 0, 0},
		{"the inner return is missed", func(c *calls) {
			c.enter(outer, wanted, "/outer")
			c.enter(inner, wanted, "/inner")
			c.leaves(outer, 2, "/outer")
		}, 1, 0},
		{"the return is missed before one that is not chosen", func(c *calls) {
			c.enter(outer, wanted, "/missed")
			c.enter(outer, wanted+1, "/other")
			c.leaves(outer, 0)
		}, 1, 0},
		{"the return is missed before one in the same place", func(c *calls) {
			c.enter(middle, wanted, "/missed")
			c.enter(middle, wanted, "/second")
			c.leaves(middle, 0, "/second")
		}, 1, 0},
		{"two returns are missed before one further up", func(c *calls) {
			c.enter(middle, wanted, "/missed")
			c.enter(inner, wanted, "/missed")
			c.enter(outer, wanted, "/outer")
			c.leaves(outer, 0, "/outer")
			c.leaves(inner, 0)
		}, 2, 0},
		{"the return is missed before one without rules", func(c *calls) {
			c.enter(outer, wanted, "/missed")
			c.inForce()
			c.enter(outer, wanted, "/none")
			c.inForce(c.id)
			c.leaves(outer, 0)
		}, 1, 0},
		{"too many in each other", func(c *calls) {
			deep := uint64(bpf.WireLimitsCALLS_DEEP)
			for i := range deep + 2 {
				c.enter(outer-64*i, wanted, "/a")
			}
			c.leaves(outer-64*(deep+1), 0)
			c.leaves(outer-64*deep, 0)
			for i := range deep {
				c.leaves(outer-64*(deep-1-i), 0, "/a")
			}
		}, 0, 2},
		{"long text", func(c *calls) {
			c.enter(outer, wanted, "/outer")
			c.enter(middle, wanted, long)
			if calls, texts := c.remembered(c.t); calls != 2 || texts != 1 {
				c.t.Errorf("%d calls and %d texts are remembered, want 2 and 1", calls, texts)
			}
			c.leaves(middle, 0, long)
			c.leaves(outer, 0, "/outer")
		}, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCalls(t)
			test.do(c)
			c.check(test.missed, test.full)
		})
	}
}

// A rule acts at the return when it was in force as the call was entered and still
// is; no other rule does in its place.
func TestRulesChangeDuringACall(t *testing.T) {
	c := newCalls(t)
	other := c.add()
	during := func(change func()) {
		c.enter(outer, wanted, "/a")
		change()
	}
	during(func() { c.inForce(c.id, other) })
	c.leaves(outer, 0, "/a")
	during(func() { c.inForce(other) })
	// Both were in force: of one event the rule that is left is told.
	c.leaves(outer, 0, "/a")
	if got := c.counters(c.id); got.Post != 1 {
		t.Errorf("the rule that was withdrawn: %+v, want one event", got)
	}
	if got := c.counters(other); got.Post != 1 {
		t.Errorf("the rule that was left: %+v, want one event", got)
	}
	during(func() { c.inForce() })
	c.leaves(outer, 0)
	c.inForce(c.id)
	during(func() { c.inForce(other) }) // which was not in force at the entry
	c.leaves(outer, 0)
	// One that has the bit of a rule that was chosen.
	c.inForce(c.id)
	bit := c.policies[c.id].hooks[0].first
	during(func() {
		c.inForce()
		if err := c.Unload(c.id); err != nil {
			t.Fatal(err)
		}
		c.id = c.add()
		c.inForce(c.id)
	})
	if got := c.policies[c.id].hooks[0].first; got != bit {
		t.Fatalf("the new rule has bit %d, want %d", got, bit)
	}
	c.leaves(outer, 0)
	c.check(0, 0)
}

func (c *calls) counters(id PolicyID) Counters {
	c.t.Helper()
	got, err := c.Counters(id)
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

// A task that ends in a call leaves nothing.
func TestTaskEndsInACall(t *testing.T) {
	c := newCalls(t)
	onEndingThread(func() {
		c.enter(outer, wanted, "/a")
		c.enter(inner, wanted, "/"+strings.Repeat("x", 2000))
		if calls, texts := c.remembered(t); calls != 2 || texts != 1 {
			t.Errorf("%d calls and %d texts are remembered, want 2 and 1", calls, texts)
		}
	})
	testenv.Eventually(t, 10*time.Second, "the calls of a task that has ended are forgotten", func() error {
		if calls, texts := c.remembered(t); calls+texts != 0 {
			return fmt.Errorf("%d calls and %d texts are left", calls, texts)
		}
		return nil
	})
	c.check(0, 0)
}

// onEndingThread does something on a thread that ends afterwards, which the process's
// first thread does not.
func onEndingThread(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			do()
			return // and the thread ends
		}
		onEndingThread(do)
		runtime.UnlockOSThread()
	}()
	<-done
}
