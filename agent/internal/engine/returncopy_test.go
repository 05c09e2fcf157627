// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// A buffer that the call fills is read when it returns, as far as the call says.
func TestBuffersAreReadAtTheReturn(t *testing.T) {
	source := compiletest.NewReturning(2)
	c := &calls{rig: newRig(t, source), source: source}
	const pointer, size = 16, 40 // of the record
	hook := *c.site.hook
	hook.Reads = []compile.Read{
		{
			Kind: bpf.WireReadKindREAD_USER_BYTES, Offset: pointer, Size: size, When: bpf.WireReadWhenREAD_RETURNED,
		},
		{Kind: bpf.WireReadKindREAD_INT, Size: 4, Signed: true, When: bpf.WireReadWhenREAD_RESULT},
	}
	hook.Types, hook.Labels = []policy.ArgType{policy.ArgCharBuf}, []string{""}
	hook.Result = &compile.Result{Read: 1, Type: policy.ArgInt32}
	hook.Returns, hook.Rules = true, []compile.Rule{{Post: true, Returns: true}}
	id, err := c.Load(&compile.Policy{Policy: &policy.Policy{Name: "p"}, Hooks: []compile.Hook{hook}})
	if err != nil {
		t.Fatal(err)
	}
	c.loadReturnOf(t)
	c.inForce(id)
	c.id = id
	for _, test := range []struct {
		room   uint64
		result int32
		want   string
	}{{100, 5, "after"}, {3, 5, "aft"}, {100, 0, ""}, {100, -11, "-"}} {
		record := source.Record(c.binary)
		binary.LittleEndian.PutUint64(record.Bytes[size:], test.room)
		record.Users[pointer] = compiletest.Text{String: "before"}
		c.run(record)
		// The call writes.
		memory := c.memory[pointer]
		copy(memory.readable[strings.LastIndex(string(memory.readable), "before"):], "after")
		c.leave(&compiletest.Record{Result: compiletest.Result{Word: uint64(uint32(test.result))}})
		e := c.event()
		if e == nil {
			t.Fatalf("%+v: no event", test)
		}
		rule, _ := c.Resolve(e.Site, e.Version, c.policies[id].hooks[0].first)
		got := e.strings[rule.Strings[0]]
		if e.StringLen[rule.Strings[0]] == uint32(bpf.WireStringStatusSTRING_UNREADABLE) {
			got = "-"
		}
		if got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
		clear(memory.readable)
	}
	c.check(0, 0)
}

// So is an array that the call fills, as those of pipe2 and socketpair are.
func TestArraysAreReadAtTheReturn(t *testing.T) {
	source := compiletest.NewReturning(2)
	c := &calls{rig: newRig(t, source), source: source}
	const pointer = 16 // of the record
	hook := *c.site.hook
	hook.Reads = []compile.Read{
		{Kind: bpf.WireReadKindREAD_USER_ARRAY, Offset: pointer, Size: 8, When: bpf.WireReadWhenREAD_RETURNED},
		{Kind: bpf.WireReadKindREAD_INT, Size: 4, Signed: true, When: bpf.WireReadWhenREAD_RESULT},
	}
	hook.Types, hook.Labels = []policy.ArgType{policy.ArgInt32Array}, []string{""}
	hook.Result = &compile.Result{Read: 1, Type: policy.ArgInt32}
	hook.Returns, hook.Rules = true, []compile.Rule{{Post: true, Returns: true}}
	id, err := c.Load(&compile.Policy{Policy: &policy.Policy{Name: "p"}, Hooks: []compile.Hook{hook}})
	if err != nil {
		t.Fatal(err)
	}
	c.loadReturnOf(t)
	c.inForce(id)
	record := source.Record(c.binary)
	record.Users[pointer] = compiletest.Text{String: "before the call"}
	c.run(record)
	memory := c.memory[pointer] // the call writes
	const pair = "\x03\x00\x00\x00\x04\x00\x00\x00"
	copy(memory.readable[strings.LastIndex(string(memory.readable), "before"):], pair)
	c.leave(&compiletest.Record{})
	e := c.event()
	if e == nil {
		t.Fatal("no event")
	}
	rule, _ := c.Resolve(e.Site, e.Version, c.policies[id].hooks[0].first)
	if got := e.strings[rule.Strings[0]]; got != pair {
		t.Errorf("array %q, want %q", got, pair)
	}
}
